"""The record of who did what to whom, kept in the transaction that did it; the database refuses to change or remove it.

Who acts is a matter of the surroundings, not of each call: a command acts for its operator, a request for the VEN that
sent it, everything else for the VTN itself.
"""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, LargeBinary, Table, Text, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vtn.records.database import Database
from vtn.records.tables import metadata

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("actor", Text, nullable=False, comment="vtn, operator:<user>, ven:<venID>"),
    Column("act", Text, nullable=False, comment="certificate_issued, ven_approved, ..."),
    Column("subject", Text, nullable=False, comment="whom or what it was done to: a venID"),
    Column("detail", LargeBinary, nullable=False, comment="JSON"),
    Index("audit_entries_by_subject", "subject", "sequence"),
)

_ACTOR: ContextVar[str] = ContextVar("actor", default="vtn")


class AuditEntry(msgspec.Struct, frozen=True):
    """One act. `at` is the database's wall clock."""

    sequence: int
    at: datetime
    actor: str
    act: str
    subject: str
    detail: dict[str, Any]


class Audit:
    """The entries, for reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(self, *, subject: str | None = None, after: int = 0, limit: int = 200) -> list[AuditEntry]:
        """Entries behind the one numbered `after`, oldest first, about one subject or all."""
        query = select(audit_entries).where(audit_entries.c.sequence > after).order_by(audit_entries.c.sequence)
        if subject is not None:
            query = query.where(audit_entries.c.subject == subject)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.limit(limit))).mappings().all()
        return [AuditEntry(**{**row, "detail": msgspec.json.decode(row["detail"])}) for row in rows]


async def record(connection: AsyncConnection, act: str, subject: str, **detail: Any) -> None:
    """Note an act of whoever acts here, inside the transaction that carries it out."""
    values = {"actor": _ACTOR.get(), "act": act, "subject": subject, "detail": msgspec.json.encode(detail)}
    await connection.execute(insert(audit_entries).values(**values))


def actor() -> str:
    """Who acts here, as entries name them."""
    return _ACTOR.get()


@contextlib.contextmanager
def acting(actor: str) -> Iterator[None]:
    """What happens in the block is done by `actor`."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)


def operator() -> str:
    """The operator at this terminal, as entries name them."""
    try:
        return f"operator:{getpass.getuser()}"
    except (KeyError, OSError):  # an account without a name: a container's number
        return "operator"
