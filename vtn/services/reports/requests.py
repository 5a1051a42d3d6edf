"""What VENs say they can report, and what the VTN asked them for.

register (METADATA) ──▶ requested ──▶ running ──▶ cancelled | completed (one report only, rule 324)
                           │    └──▶ refused
                           │ the request is in the answer, and in the VEN's queue until it confirms or delivers
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import RowMapping, delete, select, update
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
METADATA_MESSAGE = "request_metadata"
REQUESTED, RUNNING, COMPLETED, REFUSED, CANCELLED = "requested", "running", "completed", "refused", "cancelled"
OPEN = (REQUESTED, RUNNING)
USAGE_METADATA = "METADATA_TELEMETRY_USAGE"
STATUS_METADATA = "METADATA_TELEMETRY_STATUS"
GREEN_BUTTON_METADATA = "METADATA_HISTORY_GREENBUTTON"
_PERIOD_S_MAX = 366 * 86_400
"""What is measured less often is asked for by nobody."""
_OF_ITS_OWN = ("usage-", "status-")
"""How the ids of requests begin that follow from a registration alone; others are the operator's."""


class MeteringPoint(msgspec.Struct, frozen=True):
    """One data point of a VEN, as it described it: unit and resource None where it has none, periods 0 where it does
    not say."""

    r_id: str
    report_type: str
    reading_type: str
    unit: Unit | None = None
    period_s_min: int = 0
    period_s_max: int = 0
    resource: str | None = None


class Specifier(msgspec.Struct, frozen=True):
    """A report a VEN can deliver, with its data points."""

    report_specifier_id: str
    report_name: str
    points: tuple[MeteringPoint, ...]


class RequestedReport(msgspec.Struct, frozen=True):
    """What a VEN was asked for: values each `granularity_s`, sent each `report_back_s` (0: once), from `start_ms` on
    for `duration_s` (None or 0: no end). `payloads`: (rID, reading type). `status`: requested, running, completed,
    refused, cancelled."""

    ven_id: str
    report_request_id: str
    report_specifier_id: str
    status: str
    granularity_s: int
    report_back_s: int
    start_ms: int | None
    payloads: tuple[tuple[str, str], ...]
    requested_ms: int
    duration_s: int | None = None


class Reports:
    """Specifiers and requests in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def register(self, ven_id: str, specifiers: Sequence[Specifier]) -> list[RequestedReport]:
        """Replace what a VEN can report, and ask for its real energy (TELEMETRY_USAGE, history first) and its state
        (TELEMETRY_STATUS).

        Returns the requests that run or shall run, those of the operator too; requests for what is gone end. Raises
        NotFound.
        """
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            ven = await locked_ven(connection, ven_id)
            if ven is None:
                raise NotFound("ven_unknown", f"there is no VEN {ven_id}")
            terms = await _terms(connection, ven.program)
            await _keep_specifiers(connection, ven_id, specifiers, now_ms)
            found = [_request(ven_id, each, terms, now_ms) for each in specifiers]
            wanted = [request for request in found if request is not None]
            for request in wanted:
                await _keep_request(connection, request)
            await _end_others(connection, ven_id, wanted, specifiers, now_ms)
            running = await open_requests(connection, ven_id)
            ids = [request.report_request_id for request in running]
            for identity in ids:
                await queue(connection, [ven_id], CREATE_MESSAGE, identity, now_ms)
            # the answer to the registration carries the requests: the queue repeats them only if it is not heeded
            waiting = await open_messages(connection, ven_id)
            carried = [each.sequence for each in waiting if each.kind == CREATE_MESSAGE and each.key in ids]
            await mark_delivered(connection, carried, now_ms)
            await acknowledge(connection, ven_id, METADATA_MESSAGE, now_ms)
            meter = _meter(specifiers)
            if meter is not None and meter != ven.meter_r_id:
                await change_ven(connection, ven_id, meter_r_id=meter)
        return running

    async def ask(
        self,
        ven_id: str,
        report_specifier_id: str,
        *,
        r_ids: Sequence[str] = (),
        granularity_s: int,
        report_back_s: int,
        start_ms: int | None = None,
        duration_s: int | None = None,
    ) -> RequestedReport:
        """Ask a VEN for a report it described: all its points or `r_ids`; `report_back_s` 0 is one report (rule 324).

        Raises NotFound for a VEN, specifier or rID it never described.
        """
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            if await locked_ven(connection, ven_id) is None:
                raise NotFound("ven_unknown", f"there is no VEN {ven_id}")
            s = report_specifiers.c
            query = select(report_specifiers).where(s.ven_id == ven_id, s.report_specifier_id == report_specifier_id)
            row = (await connection.execute(query)).mappings().first()
            if row is None:
                raise NotFound("specifier_unknown", f"{ven_id} described no report {report_specifier_id}")
            points = {point.r_id: point for point in _specifier(row).points}
            if unknown := set(r_ids) - set(points):
                raise NotFound("r_id_unknown", f"{report_specifier_id} has no rID {', '.join(sorted(unknown))}")
            request = RequestedReport(
                ven_id=ven_id,
                report_request_id=f"ask-{secrets.token_hex(8)}",
                report_specifier_id=report_specifier_id,
                status=REQUESTED,
                granularity_s=granularity_s,
                report_back_s=report_back_s,
                start_ms=start_ms,
                payloads=tuple((each, points[each].reading_type) for each in (r_ids or points)),
                requested_ms=now_ms,
                duration_s=duration_s,
            )
            await _keep_request(connection, request)
            await queue(connection, [ven_id], CREATE_MESSAGE, request.report_request_id, now_ms)
        return request

    async def ask_metadata(self, ven_id: str) -> None:
        """Ask a VEN to describe its reports again (rule 306). Raises NotFound."""
        async with self._database.transaction() as connection:
            if await locked_ven(connection, ven_id) is None:
                raise NotFound("ven_unknown", f"there is no VEN {ven_id}")
            await queue(connection, [ven_id], METADATA_MESSAGE, "METADATA", self._clock.now_ms())

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

    async def confirm_metadata(self, ven_id: str) -> None:
        """The VEN answered that it will describe its reports."""
        async with self._database.transaction() as connection:
            await acknowledge(connection, ven_id, METADATA_MESSAGE, self._clock.now_ms(), sent_only=True)

    async def complete(self, ven_id: str, report_request_id: str) -> None:
        """The one report that was asked for is here; the same one again is still taken."""
        async with self._database.transaction() as connection:
            r = report_requests.c
            await connection.execute(
                update(report_requests)
                .where(r.ven_id == ven_id, r.report_request_id == report_request_id, r.status.in_(OPEN))
                .values(status=COMPLETED)
            )

    async def refuse(self, ven_id: str) -> list[str]:
        """The VEN answered requests with an error: those it was sent and never confirmed end. Returns their ids."""
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            waiting = await open_messages(connection, ven_id)
            sent = [each.key for each in waiting if each.kind == CREATE_MESSAGE and each.delivered_ms is not None]
            r = report_requests.c
            refused = await connection.scalars(
                update(report_requests)
                .where(r.ven_id == ven_id, r.report_request_id.in_(sent), r.status == REQUESTED)
                .values(status=REFUSED)
                .returning(r.report_request_id)
            )
            ids = sorted(refused)
            await acknowledge(connection, ven_id, CREATE_MESSAGE, now_ms, ids)
        return ids

    async def confirm_cancelled(self, ven_id: str) -> None:
        """The VEN confirmed the end of requests."""
        async with self._database.transaction() as connection:
            await acknowledge(connection, ven_id, CANCEL_MESSAGE, self._clock.now_ms(), sent_only=True)

    async def cancel(self, ven_id: str, report_request_id: str, *, report_to_follow: bool = False) -> None:
        """End a request; the VEN is told on its next poll, and asked for a last report if one is to follow. Raises
        NotFound."""
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            r = report_requests.c
            result = await connection.execute(
                update(report_requests)
                .where(r.ven_id == ven_id, r.report_request_id == report_request_id)
                .values(status=COMPLETED if report_to_follow else CANCELLED)
            )
            if not result.rowcount:
                raise NotFound("report_request_unknown", f"{ven_id} has no report request {report_request_id}")
            await acknowledge(connection, ven_id, CREATE_MESSAGE, now_ms, [report_request_id])
            payload = msgspec.json.encode({"report_to_follow": report_to_follow})
            await queue(connection, [ven_id], CANCEL_MESSAGE, report_request_id, now_ms, payload)

    async def request(self, ven_id: str, report_request_id: str) -> tuple[RequestedReport, Specifier]:
        """A request that was not cancelled or refused, with what the VEN described. Raises NotFound (452, rule 304)."""
        r, s = report_requests.c, report_specifiers.c
        async with self._database.reading() as connection:
            query = select(report_requests).where(r.ven_id == ven_id, r.report_request_id == report_request_id)
            row = (await connection.execute(query.where(r.status.not_in((CANCELLED, REFUSED))))).mappings().first()
            if row is None:
                raise NotFound("report_request_unknown", f"{ven_id} has no report request {report_request_id}")
            query = select(report_specifiers).where(
                s.ven_id == ven_id, s.report_specifier_id == row["report_specifier_id"]
            )
            described = (await connection.execute(query)).mappings().first()
        if described is None:
            raise NotFound("report_request_unknown", f"{ven_id} no longer describes {row['report_specifier_id']}")
        return _requested(row), _specifier(described)

    async def requests(self, ven_id: str) -> list[RequestedReport]:
        """Requests of a VEN that run or shall run, by id."""
        async with self._database.reading() as connection:
            return await open_requests(connection, ven_id)

    async def all_requests(self, ven_id: str) -> list[RequestedReport]:
        """Every request of a VEN, by id."""
        query = select(report_requests).where(report_requests.c.ven_id == ven_id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(report_requests.c.report_request_id))).mappings()
            return [_requested(row) for row in rows]

    async def specifiers(self, ven_id: str) -> list[Specifier]:
        """What a VEN can report."""
        query = select(report_specifiers).where(report_specifiers.c.ven_id == ven_id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(report_specifiers.c.report_specifier_id))).mappings()
            return [_specifier(row) for row in rows]


async def open_requests(connection: AsyncConnection, ven_id: str) -> list[RequestedReport]:
    """As `Reports.requests`, inside a transaction."""
    r = report_requests.c
    query = select(report_requests).where(r.ven_id == ven_id, r.status.in_(OPEN)).order_by(r.report_request_id)
    return [_requested(row) for row in (await connection.execute(query)).mappings()]


async def end_requests(connection: AsyncConnection, ven_id: str) -> None:
    """End every request of a VEN: its registration has ended."""
    r = report_requests.c
    await connection.execute(
        update(report_requests).where(r.ven_id == ven_id, r.status.in_(OPEN)).values(status=CANCELLED)
    )


async def vens_with_resources(connection: AsyncConnection, resources: Collection[str]) -> list[str]:
    """VENs that named one of these resources as the source of what they report."""
    s = report_specifiers.c
    found = set()
    for ven_id, descriptions in await connection.execute(select(s.ven_id, s.descriptions)):
        if any(point.resource in resources for point in msgspec.json.decode(descriptions, type=list[MeteringPoint])):
            found.add(ven_id)
    return sorted(found)


async def _terms(connection: AsyncConnection, program: str) -> ProgramTerms:
    data = await connection.scalar(select(programs.c.terms).where(programs.c.name == program))
    return msgspec.json.decode(data or b"{}", type=ProgramTerms)


def _request(ven_id: str, specifier: Specifier, terms: ProgramTerms, now_ms: int) -> RequestedReport | None:
    """The request that follows from a registration: for real energy, or the state of resources, nothing else. The id
    follows from the specifier, so that it is made once."""
    usage = specifier.report_name == USAGE_METADATA
    points = [each for each in specifier.points if not usage or _is_energy(each)]
    if not points or specifier.report_name not in (USAGE_METADATA, STATUS_METADATA):
        return None
    slowest_s = min((point.period_s_max for point in points if point.period_s_max), default=terms.interval_s)
    fastest_s = max(point.period_s_min for point in points)
    if fastest_s > _PERIOD_S_MAX:
        return None
    granularity_s = max(min(terms.interval_s, slowest_s), fastest_s)
    step_ms = 1000 * terms.interval_s
    start_ms = max(now_ms - 86_400_000 * terms.history_days, 0) // step_ms * step_ms
    suffix = hashlib.sha256(specifier.report_specifier_id.encode()).hexdigest()[:16]
    return RequestedReport(
        ven_id=ven_id,
        report_request_id=f"{'usage' if usage else 'status'}-{suffix}",
        report_specifier_id=specifier.report_specifier_id,
        status=REQUESTED,
        granularity_s=granularity_s,
        report_back_s=max(granularity_s, terms.interval_s),
        start_ms=start_ms if usage else None,
        payloads=tuple((point.r_id, point.reading_type) for point in points),
        requested_ms=now_ms,
    )


def _is_energy(point: MeteringPoint) -> bool:
    return point.unit is not None and point.unit.kind == "energy_real"


def _meter(specifiers: Sequence[Specifier]) -> str | None:
    """The rID that is the VEN's energy: net usage before other real energy."""
    usage = [each for each in specifiers if each.report_name == USAGE_METADATA]
    points = [point for each in usage for point in each.points if _is_energy(point)]
    points.sort(key=lambda point: (point.report_type != "usage", point.reading_type != "Net"))
    return points[0].r_id if points else None


async def _keep_specifiers(
    connection: AsyncConnection, ven_id: str, specifiers: Sequence[Specifier], now_ms: int
) -> None:
    s = report_specifiers.c
    kept = [each.report_specifier_id for each in specifiers]
    await connection.execute(delete(report_specifiers).where(s.ven_id == ven_id, s.report_specifier_id.not_in(kept)))
    for each in specifiers:
        statement = insert(report_specifiers).values(
            ven_id=ven_id, report_specifier_id=each.report_specifier_id, report_name=each.report_name,
            descriptions=msgspec.json.encode(each.points), registered_ms=now_ms,
        )  # fmt: skip
        fresh = {name: statement.excluded[name] for name in ("report_name", "descriptions", "registered_ms")}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["ven_id", "report_specifier_id"], set_=fresh)
        )


async def _keep_request(connection: AsyncConnection, request: RequestedReport) -> None:
    """Store a request. One that is there keeps its start, so that a repeated registration asks for no more history."""
    row = msgspec.structs.asdict(request) | {"payloads": msgspec.json.encode(request.payloads)}
    statement = insert(report_requests).values(**row)
    fresh = {name: statement.excluded[name] for name in ("status", "granularity_s", "report_back_s", "payloads")}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["ven_id", "report_request_id"], set_=fresh)
    )


async def _end_others(
    connection: AsyncConnection,
    ven_id: str,
    wanted: Sequence[RequestedReport],
    specifiers: Sequence[Specifier],
    now_ms: int,
) -> None:
    """End requests for reports that are gone, and those of an earlier registration that no longer follow from it."""
    kept = {each.report_request_id for each in wanted}
    there = {each.report_specifier_id for each in specifiers}
    ended = [
        each.report_request_id
        for each in await open_requests(connection, ven_id)
        if each.report_specifier_id not in there
        or (each.report_request_id.startswith(_OF_ITS_OWN) and each.report_request_id not in kept)
    ]
    r = report_requests.c
    await connection.execute(
        update(report_requests).where(r.ven_id == ven_id, r.report_request_id.in_(ended)).values(status=CANCELLED)
    )
    await acknowledge(connection, ven_id, CREATE_MESSAGE, now_ms, ended)


def _requested(row: RowMapping) -> RequestedReport:
    payloads = msgspec.json.decode(row["payloads"], type=tuple[tuple[str, str], ...])
    return RequestedReport(**{**row, "payloads": payloads})


def _specifier(row: RowMapping) -> Specifier:
    points = msgspec.json.decode(row["descriptions"], type=tuple[MeteringPoint, ...])
    return Specifier(row["report_specifier_id"], row["report_name"], points)
