"""Ridge regression for each home and time of day, over thousands of homes in one batch of small matrices.

For each slot s of a home: load = mean(s) + z(s) . (b + d(s)), z the centred features. b is the home's own answer over
all times of day, d(s) the departure of one time of day from it, and both are held back:

    b    = (sum_s Z'Z + 10 S I)^-1 sum_s Z'y            S slots a day
    d(s) = (Z'Z + penalty I)^-1 (Z'y - Z'Z b)           pulled towards no departure

Hoerl and Kennard, "Ridge regression", Technometrics 12 (1970); the pooling is that of a two-level model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecasting.models.days import Days
from forecasting.models.features import features, stillness
from forecasting.panels.panel import Floats

_POOLED_PENALTY = 10.0
_WARM_UP_DAYS = 14
_FAR = 8.0
"""Standard deviations beyond which the effect of a feature is not believed to go on."""


@dataclass(frozen=True)
class Ridge:
    """Learns from the last `days_back` days; `penalty` holds the times of day together."""

    days_back: int = 150
    penalty: float = 300.0
    version: int = 1
    days_min: int = 8
    retrain_days: int = 1

    @property
    def name(self) -> str:
        return f"ridge-{self.days_back}d-{self.penalty:g}"

    def train(self, days: Days, until: int, lead: int) -> RidgeState | None:
        """Coefficients of each home and slot from the days before `until`; None with less than a week to learn from."""
        first = max(min(_WARM_UP_DAYS, until - 14), until - self.days_back, 0)
        if until - first < 7:
            return None
        names, values = features(days, lead)
        target, inputs = days.cube[:, first:until], values[:, first:until]
        known = None if days.complete else ~np.isnan(target)
        still = stillness(names, days, lead)[:, None]
        return _solved(np.moveaxis(target, 1, 2), np.moveaxis(inputs, 1, 2), known, self.penalty, still)

    def profiles(self, days: Days, state: RidgeState | None, first: int, end: int, lead: int) -> Floats:
        shape = (len(days.ids), end - first, days.slots)
        if state is None:
            return np.full(shape, np.nan, dtype=np.float32)
        _, values = features(days, lead)
        centred = (values[:, first:end] - state.feature_means[:, None]) / state.scales[:, None]
        np.clip(centred, -_FAR, _FAR, out=centred)
        departures = np.einsum("ndsp,nsp->nds", centred, state.coefficients, optimize=True)
        return np.asarray(state.target_means[:, None] + departures)


@dataclass(frozen=True)
class RidgeState:
    """feature_means and coefficients (series, slots, features), scales (series, 1, features), target_means (series,
    slots)."""

    feature_means: Floats
    scales: Floats
    coefficients: Floats
    target_means: Floats


def _solved(target: Floats, inputs: Floats, known: Floats | None, penalty: float, still: Floats) -> RidgeState:
    """target (series, slots, days), inputs (series, slots, days, features); unknown days have no weight."""
    if known is None:
        target_means, feature_means = target.mean(axis=2), inputs.mean(axis=2)
        centred, rest = inputs - feature_means[:, :, None], target - target_means[:, :, None]
    else:
        there = np.moveaxis(known, 1, 2).astype(np.float32)
        counts = np.maximum(there.sum(axis=2), 1)
        target = np.where(there > 0, target, 0)
        target_means = target.sum(axis=2) / counts
        feature_means = np.einsum("nsd,nsdp->nsp", there, inputs, optimize=True) / counts[..., None]
        centred = (inputs - feature_means[:, :, None]) * there[..., None]
        rest = (target - target_means[:, :, None]) * there
    transposed = np.swapaxes(centred, 2, 3)
    gram = np.matmul(transposed, centred).astype(np.float64)
    moment = np.matmul(transposed, rest[..., None]).astype(np.float64)
    spread = np.sqrt(np.diagonal(gram, axis1=2, axis2=3).mean(axis=1, keepdims=True) / centred.shape[2])
    # a feature that hardly moves says nothing; dividing by its noise would make it loud the day it moves
    scales = np.maximum(spread, still)
    gram /= scales[..., :, None] * scales[..., None, :]
    moment /= scales[..., None]
    eye, slots = np.eye(gram.shape[-1]), gram.shape[1]
    pooled = np.linalg.solve(gram.sum(axis=1) + _POOLED_PENALTY * slots * eye, moment.sum(axis=1))
    departure = np.linalg.solve(gram + penalty * eye, moment - np.matmul(gram, pooled[:, None]))
    coefficients = (pooled[:, None] + departure)[..., 0].astype(inputs.dtype)
    return RidgeState(feature_means, scales.astype(inputs.dtype), coefficients, target_means)
