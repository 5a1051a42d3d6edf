"""Forecasts measured: errors of every model on the same days, coverage, and the time 10,000 homes take."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from forecasting.errors import ForecastError
from forecasting.evaluation.choice import skill_over
from forecasting.evaluation.rolling import BAND, DECILES, Skill, day_ahead, intraday, rolling
from forecasting.panels.panel import Panel
from forecasting.serving.catalogue import HOME_DEFAULT, NAIVE, VIRTUAL_NODE_DEFAULT, model
from tests.bench.aggregator.homes import Subjects, many, subjects, to_be_timed
from vtn.analytics.computing import computing, forecasts

_MODELS = ("last-week", "weekday-mean", "similar-days", "ridge", "blend", "lightgbm", "lstm", "prophet")
_NODE_ONLY = ("prophet",)
_SLOW = ("lightgbm", "lstm", "prophet")
_PROPHET_SERIES = 6
_PUBLISHED = {
    "homes": {"mae": 0.521 / 0.641, "nrmse": 0.647 / 0.843, "crps": 0.398 / 0.526},
    "virtual_node": {"mae": 3.36 / 4.81, "nrmse": 0.213 / 0.315, "crps": 2.49 / 3.90},
}
"""The best of each column in the table methods were chosen by, over the seasonal naive model of the same table: its
four weeks are not these, so shares of the naive model are compared, and not kWh."""


def measured(data: Path | None, homes: int, quick: bool) -> dict[str, Any]:
    """The figures, with the tables they come from."""
    logging.getLogger("cmdstanpy").setLevel(logging.CRITICAL)
    which = subjects(data)
    print(f"forecasts of {which.source}", flush=True)
    tables = {
        "homes": _table(which, which.homes, quick, [name for name in _MODELS if name not in _NODE_ONLY]),
        "virtual_node": _table(which, which.node, quick, list(_MODELS)),
    }
    node, home = tables["virtual_node"], tables["homes"]
    best = min(row["nrmse"] for row in node.values() if "nrmse" in row)
    default = node[VIRTUAL_NODE_DEFAULT]
    seconds, prophet_s, timed = _times(which, homes)
    return {
        "forecast_subjects": which.source,
        "forecast_timed_on": timed,
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
        "forecast_above_published_percent": {
            "homes": _above(home, HOME_DEFAULT, _PUBLISHED["homes"]),
            "virtual_node": _above(node, VIRTUAL_NODE_DEFAULT, _PUBLISHED["virtual_node"]),
        },
        "forecast_tables": tables,
        "forecast_intraday": _intraday(which),
    }


def _above(table: dict[str, dict[str, Any]], name: str, published: dict[str, float]) -> dict[str, float]:
    """How much the share of the naive model's error is above the best published one, percent; below is negative."""
    columns = {"mae": "mae_wh", "nrmse": "nrmse", "crps": "crps_wh"}
    ratio = {each: table[name][column] / table[NAIVE][column] for each, column in columns.items()}
    return {each: round(100 * (ratio[each] / published[each] - 1), 1) for each in columns}


def _table(which: Subjects, panel: Panel, quick: bool, names: list[str]) -> dict[str, dict[str, Any]]:
    issues = day_ahead(which.calendar, which.days, panel.interval_s)
    naive: Skill | None = None
    rows: dict[str, dict[str, Any]] = {}
    print(f"{'':14}   MAE Wh  nRMSE   CRPS Wh  80 % covers  skill    s", flush=True)
    for name in names:
        if quick and name in _SLOW:
            continue
        try:
            made = rolling(model(name), panel, which.calendar, issues, levels=DECILES)
        except ForecastError as error:
            rows[name] = {"left_out": str(error)}
            print(f"{name:14} left out: {error}", flush=True)
            continue
        skill = made.skill()
        naive = naive or skill
        rows[name] = {
            "mae_wh": round(skill.mae, 1),
            "nrmse": round(skill.nrmse, 4),
            "skill": round(skill_over(naive, skill), 3),
            "bias": round(skill.bias, 4),
            "crps_wh": round(skill.crps, 1),
            "coverage_80": round(skill.coverage, 3),
            "seconds": round(made.seconds, 1),
        }
        shown = f"{skill.mae:9.1f} {skill.nrmse:6.3f} {skill.crps:9.1f} {skill.coverage:12.1%}"
        print(f"{name:14}{shown} {skill_over(naive, skill):6.1%} {made.seconds:5.1f}", flush=True)
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


def _times(which: Subjects, count: int) -> tuple[dict[str, float], float, str]:
    """Seconds for `count` homes without and with a band, and for Prophet's fit and forecast of one series; on what."""
    some, calendar, text = to_be_timed(which)
    panel = many(some, count)
    start_ms = calendar.start_ms(calendar.day_of(panel.end_ms - 1))
    found = {}
    with computing() as where:
        for kind, levels in (("point", ()), ("band", BAND)):
            begun = time.perf_counter()
            forecasts(
                where, HOME_DEFAULT, panel, calendar, start_ms=start_ms, count=24, issued_at_ms=start_ms, levels=levels
            )
            found[kind] = time.perf_counter() - begun
            print(f"{count} homes, {kind}: {found[kind]:.2f} s", flush=True)
    some = panel.rows(slice(0, _PROPHET_SERIES))
    prophet = model("prophet")
    prophet.fit(some.rows(slice(0, 1)), calendar).forecast(start_ms, 24, start_ms)
    begun = time.perf_counter()
    prophet.fit(some, calendar).forecast(start_ms, 24, start_ms)
    return found, (time.perf_counter() - begun) / _PROPHET_SERIES, text
