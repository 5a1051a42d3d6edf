"""Proposals in PostgreSQL: what was known, what is proposed, and what became of it.

    open ──approve──▶ approved ──the utility signed it──▶ submitted       without the utility's key
      ├────approve──▶ requested ──the ledger took it────▶ submitted       with it
      │                    └───────the ledger did not───▶ refused
      ├────reject───▶ rejected
      └──(approved, too)── its time is over ────────────▶ expired

One proposal an area and day: what was rejected is not proposed again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    RowMapping,
    Table,
    Text,
    UniqueConstraint,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.commands import RequestReduction
from vtn.errors import NotFound
from vtn.records.tables import metadata

OPEN, APPROVED, REQUESTED, SUBMITTED = "open", "approved", "requested", "submitted"
REFUSED, REJECTED, EXPIRED = "refused", "rejected", "expired"

STATES = (OPEN, APPROVED, REQUESTED, SUBMITTED, REFUSED, REJECTED, EXPIRED)

event_proposals = Table(
    "event_proposals",
    metadata,
    Column("proposal_id", Text, primary_key=True),
    Column("program", Text, nullable=False),
    Column("area", Text, nullable=False),
    Column("day", Text, nullable=False, comment="local day it is for"),
    Column("state", Text, nullable=False, comment="open, approved, requested, submitted, refused, rejected, expired"),
    Column("expires_ms", BigInteger, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("decided_ms", BigInteger),
    Column("decided_by", Text, nullable=False, comment="actor as in the audit; empty: nobody"),
    Column("note", Text, nullable=False, comment="why it was rejected or refused"),
    Column("proposal", LargeBinary, nullable=False, comment="Proposed as JSON"),
    UniqueConstraint("program", "area", "day"),
)


class Beyond(msgspec.Struct, frozen=True):
    """An interval in which the area may pass its limit: by how much at most (W), and with what chance at least."""

    start_ms: int
    beyond_w: float
    chance: float


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it was proposed. run_id: the forecast it rests on, known_until_ms: end of the latest reading in it;
    limits in W, None where there is none; signals: file of prices and CO2, "" without; change_wh: load shifted by
    interval from `from_ms` on; figures of the day with it and without; request: the need, not signed."""

    run_id: str
    model: str
    issued_at_ms: int
    known_until_ms: int
    import_w: int | None
    export_w: int | None
    beyond: tuple[Beyond, ...]
    policy: str
    signals: str
    from_ms: int
    change_wh: tuple[float, ...]
    figures: dict[str, float]
    without: dict[str, float]
    reason: str
    request: RequestReduction


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal and what became of it; decided_by "" and decided_ms None while nobody decided."""

    proposal_id: str
    program: str
    area: str
    day: str
    state: str
    expires_ms: int
    made_ms: int
    decided_ms: int | None
    decided_by: str
    note: str
    proposal: Proposed


async def add(connection: AsyncConnection, proposal: Proposal) -> bool:
    """Keep a new one; False where the area has one for this day already."""
    row = msgspec.structs.asdict(proposal) | {"proposal": msgspec.json.encode(proposal.proposal)}
    done = await connection.execute(insert(event_proposals).values(row).on_conflict_do_nothing())
    return bool(done.rowcount)


async def find(connection: AsyncConnection, proposal_id: str, *, lock: bool = False) -> Proposal:
    """One of them. Raises NotFound."""
    query = select(event_proposals).where(event_proposals.c.proposal_id == proposal_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().first()
    if row is None:
        raise NotFound("proposal_unknown", f"there is no proposal {proposal_id}: `dr-vtn proposals list`")
    return _proposal(row)


async def found(connection: AsyncConnection, *states: str) -> list[Proposal]:
    """Those in these states, or all, newest first."""
    query = select(event_proposals).order_by(event_proposals.c.made_ms.desc(), event_proposals.c.proposal_id)
    if states:
        query = query.where(event_proposals.c.state.in_(states))
    return [_proposal(row) for row in (await connection.execute(query)).mappings()]


async def days_of(connection: AsyncConnection, program: str, day: str, areas: Sequence[str]) -> set[str]:
    """Which of these areas have a proposal for the day."""
    e = event_proposals.c
    query = select(e.area).where(e.program == program, e.day == day, e.area.in_(areas))
    return set((await connection.execute(query)).scalars())


async def change(connection: AsyncConnection, proposal_id: str, **values: object) -> None:
    """New values of a proposal's columns."""
    await connection.execute(
        update(event_proposals).where(event_proposals.c.proposal_id == proposal_id).values(**values)
    )


def _proposal(row: RowMapping) -> Proposal:
    return Proposal(**{**row, "proposal": msgspec.json.decode(row["proposal"], type=Proposed)})
