"""The review of who belongs where, every so many days of domain time, beside the cycle and never in its way.

    per feeder: traits of eight weeks ──▶ one group that is really two, review after review ──▶ split
                                    └──▶ homes long nearer to another group (hysteresis)   ──▶ move
    a home under contract, or planned for a need that runs, stays: its move waits, and is done when it is free

What an operator put together is left alone. A home's track record is its own: it is kept by device, not by group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from forecasting.errors import ForecastError
from ledger.client import LedgerClient, LedgerError
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.aggregator.records import AggregatorRecords
from vtn.aggregator.virtual_nodes.groups import parties
from vtn.aggregator.virtual_nodes.groups.grouping import NOT_INSTALLED, Grouping, installed, too_little
from vtn.aggregator.virtual_nodes.groups.records import (
    ACTIVE,
    ENDING,
    FORMATION,
    AreaReview,
    GroupReview,
    NodeRecords,
    NodeRow,
)
from vtn.services.programs import Program
from vtn.services.vens import ENROLLED, Ven, Vens

if TYPE_CHECKING:
    from vtn.aggregator.virtual_nodes.groups.comparing import Found

DAY_MS = 86_400_000
_LOOK_S = 900.0
"""Domain seconds between looks at what is due or waits."""

_log = get_logger("vtn.reviewing")


@dataclass(frozen=True, kw_only=True)
class Reviews:
    """Reviews the groups of one programme. `days`: between reviews, 0 never; `keys`: the folder of key files."""

    nodes: NodeRecords
    grouping: Grouping
    vens: Vens
    ledger: LedgerClient
    records: AggregatorRecords
    program: Program
    clock: Clock
    keys: Path
    days: float
    seed: int
    metric: str

    async def run(self) -> None:
        """Reviews until cancelled; what goes wrong is logged and tried again at the next look."""
        while self.days:
            try:
                await self.look()
            except LedgerError as error:
                _log.warning("groups not reviewed", error=str(error))
            except Exception:
                _log.exception("groups not reviewed")
            await self.clock.sleep(_LOOK_S)

    async def look(self) -> GroupReview | None:
        """A review if one is due, otherwise the moves that wait and can be done now."""
        rows = await self.nodes.nodes(self.program.name)
        last = next(iter(await self.nodes.reviews(self.program.name)), None)
        formed = [row for row in rows if row.state == ACTIVE and row.made_by == FORMATION]
        if not formed:
            return None
        since_ms = last.reviewed_ms if last is not None else min(row.made_ms for row in formed)
        # A time to come is one of a clock that was ahead.
        if not 0 <= self.clock.now_ms() - since_ms < self.days * DAY_MS:
            return await self.review()
        if last is not None and last.waiting:
            await self._retry(last)
        return None

    async def review(self) -> GroupReview:
        """Reviews every feeder now, moves who is free to move, and keeps what was seen. Raises LedgerError."""
        program, now_ms = self.program.name, self.clock.now_ms()
        last = next(iter(await self.nodes.reviews(program)), None) or GroupReview(program=program, reviewed_ms=0)
        rows = [row for row in await self.nodes.nodes(program) if row.state == ACTIVE and row.made_by == FORMATION]
        homes = [ven for ven in await self.vens.list(status=ENROLLED) if ven.program == program]
        review = GroupReview(program=program, reviewed_ms=now_ms, metric=self.metric, seed=self.seed)
        for area in sorted({row.area for row in rows}):
            nodes = {
                row.name: [ven for ven in homes if ven.virtual_node == row.name] for row in rows if row.area == area
            }
            here = [row for row in rows if row.area == area]
            review = await self._area(here, nodes, last, review)
        await self.nodes.keep(review)
        _log.info("groups reviewed", moved=review.moved, waiting=len(review.waiting), feeders=len(review.areas))
        return review

    async def _area(
        self, rows: Sequence[NodeRow], nodes: Mapping[str, Sequence[Ven]], last: GroupReview, review: GroupReview
    ) -> GroupReview:
        area = rows[0].area
        homes = [ven for members in nodes.values() for ven in members]
        if reason := self._untold(homes, len(nodes)):
            return _with(review, area, AreaReview(outcome=reason))
        try:
            known = await self.grouping.seen(homes)
        except ForecastError as error:
            return _with(review, area, AreaReview(outcome=f"not reviewed: {error}"))
        if not known.enough:
            return _with(review, area, AreaReview(outcome=too_little(known)))
        from vtn.aggregator.virtual_nodes.groups.comparing import compared

        held = await self._held(homes)
        day = datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC).date()
        found = await asyncio.to_thread(
            compared, known, nodes, held, last.leaning, last.splits, day, homes_min=self.grouping.homes_min,
            seed=self.seed, metric=self.metric, now_ms=self.clock.now_ms(),
        )  # fmt: skip
        moved = await self._carry_out(rows, found)
        return _with(
            replace(
                review,
                leaning=review.leaning | found.leaning,
                splits=review.splits | found.splits,
                waiting=(*review.waiting, *found.later),
                moved=review.moved + moved,
            ),
            area,
            AreaReview(outcome=found.outcome, silhouette_before=found.before, silhouette_after=found.after),
        )

    def _untold(self, homes: Sequence[Ven], groups: int) -> str:
        """Why nothing can be told of a feeder's homes."""
        if not installed():
            return NOT_INSTALLED
        if groups == 1 and len(homes) < 2 * self.grouping.homes_min:
            return f"{len(homes)} homes: too few for two groups of {self.grouping.homes_min}"
        return ""

    async def _held(self, homes: Sequence[Ven]) -> dict[str, str]:
        """venIDs of homes that are bound, with the reason."""
        bound = await parties.bound(self.ledger, self.records, self.clock.now_ms())
        return {ven.ven_id: bound[ven.party] for ven in homes if ven.party in bound}

    async def _carry_out(self, rows: Sequence[NodeRow], found: Found) -> int:
        """New rows for groups that split off, then the moves; a group all of whose homes left ends."""
        taken = await self.nodes.taken_names()
        areas = {ven.area for ven in await self.vens.list(status=ENROLLED)}
        made = []
        for split in found.split:
            name = parties.free_name(rows[0].area, taken, areas)
            taken.add(name)
            now_ms = self.clock.now_ms()
            row = replace(
                rows[0], name=name, label=name, key_file=parties.key_file(self.keys, name), party=None, version=1,
                quality=split.quality, made_ms=now_ms, changed_ms=now_ms,
            )  # fmt: skip
            made.append((row, [replace(move, went_to=name) for move in split.moves]))
        moved = 0
        if made:
            moved += sum(len(homes) for homes in (await self.nodes.add(made, "reviewed")).values())
        changes: dict[str, dict[str, object]] = {name: {"quality": each} for name, each in found.quality.items()}
        changes |= {name: {"state": ENDING} for name in found.emptied}
        return moved + len(await self.nodes.move(found.moves, "reviewed", changes))

    async def _retry(self, last: GroupReview) -> None:
        """Moves that waited for their homes, as far as they are free and the group they leave stays large enough."""
        homes = {ven.ven_id: ven for ven in await self.vens.list(status=ENROLLED)}
        active = {row.name for row in await self.nodes.nodes(self.program.name) if row.state == ACTIVE}
        held = await self._held(list(homes.values()))
        sizes: dict[str | None, int] = {}
        for ven in homes.values():
            sizes[ven.virtual_node] = sizes.get(ven.virtual_node, 0) + 1
        done, waiting = [], []
        for move in last.waiting:
            there = move.ven_id in homes and homes[move.ven_id].virtual_node == move.came_from
            if not there or move.went_to not in active or sizes[move.came_from] <= self.grouping.homes_min:
                continue
            if move.ven_id in held:
                waiting.append(move)
                continue
            sizes[move.came_from] -= 1
            done.append(move)
        if done:
            await self.nodes.move(done, "reviewed")
        if len(waiting) != len(last.waiting):
            await self.nodes.keep(replace(last, waiting=tuple(waiting), moved=last.moved + len(done)))


def _with(review: GroupReview, area: str, found: AreaReview) -> GroupReview:
    return replace(review, areas=review.areas | {area: found})
