"""What a home tells its VTN of its devices: once, again when it is something else, and what becomes of a refusal."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from runtime.clock import ManualClock
from runtime.keys import verify
from tests.builders import START_MS, a_key
from tests.ven.flexibility.test_record import Home
from tests.ven.homes import a_store
from ven.account.credentials import Credentials
from ven.account.enrolment import Invitation, enrol
from ven.account.identity import Identity
from ven.account.wallet import Wallet
from ven.devices.base import Description
from ven.errors import EnrolmentRefused, VtnUnreachable
from ven.flexibility.describing import Offer
from ven.flexibility.telling import Telling
from ven.flexibility.told import read_told
from ven.home.owner import Owner, write_owner

WALLET = Wallet(a_key())


class Vtn:
    """Keeps what it is told, or answers with `refusals` first."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.refusals: list[tuple[int, str]] = []
        self.url = ""

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the home said, of each request."""
        return [json.loads(each["signed"]["text"])["resource"] for each in self.asked]

    async def answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked)
        if self.refusals:
            status, detail = self.refusals.pop(0)
            return web.json_response({"title": "no", "detail": detail}, status=status)
        signed = asked.get("signed")
        if signed is not None:
            assert verify(WALLET.public, signed["text"].encode(), bytes.fromhex(signed["signature"]))
            return web.json_response({"described_ms": 1, "devices": 1, "unknown_kinds": ["fountain"]})
        return web.json_response({"ven_id": "ven-7", "party": WALLET.party, "policy": ""})


@contextlib.asynccontextmanager
async def running(vtn: Vtn) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/{path:.*}", vtn.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vtn.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def vtn() -> AsyncIterator[Vtn]:
    vtn = Vtn()
    async with running(vtn):
        yield vtn


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def a_telling(home: Home, vtn: Vtn, session: aiohttp.ClientSession, clock: ManualClock) -> Telling:
    identity = Identity(ven_name="H1", ven_id="ven-7", openadr2_url="", vtn_url=vtn.url)
    return Telling(
        identity, WALLET, Credentials(home.settings.data_dir), home.store, home.record, session, clock
    )  # fmt: skip


async def test_a_home_tells_its_devices_once_and_again_when_they_or_its_owner_say_something_else(
    vtn: Vtn, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    telling = a_telling(home, vtn, session, ManualClock(START_MS))
    assert [await telling.look() for _ in range(3)] == [True, False, False]
    [device] = vtn.told[0]["devices"]
    assert (device["kind"], device["power_w"], vtn.told[0]["corrected_percent"]) == ("water_heater", 1_600, 100)
    told = read_told(home.store.notes)
    assert told is not None
    assert (told.refused, told.unknown_kinds) == ("", ("fountain",))
    write_owner(home.store.notes, Owner(max_shed_w=900))
    assert await telling.look()
    assert (vtn.told[1]["flexible_w"], vtn.told[1]["devices"][0]["power_w"]) == (900, 900)


async def test_what_was_learnt_is_told(vtn: Vtn, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    home = Home(tmp_path)
    telling = a_telling(home, vtn, session, ManualClock(START_MS))
    await telling.look()
    for _ in range(5):
        home.event(240)
    home.record.look(home.now_ms)
    assert await telling.look()
    assert vtn.told[1]["corrected_percent"] == pytest.approx(60, abs=6)
    assert vtn.told[1]["devices"][0]["power_w"] == pytest.approx(960, rel=0.1)


async def test_a_refusal_is_kept_with_its_reason_and_not_repeated_for_a_day(
    vtn: Vtn, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    home, clock = Home(tmp_path), ManualClock(START_MS)
    telling = a_telling(home, vtn, session, clock)
    vtn.refusals = [(422, "device 'boiler': power_w is 0 to 1 G")]
    assert [await telling.look(), await telling.look()] == [True, False]
    told = read_told(home.store.notes)
    assert told is not None
    assert "device 'boiler': power_w is 0 to 1 G" in told.refused
    clock.advance(86_400_000)
    assert await telling.look()
    assert read_told(home.store.notes) is not None
    assert len(vtn.asked) == 2


async def test_a_vtn_out_of_reach_is_told_at_the_next_look(
    vtn: Vtn, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    telling = a_telling(home, vtn, session, ManualClock(START_MS))
    vtn.refusals = [(503, "later")]
    with pytest.raises(VtnUnreachable):
        await telling.look()
    assert await telling.look()


async def test_a_vtn_that_reads_no_devices_is_told_the_watts_alone(
    vtn: Vtn, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ven.account.enrolment.Wallet.open_or_create", lambda _: WALLET)
    invitation = Invitation(
        vtn_url=vtn.url, openadr2_url=vtn.url, ledger_url="", code="c", ven_name="H1", area="F1", sponsor="agg"
    )  # fmt: skip
    offer = Offer(
        flexible_w=900, flexible_percent=30, max_events_per_week=7, devices=(Description(kind="ev", power_w=900),)
    )
    store = a_store(tmp_path)
    vtn.refusals = [(400, "Object contains unknown field `devices`")]
    await enrol(invitation, tmp_path, store, offer, session)
    assert [set(each["resource"]) for each in vtn.asked] == [
        {"flexible_w", "flexible_percent", "max_events_per_week", "devices"},
        {"flexible_w", "flexible_percent", "max_events_per_week"},
    ]
    told = read_told(store.notes)
    assert told is not None
    assert "unknown field" in told.refused
    (tmp_path / "other").mkdir()
    vtn.refusals = [(403, "this code is no invitation")]
    with pytest.raises(EnrolmentRefused, match="no invitation"):
        await enrol(invitation, tmp_path / "other", a_store(tmp_path / "other"), offer, session)
