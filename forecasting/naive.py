"""Seasonal naive: tomorrow evening is the mean of the last like evenings.

Value of an interval = mean of the last n readings with the same wall-clock label on days of the same kind (working, or
weekend and holiday), at most `look_back_days` old. Gaps are passed over slot by slot, so a day that lacks its morning
still serves for its evening. Where like days give nothing, a ladder, each step named in the forecast:

    like_days -> fewer_like_days -> other_days (the other kind of day) -> overall_mean (no day knows this time of day)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum

from forecasting.calendar import DayType, SiteCalendar, day_intervals, slot_of
from forecasting.errors import NoHistory
from forecasting.model import Forecast
from forecasting.series import IntervalSeries


class Basis(StrEnum):
    LIKE_DAYS = "like_days"
    FEWER_LIKE_DAYS = "fewer_like_days"
    OTHER_DAYS = "other_days"
    OVERALL_MEAN = "overall_mean"


REASONS = {
    Basis.FEWER_LIKE_DAYS: "like days in the look-back hold fewer readings at this time of day than asked for",
    Basis.OTHER_DAYS: "no like day in the look-back has a reading at this time of day; days of the other kind serve",
    Basis.OVERALL_MEAN: "no day in the look-back has a reading at this time of day; the mean of all readings was used",
}


@dataclass(frozen=True)
class SeasonalNaive:
    """Counts follow the usual baselines: 10 working days or 4 weekend days and holidays within 45 days."""

    working_days: int = 10
    other_days: int = 4
    look_back_days: int = 45

    def __post_init__(self) -> None:
        if min(self.working_days, self.other_days, self.look_back_days) < 1:
            raise ValueError(f"every count of {self.name} must be at least 1")

    @property
    def name(self) -> str:
        return f"seasonal-naive-{self.working_days}-{self.other_days}-{self.look_back_days}d"

    def fit(
        self, history: IntervalSeries, calendar: SiteCalendar, excluded: Collection[date] = frozenset()
    ) -> FittedSeasonalNaive:
        """Keeps the history; there is nothing to train."""
        return FittedSeasonalNaive(self, history, calendar, frozenset(excluded))


@dataclass(frozen=True)
class FittedSeasonalNaive:
    """See forecasting.model.FittedModel."""

    settings: SeasonalNaive
    history: IntervalSeries
    calendar: SiteCalendar
    excluded: frozenset[date] = field(default_factory=frozenset)

    def forecast(self, start_ms: int, count: int, issued_at_ms: int) -> Forecast:
        step_ms = self.history.interval_ms
        if start_ms % step_ms or start_ms < issued_at_ms or count < 1:
            raise ValueError(f"cannot forecast {count} intervals from {start_ms}, issued at {issued_at_ms}")
        known = self.history.ended_by(issued_at_ms)
        if not known.readings:
            raise NoHistory(f"no reading had ended at {issued_at_ms}; the history holds {len(self.history.readings)}")
        days: dict[date, _Day] = {}
        results: list[tuple[float, Basis]] = []
        for at_ms in range(start_ms, start_ms + count * step_ms, step_ms):
            day = self.calendar.day_of(at_ms)
            if day not in days:
                days[day] = self._prepare(day, known)
            results.append(days[day].value(slot_of(self.calendar.zone, known.interval_s, at_ms)))
        return Forecast(
            model=self.settings.name,
            issued_at_ms=issued_at_ms,
            known_until_ms=max(known.readings) + step_ms,
            start_ms=start_ms,
            interval_s=known.interval_s,
            values=tuple(value for value, _ in results),
            basis=tuple(basis for _, basis in results),
            reasons=_reasons([basis for _, basis in results]),
        )

    def update(self, newer: IntervalSeries) -> FittedSeasonalNaive:
        return replace(self, history=self.history.joined(newer))

    def _prepare(self, day: date, known: IntervalSeries) -> _Day:
        """The look-back of a target day, sorted into like days and others, most recent first."""
        like: dict[int, list[float]] = {}
        other: dict[int, list[float]] = {}
        for before in range(1, self.settings.look_back_days + 1):
            past = day - timedelta(days=before)
            if past not in self.excluded:
                by_slot = like if self.calendar.alike(past, day) else other
                for slot, value in self._day_values(past, known).items():
                    by_slot.setdefault(slot, []).append(value)
        working = self.calendar.day_type(day) is DayType.WORKING
        wanted = self.settings.working_days if working else self.settings.other_days
        return _Day(wanted, like, other, _mean(list(known.readings.values())))

    def _day_values(self, day: date, known: IntervalSeries) -> dict[int, float]:
        """Slot -> value of one past day; a label that occurs twice in autumn holds the mean of what is known of it."""
        found: dict[int, list[float]] = {}
        for start_ms, slot in day_intervals(self.calendar.zone, known.interval_s, day):
            if start_ms in known.readings:
                found.setdefault(slot, []).append(known.readings[start_ms])
        return {slot: _mean(values) for slot, values in found.items()}


@dataclass(frozen=True)
class _Day:
    """Past values by slot for one target day, most recent first."""

    wanted: int
    like: dict[int, list[float]]
    other: dict[int, list[float]]
    overall: float

    def value(self, slot: int) -> tuple[float, Basis]:
        like = self.like.get(slot, [])[: self.wanted]
        if like:
            return _mean(like), Basis.LIKE_DAYS if len(like) == self.wanted else Basis.FEWER_LIKE_DAYS
        other = self.other.get(slot, [])[: self.wanted]
        if other:
            return _mean(other), Basis.OTHER_DAYS
        return self.overall, Basis.OVERALL_MEAN


def _reasons(bases: Sequence[Basis]) -> tuple[str, ...]:
    return tuple(
        f"{bases.count(basis)} of {len(bases)} intervals: {text}" for basis, text in REASONS.items() if basis in bases
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
