"""Opt messages (EiOpt): a VEN changes its mind about an event, or opts in or out for a schedule.

optOut   |--------------------|                a later one wins over an earlier one, where they overlap;
optIn           |------|                       one for resources wins over those resources alone
away     |------|      |------|
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence

import msgspec
from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.model import Target
from runtime.clock import Clock
from vtn.errors import Conflict, InvalidInput, NotFound
from vtn.records.database import Database
from vtn.records.tables import event_deliveries, opts, report_specifiers, vens
from vtn.services.deliveries import record_opt
from vtn.services.reports import MeteringPoint

AVAILABILITY_MAX = 400
"""Stretches of one opt: each day of a year, and some more."""
STANDING_MAX = 100
"""Schedules of one VEN that are not over."""
_OVERLAPPING_MAX = 200
"""Stretches of one VEN within the time that is asked about; what they add up to costs their square."""


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


class Away(msgspec.Struct, frozen=True):
    """A half-open stretch in which a VEN does not want to be called; `end_ms` None: for ever; `resources` empty: not at
    all, otherwise with none of these."""

    start_ms: int
    end_ms: int | None
    resources: frozenset[str]
    reason: str


def away(opts: Sequence[Opt]) -> list[Away]:
    """What the schedules of one VEN, oldest first, add up to; cancelled ones and those for an event do not count.

    An opt without availability counts from the moment it was made on, a stretch without length for ever.
    """
    found: list[Away] = []
    for opt in opts:
        if opt.event_id is not None or opt.cancelled_ms is not None:
            continue
        resources = frozenset(each.value for each in opt.schedule.targets if each.kind == "resource")
        for start_ms, length_s in opt.schedule.availability or ((opt.created_ms, 0),):
            end_ms = start_ms + 1000 * length_s if length_s else None
            found = [rest for each in found for rest in _without(each, start_ms, end_ms, resources)]
            if opt.opt_type == "optOut":
                found.append(Away(start_ms, end_ms, resources, opt.opt_reason))
    return found


def _without(each: Away, start_ms: int, end_ms: int | None, resources: frozenset[str]) -> list[Away]:
    """What is left of a stretch when another opt of the same or more resources covers part of it."""
    if resources and not (each.resources and each.resources <= resources):
        return [each]
    rest = []
    if each.start_ms < start_ms:
        until_ms = start_ms if each.end_ms is None else min(each.end_ms, start_ms)
        rest.append(msgspec.structs.replace(each, end_ms=until_ms))
    if end_ms is not None and (each.end_ms is None or each.end_ms > end_ms):
        rest.append(msgspec.structs.replace(each, start_ms=max(each.start_ms, end_ms)))
    return rest


class Opts:
    """Opts in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, opt: Opt) -> None:
        """Keep an opt and, for an event, apply it (rule 206: later oadrCreatedEvent no longer counts).

        The same one again changes nothing; under the id of a cancelled one it is a new one. Raises NotFound, Conflict
        (wrong modification, other opt with this id), InvalidInput (more than a VEN may say).
        """
        if len(opt.schedule.availability) > AVAILABILITY_MAX:
            raise InvalidInput("availability_invalid", f"an opt has at most {AVAILABILITY_MAX} stretches of time")
        now_ms = self._clock.now_ms()
        row = msgspec.structs.asdict(opt) | {"schedule": msgspec.json.encode(opt.schedule), "created_ms": now_ms}
        async with self._database.transaction() as connection:
            key = (opts.c.ven_id == opt.ven_id) & (opts.c.opt_id == opt.opt_id)
            kept = insert(opts).values(**row)
            kept = kept.on_conflict_do_update(
                index_elements=["ven_id", "opt_id"], set_=row, where=opts.c.cancelled_ms.is_not(None)
            )
            if await connection.scalar(kept.returning(opts.c.opt_id)):
                if opt.event_id is not None:
                    await record_opt(
                        connection, opt.ven_id, opt.event_id, opt.modification_number or 0, opt.opt_type, now_ms,
                        opt_id=opt.opt_id,
                    )  # fmt: skip
                else:
                    await _make_room(connection, opt.ven_id, now_ms)
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

    async def unavailable(
        self, ven_ids: Sequence[str], from_ms: int, to_ms: int, *, market_context: str | None = None
    ) -> dict[str, str]:
        """VENs that are not to be called at some time between from_ms and to_ms: venID -> reason.

        An opt that names another market context than `market_context` does not count (None: all do). One for resources
        counts if the VEN's meter belongs to one of them, or says nothing about its resource.
        """
        query = select(opts).where(opts.c.ven_id.in_(ven_ids), opts.c.event_id.is_(None))
        query = query.where(opts.c.cancelled_ms.is_(None)).order_by(opts.c.ven_id, opts.c.created_ms, opts.c.opt_id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
            of_ven: dict[str, builtins.list[Opt]] = {}
            for opt in map(_opt, rows):
                within = _within(opt, from_ms, to_ms)
                meant = market_context is None or opt.schedule.market_context in (None, market_context)
                if meant and within is not None:
                    of_ven.setdefault(opt.ven_id, []).append(within)
            found = {}
            for ven_id, theirs in of_ven.items():
                if sum(len(each.schedule.availability) for each in theirs) > _OVERLAPPING_MAX:
                    found[ven_id] = "opted in and out of this time too often to tell"
                    continue
                overlapping = [
                    each
                    for each in away(theirs)
                    if each.start_ms < to_ms and (each.end_ms is None or each.end_ms > from_ms)
                ]
                if any(each.resources for each in overlapping):
                    metered = await _metered_resource(connection, ven_id)
                    overlapping = [
                        each for each in overlapping
                        if not each.resources or metered is None or metered in each.resources
                    ]  # fmt: skip
                if overlapping:
                    found[ven_id] = f"opted out of this time: {overlapping[0].reason}"
        return found

    async def list(self, ven_id: str) -> builtins.list[Opt]:
        """Opts of a VEN, oldest first."""
        async with self._database.reading() as connection:
            query = select(opts).where(opts.c.ven_id == ven_id).order_by(opts.c.created_ms, opts.c.opt_id)
            return [_opt(row) for row in (await connection.execute(query)).mappings()]


def _within(opt: Opt, from_ms: int, to_ms: int) -> Opt | None:
    """The opt with those of its stretches that lie between these times, None if none does."""
    stretches = opt.schedule.availability
    kept = tuple(each for each in stretches if each[0] < to_ms and (not each[1] or each[0] + 1000 * each[1] > from_ms))
    if stretches and not kept:
        return None
    return msgspec.structs.replace(opt, schedule=msgspec.structs.replace(opt.schedule, availability=kept))


async def _make_room(connection: AsyncConnection, ven_id: str, now_ms: int) -> None:
    """Withdraw the schedules of a VEN that are over, once there are many. Raises InvalidInput where too many stand."""
    standing = (opts.c.ven_id == ven_id) & opts.c.event_id.is_(None) & opts.c.cancelled_ms.is_(None)
    if (await connection.scalar(select(func.count()).where(standing)) or 0) <= STANDING_MAX:
        return
    found = [_opt(row) for row in (await connection.execute(select(opts).where(standing))).mappings()]
    over = [each.opt_id for each in found if _over(each, now_ms)]
    if len(found) - len(over) > STANDING_MAX:
        raise InvalidInput("too_many_opts", f"at most {STANDING_MAX} opt schedules of a VEN stand at once")
    await connection.execute(update(opts).where(standing, opts.c.opt_id.in_(over)).values(cancelled_ms=now_ms))


def _over(opt: Opt, now_ms: int) -> bool:
    stretches = opt.schedule.availability
    return bool(stretches) and all(length_s and start + 1000 * length_s <= now_ms for start, length_s in stretches)


async def _metered_resource(connection: AsyncConnection, ven_id: str) -> str | None:
    """The resource whose energy the VEN's meter measures, where it said so."""
    meter = await connection.scalar(select(vens.c.meter_r_id).where(vens.c.ven_id == ven_id))
    s = report_specifiers.c
    for descriptions in await connection.scalars(select(s.descriptions).where(s.ven_id == ven_id)):
        for point in msgspec.json.decode(descriptions, type=builtins.list[MeteringPoint]):
            if point.r_id == meter and point.resource is not None:
                return point.resource
    return None


def _opt(row: RowMapping) -> Opt:
    return Opt(**{**row, "schedule": msgspec.json.decode(row["schedule"], type=OptSchedule)})
