"""Forecasts measured: errors of every model on the same days, coverage, and the time 10,000 homes take."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from forecasting.errors import MissingLibrary
from forecasting.evaluation.choice import skill_over
from forecasting.evaluation.rolling import BAND, DECILES, Rolling, day_ahead, intraday, rolling
from forecasting.panels.panel import Panel
from forecasting.serving.catalogue import HOME_DEFAULT, NAIVE, VIRTUAL_NODE_DEFAULT, model
from tests.bench.aggregator.homes import Subjects, many, subjects
from vtn.analytics.computing import computing, forecasts

_MODELS = ("last-week", "weekday-mean", "similar-days", "ridge", "blend", "lightgbm", "lstm", "prophet")
_NODE_ONLY = ("prophet",)
_SLOW = ("lightgbm", "lstm", "prophet")
"""Without bands in the table: a band takes further trainings, and is made the same way for every model."""
_PROPHET_SERIES = 6


def measured(data: Path | None, homes: int, quick: bool) -> dict[str, Any]:
    """The figures, with the tables they come from."""
    logging.getLogger("cmdstanpy").setLevel(logging.CRITICAL)
    which = subjects(data)
    tables = {
        "homes": _table(which, which.homes, quick, [name for name in _MODELS if name not in _NODE_ONLY]),
        "virtual_node": _table(which, which.node, quick, list(_MODELS)),
    }
    node, home = tables["virtual_node"], tables["homes"]
    best = min(row["nrmse"] for row in node.values() if "nrmse" in row)
    default = node[VIRTUAL_NODE_DEFAULT]
    seconds, prophet_s = _times(which, homes)
    return {
        "forecast_subjects": which.source,
        "forecast_10k_homes_s": round(seconds["point"] * 10_000 / homes, 2),
        "forecast_10k_homes_with_band_s": round(seconds["band"] * 10_000 / homes, 2),
        "prophet_s_a_series": round(prophet_s, 3),
        "speed_ratio_to_prophet": round(prophet_s * homes / seconds["point"]),
        "virtual_node_nrmse": default["nrmse"],
        "virtual_node_nrmse_naive": node[NAIVE]["nrmse"],
        "virtual_node_below_naive_percent": round(100 * (1 - default["nrmse"] / node[NAIVE]["nrmse"]), 1),
        "virtual_node_above_best_percent": round(100 * (default["nrmse"] / best - 1), 1),
        "home_nrmse": home[HOME_DEFAULT]["nrmse"],
        "home_nrmse_naive": home[NAIVE]["nrmse"],
        "coverage_80": home[HOME_DEFAULT]["coverage_80"],
        "coverage_80_virtual_node": default["coverage_80"],
        "forecast_tables": tables,
        "forecast_intraday": _intraday(which),
    }


def _table(which: Subjects, panel: Panel, quick: bool, names: list[str]) -> dict[str, dict[str, Any]]:
    issues = day_ahead(which.calendar, which.days, panel.interval_s)
    made: dict[str, Rolling] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        if quick and name in _SLOW:
            continue
        try:
            chosen = model(name)
        except MissingLibrary as missing:
            rows[name] = {"left_out": str(missing)}
            continue
        made[name] = rolling(chosen, panel, which.calendar, issues, levels=() if name in _SLOW else DECILES)
        skill = made[name].skill()
        rows[name] = {
            "mae_wh": round(skill.mae, 1),
            "nrmse": round(skill.nrmse, 4),
            "skill": round(skill_over(made[NAIVE].skill(), skill), 3),
            "bias": round(skill.bias, 4),
            "crps_wh": round(skill.crps, 1) if made[name].levels else None,
            "coverage_80": round(skill.coverage, 3) if made[name].levels else None,
            "seconds": round(made[name].seconds, 1),
        }
        print(f"{panel.ids[0]}.. {len(panel.ids)} series, {name}: {rows[name]}", flush=True)
    return rows


def _intraday(which: Subjects) -> list[dict[str, Any]]:
    """Node errors of issues every six hours, by horizon."""
    issues = intraday(which.calendar, which.days, which.node.interval_s)
    made = {
        name: rolling(model(name), which.node, which.calendar, issues, levels=BAND)
        for name in (NAIVE, VIRTUAL_NODE_DEFAULT)
    }
    found = []
    for low, high, skill in made[VIRTUAL_NODE_DEFAULT].by_horizon((0, 1, 3, 6, 12)):
        naive = made[NAIVE].skill(low, high).nrmse
        found.append({"from_h": low, "to_h": high, "nrmse": round(skill.nrmse, 4), "nrmse_naive": round(naive, 4),
                      "coverage_80": round(skill.coverage, 3)})  # fmt: skip
    return found


def _times(which: Subjects, count: int) -> tuple[dict[str, float], float]:
    """Seconds for `count` homes without and with a band, and for Prophet's fit and forecast of one series."""
    panel = many(which.homes, count)
    start_ms = which.calendar.start_ms(which.days[-1] + timedelta(days=1))
    found = {}
    with computing() as where:
        for kind, levels in (("point", ()), ("band", BAND)):
            begun = time.perf_counter()
            forecasts(
                where, HOME_DEFAULT, panel, which.calendar, start_ms=start_ms, count=24, issued_at_ms=start_ms,
                levels=levels,
            )  # fmt: skip
            found[kind] = time.perf_counter() - begun
            print(f"{count} homes, {kind}: {found[kind]:.2f} s", flush=True)
    some = panel.rows(slice(0, _PROPHET_SERIES))
    prophet = model("prophet")
    prophet.fit(some.rows(slice(0, 1)), which.calendar).forecast(start_ms, 24, start_ms)
    begun = time.perf_counter()
    prophet.fit(some, which.calendar).forecast(start_ms, 24, start_ms)
    return found, (time.perf_counter() - begun) / _PROPHET_SERIES
