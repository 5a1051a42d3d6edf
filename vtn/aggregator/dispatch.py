"""Who is called, and for how much: merit order over candidates, pure and recomputable from what it stores.

Every candidate leaves with its inputs (cost, forecast, reliability), its rank and the reason it was or was not
chosen. `choose` on the stored inputs gives the stored choice again.

    rank by  surplus of its own                    (only where an event is to absorb surplus: used inside first)
             then price / reliability              (what a delivered kWh is expected to cost)
             then more on offer first              (fewer homes are called for the same energy), then id
    take     each candidate's whole offer until the target is met, the last one in part
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

BASIS_POINTS = 10_000


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a candidate before choosing.

    available_wh per interval; price in minor units per MWh; reliability in basis points (10,000 = always delivered);
    forecast_wh: expected consumption in the window; excluded: a reason not to call it, or "". answers_bp: probability
    that it accepts and does not opt out; spread_bp: coefficient of variation of what it delivers then; weariness_bp:
    how much of its calls of the season it has had; comfort_minor: what a call costs its people; forecast_basis: the
    model its forecast is of, and why not the usual one.

    Of one that cannot hold out to the end: at_wh per interval, what it sheds if it is on at that time, and energy_wh,
    what it can go without in one call (available_wh is then a call that begins with the first interval). Of what is
    shed rebound_percent come back within rebound_intervals after the call.

    surplus_wh: where an event is to absorb surplus, how much of it is the candidate's own; it is asked before those
    that have none."""

    candidate: str
    available_wh: tuple[int, ...]
    forecast_wh: int
    price_minor_per_mwh: int
    reliability_bp: int
    excluded: str = ""
    answers_bp: int = BASIS_POINTS
    spread_bp: int = 0
    weariness_bp: int = 0
    comfort_minor: int = 0
    forecast_basis: str = ""
    at_wh: tuple[int, ...] = ()
    energy_wh: int = 0
    rebound_percent: int = 0
    rebound_intervals: int = 0
    surplus_wh: int = 0

    def call_wh(self, start: int) -> tuple[int, ...]:
        """What a call sheds that begins with interval `start`, in all intervals. It ends where less than half an
        interval of its energy is left."""
        if not self.at_wh:
            return (0,) * start + self.available_wh[start:]
        left, shed = self.energy_wh, [0] * start
        for wh in self.at_wh[start:]:
            if 2 * left < wh:
                break
            shed.append(min(wh, left))
            left -= wh
        return tuple(shed) + (0,) * (len(self.at_wh) - len(shed))

    @property
    def cost_minor_per_mwh(self) -> int:
        """Expected price of a delivered MWh, rounded up."""
        return -(-self.price_minor_per_mwh * BASIS_POINTS // max(1, self.reliability_bp))

    @property
    def merit(self) -> tuple[bool, int, int, str]:
        """Sort key of the merit order."""
        return not self.surplus_wh, self.cost_minor_per_mwh, -sum(self.available_wh), self.candidate


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate with its place: rank from 1 in merit order, 0 if excluded; obligation_wh empty if not chosen,
    otherwise for every interval. A call of its own lasts for `count` intervals from the `start`-th on; 0: all."""

    candidate: Candidate
    rank: int
    chosen: bool
    obligation_wh: tuple[int, ...]
    reason: str
    start: int = 0
    count: int = 0


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the way of a target: without it `frees_wh` less would be lacking, `lacking_wh` would be left, both
    of what must be planned for the probability asked for."""

    limit: str
    frees_wh: int
    lacking_wh: int

    def __str__(self) -> str:
        return f"without {self.limit} {self.frees_wh} Wh less would be lacking, {self.lacking_wh} Wh left"


class Solved(msgspec.Struct, frozen=True, kw_only=True):
    """How a choice was found. method: "optimal", "best known when the time ran out", or "merit", of which the rest is
    not known: asked_bp and probability_bp, asked for and found, of meeting the target in each interval ("each") or in
    all of them ("joint", mode); cost_minor expected; gap_percent: the best choice costs at most so much less; limits
    that stand in the way of what is lacking; snapback_wh: the most that comes back in one interval after the end;
    spread_wh: standard deviation of the delivery per interval."""

    method: str = "merit"
    mode: str = ""
    asked_bp: int = 0
    probability_bp: int = 0
    cost_minor: int = 0
    gap_percent: float = 0.0
    limits: tuple[Limit, ...] = ()
    snapback_wh: int = 0
    spread_wh: tuple[int, ...] = ()


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """Choices in merit order, excluded ones last; `lacking_wh` is what the target still misses per interval."""

    target_wh: tuple[int, ...]
    choices: tuple[Choice, ...]
    lacking_wh: tuple[int, ...]
    solved: Solved = Solved()

    @property
    def chosen(self) -> tuple[Choice, ...]:
        return tuple(choice for choice in self.choices if choice.chosen)


def choose(target_wh: Sequence[int], candidates: Sequence[Candidate], *, whole: bool = False) -> Dispatch:
    """Meets `target_wh` per interval in merit order. `whole`: a candidate is taken with all it offers or not at all
    (a home's device), otherwise the last one is asked for the rest only."""
    lacking = list(target_wh)
    choices: list[Choice] = []
    ranked = sorted((each for each in candidates if not each.excluded), key=lambda each: each.merit)
    for rank, candidate in enumerate(ranked, 1):
        obligation = _obligation(candidate, lacking, whole)
        if not any(obligation):
            reason = (
                "nothing to offer in these intervals" if any(lacking) else "the target was met by cheaper candidates"
            )
            choices.append(Choice(candidate=candidate, rank=rank, chosen=False, obligation_wh=(), reason=reason))
            continue
        expected = [wh * candidate.reliability_bp // BASIS_POINTS if whole else wh for wh in obligation]
        lacking = [max(0, rest - wh) for rest, wh in zip(lacking, expected, strict=True)]
        reason = f"rank {rank} of {len(ranked)} at {candidate.cost_minor_per_mwh} minor/MWh delivered"
        if candidate.surplus_wh:
            reason += f"; first, for {candidate.surplus_wh} Wh too much of its own that day"
        choices.append(Choice(candidate=candidate, rank=rank, chosen=True, obligation_wh=obligation, reason=reason))
    for candidate in sorted((c for c in candidates if c.excluded), key=lambda c: c.candidate):
        choices.append(Choice(candidate=candidate, rank=0, chosen=False, obligation_wh=(), reason=candidate.excluded))
    return Dispatch(target_wh=tuple(target_wh), choices=tuple(choices), lacking_wh=tuple(lacking))


def _obligation(candidate: Candidate, lacking: Sequence[int], whole: bool) -> tuple[int, ...]:
    if whole:
        wanted = any(available and rest for available, rest in zip(candidate.available_wh, lacking, strict=True))
        return candidate.available_wh if wanted else tuple(0 for _ in lacking)
    return tuple(min(available, rest) for available, rest in zip(candidate.available_wh, lacking, strict=True))


def reliability_bp(successes: int, events: int, prior_bp: int, prior_events: int) -> int:
    """Share of past contracts delivered, shrunk toward a prior as strong as `prior_events` contracts (the mean of a
    beta distribution), in basis points."""
    return (successes * BASIS_POINTS + prior_bp * prior_events) // (events + prior_events)
