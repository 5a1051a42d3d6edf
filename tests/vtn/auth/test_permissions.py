"""The permission table, cell by cell: a change of it is a change of this test."""

from __future__ import annotations

import pytest

from vtn.auth.permissions import GRANTEES, PERMISSIONS, Access, Role, Subject, access

EXPECTED = {
    "owner": {
        "readings": "own", "aggregated_readings": "all", "enrolment": "own", "certificates": "own", "consents": "own",
        "events": "own", "statements": "own", "audit": "own",
    },
    "aggregator": {
        "readings": "consented", "aggregated_readings": "all", "enrolment": "all", "certificates": "all",
        "consents": "all", "events": "all", "statements": "all", "audit": "all",
    },
    "virtual_node": {
        "readings": "consented", "aggregated_readings": "all", "enrolment": "own", "certificates": "never",
        "consents": "own", "events": "own", "statements": "own", "audit": "never",
    },
    "utility": {
        "readings": "consented", "aggregated_readings": "all", "enrolment": "never", "certificates": "never",
        "consents": "own", "events": "own", "statements": "own", "audit": "never",
    },
    "auditor": {
        "readings": "consented", "aggregated_readings": "all", "enrolment": "never", "certificates": "all",
        "consents": "all", "events": "all", "statements": "all", "audit": "all",
    },
    "public": {
        "readings": "never", "aggregated_readings": "never", "enrolment": "never", "certificates": "never",
        "consents": "never", "events": "never", "statements": "never", "audit": "never",
    },
}  # fmt: skip


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("subject", list(Subject))
def test_each_cell(role: Role, subject: Subject) -> None:
    assert access(role, subject) == EXPECTED[role.value][subject.value]


def test_the_table_is_whole_and_names_nothing_else() -> None:
    assert set(PERMISSIONS) == {(role, subject) for role in Role for subject in Subject}
    assert {role.value: {subject.value for subject in Subject} for role in Role} == {
        role: set(row) for role, row in EXPECTED.items()
    }


def test_readings_are_shown_to_nobody_but_the_owner_without_a_consent() -> None:
    assert [role for role in Role if access(role, Subject.READINGS) is Access.ALL] == []
    assert {role for role in Role if access(role, Subject.READINGS) is Access.CONSENTED} == set(GRANTEES)
