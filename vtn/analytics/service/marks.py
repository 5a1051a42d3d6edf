"""What the scheduled analytics did last, and how good the forecasts of each day were."""

from __future__ import annotations

import msgspec
from sqlalchemy import BigInteger, Column, LargeBinary, PrimaryKeyConstraint, Table, Text, or_, select
from sqlalchemy.dialects.postgresql import insert

from vtn.records.database import Database
from vtn.records.tables import metadata

forecast_marks = Table(
    "forecast_marks",
    metadata,
    Column("program", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="day_ahead, intraday, choice, drift-<scope>"),
    Column("slot_ms", BigInteger, nullable=False, comment="the time it was due for"),
    Column("done_ms", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False, comment="a sentence"),
    Column("detail", LargeBinary, nullable=False, comment="Alarms as JSON, of drift"),
    PrimaryKeyConstraint("program", "kind"),
)

forecast_days = Table(
    "forecast_days",
    metadata,
    Column("program", Text, nullable=False),
    Column("scope", Text, nullable=False, comment="homes, virtual_nodes"),
    Column("day", Text, nullable=False, comment="local day"),
    Column("errors", LargeBinary, nullable=False, comment="DayErrors as JSON"),
    PrimaryKeyConstraint("program", "scope", "day"),
)


class Raised(msgspec.Struct, frozen=True):
    """An alarm that stood at the last look: what drifted, when it was noticed, since when, and a sentence."""

    watch: str
    noticed: str
    since: str
    text: str


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The last time something of a program was done: for which slot, when, with what outcome."""

    program: str
    kind: str
    slot_ms: int
    done_ms: int
    outcome: str
    alarms: tuple[Raised, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """What came of a step: a sentence, alarms that stand and skill over the naive model by scope."""

    text: str
    alarms: dict[str, tuple[Raised, ...]] = {}
    skills: dict[str, float] = {}


class DayMeasured(msgspec.Struct, frozen=True):
    """Errors of one local day: mean of F - A and of |F - A| in Wh an interval, share inside the 80 % band."""

    day: str
    bias: float
    mae: float
    coverage: float


class Marks:
    """Reads and writes of the tables above."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_program(self, program: str) -> dict[str, Mark]:
        """The last mark of each kind."""
        query = select(forecast_marks).where(forecast_marks.c.program == program)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return {
            row["kind"]: Mark(
                program=row["program"], kind=row["kind"], slot_ms=row["slot_ms"], done_ms=row["done_ms"],
                outcome=row["outcome"], alarms=msgspec.json.decode(row["detail"], type=tuple[Raised, ...]),
            )
            for row in rows
        }  # fmt: skip

    async def put(self, mark: Mark) -> None:
        """Keep a mark instead of the one before it; never of an older slot, but for one that is yet to come."""
        row = {
            "program": mark.program, "kind": mark.kind, "slot_ms": mark.slot_ms, "done_ms": mark.done_ms,
            "outcome": mark.outcome, "detail": msgspec.json.encode(mark.alarms),
        }  # fmt: skip
        statement = insert(forecast_marks).values(row)
        fresh = {name: statement.excluded[name] for name in ("slot_ms", "done_ms", "outcome", "detail")}
        async with self._database.transaction() as connection:
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["program", "kind"], set_=fresh,
                    where=or_(
                        forecast_marks.c.slot_ms <= statement.excluded.slot_ms,
                        forecast_marks.c.slot_ms > statement.excluded.done_ms,
                    ),
                )
            )  # fmt: skip

    async def measure(self, program: str, scope: str, measured: DayMeasured) -> None:
        """Keep how good a day was; measured again, the later measurement counts: readings may have come since."""
        row = {"program": program, "scope": scope, "day": measured.day, "errors": msgspec.json.encode(measured)}
        statement = insert(forecast_days).values(row)
        fresh = {"errors": statement.excluded.errors}
        async with self._database.transaction() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["program", "scope", "day"], set_=fresh)
            )

    async def days(self, program: str, scope: str, limit: int) -> list[DayMeasured]:
        """The newest days, oldest first."""
        table = forecast_days.c
        query = (
            select(table.errors)
            .where(table.program == program, table.scope == scope)
            .order_by(table.day.desc())
            .limit(limit)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).scalars().all()
        return [msgspec.json.decode(data, type=DayMeasured) for data in reversed(rows)]
