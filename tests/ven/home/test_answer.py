"""optIn and optOut, case by case."""

from __future__ import annotations

import pytest

from openadr.errors import ResponseCode
from openadr.model import Target
from tests.builders import START_MS, a_dr_event, a_signal, device_terms
from tests.ven.homes import UTC, a_stored_contract, a_stored_event
from ven.home.answer import Answer, Home, answer_contracted, answer_followed
from ven.home.owner import Owner
from ven.home.store import ContractState, Opt

BEFORE_MS = START_MS - 3_600_000


def a_home(now_ms: int = BEFORE_MS, owner: Owner | None = None) -> Home:
    return Home(now_ms, owner or Owner(), UTC, ven_id="ven-1", resource="H1", party="dev-1")


@pytest.mark.parametrize("state", [ContractState.ACCEPTED, ContractState.SETTLED, ContractState.COMPLETED])
def test_an_accepted_contract_that_names_the_event_is_an_opt_in(state):
    assert answer_contracted(a_stored_event(), [a_stored_contract(state=state)], a_home()) == Answer(Opt.IN)


@pytest.mark.parametrize("state", [ContractState.PROPOSED, ContractState.ACCEPTING])
def test_there_is_no_answer_while_the_contract_is_open(state):
    assert answer_contracted(a_stored_event(), [a_stored_contract(state=state)], a_home()) is None


@pytest.mark.parametrize(
    "state", [ContractState.REJECTING, ContractState.REJECTED, ContractState.EXPIRED, ContractState.FAILED]
)
def test_a_contract_that_came_to_nothing_is_an_opt_out(state):
    contract = a_stored_contract(state=state, reason="baseline: another curve")
    assert answer_contracted(a_stored_event(), [contract], a_home()) == Answer(Opt.OUT, reason=contract.reason)


def test_an_event_that_is_not_the_contracted_one_is_refused():
    changed = a_stored_event(a_dr_event(modification_number=1, priority=1))
    answer = answer_contracted(changed, [a_stored_contract()], a_home())
    assert answer is not None
    assert (answer.opt, answer.code) == (Opt.OUT, ResponseCode.NOT_ALLOWED)


def test_an_event_without_contract_is_waited_for_until_it_starts():
    assert answer_contracted(a_stored_event(), [], a_home(START_MS - 1)) is None
    answer = answer_contracted(a_stored_event(), [], a_home(START_MS))
    assert answer is not None
    assert (answer.opt, answer.code) == (Opt.OUT, ResponseCode.NOT_ALLOWED)


def test_an_owner_who_opts_out_is_out_even_under_contract():
    home = a_home(owner=Owner(opt_out=True))
    assert answer_contracted(a_stored_event(), [a_stored_contract()], home) == Answer(
        Opt.OUT, reason="the owner has opted out"
    )


def test_a_cancellation_is_confirmed_with_opt_in_whoever_asks():
    """Rule 36."""
    stored = a_stored_event(a_dr_event(cancelled=True))
    for answer in (answer_contracted, answer_followed):
        found = answer(stored, [], a_home(owner=Owner(opt_out=True)))
        assert found is not None
        assert found.opt is Opt.IN


def test_an_answer_to_an_event_that_is_over_does_not_change():
    stored = a_stored_event(opt=Opt.IN)
    home = a_home(START_MS + 3_600_000, Owner(opt_out=True))
    assert answer_contracted(stored, [], home) == Answer(Opt.IN)


def test_a_foreign_event_is_followed_within_the_owners_limits():
    assert answer_followed(a_stored_event(), [], a_home()) == Answer(Opt.IN)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (a_dr_event(targets=(Target("ven", "another"),)), ResponseCode.TARGET_MISMATCH),
        (a_dr_event(signals=(a_signal(name="ELECTRICITY_PRICE", type="price"),)), ResponseCode.SIGNAL_NOT_SUPPORTED),
        (a_dr_event(duration_s=1800), ResponseCode.COMPLIANCE_ERROR),
    ],
)
def test_a_foreign_event_that_is_wrong_or_not_understood_is_refused_with_its_code(event, code):
    answer = answer_followed(a_stored_event(event), [], a_home())
    assert answer is not None
    assert (answer.opt, answer.code) == (Opt.OUT, code)


@pytest.mark.parametrize(
    "owner",
    [
        Owner(opt_out=True),
        Owner(max_duration_s=3599),
        Owner(max_events_per_day=1),
        Owner(hours=(60, 23 * 60)),  # the event is at 00:00
    ],
)
def test_a_foreign_event_beyond_the_owners_limits_is_an_opt_out(owner):
    other = a_stored_event(a_dr_event("event-0", start_ms=START_MS + 7_200_000), opt=Opt.IN)
    answer = answer_followed(a_stored_event(), [other], a_home(owner=owner))
    assert answer is not None
    assert (answer.opt, answer.code) == (Opt.OUT, 200)


@pytest.mark.parametrize(
    "target", [Target("ven", "ven-1"), Target("resource", "H1"), Target("party", "dev-1"), Target("group", "g")]
)
def test_an_event_for_this_home_or_its_group_is_taken(target):
    stored = a_stored_event(a_dr_event(targets=(Target("ven", "another"), target)))
    assert answer_followed(stored, [], a_home()) == Answer(Opt.IN)


def test_a_second_contract_for_the_event_may_be_the_one_that_counts():
    first = a_stored_contract(state=ContractState.REJECTED)
    second = a_stored_contract("sc2-2", device_terms())
    assert answer_contracted(a_stored_event(), [first, second], a_home()) == Answer(Opt.IN)
