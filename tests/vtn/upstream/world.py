"""An aggregator with homes, a utility's account on the ledger, and events as the utility would send them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from contracts.core.commands import Issue
from contracts.core.context import Context
from contracts.core.envelope import seal
from contracts.core.parties import Role
from contracts.rules import Tick, apply
from ledger.client import LedgerClient, party_id
from openadr.model import DrEvent, Reading, Signal, SignalInterval, Target, Unit
from openadr.timeline import EventStatus
from openadr.v2 import OadrDistributeEvent, OadrEvent
from runtime.keys import verify
from tests.builders import START_MS
from tests.vtn.memory_ledger import MemoryLedger
from tests.vtn.opened import PROGRAM, UTILITY_KEY, Opened
from vtn.context import Vtn
from vtn.services.vens import ENROLLED, Resource, Ven, insert_ven
from vtn.upstream import records
from vtn.upstream.decisions import Decisions
from vtn.upstream.events import EventDesk
from vtn.upstream.needs import NeedDesk
from vtn.upstream.records import UpstreamEvent, UpstreamNeed

HOUR_MS = 3_600_000
EVENT_MS = START_MS + 6 * HOUR_MS
UTILITY = party_id(Role.UTILITY, UTILITY_KEY.public)
US = "ven-us"
KW = Unit("power_real", "W", "k")

SETTINGS: dict[str, Any] = {
    "upstream_url": "http://127.0.0.1:9",
    "upstream_ven_name": "aggregator-1",
    "upstream_key": "utility.key",
    "upstream_automatic_w_max": 10_000,
    "upstream_simple_w": (1_000, 2_000, 4_000),
}


def a_dispatch(*steps: tuple[int, str]) -> Signal:
    """LOAD_DISPATCH: minutes and kW of each step."""
    intervals = tuple(SignalInterval(60 * minutes, kw) for minutes, kw in steps)
    return Signal("dispatch", "LOAD_DISPATCH", "setpoint", KW, intervals)


def an_event(event_id: str = "peak-1", *, kw: str = "4", minutes: int = 60, **given: Any) -> DrEvent:
    """A reduction of `kw` for an hour in six hours."""
    fields: dict[str, Any] = {
        "program": "http://utility.example/peak",
        "modification_number": 0,
        "priority": 1,
        "test_event": False,
        "start_ms": EVENT_MS,
        "duration_s": 60 * minutes,
        "signals": (a_dispatch((minutes, kw)),),
        "targets": (Target("ven", US),),
        "response_required": True,
    }
    return DrEvent(event_id, **{**fields, **given})


def listed(*events: DrEvent, request_id: str = "request-1") -> OadrDistributeEvent:
    """A distribution of exactly these."""
    found = tuple(
        OadrEvent(event, EventStatus.CANCELLED if event.cancelled else EventStatus.FAR, (None,) * len(event.signals))
        for event in events
    )
    return OadrDistributeEvent(request_id, "UTILITY", found)


async def add_homes(vtn: Vtn, count: int, *, node: str | None = "vn-F1", area: str = "F1") -> list[str]:
    """Homes that can be called, of 2 kW each; their venIDs."""
    ven_ids = [f"ven-{node or area}-{number}" for number in range(count)]
    async with vtn.database.transaction() as connection:
        for number, ven_id in enumerate(ven_ids):
            ven = Ven(
                ven_id=ven_id, ven_name=f"home {ven_id}", party=f"party-{ven_id}", public_key=None, area=area,
                program=PROGRAM, virtual_node=node, status=ENROLLED,
                resource=Resource(flexible_w=2_000, flexible_percent=50), registration_id=None, profile_name=None,
                transport_name=None, transport_address=None, http_pull=True, report_only=False, poll_interval_s=60,
                fingerprint=None, meter_r_id="meter", enrolled_ms=START_MS + number, registered_ms=None,
            )  # fmt: skip
            await insert_ven(connection, ven)
    return ven_ids


async def report(vtn: Vtn, ven_ids: Sequence[str], start_ms: int, energy_wh: int) -> None:
    """A quarter of an hour of each home."""
    for ven_id in ven_ids:
        await vtn.telemetry.store(ven_id, [Reading("meter", start_ms, 900, energy_wh)])


def fund_utility(ledger: MemoryLedger, amount_minor: int) -> None:
    """Money for the utility's party."""
    issue = Issue(to=UTILITY, amount_minor=amount_minor, reference="budget")
    transaction = seal(
        issue, channel="main", contract="tokens", sender=UTILITY, nonce=f"issue-{amount_minor}",
        not_after_ms=ledger.clock.now_ms() + 1000, salt=bytes(32), sign=UTILITY_KEY.sign,
    )  # fmt: skip
    assert ledger.execute(transaction)["code"] == "ok"


class WholeLedger(MemoryLedger):
    """Also lists records, says how high it is, and works off deadlines."""

    def tick(self) -> None:
        """A block without transactions: what fell due expires."""
        context = Context(
            channel="main", height=len(self.results) + 1, time_ms=self.clock.now_ms(), transaction_id="tick",
            verify=verify,
        )  # fmt: skip
        self._take(apply(self, Tick(), context).writes)

    def app(self) -> web.Application:
        """The interface, with what needs a look at the whole."""
        app = super().app()
        app.router.add_get("/v1/channels/main/records/{kind}", self._records_of)
        app.router.add_get("/v1/channels/main/status", self._status)
        return app

    async def _records_of(self, request: web.Request) -> web.Response:
        kind, prefix = request.match_info["kind"], request.query["prefix"]
        found = [
            {"kind": kind, "key": key, "value": msgspec.json.decode(data)}
            for key, data in self.scan(kind, prefix, f"{prefix}~", 1_000)
        ]
        return web.json_response({"records": found, "next_after": None})

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response({"height": len(self.results), "final_height": len(self.results)})


class Desks:
    """What the leading worker does, one step at a time; `ledger` is the utility's client."""

    def __init__(self, opened: Opened, ledger: LedgerClient, program: Any) -> None:
        self.vtn = opened.vtn
        self.vtn.ledger_outbox.add_sender(ledger)
        self.events = EventDesk(self.vtn.database, self.vtn.clock)
        self.decisions = Decisions(self.vtn, program, UTILITY)
        self.needs = NeedDesk(self.vtn)

    async def receive(self, *events: DrEvent, request_id: str = "request-1") -> UpstreamEvent:
        """A distribution comes in and is worked off; the first of its events."""
        await self.events.receive(listed(*events, request_id=request_id))
        return await self.work(events[0].event_id)

    async def work(self, event_id: str = "peak-1") -> UpstreamEvent:
        """Everything that is due now; the event after it."""
        for _ in range(2):
            async with self.vtn.database.reading() as connection:
                found = await records.list_events(connection)
            for event in found:
                if event.state == records.HELD:
                    await self.decisions.lapse(event)
                elif event.state in (records.RECEIVED, records.APPROVED):
                    await self.decisions.decide(event, US)
            await self.needs.let_go()
            await self.needs.submit()
        return await self.event(event_id)

    async def event(self, event_id: str = "peak-1") -> UpstreamEvent:
        """The event as it is stored."""
        async with self.vtn.database.reading() as connection:
            found = await records.find_event(connection, event_id)
        assert found is not None
        return found

    async def needs_of(self, event_id: str = "peak-1") -> list[UpstreamNeed]:
        """Needs made of the event, oldest first."""
        async with self.vtn.database.reading() as connection:
            return await records.list_needs(connection, event_id=event_id)

    async def answer(self) -> tuple[str, int, str] | None:
        """What the utility would be told now, if it waits for something: opt, code, why."""
        owed = await self.events.owed()
        return None if not owed else (owed[0].opt_type, owed[0].response_code, owed[0].response_description or "")
