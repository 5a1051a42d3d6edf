"""What every home would do at given prices: the half of the optimisation that is separate for each home.

At a price [T] for each Wh of an interval a home is worth calling where the energy of its best option is worth more than
it costs. The sum over all homes is a bound on every plan (Lagrange), and homes whose answer is clear need not enter the
linear programme at all; that is why a hundred thousand of them take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtn.dispatching.fleet import Flags, Fleet, Floats, Ints


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums over called options: cost, mean [T], variance [T], covariance [T, T]."""

    cost: float
    mean: Floats
    variance: Floats
    covariance: Floats

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.cost + other.cost,
            self.mean + other.mean,
            self.variance + other.variance,
            self.covariance + other.covariance,
        )


@dataclass(frozen=True, eq=False)
class Band:
    """Options of homes whose answer is not clear, of one fleet. option [B] index in the fleet; home [B] and segment [B]
    number them within the band; the rest as in `Fleet`."""

    option: Ints
    home: Ints
    segment: Ints
    allowed: Ints
    mean: Floats
    cost: Floats
    absent: Floats
    noise: Floats


@dataclass(frozen=True, eq=False)
class Answer:
    """A fleet at given prices. surplus: sum over homes of value less cost, taken negative; `clear`: totals of the homes
    that are called for certain, `called` their options; `width`: by how much prices may move, as a part, before a home
    outside the band would answer otherwise."""

    surplus: float
    width: float
    clear: Totals
    called: Ints
    band: Band


def totals(mean: Floats, cost: Floats, absent: Floats, noise: Floats, amount: Floats | None = None) -> Totals:
    """Sums of options, each taken to `amount` (1 without it)."""
    used = np.ones(len(cost)) if amount is None else amount
    squared = mean**2
    shared = (mean * (absent * used)[:, None]).T @ mean
    own = (noise * used) @ squared
    return Totals(float(cost @ used), used @ mean, (absent * used) @ squared + own, shared + np.diag(own))


def totals_of(fleet: Fleet, options: Ints) -> Totals:
    """Sums of some options of a fleet."""
    home = fleet.home[options]
    return totals(fleet.mean_wh[options], fleet.cost[options], fleet.absent[home], fleet.noise[home])


def respond(fleet: Fleet, prices: Floats, slopes: Floats, share: float) -> Answer:
    """The answer of each home at prices [T] and slopes [T] (see chance.need). The `share` of homes whose answer is
    closest to another one form the band; 1.0: all of them."""
    reduced = _reduced(fleet, prices, slopes)
    first = fleet.segments
    if not len(first):
        nothing = np.zeros(0, np.int64)
        return Answer(0.0, np.inf, totals_of(fleet, nothing), nothing, _band(fleet, nothing))
    size = np.diff(np.append(first, len(reduced)))
    best = np.minimum.reduceat(reduced, first)
    segment = np.repeat(np.arange(len(first)), size)
    is_best = np.zeros(len(reduced), bool)
    at_best = np.flatnonzero(reduced <= best[segment])
    pick = at_best[np.unique(segment[at_best], return_index=True)[1]]
    is_best[pick] = True
    second = np.minimum.reduceat(np.where(is_best, np.inf, reduced), first)
    home = fleet.home[first]
    kept, capped = _within_calls(fleet, home, best)
    open_to = fleet.allowed[home] > 0
    margin = np.minimum(np.abs(best), np.where(best < 0, second - best, np.inf))
    margin = np.where(capped, 0.0, margin) / (np.abs(fleet.cost[pick]) + 1e-9)
    margin = np.where(open_to, margin, np.inf)
    nearest = np.full(fleet.homes, np.inf)
    np.minimum.at(nearest, home, margin)
    count = int(np.isfinite(nearest).sum())
    wanted = min(count, int(np.ceil(share * count)))
    limit = np.partition(nearest, wanted - 1)[wanted - 1] if wanted else -1.0
    near = (nearest <= limit) & np.isfinite(nearest)
    chosen = kept & ~near[home]
    called = pick[chosen]
    # An option far behind the best of its home cannot come first while prices move as little as the band is wide.
    width = np.inf if share >= 1 else 4 * limit
    useful = near[fleet.home] & (reduced <= best[segment] + width * (fleet.cost + 1e-9))
    surplus = float(best[kept].sum())
    reach = np.inf if wanted == count else float(max(0.0, limit)) / 2
    return Answer(surplus, reach, totals_of(fleet, called), called, _band(fleet, np.flatnonzero(useful)))


def nearest(fleet: Fleet, prices: Floats, slopes: Floats, count: int) -> Ints:
    """The options that lose least against the best answer of their home, calls that are not wanted left out of it."""
    reduced, first = _reduced(fleet, prices, slopes), fleet.segments
    size = np.diff(np.append(first, len(reduced)))
    best = np.repeat(np.minimum(0.0, np.minimum.reduceat(reduced, first)), size) if len(first) else reduced
    loses = np.where(fleet.allowed[fleet.home] > 0, reduced - best, np.inf)
    found = np.argsort(loses, kind="stable")[:count]
    return np.sort(found[np.isfinite(loses[found])])


def _reduced(fleet: Fleet, prices: Floats, slopes: Floats) -> Floats:
    """[J] what an option costs beyond what its energy is worth."""
    return np.asarray(
        fleet.cost - fleet.mean_wh @ prices + fleet.weight * (fleet.mean_wh**2 @ (prices * slopes)), np.float64
    )


def _within_calls(fleet: Fleet, home: Ints, best: Floats) -> tuple[Flags, Flags]:
    """[S] which segments are called at these values, and which ones only the number of calls keeps out or in."""
    wanted = best < 0
    if len(home) == len(np.unique(home)):
        return wanted & (fleet.allowed[home] > 0), np.zeros(len(home), bool)
    order = np.lexsort((best, home))
    begins = np.concatenate(([0], np.flatnonzero(np.diff(home[order])) + 1))
    sizes = np.diff(np.append(begins, len(order)))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(begins, sizes)
    within = rank < fleet.allowed[home]
    over = np.zeros(fleet.homes, bool)
    over[home[wanted & ~within]] = True
    return wanted & within, over[home]


def _band(fleet: Fleet, options: Ints) -> Band:
    home = fleet.home[options]
    homes, number = np.unique(home, return_inverse=True)
    key = home * (int(fleet.occasion.max(initial=0)) + 1) + fleet.occasion[options]
    return Band(
        option=options,
        home=number.astype(np.int64),
        segment=np.unique(key, return_inverse=True)[1].astype(np.int64),
        allowed=fleet.allowed[homes],
        mean=fleet.mean_wh[options],
        cost=fleet.cost[options],
        absent=fleet.absent[home],
        noise=fleet.noise[home],
    )
