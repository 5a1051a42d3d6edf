"""The VTN as a source of reports: a VEN may ask for its own energy as the VTN recorded it.

offered (METADATA) ──▶ asked (oadrCreateReport) ──▶ running ──▶ completed | cancelled
                                                       │ due: a report is in the VEN's queue until it confirms it

A VEN sees its own readings and nobody else's.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import RowMapping, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.model import Reading
from runtime.clock import Clock
from vtn.errors import InvalidInput, NotFound
from vtn.records.database import Database
from vtn.records.messages import acknowledge, open_messages, queue
from vtn.records.tables import messages, programs, source_requests, telemetry, vens
from vtn.services.programs import ProgramTerms

REGISTER_MESSAGE = "register_report"
UPDATE_MESSAGE = "update_report"
RUNNING, COMPLETED, CANCELLED = "running", "completed", "cancelled"
METADATA = "METADATA"
R_ID = "energy"
HISTORY, USAGE = "vtn-history", "vtn-usage"
SPECIFIERS = {HISTORY: "HISTORY_USAGE", USAGE: "TELEMETRY_USAGE"}
"""reportSpecifierID -> name of the report. Both have one point, `energy`: real energy in Wh."""

_DUE_MAX = 200
_PERIOD_S_MAX = 366 * 86_400
_RUNNING_MAX = 50
_REPORT_INTERVALS_MAX = 2_000
"""A report has at most so many intervals; the next one goes on from there."""


class SourceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a VEN asked of the VTN: values each `granularity_s` (0: as recorded), sent each `report_back_s` (0: once),
    from `start_ms` (None: now) on for `duration_s` (None or 0: no end). `payloads`: (rID, reading type)."""

    report_request_id: str
    report_specifier_id: str
    granularity_s: int
    report_back_s: int
    start_ms: int | None
    duration_s: int | None
    payloads: tuple[tuple[str, str], ...]


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """Readings that answer a request, up to `until_ms`."""

    report_request_id: str
    report_specifier_id: str
    readings: tuple[Reading, ...]
    until_ms: int


class ReportSource:
    """Requests and what they are answered with, in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def offer(self, ven_id: str) -> None:
        """Tell a VEN what the VTN can report (oadrRegisterReport, also rule 306)."""
        async with self._database.transaction() as connection:
            await queue(connection, [ven_id], REGISTER_MESSAGE, METADATA, self._clock.now_ms())

    async def offered(self, ven_id: str) -> None:
        """The VEN confirmed the offer."""
        async with self._database.transaction() as connection:
            await acknowledge(connection, ven_id, REGISTER_MESSAGE, self._clock.now_ms(), sent_only=True)

    async def interval_s(self, ven_id: str) -> int:
        """The interval in which energy of this VEN is recorded."""
        async with self._database.reading() as connection:
            return await _interval_s(connection, ven_id)

    async def create(self, ven_id: str, requests: Sequence[SourceRequest]) -> list[str]:
        """Take requests, all or none; one for `METADATA` repeats the offer. Returns the ids of those that run.

        Raises InvalidInput `report_unsupported` (461), NotFound `r_id_unknown` (452), InvalidInput
        `granularity_invalid` (454).
        """
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            recorded_s = await _interval_s(connection, ven_id)
            for request in requests:
                if request.report_specifier_id == METADATA:
                    await queue(connection, [ven_id], REGISTER_MESSAGE, METADATA, now_ms)
                    continue
                _check(request, recorded_s)
                start_ms = now_ms if request.start_ms is None else request.start_ms
                end_ms = start_ms + 1000 * request.duration_s if request.duration_s else None
                row = {
                    "ven_id": ven_id, "report_request_id": request.report_request_id,
                    "report_specifier_id": request.report_specifier_id, "status": RUNNING,
                    "granularity_s": request.granularity_s or recorded_s, "report_back_s": request.report_back_s,
                    "start_ms": start_ms, "end_ms": end_ms, "payloads": msgspec.json.encode(request.payloads),
                    "reported_ms": start_ms, "due_ms": _first_due_ms(request, now_ms, end_ms), "requested_ms": now_ms,
                }  # fmt: skip
                statement = insert(source_requests).values(**row)
                await connection.execute(
                    statement.on_conflict_do_update(index_elements=["ven_id", "report_request_id"], set_=row)
                )
            running = await _running(connection, ven_id)
            if len(running) > _RUNNING_MAX:
                raise InvalidInput("too_many_requests", f"at most {_RUNNING_MAX} report requests run at once")
            return running

    async def cancel(self, ven_id: str, report_request_ids: Sequence[str], *, report_to_follow: bool) -> list[str]:
        """End requests, after a last report if one is to follow. Returns those that run. Raises NotFound (452)."""
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            running = await _running(connection, ven_id)
            if unknown := set(report_request_ids) - set(running):
                raise NotFound("report_request_unknown", f"no report request {', '.join(sorted(unknown))} is running")
            c = source_requests.c
            await connection.execute(
                update(source_requests)
                .where(c.ven_id == ven_id, c.report_request_id.in_(report_request_ids))
                .values(status=CANCELLED, due_ms=None)
            )
            if report_to_follow:
                for each in report_request_ids:
                    await queue(connection, [ven_id], UPDATE_MESSAGE, each, now_ms)
            else:
                await acknowledge(connection, ven_id, UPDATE_MESSAGE, now_ms, report_request_ids)
            return await _running(connection, ven_id)

    async def running(self, ven_id: str) -> list[str]:
        """Ids of the requests of a VEN that run."""
        async with self._database.reading() as connection:
            return await _running(connection, ven_id)

    async def queue_due(self) -> int:
        """Queue the reports that are due; several workers share the work. Returns how many."""
        now_ms = self._clock.now_ms()
        c = source_requests.c
        async with self._database.transaction() as connection:
            query = (
                select(c.ven_id, c.report_request_id, c.report_back_s, c.due_ms, c.end_ms)
                .where(c.due_ms <= now_ms)
                .order_by(c.due_ms)
                .limit(_DUE_MAX)
                .with_for_update(skip_locked=True)
            )
            found = list(await connection.execute(query))
            for row in found:
                await queue(connection, [row.ven_id], UPDATE_MESSAGE, row.report_request_id, now_ms)
                last = not row.report_back_s or (row.end_ms is not None and now_ms >= row.end_ms)
                following = None if last else _following_ms(row.due_ms, row.report_back_s, row.end_ms, now_ms)
                key = (c.ven_id == row.ven_id, c.report_request_id == row.report_request_id)
                await connection.execute(update(source_requests).where(*key).values(due_ms=following))
        return len(found)

    async def report(self, ven_id: str, report_request_id: str) -> SourceReport | None:
        """The readings a request has not been given yet; None if there is no such request."""
        now_ms = self._clock.now_ms()
        c = source_requests.c
        async with self._database.reading() as connection:
            query = select(source_requests).where(c.ven_id == ven_id, c.report_request_id == report_request_id)
            row = (await connection.execute(query)).mappings().first()
            if row is None:
                return None
            step_ms = 1000 * row["granularity_s"]
            end_ms = min(now_ms, row["end_ms"] or now_ms)
            count = min(max(end_ms - row["reported_ms"], 0) // step_ms, _REPORT_INTERVALS_MAX)
            until_ms = row["reported_ms"] + count * step_ms
            readings = await _readings(connection, ven_id, row, until_ms)
        return SourceReport(
            report_request_id=report_request_id,
            report_specifier_id=row["report_specifier_id"],
            readings=readings,
            until_ms=until_ms,
        )

    async def sent(self, ven_id: str, report_request_id: str, until_ms: int, request_id: str) -> None:
        """Note in the message under which requestID, and how far, a report was sent."""
        m = messages.c
        note = msgspec.json.encode({"request_id": request_id, "until_ms": until_ms})
        key = (m.ven_id == ven_id, m.kind == UPDATE_MESSAGE, m.key == report_request_id, m.acknowledged_ms.is_(None))
        async with self._database.transaction() as connection:
            await connection.execute(update(messages).where(*key).values(payload=note))

    async def confirm(self, ven_id: str, request_id: str) -> None:
        """The VEN has the report sent under `request_id`; unknown ones mean nothing."""
        now_ms = self._clock.now_ms()
        c = source_requests.c
        async with self._database.transaction() as connection:
            for each in await open_messages(connection, ven_id):
                note = msgspec.json.decode(each.payload)
                if each.kind != UPDATE_MESSAGE or note.get("request_id") != request_id:
                    continue
                await acknowledge(connection, ven_id, UPDATE_MESSAGE, now_ms, [each.key])
                key = (c.ven_id == ven_id, c.report_request_id == each.key)
                await connection.execute(update(source_requests).where(*key).values(reported_ms=note["until_ms"]))
                over = (c.status == RUNNING) & c.due_ms.is_(None)
                await connection.execute(update(source_requests).where(*key, over).values(status=COMPLETED))


async def end_source_requests(connection: AsyncConnection, ven_id: str) -> None:
    """End every request of a VEN: its registration has ended."""
    c = source_requests.c
    await connection.execute(
        update(source_requests).where(c.ven_id == ven_id, c.status == RUNNING).values(status=CANCELLED, due_ms=None)
    )


def _check(request: SourceRequest, recorded_s: int) -> None:
    if request.report_specifier_id not in SPECIFIERS:
        known = ", ".join(SPECIFIERS)
        raise InvalidInput("report_unsupported", f"the VTN reports {known}, not {request.report_specifier_id}")
    if unknown := {r_id for r_id, _ in request.payloads} - {R_ID}:
        raise NotFound("r_id_unknown", f"{request.report_specifier_id} has no rID {', '.join(sorted(unknown))}")
    if request.granularity_s % recorded_s:
        raise InvalidInput("granularity_invalid", f"energy is recorded each {recorded_s} s: ask for a multiple of it")
    if max(request.granularity_s, request.report_back_s) > _PERIOD_S_MAX:
        raise InvalidInput("granularity_invalid", f"a report is made each {_PERIOD_S_MAX} s at the latest")


def _first_due_ms(request: SourceRequest, now_ms: int, end_ms: int | None) -> int:
    """One report is due when its period is over, history at once; periodic ones after the first report-back."""
    if request.report_back_s:
        return max(now_ms, request.start_ms or now_ms) + 1000 * request.report_back_s
    return now_ms if end_ms is None else max(now_ms, end_ms)


def _following_ms(due_ms: int, report_back_s: int, end_ms: int | None, now_ms: int) -> int:
    """The next report-back that is not past: after an outage one report catches up."""
    step_ms = 1000 * report_back_s
    following = due_ms + step_ms * max((now_ms - due_ms) // step_ms + 1, 1)
    return following if end_ms is None else min(following, end_ms)


async def _running(connection: AsyncConnection, ven_id: str) -> list[str]:
    c = source_requests.c
    query = select(c.report_request_id).where(c.ven_id == ven_id, c.status == RUNNING).order_by(c.report_request_id)
    return list(await connection.scalars(query))


async def _interval_s(connection: AsyncConnection, ven_id: str) -> int:
    query = select(programs.c.terms).join(vens, vens.c.program == programs.c.name).where(vens.c.ven_id == ven_id)
    data = await connection.scalar(query)
    return msgspec.json.decode(data or b"{}", type=ProgramTerms).interval_s


async def _readings(connection: AsyncConnection, ven_id: str, row: RowMapping, until_ms: int) -> tuple[Reading, ...]:
    """Sums over each granularity step; one with a gap in it is `estimated`, one without any reading is left out."""
    t = telemetry.c
    query = (
        select(t.start_ms, t.interval_s, t.energy_wh)
        .join(vens, vens.c.ven_id == t.ven_id)
        .where(t.ven_id == ven_id, t.r_id == vens.c.meter_r_id, t.quality != "missing")
        .where(t.start_ms >= row["reported_ms"], t.start_ms < until_ms)
    )
    step_ms = 1000 * row["granularity_s"]
    sums: dict[int, list[int]] = {}
    for start_ms, interval_s, energy_wh in await connection.execute(query):
        found = sums.setdefault((start_ms - row["reported_ms"]) // step_ms, [0, 0])
        found[0] += energy_wh
        found[1] += interval_s
    return tuple(
        Reading(
            R_ID, row["reported_ms"] + step * step_ms, row["granularity_s"], wh,
            "ok" if covered_s >= row["granularity_s"] else "estimated",
        )
        for step, (wh, covered_s) in sorted(sums.items())
    )  # fmt: skip
