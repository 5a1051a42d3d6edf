"""A small world for storms: a real ledger and a real VTN on PostgreSQL, homes that can die, be late or lie, and a
clock that only the test moves. Homes talk to the VTN's services, not over OpenADR; the ledger hears them signed. The
VTN hears a poll of each home that lives every 75 s, and can be killed where it just stored or published something.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy import text

from contracts.baseline import PRESETS, window_start_ms
from contracts.core.commands import (
    AcceptReduction,
    Enrolment,
    Issue,
    RecordMeasurements,
    RequestReduction,
    enrolment_bytes,
)
from contracts.core.parties import Role
from contracts.demand_response.contract import ContractRecord, Status, terms_end_ms
from contracts.tokens import Account
from ledger.app import build as ledger_app
from ledger.client import LedgerClient, party_id
from ledger.config import LedgerSettings
from openadr.model import Reading
from runtime.clock import Clock, ManualClock
from runtime.database import create_engine
from runtime.keys import PrivateKey
from tests.builders import START_MS, a_clock, a_key
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, UTILITY, UTILITY_ID, founded
from vtn.aggregator import start
from vtn.aggregator.cycle import Cycle
from vtn.config import VtnSettings
from vtn.context import Vtn, build
from vtn.records.database import Database
from vtn.services.enrolment import EnrolmentRequest
from vtn.services.programs import ProgramTerms
from vtn.services.vens import Resource

STEP_MS = 900_000
DAY_MS = 86_400_000
FLEXIBLE_W, FLEXIBLE_PERCENT = 2_000, 50
UNBOUND = (Status.PROPOSED, Status.REJECTED, Status.EXPIRED)
POLL_MS = 75_000
WIGGLE_WH = 9
HISTORY_DAYS = 15
EVENT_MS = START_MS + 20 * DAY_MS + 17 * 3_600_000
"""Wednesday 21 January 2026, 17:00."""
INTERVALS = 10
TERMS = ProgramTerms(
    accept_window_s=300,
    virtual_node_deposit_minor=0,
    device_deposit_minor=0,
    baseline_noise_percent=0,
)
"""Loads are even here, so that baselines are exact and the group is watched closely."""


Tells = Callable[["Home", int], int | None]
"""What a home reports as its use in the interval that began then (ms); None: nothing."""

DRAWN_WH = 20_000
"""More than a connection of 25 kW carries in a quarter-hour."""


def claims_export(_home: Home, _at_ms: int) -> int:
    """An export no connection carries."""
    return -DRAWN_WH


class Killed(BaseException):
    """The VTN's process ended here. No handler of an error may catch it."""


@dataclass
class Home:
    """One home: what it uses when left alone, what became of it, how much it gives of what it is asked, and what it
    says of it; `late`: intervals by which its readings come late."""

    name: str
    key: PrivateKey
    client: LedgerClient
    area: str
    base_wh: int
    ven_id: str = ""
    dead: bool = False
    late: int = 0
    gives_percent: int = 100
    tells: Tells | None = None
    used_wh: dict[int, int] = field(default_factory=dict)
    unsent: list[Reading] = field(default_factory=list)

    def usual_wh(self, at_ms: int) -> int:
        """What it uses when left alone: its base and a few Wh that no two quarter-hours share."""
        return (
            self.base_wh
            + int(hashlib.md5(f"{self.ven_id}{at_ms}".encode(), usedforsecurity=False).hexdigest()[:6], 16) % WIGGLE_WH
        )

    @property
    def party(self) -> str:
        """Its ledger party."""
        return party_id(Role.DEVICE, self.key.public)


class World:
    """Moves time, homes and the aggregator together."""

    def __init__(self, clock: ManualClock, vtn: Vtn, homes: Sequence[Home], utility: LedgerClient) -> None:
        self.clock = clock
        self.vtn = vtn
        self.homes = homes
        self.utility = utility
        self.delivered_wh: dict[int, int] = {}
        self.kills = 0
        self._clients: list[LedgerClient] = []
        self._points: list[str] = []
        self.cycle: Cycle

    async def restart(self) -> None:
        """The aggregator's process ends, another begins: nothing but database, key files and ledger is left."""
        await self.close()
        program = (await self.vtn.programs.list())[0]
        self.cycle = start.cycle(self.vtn, program, self._clients)
        assert await self.cycle._catch_up()
        self._arm()

    def kill_at(self, *points: str) -> None:
        """The VTN dies at these points (see `KILL_POINTS`), once at each and in this order, and begins anew."""
        self._points = list(points)
        self._arm()

    def _arm(self) -> None:
        if not self._points:
            return
        point = self._points[0]
        owner, name, before = KILL_POINTS[point](self.cycle)
        work = getattr(owner, name)

        async def dying(*args: Any, **kwargs: Any) -> None:
            if not before:
                await work(*args, **kwargs)
            self._points.remove(point)
            raise Killed(point)

        setattr(owner, name, dying)

    async def close(self) -> None:
        """Connections of the aggregator's virtual nodes."""
        for client in self._clients:
            await client.close()
        self._clients.clear()

    async def ask(self, target_wh: Sequence[int], area: str = "portfolio") -> None:
        """The utility's need of the evening."""
        await self.utility.submit(Issue(to=UTILITY_ID, amount_minor=10_000_000, reference="budget"))
        await self.utility.submit(
            RequestReduction(
                need_id="n", aggregator=AGGREGATOR_ID, area=area, start_ms=EVENT_MS, interval_s=900,
                target_wh=tuple(target_wh), energy_price_minor_per_mwh=200_000, budget_minor=1_000_000,
            )
        )  # fmt: skip

    async def advance(self, steps: int = 1, parts: int = 3) -> None:
        """Some intervals of time, in parts: homes answer, the aggregator looks, meters report."""
        for _ in range(steps * parts):
            for _ in range(STEP_MS // parts // POLL_MS):
                self.clock.advance(POLL_MS)
                for home in self.homes:
                    if not home.dead:
                        self.vtn.contacts.note(home.ven_id)
                await self.vtn.contacts.write()
            await self.turn()
            if self.clock.now_ms() % STEP_MS == 0:
                await self._meter(self.clock.now_ms() - STEP_MS)

    async def turn(self) -> None:
        """One look of the aggregator, and the homes' answers to what came of it."""
        await self.cycle._catch_up()
        while True:
            try:
                await self.cycle.turn()
                break
            except Killed:
                self.kills += 1
                await self.restart()
        await self._accept()

    async def contracts(self, prefix: str = "sc2-n-") -> dict[str, ContractRecord]:
        """Contracts of the need on the ledger."""
        return dict(await self.vtn.ledger.records(ContractRecord, prefix))

    async def settle(self) -> None:
        """The evening is over: homes sign, the need is settled, paid and closed."""
        await self.sign()
        self.clock.advance(TERMS.metering_grace_s * 1000 + STEP_MS)
        for _ in range(4):
            await self.turn()

    async def check(self) -> None:
        """What holds in every storm: nobody is bound twice in the same time, or to more than it offers; what a group
        delivered is the sum of its homes'; no money comes from nowhere or is lost."""
        bound = [each for each in (await self.contracts()).values() if each.status not in UNBOUND]
        by_party = {home.party: home for home in self.homes}
        for payee in {each.payee for each in bound}:
            terms = sorted((each.terms for each in bound if each.payee == payee), key=lambda each: each.start_ms)
            assert all(terms_end_ms(a) <= b.start_ms for a, b in itertools.pairwise(terms)), "bound twice"
            most_wh = min(FLEXIBLE_W // 4, (by_party[payee].base_wh + WIGGLE_WH) * FLEXIBLE_PERCENT // 100)
            assert max(wh for each in terms for wh in each.obligation_wh) <= most_wh, "more than it offers"
        for key, group in (await self.contracts("sc1-n-")).items():
            if group.status is Status.COMPLETED:
                assert group.total_wh == sum(each.total_wh for each in bound if each.parent == key)
        accounts = [account for _, account in await self.vtn.ledger.records(Account)]
        assert sum(each.credits_posted - each.debits_posted for each in accounts) == 0
        assert sum(each.credits_pending - each.debits_pending for each in accounts) == 0

    async def sign(self) -> None:
        """Every home that lives signs what its meter said, and the hours before."""
        first_ms = window_start_ms(PRESETS[TERMS.baseline_preset], EVENT_MS)
        for home in self.homes:
            if home.dead:
                continue
            starts = range(first_ms, EVENT_MS + INTERVALS * STEP_MS, STEP_MS)
            readings = tuple(home.used_wh.get(at_ms, home.usual_wh(at_ms)) for at_ms in starts)
            await home.client.submit(
                RecordMeasurements(device=home.party, start_ms=first_ms, interval_s=900, energy_wh=readings)
            )

    async def _accept(self) -> None:
        by_party = {home.party: home for home in self.homes}
        for key, contract in (await self.contracts()).items():
            home = by_party.get(contract.payee)
            if contract.status is Status.PROPOSED and home is not None and not home.dead:
                with contextlib.suppress(Exception):
                    await home.client.submit(AcceptReduction(contract_id=key, terms_digest=contract.terms_digest))

    async def _meter(self, at_ms: int) -> None:
        """What homes used in the interval that ended now, and what of it they tell."""
        asked: dict[str, int] = {}
        for contract in (await self.contracts()).values():
            terms = contract.terms
            bound = contract.status not in UNBOUND
            if bound and terms.start_ms <= at_ms < terms_end_ms(terms):
                asked[contract.payee] = terms.obligation_wh[(at_ms - terms.start_ms) // STEP_MS]
        total = 0
        for home in self.homes:
            shed = 0 if home.dead else await self._shed(home, at_ms, asked.get(home.party, 0))
            total += shed
            home.used_wh[at_ms] = home.usual_wh(at_ms) - shed
            told = home.used_wh[at_ms] if home.tells is None else home.tells(home, at_ms)
            if told is not None and not home.dead:
                home.unsent.append(Reading("energy", at_ms, 900, told, "ok"))
            await self._send(home)
        if at_ms >= EVENT_MS:
            self.delivered_wh[(at_ms - EVENT_MS) // STEP_MS] = total

    async def _send(self, home: Home) -> None:
        """Readings go out when they are as late as the home is."""
        if home.dead:
            return
        sent, home.unsent = home.unsent[: len(home.unsent) - home.late], home.unsent[-home.late or 99 :]
        if sent:
            await self.vtn.telemetry.store(home.ven_id, sent)

    async def _shed(self, home: Home, at_ms: int, asked_wh: int) -> int:
        """A home does what its contract asks while its events are not taken back."""
        if not asked_wh:
            return 0
        events = [each for each in await self.vtn.dr_events.applicable(home.ven_id) if not each.cancelled]
        return asked_wh * home.gives_percent // 100 if events else 0


KILL_POINTS: dict[str, Callable[[Cycle], tuple[Any, str, bool]]] = {
    "plan not stored": lambda cycle: (cycle._around.records, "add_round", True),
    "plan stored, no event": lambda cycle: (cycle._around.records, "add_round", False),
    "event stored, not published": lambda cycle: (cycle._around.events, "plan", False),
    "event published, no contract": lambda cycle: (cycle._around.events, "publish", False),
    "homes let go": lambda cycle: (cycle._around.events, "withdraw", False),
    "assistance planned, not proposed": lambda cycle: (cycle._records, "add_group_plans", False),
}
"""Object, method, and whether the process ends before the method's work (else after it)."""


class _Settings(LedgerSettings):
    """A ledger on the test's clock."""

    _test_clock: ManualClock | None = None

    def clock(self) -> Clock:
        assert self._test_clock is not None
        return self._test_clock


@contextlib.asynccontextmanager
async def a_world(
    ledger_url: str, vtn_url: str, folder: Path, homes: int = 44, areas: Sequence[str] = ("F1", "F2"), **settings: Any
) -> AsyncIterator[World]:
    """`homes` over the areas, with three weeks of even load, an hour before the event is asked for."""
    clock = a_clock(EVENT_MS - 3_600_000)
    merged = _Settings(database_url=ledger_url, data_dir=folder / "ledger")
    merged._test_clock = clock
    async with contextlib.AsyncExitStack() as stack:
        runner = web.AppRunner(ledger_app(merged, founded(merged)), access_log=None, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"

        async def client(key: PrivateKey, party: str) -> LedgerClient:
            return await stack.enter_async_context(LedgerClient(url, key=key, party=party, clock=clock))

        engine = create_engine(vtn_url)
        stack.push_async_callback(engine.dispose)
        chosen = VtnSettings(data_dir=folder / "vtn", ledger_url=url, **settings)
        ledger = await client(AGGREGATOR, AGGREGATOR_ID)
        vtn = build(chosen, clock=clock, database_url=vtn_url, database=Database(engine), key=AGGREGATOR, ledger=ledger)
        await vtn.programs.create("evening", TERMS)
        made = [
            Home(f"home-{n:03d}", a_key(1_000 + n), await client(a_key(1_000 + n), _device(n)), areas[n % len(areas)],
                 480 + 10 * (n % 7))
            for n in range(homes)
        ]  # fmt: skip
        for home in made:
            await _enrol(vtn, home)
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE vens SET meter_r_id = 'energy'"))
            for home in made:
                await connection.execute(_HISTORY, _history_of(home, clock.now_ms()))
        world = World(clock, vtn, made, await client(UTILITY, UTILITY_ID))
        await world.restart()
        try:
            yield world
        finally:
            await world.close()


_HISTORY = text(
    "INSERT INTO telemetry (ven_id, r_id, start_ms, interval_s, energy_wh, quality, received_ms) "
    "SELECT :ven_id, 'energy', s, 900, "
    "CAST(:base_wh AS int) + ('x' || substr(md5(CAST(:ven_id AS text) || s), 1, 6))\\:\\:bit(24)\\:\\:int "
    "% CAST(:wiggle_wh AS int), 'ok', s + :step "
    "FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint), CAST(:step AS bigint)) AS s"
)


def _history_of(home: Home, now_ms: int) -> dict[str, Any]:
    first = now_ms - HISTORY_DAYS * DAY_MS
    grid = {"first": first, "last": now_ms - STEP_MS, "step": STEP_MS}
    return {"ven_id": home.ven_id, "base_wh": home.base_wh, "wiggle_wh": WIGGLE_WH, **grid}


def _device(number: int) -> str:
    return party_id(Role.DEVICE, a_key(1_000 + number).public)


async def _enrol(vtn: Vtn, home: Home) -> None:
    code, _ = await vtn.enrolments.invite(home.name, home.area, "evening")
    enrolment = Enrolment(
        party=home.party, role=Role.DEVICE, key=home.key.public, sponsor=AGGREGATOR_ID, area=home.area
    )
    request = EnrolmentRequest(
        code=code,
        ven_name=home.name,
        public_key=home.key.public,
        proof=home.key.sign(enrolment_bytes(enrolment)).hex(),
        resource=Resource(flexible_w=FLEXIBLE_W, flexible_percent=FLEXIBLE_PERCENT),
    )
    home.ven_id = (await vtn.enrolments.enrol(request)).ven_id
