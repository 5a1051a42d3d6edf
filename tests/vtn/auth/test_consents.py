"""Consents signed by a home's own key, and what follows for who sees its readings."""

from __future__ import annotations

import msgspec
import pytest

from contracts.core.codec import encode
from contracts.core.parties import Role as PartyRole
from ledger.client import party_id
from openadr.model import Reading
from tests.builders import START_MS, a_key
from tests.vtn.opened import PROGRAM, an_enrolment_request
from vtn.auth.consent import SignedText, consent_id
from vtn.auth.permissions import GRANTEES, Role
from vtn.auth.series import Viewer
from vtn.errors import InvalidInput, NotAllowed, NotFound
from vtn.services.vens import change_ven

DAY_MS = 86_400_000
PARTY = party_id(PartyRole.DEVICE, a_key(1).public)
AGGREGATOR = Viewer(Role.AGGREGATOR)


def a_consent(vtn, key=None, **given):
    text = {
        "format": "gridpact.consent.1", "party": PARTY, "sponsor": vtn.party, "grantee": "aggregator",
        "scope": "readings", "purpose": "forecasts", "granted_ms": START_MS, "until_ms": START_MS + DAY_MS, **given,
    }  # fmt: skip
    return signed(text, key)


def signed(text, key=None):
    body = encode(text)
    return SignedText(body.decode(), (key or a_key(1)).sign(body).hex())


async def a_home(vtn, *consents):
    code, _ = await vtn.enrolments.invite("home-1", "F1", PROGRAM)
    request = an_enrolment_request(code, "home-1", a_key(1), vtn.party)
    return await vtn.enrolments.enrol(msgspec.structs.replace(request, consents=consents))


async def with_readings(vtn, ven_id, values=(100, 200), meter="meter"):
    async with vtn.database.transaction() as connection:
        await change_ven(connection, ven_id, meter_r_id=meter)
    readings = [Reading(meter, START_MS - 900_000 * (n + 1), 900, value) for n, value in enumerate(values)]
    await vtn.telemetry.store(ven_id, readings)


async def seen(vtn, viewer, ven_id):
    try:
        return len(await vtn.series.of_home(viewer, ven_id, 0, 2 * START_MS))
    except NotAllowed:
        return "nothing"


async def test_a_consent_given_at_enrolment_opens_the_series_to_that_role_alone(opened_vtn):
    vtn = opened_vtn.vtn
    home = await a_home(vtn, a_consent(vtn))
    assert await vtn.consents.consenting([home.ven_id], Role.AGGREGATOR) == {home.ven_id}
    for role in Role:
        expected = "nothing" if role is not Role.AGGREGATOR else 0
        assert await seen(vtn, Viewer(role), home.ven_id) == expected
    assert await seen(vtn, Viewer(Role.OWNER, home.ven_id), home.ven_id) == 0
    assert await seen(vtn, Viewer(Role.OWNER, "another"), home.ven_id) == "nothing"


async def test_a_consent_ends_by_its_date_or_by_the_home_or_by_the_operator(opened_vtn, clock):
    vtn = opened_vtn.vtn
    texts = [a_consent(vtn, grantee=grantee) for grantee in ("aggregator", "utility", "auditor")]
    home = await a_home(vtn, *texts)
    revocation = {
        "format": "gridpact.consent-revocation.1", "party": PARTY, "consent_id": consent_id(texts[0].text),
        "revoked_ms": START_MS,
    }  # fmt: skip
    await vtn.consents.revoke_signed(home.ven_id, signed(revocation))
    await vtn.consents.revoke(consent_id(texts[1].text))
    assert [await seen(vtn, Viewer(role), home.ven_id) for role in (Role.AGGREGATOR, Role.UTILITY, Role.AUDITOR)] == [
        "nothing", "nothing", 0,
    ]  # fmt: skip
    clock.advance(DAY_MS)
    assert await seen(vtn, Viewer(Role.AUDITOR), home.ven_id) == "nothing"
    assert [each.revoked_ms is not None for each in await vtn.consents.given(home.ven_id)].count(True) == 2
    acts = [each.act for each in await vtn.audit.entries(subject=home.ven_id)]
    assert acts.count("consent_granted") == 3
    assert acts.count("consent_revoked") == 2


async def test_a_consent_taken_back_is_not_opened_again_by_its_old_text(opened_vtn):
    vtn = opened_vtn.vtn
    given = a_consent(vtn)
    home = await a_home(vtn, given)
    await vtn.consents.revoke(consent_id(given.text))
    await vtn.consents.grant(home.ven_id, given)
    assert await seen(vtn, AGGREGATOR, home.ven_id) == "nothing"


async def test_a_consent_that_the_home_did_not_sign_is_none(opened_vtn):
    vtn = opened_vtn.vtn
    home = await a_home(vtn)
    wrong = [
        a_consent(vtn, key=a_key(2)),
        a_consent(vtn, party="dev-another"),
        a_consent(vtn, sponsor="agg-another"),
        a_consent(vtn, grantee="public"),
        a_consent(vtn, grantee="owner"),
        a_consent(vtn, scope="everything"),
        a_consent(vtn, format="gridpact.consent.2"),
        a_consent(vtn, until_ms=START_MS),
        a_consent(vtn, until_ms=START_MS + 4000 * DAY_MS),
        a_consent(vtn, granted_ms=START_MS + DAY_MS, until_ms=START_MS + 2 * DAY_MS),
        SignedText("no json", "00"),
        SignedText(a_consent(vtn).text, "no hex"),
        SignedText(a_consent(vtn).text.replace("forecasts", "marketing"), a_consent(vtn).signature),
    ]
    for each in wrong:
        with pytest.raises(InvalidInput):
            await vtn.consents.grant(home.ven_id, each)
    with pytest.raises(NotFound):
        await vtn.consents.grant("ven-none", a_consent(vtn))
    assert await vtn.consents.given() == []


async def test_a_home_without_a_key_consents_on_paper(opened_vtn):
    vtn = opened_vtn.vtn
    ven = await vtn.vens.add("home-2", "F1", PROGRAM)
    with pytest.raises(NotAllowed, match="no ledger key"):
        await vtn.consents.grant(ven.ven_id, a_consent(vtn))
    await vtn.consents.record_paper(ven.ven_id, Role.UTILITY, "grid planning", START_MS + DAY_MS, "file 17")
    assert await seen(vtn, Viewer(Role.UTILITY), ven.ven_id) == 0
    assert [each.signed for each in await vtn.consents.given(ven.ven_id)] == [False]


async def test_without_consent_there_are_sums_of_five_homes_at_least(opened_vtn):
    vtn = opened_vtn.vtn
    homes = [await vtn.vens.add(f"home-{n}", "F1", PROGRAM) for n in range(5)]
    for number, home in enumerate(homes[:4]):
        await with_readings(vtn, home.ven_id, (100 + number, 200))
    await with_readings(vtn, homes[4].ven_id, (50,))
    for role in GRANTEES:
        found = await vtn.series.of_group(Viewer(role), 0, 2 * START_MS, area="F1")
        assert found == {START_MS - 900_000: 100 + 101 + 102 + 103 + 50}, "four homes are no group"
    with pytest.raises(NotAllowed, match="no readings"):
        await vtn.series.of_group(Viewer(Role.PUBLIC), 0, 2 * START_MS, area="F1")
    await vtn.vens.remove(homes[0].ven_id)
    with pytest.raises(NotAllowed, match="at least 5"):
        await vtn.series.of_group(AGGREGATOR, 0, 2 * START_MS, area="F1")
