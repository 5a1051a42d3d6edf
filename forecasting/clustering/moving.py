"""Re-clustering: a home moves when it has long been more like others, and each move is written down with its reason.

    each review:  traits of the last weeks ──▶ nearest cluster of its feeder and programme
                  nearer to another by `margin`, `patience` reviews in a row ──▶ moves, the clearest cases first
    never:        across feeders; below the least size; more than a share of the homes in one review
    at once:      new homes, homes whose feeder or programme changed, clusters that fell below the least size
    later:        homes that are held (under contract): what is due for them is said, and done when they are free

Hysteresis keeps homes that sit between two clusters from going to and fro: a virtual node's measurement needs members
that stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import numpy as np

from forecasting.clustering.formation import HOMES_MIN
from forecasting.clustering.traits import Homes
from forecasting.panels.panel import Floats


@dataclass(frozen=True)
class Move:
    """A home's move: `left` is "" for a new home, `joined` "" for one that is gone."""

    day: date
    home: str
    left: str
    joined: str
    reason: str


@dataclass(frozen=True)
class Standing:
    """Who is where, and for how many reviews in a row each home has been nearer to which other cluster."""

    assignment: Mapping[str, str]
    leaning: Mapping[str, tuple[str, int]] = field(default_factory=dict)


class Metric(Protocol):
    """What distances are: the plug-in point of a learning re-clusterer."""

    @property
    def name(self) -> str: ...

    def points(self, homes: Homes) -> Floats:
        """(homes, dimensions): Euclidean distances of these count."""
        ...


@dataclass(frozen=True)
class Weighted:
    """The fixed weights of forecasting.clustering.traits."""

    name: str = "traits"

    def points(self, homes: Homes) -> Floats:
        return homes.scaled()


@dataclass(frozen=True)
class Hysteresis:
    """margin: how much nearer, as a share of the distance to the own centre. moved_max: share of the homes a review."""

    margin: float = 0.15
    patience: int = 2
    moved_max: float = 0.05
    homes_min: int = HOMES_MIN


@dataclass(frozen=True)
class Reviewed:
    """After a review: who is where, the moves, forced ones first, and those that are due and wait for homes held."""

    standing: Standing
    moves: list[Move]
    later: list[Move]


def review(
    standing: Standing, homes: Homes, day: date, settings: Hysteresis | None = None, metric: Metric | None = None
) -> tuple[Standing, list[Move]]:
    """The standing after a review on `day`, and the moves of it, forced ones first."""
    found = review_around((), standing, homes, day, settings, metric)
    return found.standing, found.moves


def review_around(
    held: Collection[str],
    standing: Standing,
    homes: Homes,
    day: date,
    settings: Hysteresis | None = None,
    metric: Metric | None = None,
) -> Reviewed:
    """A review in which the homes `held` stay where they are, whatever is due for them."""
    work = _Review(standing, homes, day, settings or Hysteresis(), (metric or Weighted()).points(homes), held)
    work.forced()
    work.dissolve()
    work.chosen()
    return Reviewed(Standing(work.assignment, work.leaning), work.moves, work.later)


def joined(standing: Standing, homes: Homes, day: date, settings: Hysteresis | None = None) -> list[Move]:
    """Where homes belong that are in no cluster yet; nobody else moves. One of which nothing is known goes to the
    smallest cluster of its place."""
    work = _Review(standing, homes, day, settings or Hysteresis(), Weighted().points(homes), standing.assignment)
    work.forced()
    return [move for move in work.moves if not move.left]


class _Review:
    def __init__(
        self, standing: Standing, homes: Homes, day: date, settings: Hysteresis, points: Floats, held: Collection[str]
    ) -> None:
        self.moves: list[Move] = []
        self.later: list[Move] = []
        self._held = frozenset(held)
        self.leaning: dict[str, tuple[str, int]] = {}
        self._before = standing
        self._homes = homes
        self._day = day
        self._settings = settings
        self._points = points
        self._row = {home: row for row, home in enumerate(homes.ids)}
        self.assignment = {home: name for home, name in standing.assignment.items() if home in self._row}
        self._place = self._places()

    def _places(self) -> dict[str, tuple[str, str]]:
        """Feeder and programme of each cluster: those of most of its homes."""
        votes: dict[str, dict[tuple[str, str], int]] = {}
        for home, name in self.assignment.items():
            site = self._homes.sites[self._row[home]]
            mine = votes.setdefault(name, {})
            mine[site.feeder, site.programme] = mine.get((site.feeder, site.programme), 0) + 1
        return {name: max(sorted(mine), key=lambda place: mine[place]) for name, mine in votes.items()}

    def forced(self) -> None:
        """Homes that are gone, new, or no longer of the feeder or programme of their cluster."""
        for home in sorted(self._before.assignment.keys() - self._row.keys()):
            self.moves.append(Move(self._day, home, self._before.assignment[home], "", "no longer enrolled"))
        for row, home in enumerate(self._homes.ids):
            site = self._homes.sites[row]
            place = (site.feeder, site.programme)
            current = self.assignment.get(home)
            if current is None or (self._place[current] != place and home not in self._held):
                names = [name for name, other in self._place.items() if other == place]
                joined, which = self._place_for(row, names) if names else (self._new(place), "the first there")
                why = (
                    "new"
                    if current is None
                    else f"its feeder or programme is now {' '.join(part for part in place if part)}"
                )
                self._move(home, current or "", joined, f"{why}: {which}")

    def dissolve(self) -> None:
        """Clusters below the least size go to the nearest others of their place, if there are any."""
        staying = {self.assignment[home] for home in self._held if home in self.assignment}
        while small := [each for each in self._small() if each not in staying]:
            name = small[0]
            others = [each for each, place in self._place.items() if place == self._place[name] and each != name]
            leaving = sorted(home for home, cluster in self.assignment.items() if cluster == name)
            del self._place[name]
            for home in leaving:
                joined = self._nearest(self._row[home], others)
                self._move(
                    home, name, joined, f"{name} has {len(leaving)} homes, fewer than {self._settings.homes_min}"
                )

    def _small(self) -> list[str]:
        sizes = self._sizes()
        return sorted(
            (
                name
                for name, place in self._place.items()
                if sizes.get(name, 0) < self._settings.homes_min
                and any(other != name and where == place for other, where in self._place.items())
            ),
            key=lambda name: (sizes.get(name, 0), name),
        )

    def chosen(self) -> None:
        """Homes that have leaned towards another cluster long enough, the clearest first."""
        centres = self._centres()
        wishes = []
        for row, home in enumerate(self._homes.ids):
            if home in self._homes.short:  # its traits are those of the median home: they say nothing of it
                continue
            current = self.assignment[home]
            rivals = [name for name, place in self._place.items() if place == self._place[current]]
            distances = {name: float(np.linalg.norm(self._points[row] - centres[name])) for name in rivals}
            nearest = min(sorted(distances), key=lambda name: distances[name])
            if distances[nearest] >= (1 - self._settings.margin) * distances[current]:
                continue
            earlier, times = self._before.leaning.get(home, ("", 0))
            times = times + 1 if earlier == nearest else 1
            self.leaning[home] = (nearest, times)
            if times >= self._settings.patience:
                wishes.append((distances[nearest] / distances[current], home, nearest, distances, times))
        sizes = self._sizes()
        for _, home, joined, distances, times in sorted(wishes)[
            : int(self._settings.moved_max * len(self._homes.ids)) or 1
        ]:
            left = self.assignment[home]
            if sizes[left] > self._settings.homes_min:
                near, far = distances[joined], distances[left]
                why = f"{times} reviews nearer to {joined} ({near:.2f}) than to {left} ({far:.2f})"
                if home in self._held:
                    self.later.append(Move(self._day, home, left, joined, why))
                    continue
                sizes[left] -= 1
                sizes[joined] += 1
                del self.leaning[home]
                self._move(home, left, joined, why)

    def _move(self, home: str, left: str, joined: str, reason: str) -> None:
        self.assignment[home] = joined
        self.moves.append(Move(self._day, home, left, joined, reason))

    def _place_for(self, row: int, names: list[str]) -> tuple[str, str]:
        """A cluster for a home that comes, and which one that is."""
        if self._homes.ids[row] in self._homes.short:
            sizes = self._sizes()
            smallest = min(sorted(names), key=lambda name: sizes.get(name, 0))
            return smallest, "the smallest cluster there, too little is known of it"
        return self._nearest(row, names), "the nearest cluster there"

    def _nearest(self, row: int, names: list[str]) -> str:
        centres = self._centres()
        return min(sorted(names), key=lambda name: float(np.linalg.norm(self._points[row] - centres[name])))

    def _new(self, place: tuple[str, str]) -> str:
        name = "/".join(part for part in (*place, "1") if part)
        self._place[name] = place
        return name

    def _centres(self) -> dict[str, Floats]:
        members: dict[str, list[int]] = {}
        for home, name in self.assignment.items():
            members.setdefault(name, []).append(self._row[home])
        return {name: self._points[rows].mean(axis=0) for name, rows in members.items()}

    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name in self.assignment.values():
            sizes[name] = sizes.get(name, 0) + 1
        return sizes
