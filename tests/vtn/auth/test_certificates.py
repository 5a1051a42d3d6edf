"""Certificates bound to VENs: issued once a key, renewed side by side, revoked for ever, and each act in the audit."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from runtime.tls.certificates import new_key, request_certificate
from tests.builders import a_key
from tests.vtn.auth.devices import a_device, a_secured_vtn
from tests.vtn.opened import PROGRAM, an_enrolment_request
from vtn.auth.audit import acting
from vtn.auth.certificates import normal_fingerprint
from vtn.errors import Conflict, InvalidInput, NotAllowed, NotFound

PRINTED = "93:4C:A4:95:99:1B:78:52:B8:55"


@pytest.fixture
async def approving(vtn_url, clock, tmp_path, pki):
    """A VTN whose operator approves each VEN."""
    async with a_secured_vtn(vtn_url, clock, tmp_path, pki, enrolment_approval=True) as vtn:
        yield vtn


async def acts(vtn, ven_id):
    return [(each.actor, each.act) for each in await vtn.audit.entries(subject=ven_id)]


async def test_a_request_that_is_repeated_gets_the_same_certificate(secured):
    ven = await secured.vens.add("home-1", "F1", PROGRAM)
    request = request_certificate(new_key(), "x")
    first = await secured.certificates.issue(ven.ven_id, request)
    assert await secured.certificates.issue(ven.ven_id, request) == first
    assert len(await secured.certificates.bound(ven.ven_id)) == 1


async def test_two_certificates_work_side_by_side_and_the_third_supersedes_the_first(secured, clock):
    ven = await secured.vens.add("home-1", "F1", PROGRAM)
    for _ in range(3):
        await secured.certificates.issue(ven.ven_id, request_certificate(new_key(), "x"))
        clock.advance(1000)
    found = await secured.certificates.bound(ven.ven_id)
    assert [each.status for each in found] == ["active", "active", "superseded"]
    assert (await secured.vens.get(ven.ven_id)).fingerprint == found[0].fingerprint


async def test_a_key_whose_certificate_was_revoked_gets_none_again(secured):
    ven = await secured.vens.add("home-1", "F1", PROGRAM)
    request = request_certificate(new_key(), "x")
    await secured.certificates.issue(ven.ven_id, request)
    [revoked] = await secured.certificates.revoke(ven.ven_id, "stolen")
    with pytest.raises(NotAllowed, match="revoked"):
        await secured.certificates.issue(ven.ven_id, request)
    assert (await secured.vens.get(ven.ven_id)).fingerprint is None
    with pytest.raises(NotAllowed, match="for ever"):
        await secured.certificates.bind(ven.ven_id, revoked)


async def test_one_key_and_one_certificate_belong_to_one_ven(secured):
    first, second = [await secured.vens.add(name, "F1", PROGRAM) for name in ("home-1", "home-2")]
    request = request_certificate(new_key(), "x")
    await secured.certificates.issue(first.ven_id, request)
    with pytest.raises(Conflict):
        await secured.certificates.issue(second.ven_id, request)
    await secured.vens.bind_fingerprint(first.ven_id, PRINTED)
    with pytest.raises(Conflict):
        await secured.vens.bind_fingerprint(second.ven_id, PRINTED.lower())
    with pytest.raises(NotFound):
        await secured.certificates.revoke(second.ven_id, "x", printed=PRINTED)


async def test_a_certified_device_is_let_in_by_its_fingerprint(secured):
    ven = await secured.vens.add("device-1", "F1", PROGRAM, fingerprint=PRINTED.replace(":", "").lower())
    assert ven.fingerprint == PRINTED
    assert await secured.vens.find_by_fingerprint(PRINTED) == ven
    assert [each.source for each in await secured.certificates.bound(ven.ven_id)] == ["imported"]


def test_fingerprints_are_read_as_people_write_them():
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert {normal_fingerprint(each) for each in (PRINTED, PRINTED.lower(), digest)} == {PRINTED}
    for wrong in ("", "AA:BB", "zz" * 10, PRINTED + ":00"):
        with pytest.raises(InvalidInput):
            normal_fingerprint(wrong)


async def test_every_act_is_in_an_audit_that_only_grows(secured, tmp_path):
    with acting("operator:ann"):
        device = await a_device(secured, tmp_path)
        await secured.vens.revoke(device.ven_id, "lost")
        await secured.vens.reinstate(device.ven_id)
        await secured.signing.require(device.ven_id, True)
    assert await acts(secured, device.ven_id) == [
        ("operator:ann", act)
        for act in (
            "ven_added", "certificate_issued", "certificate_revoked", "ven_revoked", "ven_reinstated",
            "signatures_required",
        )
    ]  # fmt: skip
    for statement in ("DELETE FROM audit_entries", "UPDATE audit_entries SET actor = 'x'", "TRUNCATE audit_entries"):
        with pytest.raises(DBAPIError, match="only grow"):
            async with secured.database.transaction() as connection:
                await connection.execute(text(statement))


async def test_where_the_operator_approves_nobody_joins_before(approving):
    code, _ = await approving.enrolments.invite("home-1", "F1", PROGRAM)
    request = an_enrolment_request(code, "home-1", a_key(1), approving.party)
    ven = await approving.enrolments.enrol(request)
    assert ven.status == (await approving.enrolments.enrol(request)).status == "waiting"
    await approving.enrolments.approve(ven.ven_id)
    assert (await approving.enrolments.enrol(request)).status == "enrolled"
    with pytest.raises(NotAllowed, match="does not wait"):
        await approving.enrolments.reject(ven.ven_id, "too late")
    acted = [act for _, act in await acts(approving, ven.ven_id)]
    assert acted == ["ven_invited", "ven_waiting", "ven_approved", "ven_enrolled"]


async def test_who_was_rejected_stays_out(approving):
    code, _ = await approving.enrolments.invite("home-1", "F1", PROGRAM)
    request = an_enrolment_request(code, "home-1", a_key(1), approving.party)
    ven = await approving.enrolments.enrol(request)
    await approving.enrolments.reject(ven.ven_id, "unknown to us")
    with pytest.raises(NotAllowed):
        await approving.enrolments.enrol(request)
