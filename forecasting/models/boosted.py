"""Gradient-boosted trees over all series of a panel at once (LightGBM).

One model for all: each series is divided by its own mean, and what tells homes apart is in the features. Trees find
what regressions do not: that a warm Sunday evening is no warm Monday evening. Raw quantiles of trees cover too little
(61 to 74 % for 80 % in our measurement), so bands are conformal here as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from forecasting.errors import MissingLibrary
from forecasting.models.days import Days
from forecasting.models.features import OTHER_DAY, features, like, of_weather
from forecasting.panels.panel import Floats

_WARM_UP_DAYS = 14
_ROWS_MAX = 400_000


@dataclass(frozen=True)
class Boosted:
    """`trees` of `leaves` each, learnt from the last `days_back` days, anew every week. Raises MissingLibrary."""

    trees: int = 250
    leaves: int = 31
    learning_rate: float = 0.04
    days_back: int = 150
    threads: int = 2
    version: int = 1
    days_min: int = 28
    retrain_days: int = 7

    def __post_init__(self) -> None:
        library()

    @property
    def name(self) -> str:
        return f"lightgbm-{self.trees}x{self.leaves}-{self.days_back}d"

    def train(self, days: Days, until: int, lead: int) -> Any:
        """The trees and the level of each series; None with less than a week to learn from."""
        first = max(min(_WARM_UP_DAYS, until - 14), until - self.days_back, 0)
        if until - first < 7:
            return None
        levels = _levels(days, lead)
        inputs = _inputs(days, levels, first, until, lead)
        target = days.cube[:, first:until] / levels[:, None, None]
        rows = np.flatnonzero(~np.isnan(target.ravel()))
        if len(rows) > _ROWS_MAX:
            rows = np.sort(np.random.default_rng(1).choice(rows, _ROWS_MAX, replace=False))
        lightgbm = library()
        settings = {
            "objective": "l2", "num_leaves": self.leaves, "learning_rate": self.learning_rate, "min_data_in_leaf": 40,
            "feature_fraction": 0.8, "bagging_fraction": 0.8, "bagging_freq": 1, "seed": 1, "deterministic": True,
            "force_row_wise": True, "num_threads": self.threads, "verbosity": -1,
        }  # fmt: skip
        data = lightgbm.Dataset(inputs.reshape(-1, inputs.shape[-1])[rows], target.ravel()[rows], free_raw_data=True)
        return lightgbm.train(settings, data, num_boost_round=self.trees), levels

    def profiles(self, days: Days, state: Any, first: int, end: int, lead: int) -> Floats:
        shape = (len(days.ids), end - first, days.slots)
        if state is None:
            return np.full(shape, np.nan, dtype=np.float32)
        trees, levels = state
        inputs = _inputs(days, levels, first, end, lead)
        found = trees.predict(inputs.reshape(-1, inputs.shape[-1]), num_threads=self.threads)
        return np.asarray(found.reshape(shape) * levels[:, None, None], dtype=np.float32)


def library() -> Any:
    """The module lightgbm. Raises MissingLibrary."""
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # OSError: the system's OpenMP runtime (libgomp) is missing
        raise MissingLibrary(
            f"the model lightgbm needs the extra intelligence, and libgomp of the system ({error})"
        ) from error
    return lightgbm


def _levels(days: Days, lead: int) -> Floats:
    """What each series is divided by."""
    usual = like(days, lead)[:, : max(days.known, 1)]
    return np.asarray(np.maximum(np.abs(usual).mean(axis=(1, 2)), 1e-3), dtype=np.float32)


def _inputs(days: Days, levels: Floats, first: int, end: int, lead: int) -> Floats:
    """Features (series, days, slots, features)."""
    names, values = features(days, lead)
    own = np.array([not of_weather(name) and name != OTHER_DAY for name in names])
    scaled = values[:, first:end] / np.where(own, levels[:, None, None, None], 1.0).astype(np.float32)
    shape = scaled.shape[:3]
    slot = np.broadcast_to(np.arange(days.slots, dtype=np.float32)[None, None, :], shape)
    weekday = (days.grid.first_day.toordinal() + np.arange(first, end) - 1) % 7
    weekdays = np.broadcast_to(weekday.astype(np.float32)[None, :, None], shape)
    return np.concatenate([scaled, slot[..., None], weekdays[..., None]], axis=-1)
