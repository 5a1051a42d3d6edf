"""A VEN turns to another id on the ledger: on the word of its present key, once, and whatever breaks in between."""

from __future__ import annotations

import time

import msgspec
import pytest

from contracts.core.codec import encode
from contracts.core.commands import Enrolment, enrolment_bytes
from contracts.core.parties import Role
from contracts.tokens import Account, party_account
from ledger.client import LedgerUnavailable, party_id
from tests.builders import a_key
from tests.vtn.opened import PROGRAM, an_enrolment_request, fund, opened
from vtn.auth.consent import SignedText
from vtn.errors import NotAllowed, NotFound
from vtn.services.pseudonyms import FORMAT, TurnRequest

CREDIT_MINOR = 200
OLD, NEW = a_key(1), a_key(2)


@pytest.fixture
async def vtn(vtn_url, clock, tmp_path):
    async with opened(vtn_url, clock, tmp_path, enrolment_credit_minor=CREDIT_MINOR) as found:
        fund(found.ledger, 1_000)
        yield found


@pytest.fixture
async def ven(vtn):
    code, _ = await vtn.vtn.enrolments.invite("home-1", "F1", PROGRAM)
    return await vtn.vtn.enrolments.enrol(an_enrolment_request(code, "home-1", OLD, vtn.vtn.party))


def a_turn(vtn, ven, *, signer=OLD, new=NEW, area="F1", **changed) -> TurnRequest:
    party = party_id(Role.DEVICE, new.public)
    enrolment = Enrolment(party=party, role=Role.DEVICE, key=new.public, sponsor=vtn.vtn.party, area=area)
    text = {
        "format": FORMAT,
        "ven_id": ven.ven_id,
        "period": "2026-02",
        "public_key": new.public,
        "proof": new.sign(enrolment_bytes(enrolment)).hex(),
        "at_ms": vtn.vtn.clock.wall_ms(),
        **changed,
    }
    body = encode(text)
    return TurnRequest(ven_id=ven.ven_id, signed=SignedText(text=body.decode(), signature=signer.sign(body).hex()))


def funds(vtn, key) -> int:
    data = vtn.ledger.get("account", party_account(party_id(Role.DEVICE, key.public)))
    return 0 if data is None else msgspec.json.decode(data, type=Account).credits_posted


async def test_the_new_id_takes_the_place_of_the_old_one_and_begins_with_the_same_credit(vtn, ven):
    turned = await vtn.vtn.pseudonyms.turn(a_turn(vtn, ven))
    found = await vtn.vtn.vens.get(ven.ven_id)
    assert (turned.party, found.party, found.public_key) == (
        party_id(Role.DEVICE, NEW.public), party_id(Role.DEVICE, NEW.public), NEW.public,
    )  # fmt: skip
    assert vtn.ledger.get("party", turned.party) is not None
    assert funds(vtn, NEW) == funds(vtn, OLD) == CREDIT_MINOR
    assert [each.act for each in await vtn.vtn.audit.entries(subject=ven.ven_id)].count("ven_pseudonym") == 1


async def test_the_same_request_again_gets_the_same_answer_and_no_second_credit(vtn, ven):
    request = a_turn(vtn, ven)
    first = await vtn.vtn.pseudonyms.turn(request)
    executed = len(vtn.ledger.executed)
    assert await vtn.vtn.pseudonyms.turn(request) == first
    assert len(vtn.ledger.executed) == executed


async def test_while_the_ledger_is_away_the_ven_keeps_its_id_and_the_request_goes_on_later(vtn, ven):
    vtn.ledger.down = True
    with pytest.raises(LedgerUnavailable):
        await vtn.vtn.pseudonyms.turn(a_turn(vtn, ven))
    assert (await vtn.vtn.vens.get(ven.ven_id)).party == ven.party
    vtn.ledger.down = False
    await vtn.vtn.pseudonyms.turn(a_turn(vtn, ven))
    assert (await vtn.vtn.vens.get(ven.ven_id)).public_key == NEW.public
    assert funds(vtn, NEW) == CREDIT_MINOR


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"signer": a_key(7)}, NotAllowed),  # whoever knows the venID alone gets nothing
        ({"signer": NEW}, NotAllowed),
        ({"area": "F2"}, NotAllowed),  # the new key agreed to something else
        ({"format": "gridpact.certificate-renewal.1"}, NotAllowed),
        ({"ven_id": "ven-another"}, NotAllowed),
        ({"at_ms": int(time.time() * 1000) - 3_600_000}, NotAllowed),
        ({"public_key": "ed25519:zz"}, NotAllowed),
    ],
)
async def test_what_the_keys_did_not_sign_is_refused_and_changes_nothing(vtn, ven, changed, error):
    with pytest.raises(error):
        await vtn.vtn.pseudonyms.turn(a_turn(vtn, ven, **changed))
    assert await vtn.vtn.vens.get(ven.ven_id) == ven
    assert funds(vtn, NEW) == 0


async def test_an_unknown_ven_is_not_found(vtn, ven):
    unknown = msgspec.structs.replace(a_turn(vtn, ven), ven_id="ven-unknown")
    with pytest.raises(NotFound):
        await vtn.vtn.pseudonyms.turn(unknown)
