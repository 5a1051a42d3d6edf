"""A metric that learns which traits matter: an optional plug-in of the re-clustering, judged in the same test.

For each home and each cluster it might belong to, the history says how far the home's use was from its share of that
cluster's. Non-negative least squares finds how much each trait's squared difference tells of that (Xing et al.,
"Distance metric learning", NIPS 2002, for the diagonal case): what tells nothing gets no weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecasting.clustering.traits import WEIGHTS, Homes
from forecasting.panels.panel import Floats, Panel

_HELD_TO_FIXED = 0.2
_ROUNDS = 500


@dataclass(frozen=True)
class Learned:
    """Weights of the traits, as found in a history."""

    weights: tuple[float, ...]
    name: str = "learned"

    def points(self, homes: Homes) -> Floats:
        return np.asarray(homes.scaled() / WEIGHTS * np.array(self.weights))


def learned(homes: Homes, panel: Panel, assignment: Mapping[str, str]) -> Learned:
    """Weights from the readings of a panel in which the homes were clustered so."""
    position = {each: row for row, each in enumerate(panel.ids)}
    values = panel.values[[position[each] for each in homes.ids]].astype(np.float64)
    filled = np.where(np.isnan(values), np.nanmean(values, axis=1, keepdims=True), values)
    shares = filled / np.maximum(np.abs(filled).mean(axis=1, keepdims=True), 1e-9)
    plain = homes.scaled() / WEIGHTS
    rows: list[Floats] = []
    targets: list[Floats] = []
    names = sorted(set(assignment.values()))
    labels = np.array([assignment[each] for each in homes.ids])
    places = {name: homes.sites[int(np.flatnonzero(labels == name)[0])] for name in names}
    for name in names:
        inside = labels == name
        rivals = np.array(
            [(site.feeder, site.programme) == (places[name].feeder, places[name].programme) for site in homes.sites]
        )
        rows.append((plain[rivals] - plain[inside].mean(axis=0)) ** 2)
        targets.append(np.mean((shares[rivals] - shares[inside].mean(axis=0)) ** 2, axis=1))
    inputs, target = np.concatenate(rows), np.concatenate(targets)
    target = target - target.min()
    return Learned(tuple(float(each) for each in np.sqrt(_non_negative(inputs, target))))


def _non_negative(inputs: Floats, target: Floats) -> Floats:
    """Least squares with coefficients >= 0 by projected gradient, held to the fixed weights and of their size."""
    fixed = WEIGHTS**2
    scale = float((inputs @ fixed) @ target) / max(float((inputs @ fixed) @ (inputs @ fixed)), 1e-12)
    target = target / scale if scale > 0 else target
    gram = inputs.T @ inputs / len(inputs)
    held = _HELD_TO_FIXED * float(np.trace(gram)) / len(fixed)
    step = 1.0 / (float(np.linalg.norm(gram, 2)) + held)
    found = fixed.copy()
    moment = inputs.T @ target / len(inputs)
    for _ in range(_ROUNDS):
        found = np.maximum(found - step * (gram @ found - moment + held * (found - fixed)), 0.0)
    return np.asarray(found * fixed.sum() / max(float(found.sum()), 1e-12))
