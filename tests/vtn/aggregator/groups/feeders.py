"""Feeders for tests: homes of two kinds on a real PostgreSQL, and a ledger in memory that lists its records."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import text

from contracts.core.parties import Role
from ledger.client import LedgerClient
from runtime.clock import ManualClock
from runtime.keys import PrivateKey
from tests.builders import START_MS, a_key
from tests.vtn.memory_ledger import MemoryLedger
from tests.vtn.opened import AGGREGATOR_KEY, PROGRAM, UTILITY_KEY, Opened, opened
from vtn.aggregator import start
from vtn.aggregator.virtual_nodes.formation import Formation
from vtn.aggregator.virtual_nodes.groups.records import NodeRecords
from vtn.aggregator.virtual_nodes.groups.reviewing import Reviews
from vtn.services.programs import Program
from vtn.services.vens import ENROLLED, Resource, Ven, insert_ven, new_ven_id

DAY_MS = 86_400_000
NOW_MS = START_MS + 30 * DAY_MS
EVENING, NIGHT = 19, 3
"""Local hours around which a kind of home uses most (the programme's zone decides which UTC hour that is)."""


class ListingLedger(MemoryLedger):
    """A ledger in memory that also lists records of a kind."""

    def app(self) -> web.Application:
        app = super().app()
        app.router.add_get("/v1/channels/main/records/{kind}", self._listed)
        app.router.add_get("/v1/channels/main/facts", self._facts)
        return app

    async def _listed(self, request: web.Request) -> web.Response:
        kind, prefix, after = request.match_info["kind"], request.query["prefix"], request.query["after"]
        if self.down:
            raise web.HTTPServiceUnavailable
        found = [
            {"kind": kind, "key": key, "value": msgspec.json.decode(data)}
            for key, data in self.scan(kind, "", "\x7f", 10_000)
            if key.startswith(prefix) and key > after
        ]
        return web.json_response({"records": found, "next_after": None})

    async def _facts(self, _: web.Request) -> web.Response:
        return web.json_response({"facts": []})

    async def _record(self, request: web.Request) -> web.Response:
        try:
            return await super()._record(request)
        except web.HTTPNotFound:
            return web.json_response({"type": "not-found"}, status=404)

    def put(self, kind: str, key: str, record: object) -> None:
        """A record that contracts would have written."""
        self._take({(kind, key): msgspec.json.encode(record)})


@dataclass
class Feeders:
    """The VTN, its ledger, and the parts of its aggregator that groups are made of."""

    opened: Opened
    ledger: ListingLedger
    clock: ManualClock
    program: Program
    clients: list[LedgerClient]

    @property
    def nodes(self) -> NodeRecords:
        return NodeRecords(self.opened.vtn.database, self.clock)

    def formation(self) -> Formation:
        """Of a process that has just begun."""
        return start.cycle(self.opened.vtn, self.program, self.clients)._formation

    def reviews(self, **given: Any) -> Reviews:
        from dataclasses import replace

        return replace(start.reviews(self.opened.vtn, self.program), **given)

    async def homes(
        self, prefix: str, count: int, *, area: str = "F1", peak: int | None = EVENING, days: int = 10,
        node: str | None = None,
    ) -> list[str]:  # fmt: skip
        """Homes with `days` of readings that peak around an hour (None: they never reported); their venIDs."""
        resource = Resource(flexible_w=1_500, flexible_percent=50)
        made = [
            Ven(
                ven_id=new_ven_id(), ven_name=f"{prefix}-{number}", party=f"dev-{prefix}-{number}", public_key=None,
                area=area, program=PROGRAM, virtual_node=node, status=ENROLLED, resource=resource,
                registration_id=None, profile_name=None, transport_name=None, transport_address=None, http_pull=True,
                report_only=False, poll_interval_s=60, fingerprint=None, meter_r_id="energy",
                enrolled_ms=self.clock.now_ms(), registered_ms=None,
            )
            for number in range(count)
        ]  # fmt: skip
        async with self.opened.vtn.database.transaction() as connection:
            for each in made:
                await insert_ven(connection, each)
        ids = [each.ven_id for each in made]
        if peak is not None:
            await self.use(ids, peak, days=days)
        return ids

    async def use(self, ids: Sequence[str], peak: int, *, days: int, flat_wh: int = 100) -> None:
        """Readings of the last `days`: 2 kWh in the four hours around the peak, a little at other times, and the same
        noise in every run; what was there before is replaced."""
        now_ms = self.clock.now_ms()
        async with self.opened.vtn.database.transaction() as connection:
            given = {"ids": list(ids), "first": now_ms - days * DAY_MS, "last": now_ms - 3_600_000, "peak": peak,
                     "flat": flat_wh}  # fmt: skip
            await connection.execute(_READINGS, given)

    async def members(self, node: str) -> set[str]:
        return {ven.ven_id for ven in await self.opened.vtn.vens.list(virtual_node=node)}


_READINGS = text(
    "INSERT INTO telemetry (ven_id, r_id, start_ms, interval_s, energy_wh, quality, received_ms) "
    "SELECT ven_id, 'energy', s, 3600, :flat + (s / 3600000 + number * 7) % 23 + number % 5 + "
    "CASE WHEN abs((s / 3600000) % 24 - CAST(:peak AS int)) <= 2 THEN 500 + (s / 86400000 * 31 + number * 17) % 120 "
    "ELSE 0 END, 'ok', s FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY AS homes(ven_id, number) "
    "CROSS JOIN generate_series(CAST(:first AS bigint), CAST(:last AS bigint), 3600000) AS s "
    "ON CONFLICT (ven_id, r_id, start_ms) DO UPDATE SET energy_wh = excluded.energy_wh"
)


@contextlib.asynccontextmanager
async def feeders(
    url: str, clock: ManualClock, tmp_path: Path, ledger: ListingLedger | None = None, **settings: Any
) -> AsyncIterator[Feeders]:
    """An open VTN without homes; the programme's intervals are hours, in UTC."""
    ledger = ledger or ListingLedger(clock, (Role.AGGREGATOR, AGGREGATOR_KEY), (Role.UTILITY, UTILITY_KEY))
    clients: list[LedgerClient] = []
    async with opened(url, clock, tmp_path, ledger, **settings) as found:
        program = await found.vtn.programs.get(PROGRAM)
        terms = msgspec.structs.replace(program.terms, interval_s=3600, zone="UTC", holidays=())
        program = msgspec.structs.replace(program, terms=terms)
        try:
            yield Feeders(found, ledger, clock, program, clients)
        finally:
            for client in clients:
                await client.close()


def a_device_key(number: int) -> PrivateKey:
    """The key of a home."""
    return a_key(2_000 + number)
