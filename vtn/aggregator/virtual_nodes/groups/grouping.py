"""Who goes with whom: the first groups of a feeder, and where a home belongs that comes later.

A feeder is never crossed. Inside it like goes with like where enough is known and the extra `intelligence` is
installed; otherwise it is one group, and the reason is said. Decides only: nothing is written here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from forecasting.errors import ForecastError
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.aggregator.ports import Members
from vtn.aggregator.virtual_nodes.groups.records import Quality
from vtn.config import VtnSettings
from vtn.services.programs import Program
from vtn.services.vens import Ven

if TYPE_CHECKING:
    from forecasting.clustering.formation import Cluster
    from vtn.aggregator.virtual_nodes.groups.likeness import Seen
    from vtn.analytics.weather import WeatherShelf

NOT_INSTALLED = "one group for the feeder: the extra `intelligence` is not installed"
MEASURED_BADLY = "what it delivers is measured badly"
ONLY_ONE = "the only virtual node of its feeder"

_log = get_logger("vtn.grouping")


@dataclass(frozen=True)
class Group:
    """Homes (venIDs) that become a virtual node, and why."""

    homes: tuple[str, ...]
    quality: Quality


class Grouping:
    """Groups homes of one programme. `homes_min`: fewer are measured badly."""

    def __init__(
        self, members: Members, program: Program, settings: VtnSettings, clock: Clock, homes_min: int
    ) -> None:  # fmt: skip
        self.homes_min = homes_min
        self._members = members
        self._program = program
        self._settings = settings
        self._clock = clock
        self._weather: WeatherShelf | None = None

    async def first(self, homes: Sequence[Ven]) -> list[Group]:
        """Groups for the homes of one feeder, the largest first; one group where nothing tells them apart."""
        ids = tuple(sorted(ven.ven_id for ven in homes))
        if len(ids) < 2 * self.homes_min:
            reason = f"{len(ids)} homes of the feeder together: too few for two groups of {self.homes_min}"
            return [self._one(ids, reason)]
        if not installed():
            return [self._one(ids, NOT_INSTALLED)]
        try:
            known = await self.seen(homes)
        except ForecastError as error:
            return [self._one(ids, f"one group for the feeder: {error}")]
        if not known.enough:
            return [self._one(ids, too_little(known))]
        clusters = await asyncio.to_thread(self._clusters, known)
        return [
            Group(tuple(sorted(each.homes)), quality_of(each, self._clock.now_ms(), each.reason)) for each in clusters
        ]

    async def joining(self, loose: Sequence[Ven], nodes: Mapping[str, Sequence[Ven]]) -> dict[str, tuple[str, str]]:
        """Home -> (virtual node, reason) for homes that are in none, among the virtual nodes of their feeder."""
        if len(nodes) == 1:
            return {ven.ven_id: (next(iter(nodes)), ONLY_ONE) for ven in loose}
        if installed() and await self._any_history(loose):
            try:
                known = await self.seen([*loose, *(ven for members in nodes.values() for ven in members)])
            except ForecastError as error:
                _log.warning("homes join the smallest group", error=str(error))
            else:
                return await asyncio.to_thread(self._nearest, known, nodes)
        sizes = {name: len(members) for name, members in nodes.items()}
        found = {}
        for ven in sorted(loose, key=lambda each: each.ven_id):
            smallest = min(sorted(sizes), key=lambda name: sizes[name])
            sizes[smallest] += 1
            found[ven.ven_id] = (smallest, "new: the smallest virtual node of its feeder, too little is known of it")
        return found

    async def seen(self, homes: Sequence[Ven]) -> Seen:
        """What homes are like. Raises ForecastError."""
        from vtn.aggregator.virtual_nodes.groups.likeness import seen
        from vtn.analytics.weather import WeatherShelf

        # One shelf for all feeders: a source that does not answer is not waited for at each. Needs wait as well.
        self._weather = self._weather or WeatherShelf(self._settings)
        return await seen(self._members, self._program, self._weather, homes, self._clock.now_ms())

    def _clusters(self, known: Seen) -> Sequence[Cluster]:
        from forecasting.clustering.formation import form

        return form(known.homes, homes_min=self.homes_min, seed=self._settings.virtual_node_seed).clusters

    def _nearest(self, known: Seen, nodes: Mapping[str, Sequence[Ven]]) -> dict[str, tuple[str, str]]:
        from forecasting.clustering.moving import Standing, joined

        standing = Standing({ven.ven_id: name for name, members in nodes.items() for ven in members})
        day = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date()
        return {move.home: (move.joined, move.reason) for move in joined(standing, known.homes, day)}

    async def _any_history(self, loose: Sequence[Ven]) -> bool:
        """Has one of them reported for a week? Most homes are as new to telemetry as to the group."""
        now_ms, day_ms = self._clock.now_ms(), 86_400_000
        readings = await self._members.readings([ven.ven_id for ven in loose], now_ms - 8 * day_ms, now_ms - 6 * day_ms)
        return any(readings.values())

    def _one(self, ids: tuple[str, ...], reason: str) -> Group:
        flags = () if len(ids) >= self.homes_min else (small(len(ids), self.homes_min),)
        return Group(ids, Quality(reason=reason, flags=flags, measured_ms=self._clock.now_ms()))


def installed() -> bool:
    """Is the extra `intelligence` there?"""
    return importlib.util.find_spec("numpy") is not None


def small(count: int, homes_min: int) -> str:
    """The flag of a group that is too small."""
    return f"{count} homes where {homes_min} are wanted: {MEASURED_BADLY}"


def too_little(known: Seen) -> str:
    """Why homes are not told apart yet."""
    return f"one group for the feeder: {known.known} of {len(known.homes.ids)} homes have a week of readings"


def quality_of(cluster: Cluster, now_ms: int, reason: str) -> Quality:
    """How good a group is, for the record."""
    return Quality(
        reason=reason,
        silhouette=round(cluster.silhouette, 4) if math.isfinite(cluster.silhouette) else None,
        spread=round(cluster.spread, 4) if math.isfinite(cluster.spread) else None,
        flags=cluster.flags,
        measured_ms=now_ms,
    )
