"""A feeder's groups against what its homes are like now: splits, moves, and how good it was before and is after.

Pure: traits in, decisions out. A group splits where in `patience` reviews in a row it would be better as two; the
larger part keeps the name, the contracts and the key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from forecasting.clustering.formation import Cluster, described, form
from forecasting.clustering.learning import learned
from forecasting.clustering.moving import Hysteresis, Metric, Standing, review_around
from forecasting.clustering.traits import Homes
from vtn.aggregator.virtual_nodes.groups.grouping import quality_of
from vtn.aggregator.virtual_nodes.groups.likeness import Seen
from vtn.aggregator.virtual_nodes.groups.records import HomeMove, Quality
from vtn.services.vens import Ven


@dataclass(frozen=True)
class Split:
    """Homes that become a group of their own; the moves name no virtual node yet."""

    moves: list[HomeMove]
    quality: Quality


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a review of a feeder comes to. before, after: mean silhouettes, None where there is one group only."""

    outcome: str
    before: float | None
    after: float | None
    moves: list[HomeMove] = field(default_factory=list)
    later: list[HomeMove] = field(default_factory=list)
    split: list[Split] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    leaning: dict[str, tuple[str, int]] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    quality: dict[str, Quality] = field(default_factory=dict)


def compared(
    known: Seen,
    nodes: Mapping[str, Sequence[Ven]],
    held: Mapping[str, str],
    leaning: Mapping[str, tuple[str, int]],
    splits: Mapping[str, int],
    day: date,
    *,
    homes_min: int,
    seed: int,
    metric: str,
    now_ms: int,
) -> Found:
    """Reviews one feeder. `leaning`, `splits`: of the review before; `held`: homes that stay for now, and why."""
    homes = known.homes
    settings = Hysteresis(homes_min=homes_min)
    assignment = {ven.ven_id: name for name, members in nodes.items() for ven in members}
    before = _number(described(homes, assignment, homes_min).silhouette)
    streaks, parted = _splits(homes, nodes, assignment, before, splits, homes_min=homes_min, seed=seed)
    for name, clusters in parted.items():
        leaving = [home for cluster in clusters[1:] for home in cluster.homes]
        if streaks[name] >= settings.patience and not any(home in held for home in leaving):
            return _split(homes, assignment, name, clusters, before, streaks, homes_min, now_ms)
    way: Metric | None = learned(homes, known.panel, assignment) if metric == "learned" and len(nodes) > 1 else None
    with np.errstate(all="ignore"):
        standing = Standing(assignment, {home: each for home, each in leaning.items() if home in assignment})
        found = review_around(held, standing, homes, day, settings, way)
    after = described(homes, found.standing.assignment, homes_min)
    moves = [
        HomeMove(ven_id=move.home, came_from=move.left, went_to=move.joined, reason=move.reason)
        for move in found.moves
    ]  # fmt: skip
    later = [
        HomeMove(ven_id=move.home, came_from=move.left, went_to=move.joined, reason=f"{move.reason}; waited: {why}")
        for move in found.later
        if (why := held.get(move.home))
    ]
    outcome = f"{len(moves)} homes moved, {len(later)} wait" if moves or later else "everybody stays"
    if parted:
        outcome += f"; {', '.join(sorted(parted))} would be better as two"
    left = {cluster.name for cluster in after.clusters}
    return Found(
        outcome=outcome, before=before, after=_number(after.silhouette), moves=moves, later=later,
        emptied=sorted(name for name in nodes if name not in left), leaning=dict(found.standing.leaning),
        splits=streaks, quality={each.name: quality_of(each, now_ms, "reviewed") for each in after.clusters},
    )  # fmt: skip


def _splits(
    homes: Homes,
    nodes: Mapping[str, Sequence[Ven]],
    assignment: Mapping[str, str],
    before: float | None,
    earlier: Mapping[str, int],
    *,
    homes_min: int,
    seed: int,
) -> tuple[dict[str, int], dict[str, tuple[Cluster, ...]]]:
    """Groups that would be better as several, and with which the feeder as a whole would be: how often in a row that
    was so, and their parts, the largest first."""
    streaks: dict[str, int] = {}
    parts: dict[str, tuple[Cluster, ...]] = {}
    for name, members in nodes.items():
        if len(members) < 2 * homes_min:
            continue
        clusters = form(_of(homes, {ven.ven_id for ven in members}), homes_min=homes_min, seed=seed).clusters
        parted = {home: f"{name}/{part.name}" for part in clusters[1:] for home in part.homes}
        after = _number(described(homes, {**assignment, **parted}, homes_min).silhouette)
        if len(clusters) > 1 and (before is None or (after is not None and after > before)):
            parts[name] = tuple(sorted(clusters, key=lambda each: (-len(each.homes), each.name)))
            streaks[name] = earlier.get(name, 0) + 1
    return streaks, parts


def _split(
    homes: Homes, assignment: Mapping[str, str], name: str, clusters: Sequence[Cluster], before: float | None,
    streaks: dict[str, int], homes_min: int, now_ms: int,
) -> Found:  # fmt: skip
    parted: dict[str, str] = {home: part.name for part in clusters[1:] for home in part.homes}
    after = described(homes, {**assignment, **parted}, homes_min)
    reason = f"{name} was {len(clusters)} groups of like homes in {streaks[name]} reviews"
    quality = {each.name: quality_of(each, now_ms, reason) for each in after.clusters}
    split = [
        Split(
            [HomeMove(ven_id=home, came_from=name, went_to="", reason=f"{reason}: it is of another kind")
             for home in part.homes],
            quality[part.name],
        )
        for part in clusters[1:]
    ]  # fmt: skip
    return Found(
        outcome=f"{name} split into {len(clusters)}", before=before, after=_number(after.silhouette), split=split,
        splits={each: times for each, times in streaks.items() if each != name},
        quality={each: value for each, value in quality.items() if each in set(assignment.values())},
    )  # fmt: skip


def _of(homes: Homes, chosen: set[str]) -> Homes:
    rows = [row for row, home in enumerate(homes.ids) if home in chosen]
    return Homes(
        tuple(homes.ids[row] for row in rows), tuple(homes.sites[row] for row in rows), homes.traits[rows],
        homes.profiles[rows], homes.short & chosen,
    )  # fmt: skip


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
