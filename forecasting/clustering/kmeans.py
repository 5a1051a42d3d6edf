"""k-means and the silhouette on arrays: small, seeded, and the same on every machine.

Lloyd's iteration from k-means++ starts (Arthur and Vassilvitskii 2007), the best of ten; silhouette after Rousseeuw
(1987), on a sample where there are many points, because it compares each with each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecasting.panels.panel import Floats

_STARTS, _ROUNDS = 10, 100
_COMPARED_MAX = 2_000


def k_means(points: Floats, count: int, seed: int) -> NDArray[np.int64]:
    """A label 0 .. count - 1 for each point. Raises ValueError for more clusters than points."""
    if not 1 <= count <= len(points):
        raise ValueError(f"{count} clusters of {len(points)} points")
    random = np.random.default_rng(seed)
    best, least = np.zeros(len(points), dtype=np.int64), np.inf
    for _ in range(_STARTS):
        centres = _spread_out(points, count, random)
        labels = np.full(len(points), -1)
        for _ in range(_ROUNDS):
            nearest = _squares(points, centres).argmin(axis=1)
            if np.array_equal(nearest, labels):
                break
            labels = nearest
            for each in range(count):
                if (labels == each).any():
                    centres[each] = points[labels == each].mean(axis=0)
        inertia = float(_squares(points, centres)[np.arange(len(points)), labels].sum())
        if inertia < least - 1e-9:
            best, least = labels, inertia
    return best


def silhouette(points: Floats, labels: NDArray[np.int64]) -> Floats:
    """(b - a) / max(a, b) of each point: a its mean distance to its own cluster, b to the nearest other one."""
    names = np.unique(labels)
    compared = np.arange(len(points))
    if len(points) > _COMPARED_MAX:
        compared = np.sort(np.random.default_rng(0).choice(len(points), _COMPARED_MAX, replace=False))
    means = np.full((len(points), len(names)), np.inf)
    for position, name in enumerate(names):
        inside = compared[labels[compared] == name]
        if len(inside):
            distances = np.sqrt(np.maximum(_squares(points, points[inside]), 0))
            own = (labels == name) & np.isin(np.arange(len(points)), inside)
            means[:, position] = distances.sum(axis=1) / np.maximum(len(inside) - own, 1)
    place = np.searchsorted(names, labels)
    rows = np.arange(len(points))
    own_mean = means[rows, place]
    means[rows, place] = np.inf
    other = means.min(axis=1)
    return np.where(np.isfinite(other), (other - own_mean) / np.maximum(np.maximum(own_mean, other), 1e-12), 0.0)


def _spread_out(points: Floats, count: int, random: np.random.Generator) -> Floats:
    centres = [points[random.integers(len(points))]]
    for _ in range(count - 1):
        away = np.maximum(_squares(points, np.stack(centres)).min(axis=1), 0)
        total = away.sum()
        chance = away / total if total > 0 else np.full(len(points), 1 / len(points))
        centres.append(points[random.choice(len(points), p=chance)])
    return np.stack(centres).astype(np.float64)


def _squares(points: Floats, centres: Floats) -> Floats:
    """Squared distances (points, centres)."""
    return np.asarray((points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)[None])
