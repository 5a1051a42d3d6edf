"""What analytics made, in PostgreSQL: each forecast with what was known when, each choice of a model, each review.

A run is kept as it was issued and never changed: when a dispatch is audited, it says what the aggregator could know.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import BigInteger, Column, Index, LargeBinary, PrimaryKeyConstraint, Table, Text, delete, select
from sqlalchemy.dialects.postgresql import insert

from forecasting.panels.forecasts import PanelForecast
from forecasting.panels.panel import Panel
from forecasting.panels.weather import Weather
from vtn.errors import NotFound
from vtn.records.database import Database
from vtn.records.tables import metadata

HOMES, VIRTUAL_NODES, FEEDERS = "homes", "virtual_nodes", "feeders"

forecast_runs = Table(
    "forecast_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("scope", Text, nullable=False, comment="homes, virtual_nodes"),
    Column("program", Text, nullable=False),
    Column("issued_at_ms", BigInteger, nullable=False),
    Column("known_until_ms", BigInteger, nullable=False, comment="end of the latest reading used"),
    Column("start_ms", BigInteger, nullable=False),
    Column("model", Text, nullable=False, comment="name in the catalogue"),
    Column("run", LargeBinary, nullable=False, comment="Run as JSON, compressed"),
    Column("made_ms", BigInteger, nullable=False),
    Index("forecast_runs_by_start", "program", "scope", "start_ms"),
)

forecast_choices = Table(
    "forecast_choices",
    metadata,
    Column("program", Text, nullable=False),
    Column("scope", Text, nullable=False, comment="homes, virtual_nodes"),
    Column("chosen_ms", BigInteger, nullable=False),
    Column("choice", LargeBinary, nullable=False, comment="Chosen as JSON: the model, its skill, the table"),
    PrimaryKeyConstraint("program", "scope", "chosen_ms"),
)

cluster_reviews = Table(
    "cluster_reviews",
    metadata,
    Column("program", Text, nullable=False),
    Column("reviewed_ms", BigInteger, nullable=False),
    Column("review", LargeBinary, nullable=False, comment="Review as JSON: who is where, moves, quality"),
    PrimaryKeyConstraint("program", "reviewed_ms"),
)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast as issued. `entry` is the model's name in the catalogue, `model` its name with all settings.

    history_sha256 is over start, interval and every value the history held at the issue: the same history and model
    give the same values again. weather: source, "forecast" or "observed", and when it was issued; None without.
    values and quantiles: Wh an interval for each series, null where it was refused.
    """

    run_id: str
    scope: str
    program: str
    entry: str
    model: str
    version: int
    issued_at_ms: int
    known_until_ms: int
    start_ms: int
    interval_s: int
    history_sha256: str
    history_readings: int
    weather: tuple[str, str, int | None] | None
    series: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    quantiles: dict[str, tuple[tuple[float | None, ...], ...]]
    basis: tuple[str, ...]
    reasons: dict[str, tuple[str, ...]]
    refused: dict[str, str]


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A choice of a model: its skill over the seasonal naive, why, and the scores of all that were tested."""

    program: str
    scope: str
    chosen_ms: int
    model: str
    skill: float
    reason: str
    table: dict[str, dict[str, float | None]]


class Moved(msgspec.Struct, frozen=True):
    """A home's move between clusters; "" where it came from or went to nowhere."""

    day: str
    home: str
    left: str
    joined: str
    reason: str


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """Who is in which cluster after a review, who leans where and for how long, and what was moved and why."""

    program: str
    reviewed_ms: int
    assignment: dict[str, str]
    leaning: dict[str, tuple[str, int]] = {}
    moves: tuple[Moved, ...] = ()
    silhouette: float | None = None


def run_of(
    forecast: PanelForecast, history: Panel, *, entry: str, scope: str, program: str, weather: Weather | None = None
) -> Run:
    """A forecast as it is kept. Its id follows from what made it: the same run again has the same id."""
    known = history.ended_by(forecast.issued_at_ms)
    digest = hashlib.sha256(f"{known.start_ms} {known.interval_s} {' '.join(known.ids)}".encode())
    digest.update(known.values.astype("<f4").tobytes())
    name = f"{scope} {program} {forecast.model} {forecast.version} {forecast.issued_at_ms} {forecast.start_ms}"
    shape = f"{forecast.values.shape} {sorted(forecast.quantiles)} {digest.hexdigest()}"
    return Run(
        run_id="fc-" + hashlib.sha256(f"{name} {shape}".encode()).hexdigest()[:20],
        scope=scope,
        program=program,
        entry=entry,
        model=forecast.model,
        version=forecast.version,
        issued_at_ms=forecast.issued_at_ms,
        known_until_ms=forecast.known_until_ms,
        start_ms=forecast.start_ms,
        interval_s=forecast.interval_s,
        history_sha256=digest.hexdigest(),
        history_readings=int((known.values == known.values).sum()),
        weather=None if weather is None else (weather.source, weather.kind, weather.issued_at_ms),
        series=forecast.ids,
        values=_rows(forecast.values.tolist()),
        quantiles={f"{level:g}": _rows(rows.tolist()) for level, rows in forecast.quantiles.items()},
        basis=forecast.basis,
        reasons=dict(forecast.reasons),
        refused=dict(forecast.refused),
    )


class Runs:
    """Reads and writes of the tables above; a run is written once and stays."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, run: Run, made_ms: int) -> None:
        """Keeps a run; the same one again changes nothing."""
        row = {
            "run_id": run.run_id, "scope": run.scope, "program": run.program, "issued_at_ms": run.issued_at_ms,
            "known_until_ms": run.known_until_ms, "start_ms": run.start_ms, "model": run.entry,
            "run": await asyncio.to_thread(_packed, run), "made_ms": made_ms,
        }  # fmt: skip
        async with self._database.transaction() as connection:
            await connection.execute(insert(forecast_runs).values(row).on_conflict_do_nothing())

    async def run(self, run_id: str) -> Run:
        """Raises NotFound."""
        query = select(forecast_runs.c.run).where(forecast_runs.c.run_id == run_id)
        async with self._database.reading() as connection:
            data = await connection.scalar(query)
        if data is None:
            raise NotFound("forecast_run_unknown", f"there is no forecast run {run_id}: `dr-vtn forecasts list`")
        return msgspec.json.decode(zlib.decompress(data), type=Run)

    async def runs(self, program: str, scope: str, first_ms: int, end_ms: int) -> list[Run]:
        """Runs whose forecast starts in first_ms <= start < end_ms, in the order of start and issue."""
        table = forecast_runs.c
        query = (
            select(table.run)
            .where(table.program == program, table.scope == scope, table.start_ms >= first_ms, table.start_ms < end_ms)
            .order_by(table.start_ms, table.issued_at_ms, table.run_id)
        )
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).scalars().all()
        return [msgspec.json.decode(zlib.decompress(data), type=Run) for data in found]

    async def forget(self, before_ms: int) -> int:
        """Removes runs whose forecast starts before an instant; how many there were."""
        async with self._database.transaction() as connection:
            done = await connection.execute(delete(forecast_runs).where(forecast_runs.c.start_ms < before_ms))
        return int(done.rowcount)

    async def choose(self, chosen: Chosen) -> None:
        """Keeps a choice; the newest of a program and scope counts. Those of a clock that was ahead are forgotten."""
        row = {"program": chosen.program, "scope": chosen.scope, "chosen_ms": chosen.chosen_ms,
               "choice": msgspec.json.encode(chosen)}  # fmt: skip
        table = forecast_choices.c
        ahead = delete(forecast_choices).where(
            table.program == chosen.program, table.scope == chosen.scope, table.chosen_ms > chosen.chosen_ms
        )
        async with self._database.transaction() as connection:
            await connection.execute(ahead)
            await connection.execute(insert(forecast_choices).values(row).on_conflict_do_nothing())

    async def chosen(self, program: str, scope: str) -> Chosen | None:
        """The newest choice; None before the first."""
        table = forecast_choices.c
        query = (
            select(table.choice)
            .where(table.program == program, table.scope == scope)
            .order_by(table.chosen_ms.desc())
            .limit(1)
        )
        async with self._database.reading() as connection:
            data = await connection.scalar(query)
        return None if data is None else msgspec.json.decode(data, type=Chosen)

    async def review(self, review: Review) -> None:
        """Keeps a review of the clusters."""
        row = {"program": review.program, "reviewed_ms": review.reviewed_ms, "review": msgspec.json.encode(review)}
        async with self._database.transaction() as connection:
            await connection.execute(insert(cluster_reviews).values(row).on_conflict_do_nothing())

    async def reviews(self, program: str, limit: int = 20) -> list[Review]:
        """The newest reviews, newest first."""
        table = cluster_reviews.c
        query = select(table.review).where(table.program == program).order_by(table.reviewed_ms.desc()).limit(limit)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).scalars().all()
        return [msgspec.json.decode(data, type=Review) for data in found]


def _packed(run: Run) -> bytes:
    return zlib.compress(msgspec.json.encode(run), 6)


def _rows(values: Sequence[Sequence[float]]) -> tuple[tuple[float | None, ...], ...]:
    """To a tenth of a watt-hour; NaN as null."""
    return tuple(tuple(None if value != value else round(value, 1) for value in row) for row in values)


def scores(table: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Scores for JSON: NaN as null."""
    return {name: {key: None if v != v else round(v, 6) for key, v in row.items()} for name, row in table.items()}
