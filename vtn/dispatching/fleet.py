"""What can be asked of many homes: options with the energy and cost of each, as arrays.

    home i --- option j = a start (and a level): delivers mean_wh[j, t], afterwards takes some of it back (negative)
           '-- answers with probability answers[i], and if so within `spread[i]` of what was expected

An option belongs to one home and one occasion (a morning and an evening event of one day are two); a home is called at
most once an occasion and `calls_left[i]` times in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vtn.dispatching.errors import InvalidFleet

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: nobody is certain: a home that always answered has still a chance of one in a thousand to be away
ANSWERS_MAX = 0.999
ANSWERS_MIN = 0.01


@dataclass(frozen=True, eq=False)
class Fleet:
    """N homes, J options sorted by home and occasion, T intervals (event and rebound after it).

    home [J]; occasion [J]; start [J] first interval of the option; mean_wh [J, T] expected Wh, reliability included;
    cost [J] minor units expected; answers [N] probability; spread [N] coefficient of variation of a home that answers;
    calls_left [N]; blocked [N] index into `reasons`, 0 for who may be called; names [N]. Raises InvalidFleet."""

    names: Sequence[str]
    home: Ints
    occasion: Ints
    start: Ints
    mean_wh: Floats
    cost: Floats
    answers: Floats
    spread: Floats
    calls_left: Ints
    blocked: Ints
    reasons: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        options, homes = len(self.home), len(self.names)
        shapes = {
            "occasion": self.occasion.shape == (options,),
            "start": self.start.shape == (options,),
            "mean_wh": self.mean_wh.ndim == 2 and len(self.mean_wh) == options,
            "cost": self.cost.shape == (options,),
            "answers": self.answers.shape == (homes,),
            "spread": self.spread.shape == (homes,),
            "calls_left": self.calls_left.shape == (homes,),
            "blocked": self.blocked.shape == (homes,),
        }
        if wrong := [name for name, fits in shapes.items() if not fits]:
            raise InvalidFleet(f"{', '.join(wrong)} do not fit {options} options of {homes} homes")
        if options and (np.any(np.diff(self.home) < 0) or self.home[0] < 0 or self.home[-1] >= homes):
            raise InvalidFleet("options are not sorted by home")
        if not (np.isfinite(self.mean_wh).all() and np.isfinite(self.cost).all() and (self.cost >= 0).all()):
            raise InvalidFleet("energy and cost must be finite, cost not negative")
        if homes and not ((self.answers > 0).all() and (self.answers <= 1).all() and (self.spread >= 0).all()):
            raise InvalidFleet("answers is a probability above 0, spread not negative")

    @property
    def homes(self) -> int:
        """N."""
        return len(self.names)

    @property
    def intervals(self) -> int:
        """T."""
        return int(self.mean_wh.shape[1])

    @cached_property
    def absent(self) -> Floats:
        """[N] variance over squared mean that all intervals of a call share: the home answers or does not."""
        return (1 - self.answers) / self.answers

    @cached_property
    def noise(self) -> Floats:
        """[N] variance over squared mean of each interval by itself."""
        return self.spread**2 / self.answers

    @cached_property
    def weight(self) -> Floats:
        """[J] variance over squared mean of each option."""
        return (self.absent + self.noise)[self.home]

    @cached_property
    def segments(self) -> Ints:
        """[S] first option of each (home, occasion)."""
        if not len(self.home):
            return np.zeros(0, np.int64)
        new = (np.diff(self.home) != 0) | (np.diff(self.occasion) != 0)
        return np.concatenate(([0], np.flatnonzero(new) + 1))

    @cached_property
    def allowed(self) -> Ints:
        """[N] calls this home may still get, 0 where it is blocked."""
        return np.where(self.blocked > 0, 0, self.calls_left)

    def of_options(self, chosen: Ints) -> Fleet:
        """The same homes with some of their options, given by rising index."""
        return replace(
            self,
            home=self.home[chosen],
            occasion=self.occasion[chosen],
            start=self.start[chosen],
            mean_wh=self.mean_wh[chosen],
            cost=self.cost[chosen],
        )

    def without_block(self, *codes: int) -> Fleet:
        """The fleet if these reasons did not hold; who was blocked by one may be called once."""
        lifted = np.isin(self.blocked, codes)
        return replace(
            self,
            blocked=np.where(lifted, 0, self.blocked),
            calls_left=np.where(lifted, np.maximum(1, self.calls_left), self.calls_left),
        )


@dataclass(frozen=True, eq=False)
class Homes:
    """What is known of N homes for an event of T intervals, before it is made into options.

    available_wh [N, T] what a home sheds if it is on at that time; price [N] minor units per Wh delivered; comfort [N]
    minor units a call costs its people; duration [N] intervals it can hold out; rebound [N] share of the shed energy it
    takes back in the `rebound_over` [N] intervals after. energy_wh [N]: what it can go without in one call, so that a
    home that sheds half its power holds out twice as long; None: no matter."""

    names: Sequence[str]
    available_wh: Floats
    price: Floats
    comfort: Floats
    duration: Ints
    rebound: Floats
    rebound_over: Ints
    answers: Floats
    spread: Floats
    calls_left: Ints
    blocked: Ints
    reasons: tuple[str, ...] = ("",)
    energy_wh: Floats | None = None


def fleet_of(
    homes: Homes, *, tail: int = 0, levels: Sequence[float] = (1.0,), occasion: int = 0, least_wh: float = 0.0
) -> Fleet:
    """Every start (and level) of every home. `tail`: intervals after the event in which rebound is looked at; a call
    that sheds less than `least_wh` is no option.

    A home that holds out the whole event has one start; others begin at any interval up to the last."""
    count, intervals = homes.available_wh.shape
    total = intervals + tail
    answers = np.clip(homes.answers, ANSWERS_MIN, ANSWERS_MAX)
    limited = (np.clip(homes.duration, 1, intervals) < intervals) | _tires(homes)
    starts = np.where(limited, intervals, 1)
    pairs = [(start, level) for start in range(intervals) for level in levels]
    # The shortest starts of a fleet that holds out are not there: no room is taken for them.
    pairs = pairs if limited.any() else pairs[: len(levels)]
    mean = np.zeros((count, len(pairs), total))
    held = np.zeros((count, len(pairs)))
    over = np.maximum(1, homes.rebound_over)
    for n, (start, level) in enumerate(pairs):
        shed, ends = held_out(homes, start, level)
        mean[:, n, :intervals] = shed
        held[:, n] = shed.sum(axis=1)
        each = held[:, n] * homes.rebound / over
        column = np.arange(total)
        after = (column >= ends[:, None]) & (column < (ends + over)[:, None])
        mean[:, n] -= each[:, None] * after
    exists = np.array([start for start, _ in pairs])[None, :] < starts[:, None]
    exists &= (held > 0) & (held >= least_wh)
    mean *= answers[:, None, None]
    level_of = np.array([level for _, level in pairs])
    cost = held * homes.price[:, None] * answers[:, None] + homes.comfort[:, None] * level_of
    home, pair = np.nonzero(exists)
    return Fleet(
        names=homes.names,
        home=home,
        occasion=np.full(len(home), occasion),
        start=np.array([start for start, _ in pairs])[pair],
        mean_wh=mean[home, pair],
        cost=cost[home, pair],
        answers=answers,
        spread=homes.spread,
        calls_left=homes.calls_left,
        blocked=homes.blocked,
        reasons=homes.reasons,
    )


def held_out(homes: Homes, start: int, level: float = 1.0) -> tuple[Floats, Ints]:
    """[N, T] Wh shed by a call that begins at `start`, and [N] the interval in which each home is free again."""
    intervals = homes.available_wh.shape[1]
    duration = np.clip(homes.duration, 1, intervals)
    column = np.arange(intervals)
    on = (column >= start) & (column < start + duration[:, None])
    shed = homes.available_wh * on * level
    ends = np.minimum(start + duration, intervals)
    if homes.energy_wh is None:
        return shed, ends
    left = np.maximum(0.0, homes.energy_wh[:, None] - (np.cumsum(shed, axis=1) - shed))
    # An interval of which less than half is left is not worth a home's trouble; later ones are not either.
    tired = np.logical_or.accumulate(2 * left < shed, axis=1)
    ends = np.where(tired.any(axis=1), np.minimum(ends, np.argmax(tired, axis=1)), ends)
    return np.where(tired, 0.0, np.minimum(shed, left)), ends


def _tires(homes: Homes) -> Flags:
    """[N] whose energy ends before the event does."""
    if homes.energy_wh is None:
        return np.zeros(len(homes.names), bool)
    return np.asarray(homes.available_wh.sum(axis=1) > homes.energy_wh)


def occasions(fleets: Sequence[Fleet]) -> Fleet:
    """One fleet over several events one after the other of the same homes, so that the calls of a home are shared out
    between them: the intervals of the n-th come behind those of the ones before."""
    first = fleets[0]
    if any(list(each.names) != list(first.names) for each in fleets):
        raise InvalidFleet("occasions are of the same homes in the same order")
    total = sum(each.intervals for each in fleets)
    parts, offset = [], 0
    for each in fleets:
        mean = np.zeros((len(each.home), total))
        mean[:, offset : offset + each.intervals] = each.mean_wh
        parts.append(mean)
        offset += each.intervals
    home = np.concatenate([each.home for each in fleets])
    occasion = np.concatenate([np.full(len(each.home), n) for n, each in enumerate(fleets)])
    order = np.lexsort((occasion, home))
    return replace(
        first,
        home=home[order],
        occasion=occasion[order],
        start=np.concatenate([each.start for each in fleets])[order],
        mean_wh=np.concatenate(parts)[order],
        cost=np.concatenate([each.cost for each in fleets])[order],
    )


def part(fleet: Fleet, chosen: Ints) -> Fleet:
    """The fleet of some of its homes, given by rising index."""
    kept = np.isin(fleet.home, chosen)
    position: Mapping[int, int] = {int(old): new for new, old in enumerate(chosen)}
    return Fleet(
        names=[fleet.names[int(n)] for n in chosen],
        home=np.array([position[int(n)] for n in fleet.home[kept]], np.int64),
        occasion=fleet.occasion[kept],
        start=fleet.start[kept],
        mean_wh=fleet.mean_wh[kept],
        cost=fleet.cost[kept],
        answers=fleet.answers[chosen],
        spread=fleet.spread[chosen],
        calls_left=fleet.calls_left[chosen],
        blocked=fleet.blocked[chosen],
        reasons=fleet.reasons,
    )
