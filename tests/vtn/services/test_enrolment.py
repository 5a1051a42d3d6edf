"""Enrolment survives being interrupted anywhere: asking again goes on where it stopped."""

from __future__ import annotations

import msgspec
import pytest

from contracts.core.parties import Role
from contracts.tokens import Account, party_account
from ledger.client import LedgerUnavailable, party_id
from tests.builders import a_key
from tests.vtn.opened import PROGRAM, an_enrolment_request, fund, opened
from vtn.errors import Conflict, LedgerRefused, NotAllowed, NotFound
from vtn.services.vens import ENROLLED, ENROLLING, REFUSED

CREDIT_MINOR = 200


@pytest.fixture
async def crediting(vtn_url, clock, tmp_path):
    async with opened(vtn_url, clock, tmp_path, enrolment_credit_minor=CREDIT_MINOR) as found:
        fund(found.ledger, 1_000)
        yield found


async def _request(vtn, ven_name="home-1", key=None):
    code, _ = await vtn.enrolments.invite(ven_name, "F1", PROGRAM)
    return an_enrolment_request(code, ven_name, key or a_key(1), vtn.party)


def _funds(ledger, key):
    data = ledger.get("account", party_account(party_id(Role.DEVICE, key.public)))
    return 0 if data is None else msgspec.json.decode(data, type=Account).credits_posted


async def test_a_ven_enrols_with_its_own_key_and_gets_its_credit(crediting):
    vtn, ledger = crediting.vtn, crediting.ledger
    ven = await vtn.enrolments.enrol(await _request(vtn))
    assert (ven.status, ven.party, ven.area) == (ENROLLED, party_id(Role.DEVICE, a_key(1).public), "F1")
    assert ven.resource.flexible_w == 1500
    assert ledger.get("party", ven.party) is not None
    assert _funds(ledger, a_key(1)) == CREDIT_MINOR
    assert await vtn.vens.get(ven.ven_id) == ven


async def test_the_same_request_again_gets_the_same_ven_and_no_second_credit(crediting):
    vtn, ledger = crediting.vtn, crediting.ledger
    request = await _request(vtn)
    first = await vtn.enrolments.enrol(request)
    executed = len(ledger.executed)
    assert await vtn.enrolments.enrol(request) == first
    assert len(ledger.executed) == executed
    assert _funds(ledger, a_key(1)) == CREDIT_MINOR


async def test_an_enrolment_the_ledger_never_heard_of_is_finished_later(crediting):
    vtn, ledger = crediting.vtn, crediting.ledger
    request = await _request(vtn)
    ledger.down = True
    with pytest.raises(LedgerUnavailable):
        await vtn.enrolments.enrol(request)
    [ven] = await vtn.vens.list()
    assert ven.status == ENROLLING
    ledger.down = False
    assert (await vtn.enrolments.enrol(request)).status == ENROLLED
    assert _funds(ledger, a_key(1)) == CREDIT_MINOR


async def test_after_a_lost_answer_a_restarted_vtn_finishes_without_doing_anything_twice(
    vtn_url, clock, tmp_path, crediting
):
    vtn, ledger = crediting.vtn, crediting.ledger
    request = await _request(vtn)
    ledger.loses_answers = 1
    with pytest.raises(LedgerUnavailable):
        await vtn.enrolments.enrol(request)
    executed = len(ledger.executed)
    ledger.down = False
    async with opened(vtn_url, clock, tmp_path, ledger, enrolment_credit_minor=CREDIT_MINOR) as restarted:
        assert await restarted.vtn.enrolments.complete_pending() == 1
        [ven] = await restarted.vtn.vens.list()
        assert ven.status == ENROLLED
    assert len(ledger.executed) == executed
    assert _funds(ledger, a_key(1)) == CREDIT_MINOR


async def test_a_transaction_that_expired_while_the_ledger_was_away_is_sealed_anew(crediting, clock):
    vtn, ledger = crediting.vtn, crediting.ledger
    request = await _request(vtn)
    ledger.down = True
    with pytest.raises(LedgerUnavailable):
        await vtn.enrolments.enrol(request)
    clock.advance(86_400_000)
    ledger.down = False
    assert (await vtn.enrolments.enrol(request)).status == ENROLLED
    assert _funds(ledger, a_key(1)) == CREDIT_MINOR


async def test_a_party_that_is_on_the_ledger_with_this_key_is_taken_over(
    vtn_url, clock, tmp_path, crediting, databases
):
    """The VTN's database was restored from before the enrolment."""
    vtn, ledger = crediting.vtn, crediting.ledger
    await vtn.enrolments.enrol(await _request(vtn))
    older = databases.new("vtn")
    async with opened(older, clock, tmp_path, ledger, enrolment_credit_minor=CREDIT_MINOR) as restored:
        ven = await restored.vtn.enrolments.enrol(await _request(restored.vtn))
        assert ven.status == ENROLLED
    assert _funds(ledger, a_key(1)) == CREDIT_MINOR, "no second credit"
    databases.drop(older)


async def test_a_refusal_is_said_and_can_be_overcome_by_asking_again(vtn_url, clock, tmp_path):
    async with opened(vtn_url, clock, tmp_path, enrolment_credit_minor=CREDIT_MINOR) as unfunded:
        vtn = unfunded.vtn
        request = await _request(vtn)
        with pytest.raises(LedgerRefused) as refused:
            await vtn.enrolments.enrol(request)
        assert refused.value.ledger_code == "funds_insufficient"
        [ven] = await vtn.vens.list()
        assert ven.status == REFUSED
        fund(unfunded.ledger, 1_000)
        assert (await vtn.enrolments.enrol(request)).status == ENROLLED
        assert _funds(unfunded.ledger, a_key(1)) == CREDIT_MINOR


async def test_a_ven_that_was_removed_cannot_come_back_with_its_code(opened_vtn):
    vtn = opened_vtn.vtn
    request = await _request(vtn)
    ven = await vtn.enrolments.enrol(request)
    await vtn.vens.remove(ven.ven_id)
    with pytest.raises(NotAllowed) as refused:
        await vtn.enrolments.enrol(request)
    assert refused.value.code == "ven_removed"


async def test_a_code_serves_one_key_only(opened_vtn):
    vtn = opened_vtn.vtn
    request = await _request(vtn)
    await vtn.enrolments.enrol(request)
    thief = an_enrolment_request(request.code, request.ven_name, a_key(2), vtn.party)
    with pytest.raises(NotAllowed) as refused:
        await vtn.enrolments.enrol(thief)
    assert refused.value.code == "invitation_used"


async def test_a_proof_by_another_key_is_refused(opened_vtn):
    vtn = opened_vtn.vtn
    request = await _request(vtn)
    other = an_enrolment_request(request.code, request.ven_name, a_key(2), vtn.party)
    for wrong in (
        msgspec.structs.replace(request, proof=other.proof),
        msgspec.structs.replace(request, proof="no hex"),
    ):
        with pytest.raises(NotAllowed) as refused:
            await vtn.enrolments.enrol(wrong)
        assert refused.value.code == "proof_invalid"
    assert await vtn.vens.list() == []


async def test_codes_expire_are_bound_to_a_name_and_can_be_replaced(opened_vtn, clock):
    vtn = opened_vtn.vtn
    old = await _request(vtn)
    new = await _request(vtn)
    for wrong in (old, msgspec.structs.replace(new, ven_name="home-2")):
        with pytest.raises(NotAllowed) as refused:
            await vtn.enrolments.enrol(wrong)
        assert refused.value.code == "invitation_unknown"
    clock.advance(31 * 86_400_000)
    with pytest.raises(NotAllowed) as refused:
        await vtn.enrolments.enrol(new)
    assert refused.value.code == "invitation_expired"


async def test_one_key_cannot_be_two_homes(opened_vtn):
    vtn = opened_vtn.vtn
    await vtn.enrolments.enrol(await _request(vtn, "home-1"))
    with pytest.raises(Conflict):
        await vtn.enrolments.enrol(await _request(vtn, "home-2"))
    with pytest.raises(Conflict):
        await vtn.enrolments.invite("home-1", "F1", PROGRAM)
    with pytest.raises(NotFound):
        await vtn.enrolments.invite("home-3", "F1", "no such program")
