"""How likely a home is to answer a call: to accept it, and not to opt out of it later.

    home     its own record, a beta distribution       answered, not answered
    group    the prior of that: mean and strength from how the homes of the programme differ (method of moments)
    call     hour, day, notice, how often it was called lately: odds that hold for all homes, if the calls bear them out

The prior's mean and strength are empirical Bayes for the beta-binomial (Kleinman, "Proportions with extraneous
variance", JASA 68, 1973): where all homes are alike it is strong and a home's record counts little, where they differ
it is weak. The odds are a logistic regression on few yes-or-no features with a ridge penalty, on top of each home's own
odds, fitted coordinate by coordinate (Newton). They are used only from `_CALLS_MIN` calls on, and only while they have
predicted better than the record alone: before a call is learnt from, both are asked, and their Brier scores kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

_CALLS_MIN = 200
_FIT_EVERY = 0.1  # a tenth more calls than at the last fit
_GROUP_EVERY = 0.05  # its mean and strength are taken anew with a twentieth more calls: that looks at every home
_RIDGE = 4.0
_SWEEPS = 12
_STRENGTH_MIN, _STRENGTH_MAX = 2.0, 60.0
_FIT_MOST = 20_000
_FIT_AGAIN = 2_000  # and with so many more however many there were: habits change
_OWN_STEP = 0.1  # homes whose own odds differ by less are fitted together: their calls are counted, not gone through
_LEAST, _MOST = 0.01, 0.995


@dataclass(frozen=True)
class Call:
    """One call. hour: local, 0 to 23; weekend: or a holiday; notice_s: from being asked to the start; lately: calls of
    the seven days before."""

    hour: int
    weekend: bool
    notice_s: int
    lately: int

    @property
    def features(self) -> tuple[int, ...]:
        """Numbers of the features that hold."""
        found = [min(3, self.hour // 6)]
        if self.weekend:
            found.append(4)
        if self.notice_s < 3_600:
            found.append(5)
        elif self.notice_s >= 6 * 3_600:
            found.append(6)
        if self.lately >= 5:
            found.append(8)
        elif self.lately >= 2:
            found.append(7)
        return tuple(found)


_FEATURES = 9


@dataclass
class _Record:
    answered: int = 0
    called: int = 0


@dataclass
class Answering:
    """What is known of the homes of a programme. prior: what a home is taken to answer before anything is known, and
    how many calls that is worth."""

    prior: float = 0.97
    strength: float = 20.0
    _homes: dict[str, _Record] = field(default_factory=dict)
    _calls: list[tuple[str, tuple[int, ...], bool]] = field(default_factory=list)
    _odds: list[float] = field(default_factory=lambda: [0.0] * _FEATURES)
    _group: tuple[float, float] | None = None
    _group_at: int = 0
    _seen: int = 0
    _heard: int = 0
    _fitted: int = 0
    #: sum of squared errors of what was said before each call: by the record alone, and with the odds
    _errors: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _scored: int = 0

    def observe(self, home: str, answered: bool, call: Call | None = None) -> None:
        """Learns from a call; without `call` from the home's record alone."""
        if call is not None:
            alone, odds = self._record(home), self._with_odds(home, call.features)
            if self._fitted:
                self._errors[0] += (alone - answered) ** 2
                self._errors[1] += (odds - answered) ** 2
                self._scored += 1
            self._calls.append((home, call.features, answered))
            self._heard += 1
            if len(self._calls) > _FIT_MOST:
                del self._calls[: _FIT_MOST // 10]
        record = self._homes.setdefault(home, _Record())
        record.called += 1
        record.answered += answered
        self._seen += 1
        if self._heard >= max(_CALLS_MIN, min(self._fitted * (1 + _FIT_EVERY), self._fitted + _FIT_AGAIN)):
            self._fit()

    def probability(self, home: str, call: Call | None = None) -> float:
        """That the home answers (this call)."""
        if call is None or not self.by_call:
            return self._record(home)
        return self._with_odds(home, call.features)

    @property
    def by_call(self) -> bool:
        """Have hour, day, notice and fatigue predicted better than the record alone?"""
        return self._scored >= _CALLS_MIN // 2 and self._errors[1] < self._errors[0]

    @property
    def group(self) -> tuple[float, float]:
        """Mean and strength (in calls) of what a home without a record is taken for."""
        if self._group is None or self._seen > self._group_at * (1 + _GROUP_EVERY):
            self._group_at = self._seen
            self._group = _moments(list(self._homes.values()), self.prior, self.strength)
        return self._group

    def _record(self, home: str) -> float:
        mean, strength = self.group
        known = self._homes.get(home, _Record())
        return (known.answered + mean * strength) / (known.called + strength)

    def _with_odds(self, home: str, features: Sequence[int]) -> float:
        return _within(_sigmoid(_logit(self._record(home)) + sum(self._odds[each] for each in features)))

    def _fit(self) -> None:
        """The odds of each feature, the others and each home's own being given. On the event loop: what is fitted are
        counts of like calls, some hundreds however many calls there were."""
        self._fitted = self._heard
        own = {home: round(_logit(self._record(home)) / _OWN_STEP) for home in self._homes}
        like: dict[tuple[tuple[int, ...], int], list[int]] = {}
        for home, features, answered in self._calls:
            counts = like.setdefault((features, own[home]), [0, 0])
            counts[0] += 1
            counts[1] += answered
        of: list[list[int]] = [[] for _ in range(_FEATURES)]
        for n, (features, _) in enumerate(like):
            for each in features:
                of[each].append(n)
        odds = [0.0] * _FEATURES
        scores = [step * _OWN_STEP for _, step in like]
        counted = list(like.values())
        for _ in range(_SWEEPS):
            for feature, cells in enumerate(of):
                slope, bend = -_RIDGE * odds[feature], _RIDGE
                for n in cells:
                    expected, (calls, answers) = _sigmoid(scores[n]), counted[n]
                    slope += answers - calls * expected
                    bend += calls * expected * (1 - expected)
                step = max(-1.0, min(1.0, slope / bend))
                odds[feature] += step
                for n in cells:
                    scores[n] += step
        self._odds = odds


def brier(probabilities: Sequence[float], answered: Sequence[bool]) -> float:
    """Mean squared error of probabilities (Brier 1950); 0 is best. Raises ZeroDivisionError for none."""
    return sum((p - a) ** 2 for p, a in zip(probabilities, answered, strict=True)) / len(answered)


def _moments(records: Sequence[_Record], prior: float, strength: float) -> tuple[float, float]:
    """Mean and strength of the group's beta distribution: the mean shrunk toward `prior` as strong as `strength` calls,
    the strength from how much more the homes differ than chance makes them."""
    calls = sum(record.called for record in records)
    mean = _within((sum(record.answered for record in records) + prior * strength) / (calls + strength))
    often = [record for record in records if record.called >= 2]
    if len(often) < 10:
        return mean, strength
    spread = mean * (1 - mean)
    excess = weight = 0.0
    for record in often:
        # of n calls the squared error is spread / n by chance, and what the homes differ by on top
        excess += record.called * ((record.answered / record.called - mean) ** 2) - spread
        weight += record.called - 1
    part = excess / weight / spread  # intraclass correlation, 1 / (1 + strength)
    found = _STRENGTH_MAX if part <= 0 else 1 / part - 1
    return mean, max(_STRENGTH_MIN, min(_STRENGTH_MAX, found))


def _within(probability: float) -> float:
    return min(_MOST, max(_LEAST, probability))


def _logit(probability: float) -> float:
    bounded = _within(probability)
    return math.log(bounded / (1 - bounded))


def _sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))
