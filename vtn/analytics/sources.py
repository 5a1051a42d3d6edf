"""Where readings come from: files of any meter, or the telemetry of the VTN; cleaned, with what was found.

A file is CSV or Parquet. Wide: a column of stamps and one for each home. Long: columns of stamp, home and value. Stamps
are ISO 8601 with an offset, or epoch seconds or milliseconds; stamps without an offset need the zone they are in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forecasting.clustering.traits import Site
from forecasting.errors import BadReadings, ForecastError
from forecasting.panels.cleaning import Cleaned, Finding, Kind, cleaned
from forecasting.panels.panel import Panel

if TYPE_CHECKING:
    from vtn.context import Vtn

_STAMPS = ("ts", "time", "timestamp", "start", "datetime", "date")
_HOMES = ("home", "home_id", "id", "ven", "ven_id", "meter", "site")
_VALUES = ("value", "energy", "energy_wh", "wh", "kwh", "load")
_DAY_MS = 86_400_000


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
) -> Loaded:
    """The homes of a file. interval_s: None takes the commonest step of the stamps.

    Raises BadReadings where the file has no stamps or no home in it is usable, with the reason of the first.
    """
    frame = table(path)
    stamp = _column(frame, _STAMPS, path)
    stamps = epoch_ms(frame[stamp], path, naive_zone)
    home = next((name for name in frame.columns if str(name).lower() in _HOMES), None)
    rows: dict[str, tuple[Any, Any]] = {}
    if home is None:
        for name in frame.columns:
            if name != stamp:
                rows[str(name)] = (stamps, _numbers(frame[name], path))
    else:
        values = _numbers(frame[_column(frame, _VALUES, path)], path)
        for name, positions in frame.groupby(home, sort=True).indices.items():
            rows[str(name)] = (stamps[positions], values[positions])
    step_s = interval_s or _step_s([each for each, _ in rows.values()], path)
    return _loaded(rows, step_s, unit, kind, zone)


def table(path: Path) -> Any:
    """A CSV or Parquet file as a data frame, an index with a name as a column. Raises BadReadings."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix in (".parquet", ".pq") else pd.read_csv(path)
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise BadReadings(f"{path} is no table: {error}") from error
    return frame.reset_index() if frame.index.name is not None else frame


def epoch_ms(column: Any, path: Path | str, naive_zone: str | None = None) -> Any:
    """Stamps in UTC epoch ms. Raises BadReadings for stamps that cannot be read, or without offset and zone."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64)
        return np.asarray(numbers * (1000 if np.nanmax(np.abs(numbers), initial=0) < 1e11 else 1), dtype=np.int64)
    try:
        stamps = pd.to_datetime(column, format="ISO8601") if column.dtype != "datetime64[ns]" else column
        if stamps.dt.tz is None:
            if naive_zone is None:
                raise BadReadings(f"the stamps of {path} have no offset: name the zone they are in (--naive-zone)")
            stamps = stamps.dt.tz_localize(naive_zone, ambiguous="infer", nonexistent="shift_forward")
    except (ValueError, TypeError, AttributeError) as error:
        raise BadReadings(f"the stamps of {path} cannot be read: {error}") from error
    return stamps.dt.tz_convert("UTC").dt.as_unit("ms").astype("int64").to_numpy()


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
    rows: dict[str, tuple[Any, Any]] = {}
    for first in range(0, len(homes), 200):
        ids = [ven.ven_id for ven in homes[first : first + 200]]
        for ven_id, readings in (await vtn.telemetry.histories(ids, now_ms - days * _DAY_MS, now_ms)).items():
            count = len(readings)
            rows[ven_id] = (
                np.fromiter(readings.keys(), np.int64, count), np.fromiter(readings.values(), np.float64, count)
            )  # fmt: skip
    loaded = _loaded(rows, terms.interval_s, "Wh", "net", terms.zone, now_ms=now_ms, w_max=terms.connection_w)
    sites = {ven.ven_id: Site(ven.area, ven.program) for ven in homes}
    return loaded, sites, {ven.ven_id: ven.virtual_node for ven in homes if ven.virtual_node is not None}


def _loaded(
    rows: Mapping[str, tuple[Any, Any]], interval_s: int, unit: str, kind: Kind, zone: str, *,
    now_ms: int | None = None, w_max: float | None = None,
) -> Loaded:  # fmt: skip
    """Each home cleaned by itself: one bad meter spoils no other."""
    good: dict[str, Cleaned] = {}
    refused: dict[str, str] = {}
    for name, (stamps, values) in rows.items():
        there = ~np.isnan(values)
        pairs = zip(stamps[there].tolist(), values[there].tolist(), strict=True)
        try:
            made = cleaned(pairs, interval_s, unit=unit, kind=kind, zone=zone, now_ms=now_ms, power_w_max=w_max)
        except ForecastError as error:
            refused[name] = str(error)
            continue
        if made.series.readings:
            good[name] = made
        else:
            refused[name] = "no usable reading"
    if not good:
        first = next(iter(refused.items()), ("", "there is no home"))
        raise BadReadings(f"no home has usable readings; {first[0]}: {first[1]}")
    panel = Panel.of({name: each.series for name, each in good.items()})
    return Loaded(panel, {name: each.findings for name, each in good.items() if each.findings}, refused)


def _column(frame: Any, names: Sequence[str], path: Path) -> Any:
    found = next((name for name in frame.columns if str(name).lower() in names), None)
    if found is None:
        there = ", ".join(str(name) for name in frame.columns[:6])
        raise BadReadings(f"{path} has no column {names[0]} (or {', '.join(names[1:])}); it has {there}")
    return found


def _numbers(column: Any, path: Path) -> Any:
    """Values as floats, NaN for empty ones. Raises BadReadings for text."""
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce")
    text = column[values.isna() & column.notna()]
    if len(text):
        raise BadReadings(f"{path} holds {text.iloc[0]!r} in the column {column.name}, which is no number")
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _step_s(stamps: Sequence[Any], path: Path) -> int:
    """The commonest step between stamps of a home."""
    steps = np.concatenate([np.diff(np.unique(each)) for each in stamps[:20]] or [np.array([], dtype=np.int64)])
    steps = steps[steps > 0]
    if not len(steps):
        raise BadReadings(f"{path} has one stamp alone: name the interval")
    values, counts = np.unique(steps, return_counts=True)
    step_ms = int(values[counts.argmax()])
    if step_ms % 1000 or _DAY_MS % step_ms:
        raise BadReadings(f"the commonest step of {path} is {step_ms / 1000:g} s, which does not divide a day")
    return step_ms // 1000
