"""What the aggregator holds of a utility's VTN, in PostgreSQL: everything it accepted survives its end.

    upstream_links       the registration, what the operator wishes, how it went last
    upstream_events      received ──▶ held ──▶ approved ──▶ requested ──▶ taken        on their way to a need
                             │          └──────────┴──────────┬─▶ refused
                             └──▶ noted                       └── cancelled            (from everywhere)
    upstream_needs       requested ──▶ taken ──▶ closed
                             │           └──▶ withdrawn ──▶ closed
                             └──▶ refused
    upstream_reports     running ──▶ completed | cancelled

An event that was changed is received again; what was made of it before stays in its needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    RowMapping,
    Table,
    Text,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.commands import RequestReduction
from openadr.model import DrEvent
from vtn.records.tables import metadata
from vtn.upstream.mapping import Wanted

RECEIVED, HELD, APPROVED, REQUESTED, TAKEN = "received", "held", "approved", "requested", "taken"
NOTED, REFUSED, CANCELLED = "noted", "refused", "cancelled"
WITHDRAWN, CLOSED = "withdrawn", "closed"
RUNNING, COMPLETED = "running", "completed"

links = Table(
    "upstream_links",
    metadata,
    Column("url", Text, primary_key=True, comment="2.0b address of the utility's VTN"),
    Column("registration", LargeBinary, comment="Registration as JSON; null while not registered"),
    Column("wish", Text, comment="what the operator wants done: register, cancel; null: nothing"),
    Column("enabled", Boolean, nullable=False, comment="false after `cancel`, until `register`"),
    Column("announced", LargeBinary, comment="what was announced last, as JSON; null: nothing yet"),
    Column("reached_ms", BigInteger, comment="last answer of the VTN, wall clock"),
    Column("failed_ms", BigInteger, comment="last failure, wall clock; null when it answered since"),
    Column("error", Text, comment="the last failure"),
)

events = Table(
    "upstream_events",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("modification_number", BigInteger, nullable=False),
    Column("event", LargeBinary, nullable=False, comment="DrEvent as JSON"),
    Column("digest", Text, nullable=False),
    Column("state", Text, nullable=False, comment="see upstream.records"),
    Column("offset_s", Integer, nullable=False, comment="drawn within the start-after window"),
    Column("free_ms", BigInteger, comment="cancelled: when its homes are let go"),
    Column("proposal", LargeBinary, comment="Wanted as JSON: what waits for the operator, or was asked"),
    Column("note", Text, nullable=False, comment="why it stands where it does"),
    Column("opt_type", Text, comment="optIn, optOut; null while it is not decided"),
    Column("opt_code", Integer, nullable=False),
    Column("request_id", Text, nullable=False, comment="of the oadrDistributeEvent it last came in"),
    Column("owed", Boolean, nullable=False, comment="the VTN waits for an answer"),
    Column("received_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)

needs = Table(
    "upstream_needs",
    metadata,
    Column("need_id", Text, primary_key=True),
    Column("event_id", Text, ForeignKey("upstream_events.event_id"), nullable=False, index=True),
    Column("modification_number", BigInteger, nullable=False),
    Column("request", LargeBinary, nullable=False, comment="RequestReduction as JSON"),
    Column("state", Text, nullable=False, comment="see upstream.records"),
    Column("withdraw_ms", BigInteger, comment="when its homes are let go before its end"),
    Column("delivered_wh", LargeBinary, comment="per interval as settled, JSON; null before, or few homes"),
    Column("requested_ms", BigInteger, nullable=False),
    Column("settled_ms", BigInteger, comment="when it was closed"),
)

reports = Table(
    "upstream_reports",
    metadata,
    Column("report_request_id", Text, primary_key=True),
    Column("report_specifier_id", Text, nullable=False),
    Column("r_ids", LargeBinary, nullable=False, comment="JSON"),
    Column("granularity_s", Integer, nullable=False),
    Column("report_back_s", Integer, nullable=False, comment="0: once"),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, comment="null: no end"),
    Column("due_ms", BigInteger, nullable=False),
    Column("reported_ms", BigInteger, nullable=False, comment="intervals that end by then were sent"),
    Column("read_ms", BigInteger, nullable=False, comment="readings received by then were sent"),
    Column("state", Text, nullable=False, comment="running, completed, cancelled"),
    Column("error", Text, comment="why the last report was not taken"),
)


class UpstreamLink(msgspec.Struct, frozen=True, kw_only=True):
    """How we stand with the utility's VTN. `wish`: register or cancel, where the operator wants it; times are those of
    the wall clock; `failed_ms` and `error` None: it answered since."""

    url: str
    registration: bytes | None = None
    wish: str | None = None
    enabled: bool = True
    announced: bytes | None = None
    reached_ms: int | None = None
    failed_ms: int | None = None
    error: str | None = None


class UpstreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the utility and how far it got. `proposal`: what is asked of the homes, where that is known; `note`:
    why it stands where it does; `owed`: the utility waits for the answer in `opt_type` (None: not decided yet)."""

    event_id: str
    modification_number: int
    event: DrEvent
    digest: str
    state: str
    offset_s: int
    free_ms: int | None
    proposal: Wanted | None
    note: str
    opt_type: str | None
    opt_code: int
    request_id: str
    owed: bool
    received_ms: int
    changed_ms: int

    def over(self, now_ms: int) -> bool:
        """Has its active period ended, or was it cancelled?"""
        end_ms = self.event.end_ms
        return self.event.cancelled or (end_ms is not None and end_ms + 1000 * self.offset_s <= now_ms)


class UpstreamNeed(msgspec.Struct, frozen=True, kw_only=True):
    """A need put on the ledger for an event. `delivered_wh`: per interval, once it is settled and of enough homes."""

    need_id: str
    event_id: str
    modification_number: int
    request: RequestReduction
    state: str
    withdraw_ms: int | None
    delivered_wh: tuple[int, ...] | None
    requested_ms: int
    settled_ms: int | None = None


async def read_link(connection: AsyncConnection, url: str) -> UpstreamLink:
    """The link to this VTN; a new one where nothing is kept."""
    row = (await connection.execute(select(links).where(links.c.url == url))).mappings().first()
    return UpstreamLink(url=url) if row is None else UpstreamLink(**row)


async def change_link(connection: AsyncConnection, url: str, **values: Any) -> None:
    """Change columns of a link, which is made where there is none."""
    fresh = msgspec.structs.asdict(UpstreamLink(url=url)) | values
    statement = insert(links).values(**fresh)
    await connection.execute(statement.on_conflict_do_update(index_elements=["url"], set_=values))


async def find_event(connection: AsyncConnection, event_id: str, *, lock: bool = False) -> UpstreamEvent | None:
    """The event, None if it is not known; `lock` keeps others from changing it until the transaction ends."""
    query = select(events).where(events.c.event_id == event_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().first()
    return None if row is None else _event(row)


async def list_events(connection: AsyncConnection, *states: str, without: str | None = None) -> list[UpstreamEvent]:
    """Events in these states (none named: all) but not in the state `without`, oldest first."""
    query = select(events).order_by(events.c.received_ms, events.c.event_id)
    if states:
        query = query.where(events.c.state.in_(states))
    if without is not None:
        query = query.where(events.c.state != without)
    return [_event(row) for row in (await connection.execute(query)).mappings()]


async def owed_answers(connection: AsyncConnection) -> list[UpstreamEvent]:
    """Events that are decided and whose answer the utility lacks."""
    query = select(events).where(events.c.owed, events.c.opt_type.is_not(None)).order_by(events.c.received_ms)
    return [_event(row) for row in (await connection.execute(query)).mappings()]


async def put_event(connection: AsyncConnection, event: UpstreamEvent) -> None:
    """Store a new event."""
    encoded = {"event": msgspec.json.encode(event.event), "proposal": _json(event.proposal)}
    await connection.execute(insert(events).values(**msgspec.structs.asdict(event) | encoded))


async def change_event(connection: AsyncConnection, event_id: str, **values: Any) -> None:
    """Change columns of an event."""
    for name in ("event", "proposal"):
        if name in values:
            values[name] = _json(values[name])
    await connection.execute(update(events).where(events.c.event_id == event_id).values(**values))


async def put_need(connection: AsyncConnection, need: UpstreamNeed) -> None:
    """Store a need; again changes nothing."""
    encoded = {"request": msgspec.json.encode(need.request), "delivered_wh": _json(need.delivered_wh)}
    statement = insert(needs).values(**msgspec.structs.asdict(need) | encoded)
    await connection.execute(statement.on_conflict_do_nothing())


async def list_needs(connection: AsyncConnection, *states: str, event_id: str | None = None) -> list[UpstreamNeed]:
    """Needs in these states (none named: all), of one event or all, oldest first."""
    query = select(needs).order_by(needs.c.requested_ms, needs.c.need_id)
    if states:
        query = query.where(needs.c.state.in_(states))
    if event_id is not None:
        query = query.where(needs.c.event_id == event_id)
    return [_need(row) for row in (await connection.execute(query)).mappings()]


async def change_need(connection: AsyncConnection, need_id: str, **values: Any) -> None:
    """Change columns of a need."""
    if "delivered_wh" in values:
        values["delivered_wh"] = _json(values["delivered_wh"])
    await connection.execute(update(needs).where(needs.c.need_id == need_id).values(**values))


async def withdraw_needs(connection: AsyncConnection, need_ids: Sequence[str], at_ms: int) -> None:
    """Let the homes of these needs go at `at_ms`, or earlier where that is said already."""
    earlier = needs.c.withdraw_ms.is_(None) | (needs.c.withdraw_ms > at_ms)
    await connection.execute(update(needs).where(needs.c.need_id.in_(need_ids), earlier).values(withdraw_ms=at_ms))


def _event(row: RowMapping) -> UpstreamEvent:
    proposal = row["proposal"]
    return UpstreamEvent(
        **{
            **row,
            "event": msgspec.json.decode(row["event"], type=DrEvent),
            "proposal": None if proposal is None else msgspec.json.decode(proposal, type=Wanted),
        }
    )


def _need(row: RowMapping) -> UpstreamNeed:
    delivered = row["delivered_wh"]
    return UpstreamNeed(
        **{
            **row,
            "request": msgspec.json.decode(row["request"], type=RequestReduction),
            "delivered_wh": None if delivered is None else msgspec.json.decode(delivered, type=tuple[int, ...]),
        }
    )


def _json(value: object) -> bytes | None:
    return None if value is None else msgspec.json.encode(value)
