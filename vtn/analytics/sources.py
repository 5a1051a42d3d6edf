"""Where readings come from: files of any meter, or the telemetry of the VTN; cleaned, with what was found.

A file is CSV or Parquet. Wide: a column of stamps and one for each home. Long: columns of stamp, home and value.
`vtn.analytics.stamps` says how stamps are read; those of a column named end, and of `stamped`, are of interval ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from forecasting.calendar import SiteCalendar
from forecasting.clustering.traits import Site
from forecasting.errors import BadReadings, ForecastError
from forecasting.panels.cleaning import Finding, Stamped, cleaned
from forecasting.panels.panel import Panel
from forecasting.panels.units import Kind
from vtn.analytics.stamps import UNREADABLE, epoch_ms
from vtn.records.database import Database
from vtn.records.tables import telemetry, vens

if TYPE_CHECKING:
    from vtn.context import Vtn

_STAMPS = ("ts", "time", "timestamp", "start", "datetime", "date")
_END_STAMPS = ("end", "ts_end", "end_ts", "interval_end", "period_end", "time_end")
_HOMES = ("home", "home_id", "id", "ven", "ven_id", "meter", "site")
_VALUES = ("value", "energy", "energy_wh", "wh", "kwh", "load")
_DAY_MS = 86_400_000
_TEXT_SHARE_MAX = 0.05
_HOMES_AT_ONCE = 20


@dataclass(frozen=True)
class Loaded:
    """Readings of several homes, the faults found in each, and homes that were refused with the reason."""

    panel: Panel
    findings: Mapping[str, tuple[Finding, ...]]
    refused: Mapping[str, str]


def from_file(
    path: Path,
    *,
    unit: str = "kWh",
    kind: Kind = "load",
    zone: str = "UTC",
    interval_s: int | None = None,
    naive_zone: str | None = None,
    stamped: Stamped = "start",
) -> Loaded:
    """The homes of a file. interval_s: None takes the commonest step of the stamps.

    Raises BadReadings where the file has no stamps or no home in it is usable, with the reason of the first, ValueError
    for an unknown zone.
    """
    for named in (zone, naive_zone or zone):
        SiteCalendar(named)  # a misspelt zone is said before a large file is read
    frame = table(path)
    ends = [name for name in frame.columns if str(name).lower() in _END_STAMPS]
    starts = [name for name in frame.columns if str(name).lower() in _STAMPS]
    if ends and not starts:
        stamp, stamped = ends[0], "end"
    else:
        stamp, frame = _column(frame, _STAMPS, path), frame.drop(columns=ends)
    home = _homes_column(frame)
    stamps = epoch_ms(frame[stamp], path, naive_zone, None if home is None else frame[home])
    rows: dict[str, tuple[Any, Any]] = {}
    lost: dict[str, tuple[Finding, ...]] = {}
    refused: dict[str, str] = {}

    def take(name: str, at: Any, column: Any) -> None:
        values, text = _numbers(column)
        if text.sum() > _TEXT_SHARE_MAX * len(text):
            refused[name] = f"it holds {column[text].iloc[0]!r}, which is no number"
            return
        readable = at != UNREADABLE
        found = (("no time", int((~readable).sum())), ("no number", int(text.sum())))
        lost[name] = tuple(Finding(fault, count, "left out") for fault, count in found if count)
        rows[name] = (at[readable], values[readable])

    if home is None:
        for name in frame.columns:
            if name != stamp:
                take(str(name), stamps, frame[name])
    else:
        values = frame[_column(frame, _VALUES, path)]
        for name, positions in frame.groupby(home, sort=True).indices.items():
            take(str(name), stamps[positions], values.iloc[positions])
    if refused and not rows:
        raise BadReadings(f"no home has usable readings; {next(iter(refused))}: {next(iter(refused.values()))}")
    step_s = interval_s or _step_s([each for each, _ in rows.values()], path)
    gathered = _Gathered(step_s, unit, kind, zone, stamped=stamped)
    gathered.take(rows)
    loaded = gathered.loaded()
    findings = {name: (*lost[name], *loaded.findings.get(name, ())) for name in loaded.panel.ids}
    return replace(
        loaded, findings={name: each for name, each in findings.items() if each}, refused=refused | dict(loaded.refused)
    )


def table(path: Path) -> Any:
    """A CSV or Parquet file as a data frame, an index with a name or of times as a column. A CSV may have semicolons or
    tabs between its columns, and commas for decimal points then. Raises BadReadings."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix in (".parquet", ".pq") else pd.read_csv(path, **_separators(path))
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise BadReadings(f"{path} is no table: {error}") from error
    if frame.index.name is None and isinstance(frame.index, pd.DatetimeIndex):
        frame.index.name = _STAMPS[0]
    return frame.reset_index() if frame.index.name is not None else frame


def _separators(path: Path) -> dict[str, str]:
    """What stands between columns, and in decimal numbers, by the first two lines of a CSV."""
    with path.open(encoding="utf-8") as file:
        head, first = file.readline(), file.readline()
    found = next((each for each in (";", "\t") if each in head and "," not in head), ",")
    return {"sep": found, "decimal": "," if found != "," and "," in first else "."}


def sites_of(path: Path) -> dict[str, Site]:
    """Feeder, programme and PV of homes: columns home_id, feeder (or feeder_id), programme, pv_kwp; the first two are
    needed. Raises BadReadings."""
    frame = table(path)
    home = _column(frame, _HOMES, path)
    feeder = _column(frame, ("feeder", "feeder_id", "area"), path)
    programme = next((name for name in frame.columns if str(name).lower() in ("programme", "program")), None)
    pv = "pv_kwp" if "pv_kwp" in frame.columns else None
    return {
        str(row[home]): Site(
            str(row[feeder]),
            "" if programme is None else str(row[programme]),
            None if pv is None or row[pv] != row[pv] else float(row[pv]),
        )
        for row in frame.to_dict("records")
    }


async def from_telemetry(vtn: Vtn, program: str, days: int) -> tuple[Loaded, dict[str, Site], dict[str, str]]:
    """Readings, sites and virtual nodes (home to group) of the homes enrolled in a program, over the last `days`.

    Raises BadReadings without any usable reading, NotFound for an unknown program.
    """
    terms = (await vtn.programs.get(program)).terms
    now_ms = vtn.clock.now_ms()
    homes = [ven for ven in await vtn.vens.list(status="enrolled") if ven.program == program]
    found = _Gathered(terms.interval_s, "Wh", "net", terms.zone, now_ms=now_ms, w_max=terms.connection_w)
    for first in range(0, len(homes), _HOMES_AT_ONCE):
        ids = [ven.ven_id for ven in homes[first : first + _HOMES_AT_ONCE]]
        rows = await _columns(vtn.database, ids, now_ms - days * _DAY_MS, now_ms)
        # Off the event loop: every reading is looked at.
        await asyncio.to_thread(found.take, rows)
    loaded = await asyncio.to_thread(found.loaded)
    sites = {ven.ven_id: Site(ven.area, ven.program) for ven in homes}
    return loaded, sites, {ven.ven_id: ven.virtual_node for ven in homes if ven.virtual_node is not None}


async def _columns(
    database: Database, ven_ids: Sequence[str], first_ms: int, end_ms: int
) -> dict[str, tuple[Any, Any]]:
    """Starts and Wh of the meters of these VENs as arrays: `Telemetry.histories` for long histories."""
    t = telemetry.c
    query = (
        select(
            t.ven_id,
            func.array_agg(aggregate_order_by(t.start_ms, t.start_ms)),
            func.array_agg(aggregate_order_by(t.energy_wh, t.start_ms)),
        )
        .join(vens, vens.c.ven_id == t.ven_id)
        .where(t.ven_id.in_(ven_ids), t.start_ms >= first_ms, t.start_ms < end_ms, t.quality != "missing")
        .where(t.r_id == vens.c.meter_r_id)
        .group_by(t.ven_id)
    )
    found = {ven_id: (np.empty(0, np.int64), np.empty(0)) for ven_id in ven_ids}
    async with database.reading() as connection:
        for ven_id, starts, energy in await connection.execute(query):
            found[ven_id] = (np.array(starts, np.int64), np.array(energy, np.float64))
    return found


def masked(panel: Panel, event_days: Mapping[str, Collection[date]], calendar: SiteCalendar) -> Panel:
    """The panel without the event days of each home."""
    values = panel.values.copy()
    for row, home in enumerate(panel.ids):
        for day in event_days.get(home, ()):
            first = (calendar.start_ms(day) - panel.start_ms) // panel.step_ms
            end = -(-(calendar.start_ms(day + timedelta(days=1)) - panel.start_ms) // panel.step_ms)
            values[row, max(first, 0) : max(end, 0)] = np.nan
    return Panel(panel.ids, panel.start_ms, panel.interval_s, values)


class _Gathered:
    """Homes cleaned one after the other, each by itself: one bad meter spoils no other.

    A home is kept as a row of numbers at once: as readings in Python ten thousand of them take fifteen gigabytes."""

    def __init__(
        self, interval_s: int, unit: str, kind: Kind, zone: str, *, now_ms: int | None = None,
        w_max: float | None = None, stamped: Stamped = "start",
    ) -> None:  # fmt: skip
        self._step_ms = interval_s * 1000
        self._clean = partial(
            cleaned, interval_s=interval_s, unit=unit, kind=kind, zone=zone, now_ms=now_ms, power_w_max=w_max,
            stamped=stamped,
        )  # fmt: skip
        self._rows: dict[str, tuple[int, Any]] = {}
        self._findings: dict[str, tuple[Finding, ...]] = {}
        self._refused: dict[str, str] = {}

    def take(self, rows: Mapping[str, tuple[Any, Any]]) -> None:
        """Stamps and values of homes."""
        for name, (stamps, values) in rows.items():
            there = ~np.isnan(values)
            try:
                made = self._clean(zip(stamps[there].tolist(), values[there].tolist(), strict=True))
            except ForecastError as error:
                self._refused[name] = str(error)
                continue
            if not made.series.readings:
                self._refused[name] = "no usable reading"
                continue
            alone = Panel.of({name: made.series})
            self._rows[name] = (alone.start_ms, alone.values[0])
            if made.findings:
                self._findings[name] = made.findings

    def loaded(self) -> Loaded:
        """All of them side by side. Raises BadReadings where there is none."""
        if not self._rows and not self._refused:
            raise BadReadings("no home has usable readings: there is no home")
        if not self._rows:
            name, why = next(iter(self._refused.items()))
            raise BadReadings(f"no home has usable readings; {name}: {why}")
        step_ms, first_ms = self._step_ms, min(start_ms for start_ms, _ in self._rows.values())
        end_ms = max(start_ms + len(values) * step_ms for start_ms, values in self._rows.values())
        side = np.full((len(self._rows), (end_ms - first_ms) // step_ms), np.nan, dtype=np.float32)
        for row, (start_ms, values) in enumerate(self._rows.values()):
            first = (start_ms - first_ms) // step_ms
            side[row, first : first + len(values)] = values
        panel = Panel(tuple(self._rows), first_ms, step_ms // 1000, side)
        return Loaded(panel, self._findings, self._refused)


def _homes_column(frame: Any) -> Any:
    """The column that names the home of each row; None in a wide table, also of a home that is called home."""
    found = next((name for name in frame.columns if str(name).lower() in _HOMES), None)
    if found is None or any(str(name).lower() in _VALUES for name in frame.columns):
        return found
    return None if frame[found].dtype.kind in "iuf" else found


def _column(frame: Any, names: Sequence[str], path: Path) -> Any:
    found = next((name for name in frame.columns if str(name).lower() in names), None)
    if found is None:
        there = ", ".join(str(name) for name in frame.columns[:6])
        raise BadReadings(f"{path} has no column {names[0]} (or {', '.join(names[1:])}); it has {there}")
    return found


def _numbers(column: Any) -> tuple[Any, Any]:
    """Values as floats, NaN for what is empty or text, and which are text."""
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce")
    return values.to_numpy(dtype=np.float64, na_value=np.nan), (values.isna() & column.notna()).to_numpy(dtype=bool)


def _step_s(stamps: Sequence[Any], path: Path) -> int:
    """The commonest step between stamps of a home."""
    steps = np.concatenate([np.diff(np.unique(each)) for each in stamps[:20]] or [np.array([], dtype=np.int64)])
    steps = steps[steps > 0]
    if not len(steps):
        raise BadReadings(f"{path} has one stamp alone: two readings at least name the interval")
    values, counts = np.unique(steps, return_counts=True)
    step_ms = int(values[counts.argmax()])
    if step_ms % 1000 or _DAY_MS % step_ms:
        raise BadReadings(f"the commonest step of {path} is {step_ms / 1000:g} s, which does not divide a day")
    return step_ms // 1000
