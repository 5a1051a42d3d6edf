"""Reports: what VENs say they can measure, and what the VTN asked them for.

register (METADATA) ──▶ requested ──▶ running ──▶ cancelled
                           │ the request is in the answer, and in the VEN's queue until it confirms or delivers
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from sqlalchemy import RowMapping, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.model import Unit
from runtime.clock import Clock
from vtn.errors import NotFound
from vtn.records.database import Database
from vtn.records.messages import acknowledge, mark_delivered, open_messages, queue
from vtn.records.tables import programs, report_requests, report_specifiers
from vtn.services.programs import ProgramTerms
from vtn.services.vens import change_ven, locked_ven

CREATE_MESSAGE = "create_report"
CANCEL_MESSAGE = "cancel_report"
REQUESTED, RUNNING, CANCELLED = "requested", "running", "cancelled"
USAGE_METADATA = "METADATA_TELEMETRY_USAGE"


class MeteringPoint(msgspec.Struct, frozen=True):
    """One data point of a VEN, as it described it: unit None where it has none, periods 0 where it does not say."""

    r_id: str
    report_type: str
    reading_type: str
    unit: Unit | None = None
    period_s_min: int = 0
    period_s_max: int = 0


class Specifier(msgspec.Struct, frozen=True):
    """A report a VEN can deliver, with its data points."""

    report_specifier_id: str
    report_name: str
    points: tuple[MeteringPoint, ...]


class RequestedReport(msgspec.Struct, frozen=True):
    """What a VEN was asked for: values each `granularity_s`, sent each `report_back_s`, wanted from `start_ms` on.
    `payloads`: (rID, reading type). `status`: requested, running, cancelled."""

    ven_id: str
    report_request_id: str
    report_specifier_id: str
    status: str
    granularity_s: int
    report_back_s: int
    start_ms: int | None
    payloads: tuple[tuple[str, str], ...]
    requested_ms: int


class Reports:
    """Specifiers and requests in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def register(self, ven_id: str, specifiers: Sequence[Specifier]) -> list[RequestedReport]:
        """Replace what a VEN can report, and ask for its real energy (TELEMETRY_USAGE), history first.

        Returns the requests that run or shall run; requests for specifiers that are gone end. Raises NotFound.
        """
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            ven = await locked_ven(connection, ven_id)
            if ven is None:
                raise NotFound("ven_unknown", f"there is no VEN {ven_id}")
            terms = await _terms(connection, ven.program)
            await _keep_specifiers(connection, ven_id, specifiers, now_ms)
            wanted = [
                request
                for each in specifiers
                if each.report_name == USAGE_METADATA and (request := _request(ven_id, each, terms, now_ms)) is not None
            ]
            running = [await _keep_request(connection, request) for request in wanted]
            await _end_others(connection, ven_id, [request.report_request_id for request in wanted], now_ms)
            ids = [request.report_request_id for request in running]
            for identity in ids:
                await queue(connection, [ven_id], CREATE_MESSAGE, identity, now_ms)
            # the answer to the registration carries the requests: the queue repeats them only if it is not heeded
            waiting = await open_messages(connection, ven_id)
            carried = [each.sequence for each in waiting if each.kind == CREATE_MESSAGE and each.key in ids]
            await mark_delivered(connection, carried, now_ms)
            meter = _meter(specifiers)
            if meter is not None and meter != ven.meter_r_id:
                await change_ven(connection, ven_id, meter_r_id=meter)
        return running

    async def confirm(self, ven_id: str, report_request_ids: Sequence[str]) -> None:
        """The VEN named these requests as running, or delivered to them."""
        async with self._database.transaction() as connection:
            await connection.execute(
                update(report_requests)
                .where(report_requests.c.ven_id == ven_id, report_requests.c.status == REQUESTED)
                .where(report_requests.c.report_request_id.in_(report_request_ids))
                .values(status=RUNNING)
            )
            await acknowledge(connection, ven_id, CREATE_MESSAGE, self._clock.now_ms(), report_request_ids)

    async def confirm_cancelled(self, ven_id: str) -> None:
        """The VEN confirmed the end of requests."""
        async with self._database.transaction() as connection:
            await acknowledge(connection, ven_id, CANCEL_MESSAGE, self._clock.now_ms())

    async def cancel(self, ven_id: str, report_request_id: str) -> None:
        """End a request; the VEN is told on its next poll. Raises NotFound."""
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            r = report_requests.c
            result = await connection.execute(
                update(report_requests)
                .where(r.ven_id == ven_id, r.report_request_id == report_request_id)
                .values(status=CANCELLED)
            )
            if not result.rowcount:
                raise NotFound("report_request_unknown", f"{ven_id} has no report request {report_request_id}")
            await acknowledge(connection, ven_id, CREATE_MESSAGE, now_ms, [report_request_id])
            await queue(connection, [ven_id], CANCEL_MESSAGE, report_request_id, now_ms)

    async def request(self, ven_id: str, report_request_id: str) -> tuple[RequestedReport, Specifier]:
        """A request that is not cancelled, with what the VEN described. Raises NotFound (452, rule 304)."""
        r, s = report_requests.c, report_specifiers.c
        async with self._database.reading() as connection:
            query = select(report_requests).where(r.ven_id == ven_id, r.report_request_id == report_request_id)
            row = (await connection.execute(query.where(r.status != CANCELLED))).mappings().first()
            if row is None:
                raise NotFound("report_request_unknown", f"{ven_id} has no report request {report_request_id}")
            query = select(report_specifiers).where(
                s.ven_id == ven_id, s.report_specifier_id == row["report_specifier_id"]
            )
            described = (await connection.execute(query)).mappings().one()
        return _requested(row), _specifier(described)

    async def requests(self, ven_id: str) -> list[RequestedReport]:
        """Requests of a VEN that are not cancelled, by id."""
        async with self._database.reading() as connection:
            return await open_requests(connection, ven_id)

    async def specifiers(self, ven_id: str) -> list[Specifier]:
        """What a VEN can report."""
        query = select(report_specifiers).where(report_specifiers.c.ven_id == ven_id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(report_specifiers.c.report_specifier_id))).mappings()
            return [_specifier(row) for row in rows]


async def open_requests(connection: AsyncConnection, ven_id: str) -> list[RequestedReport]:
    """As `Reports.requests`, inside a transaction."""
    r = report_requests.c
    query = select(report_requests).where(r.ven_id == ven_id, r.status != CANCELLED).order_by(r.report_request_id)
    return [_requested(row) for row in (await connection.execute(query)).mappings()]


async def _terms(connection: AsyncConnection, program: str) -> ProgramTerms:
    data = await connection.scalar(select(programs.c.terms).where(programs.c.name == program))
    return msgspec.json.decode(data or b"{}", type=ProgramTerms)


def _request(ven_id: str, specifier: Specifier, terms: ProgramTerms, now_ms: int) -> RequestedReport | None:
    """The request for the real energy of a report; the id follows from the specifier, so that it is made once."""
    points = [point for point in specifier.points if point.unit is not None and point.unit.kind == "energy_real"]
    if not points:
        return None
    slowest_s = min((point.period_s_max for point in points if point.period_s_max), default=terms.interval_s)
    fastest_s = max(point.period_s_min for point in points)
    granularity_s = max(min(terms.interval_s, slowest_s), fastest_s)
    step_ms = 1000 * terms.interval_s
    start_ms = max(now_ms - 86_400_000 * terms.history_days, 0) // step_ms * step_ms
    suffix = hashlib.sha256(specifier.report_specifier_id.encode()).hexdigest()[:16]
    return RequestedReport(
        ven_id=ven_id,
        report_request_id=f"usage-{suffix}",
        report_specifier_id=specifier.report_specifier_id,
        status=REQUESTED,
        granularity_s=granularity_s,
        report_back_s=max(granularity_s, terms.interval_s),
        start_ms=start_ms,
        payloads=tuple((point.r_id, point.reading_type) for point in points),
        requested_ms=now_ms,
    )


def _meter(specifiers: Sequence[Specifier]) -> str | None:
    """The rID that is the VEN's energy: net usage before other real energy."""
    usage = [each for each in specifiers if each.report_name == USAGE_METADATA]
    points = [p for each in usage for p in each.points if p.unit is not None and p.unit.kind == "energy_real"]
    points.sort(key=lambda point: (point.report_type != "usage", point.reading_type != "Net"))
    return points[0].r_id if points else None


async def _keep_specifiers(
    connection: AsyncConnection, ven_id: str, specifiers: Sequence[Specifier], now_ms: int
) -> None:
    for each in specifiers:
        statement = insert(report_specifiers).values(
            ven_id=ven_id, report_specifier_id=each.report_specifier_id, report_name=each.report_name,
            descriptions=msgspec.json.encode(each.points), registered_ms=now_ms,
        )  # fmt: skip
        fresh = {name: statement.excluded[name] for name in ("report_name", "descriptions", "registered_ms")}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["ven_id", "report_specifier_id"], set_=fresh)
        )


async def _keep_request(connection: AsyncConnection, request: RequestedReport) -> RequestedReport:
    """Store a request. One that is there keeps its start, so that a repeated registration asks for no more history."""
    row = msgspec.structs.asdict(request) | {"payloads": msgspec.json.encode(request.payloads)}
    statement = insert(report_requests).values(**row)
    fresh = {name: statement.excluded[name] for name in ("status", "granularity_s", "report_back_s", "payloads")}
    result = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["ven_id", "report_request_id"], set_=fresh
        ).returning(*report_requests.c)
    )  # fmt: skip
    return _requested(result.mappings().one())


async def _end_others(connection: AsyncConnection, ven_id: str, kept: Sequence[str], now_ms: int) -> None:
    r = report_requests.c
    ended = await connection.scalars(
        update(report_requests)
        .where(r.ven_id == ven_id, r.report_request_id.not_in(kept), r.status != CANCELLED)
        .values(status=CANCELLED)
        .returning(r.report_request_id)
    )
    await acknowledge(connection, ven_id, CREATE_MESSAGE, now_ms, list(ended))


def _requested(row: RowMapping) -> RequestedReport:
    payloads = msgspec.json.decode(row["payloads"], type=tuple[tuple[str, str], ...])
    return RequestedReport(**{**row, "payloads": payloads})


def _specifier(row: RowMapping) -> Specifier:
    points = msgspec.json.decode(row["descriptions"], type=tuple[MeteringPoint, ...])
    return Specifier(row["report_specifier_id"], row["report_name"], points)
