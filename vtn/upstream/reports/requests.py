"""What the utility asked for, in PostgreSQL, and how far it was served.

    oadrCreateReport ──▶ running ── due ── sent ── acknowledged: the cursors move ──▶ due again | completed
                            └── oadrCancelReport, end of the registration ──▶ cancelled

Two cursors, so that nothing is lost in an outage of either side: intervals up to `reported_ms` were sent, and readings
that came in by `read_ms`. What arrives for an older interval after that is sent with the next report.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.v2 import ReportRequest
from vtn.upstream.records import CANCELLED, COMPLETED, RUNNING, reports

_DAY_MS = 86_400_000


class RunningReport(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the utility: values of `r_ids` each `granularity_s`, sent each `report_back_s` (0: once)."""

    report_request_id: str
    report_specifier_id: str
    r_ids: tuple[str, ...]
    granularity_s: int
    report_back_s: int
    start_ms: int
    end_ms: int | None
    due_ms: int
    reported_ms: int
    read_ms: int
    state: str
    error: str | None


async def begin(
    connection: AsyncConnection, request: ReportRequest, *, interval_s: int, delay_s: int, now_ms: int, history: bool
) -> None:
    """Take a request; the same one again starts anew. Values are given in multiples of `interval_s`, at the earliest
    `delay_s` after their end. A history without a beginning goes one day back."""
    step_ms = max(request.granularity_s // interval_s, 1) * interval_s * 1000
    asked_ms = request.start_ms if request.start_ms is not None else now_ms - (_DAY_MS if history else 0)
    start_ms = asked_ms - asked_ms % step_ms
    end_ms = asked_ms + 1000 * request.duration_s if request.duration_s else None
    if request.report_back_s and start_ms + step_ms + 1000 * delay_s <= now_ms:
        due_ms = now_ms  # there is something to report already
    elif request.report_back_s:
        due_ms = (now_ms // (1000 * request.report_back_s) + 1) * 1000 * request.report_back_s
    elif end_ms is None:
        due_ms = now_ms if history else start_ms + step_ms + 1000 * delay_s
    else:
        due_ms = max(now_ms, end_ms + 1000 * delay_s)
    row = {
        "report_request_id": request.report_request_id,
        "report_specifier_id": request.report_specifier_id,
        "r_ids": msgspec.json.encode([payload.r_id for payload in request.payloads]),
        "granularity_s": step_ms // 1000,
        "report_back_s": request.report_back_s,
        "start_ms": start_ms,
        "end_ms": end_ms,
        "due_ms": due_ms,
        "reported_ms": start_ms,
        "read_ms": 0,
        "state": RUNNING,
        "error": None,
    }
    statement = insert(reports).values(**row)
    await connection.execute(statement.on_conflict_do_update(index_elements=["report_request_id"], set_=row))


async def running(connection: AsyncConnection, *, due_by_ms: int | None = None) -> list[RunningReport]:
    """Requests that run, those that are due by a moment or all."""
    query = select(reports).where(reports.c.state == RUNNING).order_by(reports.c.report_request_id)
    if due_by_ms is not None:
        query = query.where(reports.c.due_ms <= due_by_ms)
    rows = (await connection.execute(query)).mappings().all()
    return [RunningReport(**{**row, "r_ids": msgspec.json.decode(row["r_ids"], type=tuple[str, ...])}) for row in rows]


async def sent(connection: AsyncConnection, report: RunningReport, reported_ms: int, read_ms: int, now_ms: int) -> None:
    """The utility has everything up to these cursors: the next one is due, or it was the last."""
    values: dict[str, object] = {"reported_ms": reported_ms, "read_ms": read_ms, "error": None}
    over = report.end_ms is not None and reported_ms >= report.end_ms
    if over or not report.report_back_s:  # rule 324: 0 asks for one report
        values["state"] = COMPLETED
    else:
        period_ms = 1000 * report.report_back_s
        values["due_ms"] = (now_ms // period_ms + 1) * period_ms
    await _change(connection, [report.report_request_id], **values)


async def put_off(connection: AsyncConnection, report: RunningReport, due_ms: int, error: str | None) -> None:
    """Not now: it is due again at `due_ms`."""
    await _change(connection, [report.report_request_id], due_ms=due_ms, error=error)


async def end(connection: AsyncConnection, report_request_ids: Sequence[str], *, error: str | None = None) -> None:
    """No more of these."""
    await _change(connection, report_request_ids, state=CANCELLED, error=error)


async def end_all(connection: AsyncConnection) -> None:
    """The registration has ended, and with it what was asked for."""
    await connection.execute(update(reports).where(reports.c.state == RUNNING).values(state=CANCELLED))


async def _change(connection: AsyncConnection, report_request_ids: Sequence[str], **values: object) -> None:
    chosen = reports.c.report_request_id.in_(report_request_ids)
    await connection.execute(update(reports).where(chosen, reports.c.state == RUNNING).values(**values))
