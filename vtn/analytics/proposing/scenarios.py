"""The day a proposal is about: the forecast beside prices and CO2, and what can be shed of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forecasting.errors import BadReadings
from forecasting.panels.panel import Floats
from vtn.analytics.proposing.policies import Bounds, Scenario
from vtn.analytics.runs import Run
from vtn.analytics.sources import table
from vtn.analytics.stamps import epoch_ms

COLUMNS = ("price_per_kwh", "carbon_kg_per_kwh", "generation_wh")


def signals_of(path: Path, start_ms: int, interval_s: int, count: int) -> dict[str, Floats]:
    """Prices and CO2 of a kWh, and generation in Wh, of `count` intervals from `start_ms`; a column that is not in the
    file is 0. The file has a column ts, and each row holds until the next. Raises BadReadings where it does not cover
    them."""
    frame = table(path)
    if "ts" not in frame.columns:
        raise BadReadings(f"{path} has no column ts")
    stamps = epoch_ms(frame["ts"], path)
    starts = start_ms + interval_s * 1000 * np.arange(count)
    at = np.searchsorted(stamps, starts, side="right") - 1
    if (at < 0).any() or starts[-1] >= stamps[-1] + max(int(np.diff(stamps).max(initial=0)), 1):
        begins = datetime.fromtimestamp(start_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
        raise BadReadings(f"{path} does not cover the forecast from {begins} on")
    return {
        name: (frame[name].to_numpy(dtype=np.float64) if name in frame.columns else np.zeros(len(frame)))[at]
        for name in COLUMNS
    }


def scenario(
    net_wh: Floats,
    interval_s: int,
    signals: Mapping[str, Floats] | None,
    *,
    flexible: float,
    most_wh: float = np.inf,
    rebound: float,
    bounds: Bounds | None = None,
) -> Scenario:
    """A forecast net of generation with its signals. flexible: share of the load that can be shed, `most_wh` an
    interval at most. Without generation in the signals what is exported is taken for all there is."""
    nothing = np.zeros(len(net_wh))
    given = signals or dict.fromkeys(COLUMNS, nothing)
    generation = np.maximum(given["generation_wh"], np.maximum(-net_wh, 0))
    load = net_wh + generation
    return Scenario(
        interval_s,
        load,
        generation,
        given["price_per_kwh"],
        given["carbon_kg_per_kwh"],
        np.minimum(flexible * load, most_wh),
        rebound,
        bounds,
    )


def net_of(run: Run, name: str) -> Floats:
    """The forecast of one series of a run. Raises ValueError where there is none."""
    if name not in run.series or name in run.refused:
        raise ValueError(f"the run has no forecast of {name}")
    return np.array(run.values[run.series.index(name)], dtype=np.float64)


def quantiles_of(run: Run, name: str) -> dict[float, Floats]:
    """Its quantiles by level."""
    row = run.series.index(name)
    return {float(level): np.array(rows[row], dtype=np.float64) for level, rows in run.quantiles.items()}
