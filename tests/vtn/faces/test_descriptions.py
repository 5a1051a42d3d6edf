"""A home says what its devices can do, by its ledger key: what is taken, what is refused, and why."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec
import pytest

from contracts.core.codec import encode
from runtime.keys import PrivateKey
from tests.builders import a_key
from tests.ven.homes import UTC, a_household, a_store
from tests.vtn.opened import PROGRAM, an_enrolment_request
from ven.account.credentials import Credentials
from ven.account.identity import Identity
from ven.account.wallet import Wallet
from ven.config import VenSettings
from ven.devices.dimmer import Dimmer
from ven.devices.relay import Relay
from ven.flexibility.recording import Record
from ven.flexibility.telling import Telling
from ven.flexibility.told import read_told
from ven.home.owner import Owner, write_owner
from vtn.aggregator.gateway import member_of
from vtn.auth.consent import SignedText
from vtn.errors import InvalidInput, NotAllowed, NotFound
from vtn.services.vens import DESCRIPTION_FORMAT, DescriptionRequest, Ven

HEATER = {"kind": "water_heater", "name": "boiler", "power_w": 1_500, "energy_wh": 3_000}


async def a_home(vtn) -> Ven:
    code, _ = await vtn.enrolments.invite("home-1", "F1", PROGRAM)
    return await vtn.enrolments.enrol(an_enrolment_request(code, "home-1", a_key(1), vtn.party))


def says(ven_id: str, at_ms: int, key: PrivateKey | None = None, **resource: Any) -> DescriptionRequest:
    offered = {"flexible_w": 1_500, "flexible_percent": 30, "max_events_per_week": 7, **resource}
    text = {"format": DESCRIPTION_FORMAT, "ven_id": ven_id, "at_ms": at_ms, "resource": offered}
    body = encode(text)
    return DescriptionRequest(ven_id=ven_id, signed=SignedText(body.decode(), (key or a_key(1)).sign(body).hex()))


async def test_what_a_home_says_is_what_its_virtual_node_sees(opened_vtn):
    vtn = opened_vtn.vtn
    ven = await a_home(vtn)
    answer = await vtn.vens.describe(says(ven.ven_id, vtn.clock.wall_ms(), devices=[HEATER], flexible_w=1_400))
    assert (answer.devices, answer.unknown_kinds) == (1, ())
    member = member_of(await vtn.vens.get(ven.ven_id))
    assert (member.flexible_w, member.devices[0].name, member.devices[0].energy_wh) == (1_400, "boiler", 3_000)


async def test_the_same_description_again_changes_nothing_and_an_older_one_is_refused(opened_vtn):
    vtn = opened_vtn.vtn
    ven = await a_home(vtn)
    now_ms = vtn.clock.wall_ms()
    request = says(ven.ven_id, now_ms, devices=[HEATER])
    first = await vtn.vens.describe(request)
    known = await vtn.vens.get(ven.ven_id)
    vtn.clock.advance(86_400_000)
    assert await vtn.vens.describe(request) == first  # its answer was lost for a day
    assert await vtn.vens.get(ven.ven_id) == known
    with pytest.raises(NotAllowed, match="something else at this time, or later"):
        await vtn.vens.describe(says(ven.ven_id, now_ms - 1, devices=[]))
    with pytest.raises(NotAllowed, match="set the clock"):
        await vtn.vens.describe(says(ven.ven_id, now_ms + 1, devices=[]))


async def test_a_kind_and_a_word_nobody_knows_here_break_nothing(opened_vtn):
    vtn = opened_vtn.vtn
    ven = await a_home(vtn)
    fountain = {"kind": "fountain", "power_w": 300, "energy_wh": 600, "jets": 12}
    answer = await vtn.vens.describe(says(ven.ven_id, vtn.clock.wall_ms(), devices=[fountain], mood="calm"))
    assert (answer.devices, answer.unknown_kinds) == (1, ("fountain",))


async def test_a_home_that_learns_says_from_when_on_its_word_is_another(opened_vtn):
    """Ours to date: what was learnt of its word before is over from then on, and not at each new description."""
    vtn = opened_vtn.vtn
    ven = await a_home(vtn)
    await vtn.vens.describe(says(ven.ven_id, vtn.clock.wall_ms(), corrected_percent=80))
    corrected_ms = (await vtn.vens.get(ven.ven_id)).resource.corrected_ms
    assert corrected_ms == vtn.clock.now_ms()
    vtn.clock.advance(60_000)
    await vtn.vens.describe(says(ven.ven_id, vtn.clock.wall_ms(), corrected_percent=80, devices=[HEATER]))
    assert (await vtn.vens.get(ven.ven_id)).resource.corrected_ms == corrected_ms
    vtn.clock.advance(60_000)
    await vtn.vens.describe(says(ven.ven_id, vtn.clock.wall_ms(), corrected_percent=70))
    assert (await vtn.vens.get(ven.ven_id)).resource.corrected_ms == vtn.clock.now_ms()


async def test_a_description_is_refused_with_what_is_wrong_with_it(opened_vtn):
    vtn = opened_vtn.vtn
    ven = await a_home(vtn)
    now_ms = vtn.clock.wall_ms()
    with pytest.raises(InvalidInput, match="device 'boiler': power_w"):
        await vtn.vens.describe(says(ven.ven_id, now_ms, devices=[HEATER | {"power_w": -5}]))
    with pytest.raises(InvalidInput, match="64 devices at most"):
        await vtn.vens.describe(says(ven.ven_id, now_ms, devices=[HEATER] * 65))
    with pytest.raises(NotAllowed, match="not the ledger key's signature"):
        await vtn.vens.describe(says(ven.ven_id, now_ms, key=a_key(2), devices=[HEATER]))
    with pytest.raises(NotFound):
        await vtn.vens.describe(says("ven-nobody", now_ms))
    assert (await vtn.vens.get(ven.ven_id)).resource.devices == ()


async def test_over_http_a_refusal_is_a_problem_that_names_the_device(opened_vtn, url):
    ven = await a_home(opened_vtn.vtn)
    now_ms = opened_vtn.vtn.clock.wall_ms()
    async with aiohttp.ClientSession() as session:
        for request, status, told in (
            (says(ven.ven_id, now_ms, devices=[HEATER]), 200, '"devices":1'),
            (says(ven.ven_id, now_ms + 1, devices=[HEATER | {"months": [13]}]), 422, "device 'boiler': months"),
            (msgspec.structs.replace(says("x", now_ms + 1), ven_id="a\0b"), 422, "invalid"),
        ):
            data = msgspec.json.encode(request)
            async with session.post(f"{url}/enrolment/resource", data=data) as response:
                assert (response.status, told in await response.text()) == (status, True)


async def test_a_home_may_name_its_devices_when_it_joins(opened_vtn):
    vtn = opened_vtn.vtn
    code, _ = await vtn.enrolments.invite("home-1", "F1", PROGRAM)
    plain = an_enrolment_request(code, "home-1", a_key(1), vtn.party)
    resource = msgspec.convert(msgspec.to_builtins(plain.resource) | {"devices": [HEATER]}, type(plain.resource))
    ven = await vtn.enrolments.enrol(msgspec.structs.replace(plain, resource=resource))
    assert (await vtn.vens.get(ven.ven_id)).resource.devices[0].name == "boiler"


async def test_what_a_home_of_ours_signs_is_what_is_read_here(opened_vtn, url, tmp_path):
    """The two ends define their words apart: what one writes the other reads, for every driver there is."""
    ven = await a_home(opened_vtn.vtn)
    store = a_store(tmp_path)
    identity = Identity(ven_name="home-1", ven_id=ven.ven_id, openadr2_url="", vtn_url=url)
    wallet, credentials = Wallet(a_key(1)), Credentials(tmp_path)
    write_owner(store.notes, Owner(max_duration_s=7_200, hours=(420, 1_260)))
    async with aiohttp.ClientSession() as session:
        for device in (a_household(), Relay("pump", 1_000), Dimmer("stairs", 500, floor_w=100)):
            record = Record(store, VenSettings(), device, UTC, "home-1")
            telling = Telling(identity, wallet, credentials, store, record, session, opened_vtn.vtn.clock)
            opened_vtn.vtn.clock.advance(1_000)
            assert await telling.look()
            told = read_told(store.notes)
            assert told is not None
            assert not told.refused
            taken = (await opened_vtn.vtn.vens.get(ven.ven_id)).resource
            mine = [msgspec.structs.asdict(each) for each in told.offer.devices]
            assert [msgspec.structs.asdict(each) for each in taken.devices] == mine
            assert (taken.flexible_w, taken.corrected_percent) == (told.offer.flexible_w, 100)
    store.close()
