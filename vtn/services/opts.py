"""Opt messages (EiOpt): a VEN changes its mind about an event, or opts in or out for a schedule."""

from __future__ import annotations

import msgspec
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from openadr.model import Target
from runtime.clock import Clock
from vtn.errors import Conflict, NotFound
from vtn.records.database import Database
from vtn.records.tables import event_deliveries, opts
from vtn.services.deliveries import record_opt


class OptSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """When and for what an opt without event counts: half-open stretches (start_ms, duration_s), targets, classes."""

    availability: tuple[tuple[int, int], ...] = ()
    targets: tuple[Target, ...] = ()
    device_classes: tuple[str, ...] = ()
    market_context: str | None = None


class Opt(msgspec.Struct, frozen=True, kw_only=True):
    """One opt; `event_id` None: it is for a schedule. `cancelled_ms` None: it stands."""

    ven_id: str
    opt_id: str
    opt_type: str
    opt_reason: str
    event_id: str | None = None
    modification_number: int | None = None
    schedule: OptSchedule = OptSchedule()
    created_ms: int = 0
    cancelled_ms: int | None = None


class Opts:
    """Opts in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, opt: Opt) -> None:
        """Keep an opt and, for an event, apply it (rule 206: later oadrCreatedEvent no longer counts).

        The same one again changes nothing. Raises NotFound, Conflict (wrong modification, other opt with this id).
        """
        now_ms = self._clock.now_ms()
        row = msgspec.structs.asdict(opt) | {"schedule": msgspec.json.encode(opt.schedule), "created_ms": now_ms}
        async with self._database.transaction() as connection:
            key = (opts.c.ven_id == opt.ven_id) & (opts.c.opt_id == opt.opt_id)
            if await connection.scalar(insert(opts).values(**row).on_conflict_do_nothing().returning(opts.c.opt_id)):
                if opt.event_id is not None:
                    await record_opt(
                        connection, opt.ven_id, opt.event_id, opt.modification_number or 0, opt.opt_type, now_ms,
                        opt_id=opt.opt_id,
                    )  # fmt: skip
                return
            found = (await connection.execute(select(opts).where(key))).mappings().one()
            ignored = {"created_ms", "cancelled_ms"}
            if {k: v for k, v in found.items() if k not in ignored} != {
                k: v for k, v in row.items() if k not in ignored
            }:
                raise Conflict("opt_exists", f"another opt has the id {opt.opt_id}")

    async def cancel(self, ven_id: str, opt_id: str) -> None:
        """Withdraw an opt; what it said about an event stays until the VEN says otherwise. Raises NotFound."""
        async with self._database.transaction() as connection:
            key = (opts.c.ven_id == ven_id) & (opts.c.opt_id == opt_id)
            if await connection.scalar(select(opts.c.opt_id).where(key).with_for_update()) is None:
                raise NotFound("opt_unknown", f"there is no opt {opt_id}")
            await connection.execute(
                update(opts).where(key, opts.c.cancelled_ms.is_(None)).values(cancelled_ms=self._clock.now_ms())
            )
            await connection.execute(
                update(event_deliveries)
                .where(event_deliveries.c.ven_id == ven_id, event_deliveries.c.opt_id == opt_id)
                .values(opt_id=None)
            )

    async def list(self, ven_id: str) -> list[Opt]:
        """Opts of a VEN, oldest first."""
        async with self._database.reading() as connection:
            query = select(opts).where(opts.c.ven_id == ven_id).order_by(opts.c.created_ms, opts.c.opt_id)
            rows = (await connection.execute(query)).mappings().all()
        return [Opt(**{**row, "schedule": msgspec.json.decode(row["schedule"], type=OptSchedule)}) for row in rows]
