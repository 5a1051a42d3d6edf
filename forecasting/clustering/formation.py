"""The first clustering: homes of one feeder and one programme, like with like, twenty or more together.

    feeder, programme   never crossed ──▶ k-means inside, k by silhouette ──▶ clusters below the least size go to the
                                                                             nearest; a feeder too small is flagged

A baseline of one home is off by 53 %, of twenty by 21 % (CVRMSE on measured homes): hence the least size. The same
homes and seed give the same clusters, in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting.clustering.kmeans import k_means, silhouette
from forecasting.clustering.traits import Homes
from forecasting.panels.panel import Floats

HOMES_MIN = 20
_SPLIT_SILHOUETTE = 0.12
"""Below it a split separates nothing: homes of one feeder stay together, which measures better."""


@dataclass(frozen=True)
class Cluster:
    """A virtual node to be: `name` is feeder, programme if there are several, and a number.

    silhouette: -1 to 1, how much nearer its homes are to each other than to the next cluster; NaN where there is none.
    spread: mean distance of its homes from their centre. `flags` say what is wrong, `reason` why it is as it is.
    """

    name: str
    feeder: str
    programme: str
    homes: tuple[str, ...]
    silhouette: float
    spread: float
    reason: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clustering:
    """Clusters by name, and how good they are together: mean silhouette of the homes that have one."""

    clusters: tuple[Cluster, ...]
    silhouette: float

    @property
    def assignment(self) -> dict[str, str]:
        """Home to cluster."""
        return {home: cluster.name for cluster in self.clusters for home in cluster.homes}


def form(homes: Homes, *, homes_min: int = HOMES_MIN, clusters_max: int = 6, seed: int = 1) -> Clustering:
    """Clusters of all homes. Raises ValueError for a least size below 1."""
    if homes_min < 1:
        raise ValueError(f"homes_min is {homes_min}; it must be at least 1")
    scaled = homes.scaled()
    partitions: dict[tuple[str, str], list[int]] = {}
    for row, site in enumerate(homes.sites):
        partitions.setdefault((site.feeder, site.programme), []).append(row)
    groups: dict[str, list[int]] = {}
    notes: dict[str, str] = {}
    for feeder, programme in sorted(partitions):
        rows = np.array(partitions[feeder, programme])
        labels, note = _split(scaled[rows], homes_min, clusters_max, seed)
        for label in range(int(labels.max()) + 1):
            name = "/".join(part for part in (feeder, programme, str(label + 1)) if part)
            groups[name] = rows[labels == label].tolist()
            notes[name] = note
    return described(homes, {homes.ids[row]: name for name, rows in groups.items() for row in rows}, homes_min, notes)


def described(
    homes: Homes, assignment: Mapping[str, str], homes_min: int = HOMES_MIN, notes: Mapping[str, str] | None = None
) -> Clustering:
    """An assignment of homes to clusters with its quality. Raises KeyError for a home that is in none."""
    scaled = homes.scaled()
    members: dict[str, list[int]] = {}
    for row, home in enumerate(homes.ids):
        members.setdefault(assignment[home], []).append(row)
    by_home = _silhouettes(homes, scaled, members)
    found = []
    for name in sorted(members):
        rows = members[name]
        site = homes.sites[rows[0]]
        values = by_home[rows]
        centre = scaled[rows].mean(axis=0)
        flags = []
        if len(rows) < homes_min:
            flags.append(f"{len(rows)} homes where {homes_min} are wanted: what it delivers is measured badly")
        if len({(homes.sites[row].feeder, homes.sites[row].programme) for row in rows}) > 1:
            flags.append("homes of several feeders or programmes")
        short = sum(homes.ids[row] in homes.short for row in rows)
        if short:
            flags.append(f"{short} homes with less than a week of history")
        found.append(
            Cluster(
                name, site.feeder, site.programme, tuple(homes.ids[row] for row in rows),
                float(np.nanmean(values)) if np.isfinite(values).any() else float("nan"),
                float(np.linalg.norm(scaled[rows] - centre, axis=1).mean()),
                (notes or {}).get(name, "as assigned"), tuple(flags),
            )
        )  # fmt: skip
    together = float(np.nanmean(by_home)) if np.isfinite(by_home).any() else float("nan")
    return Clustering(tuple(found), together)


def _split(points: Floats, homes_min: int, clusters_max: int, seed: int) -> tuple[NDArray[np.int64], str]:
    """Labels 0.. and the reason."""
    together = np.zeros(len(points), dtype=np.int64)
    most = min(len(points) // homes_min, clusters_max)
    if most < 2:
        return together, f"{len(points)} homes: not enough to split by {homes_min}"
    best, best_score = together, _SPLIT_SILHOUETTE
    for count in range(2, most + 1):
        labels = _large_enough(points, k_means(points, count, seed), homes_min)
        if labels.max() > 0 and (score := float(silhouette(points, labels).mean())) > best_score:
            best, best_score = labels, score
    if not best.any():
        return together, f"{len(points)} homes alike: no split into clusters of {homes_min} separates them"
    return best, f"{len(points)} homes in {int(best.max()) + 1} clusters of like homes, silhouette {best_score:.2f}"


def _large_enough(points: Floats, labels: NDArray[np.int64], homes_min: int) -> NDArray[np.int64]:
    """The smallest cluster goes to the nearest others, home by home, until none is too small; numbered by size."""
    labels = labels.copy()
    while len(names := np.unique(labels)) > 1:
        sizes = {int(name): int((labels == name).sum()) for name in names}
        smallest = min(sizes, key=lambda name: (sizes[name], name))
        if sizes[smallest] >= homes_min:
            break
        others = np.array([name for name in names if name != smallest])
        centres = np.stack([points[labels == name].mean(axis=0) for name in others])
        leaving = np.flatnonzero(labels == smallest)
        distances = np.linalg.norm(points[leaving][:, None] - centres[None], axis=2)
        labels[leaving] = others[distances.argmin(axis=1)]
    names, first, counts = np.unique(labels, return_index=True, return_counts=True)
    order = sorted(range(len(names)), key=lambda each: (-counts[each], first[each]))
    result = np.empty_like(labels)
    for number, each in enumerate(order):
        result[labels == names[each]] = number
    return result


def _silhouettes(homes: Homes, scaled: Floats, members: Mapping[str, list[int]]) -> Floats:
    """Of each home against the other clusters of its feeder and programme; NaN where there is no other."""
    found = np.full(len(homes.ids), np.nan)
    rivals: dict[tuple[str, str], list[str]] = {}
    for name, rows in members.items():
        site = homes.sites[rows[0]]
        rivals.setdefault((site.feeder, site.programme), []).append(name)
    for names in rivals.values():
        if len(names) > 1:
            rows = [row for name in names for row in members[name]]
            labels = np.array([number for number, name in enumerate(names) for _ in members[name]])
            found[rows] = silhouette(scaled[rows], labels)
    return found
