"""Clusters measured: the time 10,000 homes take, and what re-clustering brings when some homes change their ways."""

from __future__ import annotations

import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.clustering.comparison import compare
from forecasting.clustering.formation import form
from forecasting.clustering.moving import Hysteresis
from forecasting.clustering.traits import Site, homes
from forecasting.panels.panel import Panel
from tests.bench.aggregator.homes import many
from tests.forecasting.synthetic import LOS_ANGELES, some_homes

_DAYS = 56
_CHANGED = 24


def measured(data: Path | None, homes_timed: int, quick: bool) -> dict[str, Any]:
    """The figures; homes are made up, because none with changes at known times could be had."""
    panel = many(some_homes(40, _DAYS), homes_timed)
    sites = {home: Site(f"F{row % 20}") for row, home in enumerate(panel.ids)}
    begun = time.perf_counter()
    found = form(homes(panel, LOS_ANGELES, sites))
    seconds = time.perf_counter() - begun
    panel, sites = _changing()
    ways = compare(
        panel, LOS_ANGELES, sites, date(2026, 3, 1), date(2026, 7, 18), settings=Hysteresis(homes_min=20, moved_max=0.1)
    )
    static = ways[0].split_nrmse
    return {
        "cluster_10k_homes_s": round(seconds * 10_000 / homes_timed, 2),
        "cluster_silhouette": round(found.silhouette, 3),
        "recluster": {
            way.name: {
                "split_nrmse": round(way.split_nrmse, 4),
                "below_static_percent": round(100 * (1 - way.split_nrmse / static), 2),
                "virtual_node_nrmse": round(way.node_nrmse, 4),
                "moves": len(way.moves),
            }
            for way in ways
        },
    }


def _changing() -> tuple[Panel, dict[str, Site]]:
    """120 homes on a feeder, half of evenings and half of nights; a fifth changes over in April."""
    panel = some_homes(120, 200, seed=5)
    night = np.roll(panel.values, 8, axis=1)
    at = (LOS_ANGELES.start_ms(date(2026, 1, 1) + timedelta(days=95)) - panel.start_ms) // panel.step_ms
    values = panel.values.copy()
    values[1::2] = night[1::2]
    for row in range(_CHANGED):
        values[row, at:] = (panel.values if row % 2 else night)[row, at:]
    return Panel(panel.ids, panel.start_ms, 3600, values), dict.fromkeys(panel.ids, Site("F1"))
