"""What this home learns from, and what follows: outcomes are written when contracts are over, offers and refusals are
made of them.

contract over, meter read ──▶ outcome (SQLite) ──▶ experience ──┬─▶ what the home says of itself
                                                                └─▶ what it refuses, with the reason
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import date

import msgspec

from contracts.baseline import PRESETS, adjustment_cap_wh, adjustment_wh
from contracts.core.commands import BaselineCommitment
from forecasting.calendar import SiteCalendar
from forecasting.likedays import like_day_slots
from runtime.logs import get_logger
from ven.config import VenSettings
from ven.flexibility.describing import Offer, Rated, rated, said
from ven.flexibility.learning import Experience, learnt
from ven.flexibility.outcomes import Ended, Outcome, Outcomes, starts_of
from ven.home.baseline import need_start_ms
from ven.home.decision import obligation_w
from ven.home.owner import read_owner
from ven.home.store import Contract, Opt, Store

_DAY_MS = 86_400_000
_LATE_MS = 2 * _DAY_MS  # a meter that says nothing for so long will not say it
_LOOK_BACK_MS = 50 * _DAY_MS
_REMEMBERED = 100  # outcomes that are learnt from: older ones weigh less than a tenth
_DAYS_MIN = 3

_log = get_logger("ven.flexibility")


class Record:
    """The home's own record. `device` is its driver (None: it has none)."""

    def __init__(self, store: Store, settings: VenSettings, device: object, calendar: SiteCalendar, home: str) -> None:
        self._store = store
        self._settings = settings
        self._device = device
        self._calendar = calendar
        self._home = home
        self._outcomes = Outcomes(store.database)
        self._experience: Experience | None = None

    @property
    def experience(self) -> Experience:
        """What past events say."""
        if self._experience is None:
            self._experience = learnt(self._outcomes.all(_REMEMBERED))
        return self._experience

    def look(self, now_ms: int) -> int:
        """Writes down what came of contracts that are over by now; how many."""
        found = 0
        for contract_id in self._outcomes.missing(now_ms):
            contract = self._store.contracts.find(contract_id)
            outcome = None if contract is None else self._outcome(contract, now_ms)
            if outcome is None:
                continue
            self._outcomes.add(outcome)
            self._experience = None
            found += 1
            _log.info(
                "event over", home=self._home, contract=contract_id, ended=outcome.ended,
                obligation_wh=outcome.obligation_wh, delivered_wh=outcome.delivered_wh, part=self.experience.part(),
            )  # fmt: skip
        return found

    def rated(self, now_ms: int) -> Rated:
        """What the home could do by its devices and its owner alone."""
        return rated_home(self._settings, self._store, self._device, now_ms)

    def offer(self, now_ms: int, before: Offer | None = None) -> Offer:
        """What the home says of itself now."""
        return said(self.rated(now_ms), self.experience, before)

    def incapable(self, contract: Contract) -> str | None:
        """Why past events speak against a contract; None if they do not. What a device is rated for is not looked at
        here."""
        baseline = contract.terms.baseline
        if baseline is None:
            return None
        claimed_wh = self.rated(contract.terms.start_ms).claimed_wh(baseline.curve_wh, contract.terms.interval_s)
        most_wh, owed_wh = self.experience.most_wh(claimed_wh), sum(contract.terms.obligation_wh)
        if most_wh is None or not claimed_wh or owed_wh <= most_wh:
            return None
        part = round(100 * self.experience.part())
        return (
            f"{owed_wh} Wh is more than this home gives: {self.experience.whole.trials} events gave about {part} % "
            f"of the {claimed_wh} Wh its devices are rated for"
        )

    def _outcome(self, contract: Contract, now_ms: int) -> Outcome | None:
        """None where it is not over, or not all of it is read."""
        terms, starts_ms = contract.terms, starts_of(contract)
        if now_ms < contract.end_ms:
            return None
        ended = self._ended(contract)
        found = Outcome(
            contract_id=contract.contract_id,
            start_ms=terms.start_ms,
            end_ms=contract.end_ms,
            ended=ended,
            obligation_wh=sum(terms.obligation_wh),
        )
        readings = self._store.meter.between(terms.start_ms - _LOOK_BACK_MS, contract.end_ms)
        baseline, complete = terms.baseline, all(start_ms in readings for start_ms in starts_ms)
        if ended is Ended.DELIVERED and (baseline is None or not complete):
            late = now_ms >= contract.end_ms + _LATE_MS
            return msgspec.structs.replace(found, ended=Ended.NO_READING) if late else None
        if ended is not Ended.DELIVERED or baseline is None:
            return found
        home, margin = self.rated(terms.start_ms), self._settings.margin_percent
        told_w = [min(home.most_w, obligation_w(contract, n, margin)) for n in range(len(starts_ms))]
        per_interval = adjustment_wh(baseline, [readings.get(each) for each in _window(contract, baseline)])
        usual_wh = sum(baseline.curve_wh) + per_interval * len(starts_ms)
        return msgspec.structs.replace(
            found,
            claimed_wh=home.claimed_wh(baseline.curve_wh, terms.interval_s),
            asked_wh=sum(told_w) * terms.interval_s // 3600,
            delivered_wh=usual_wh - sum(readings[start_ms] for start_ms in starts_ms),
            noise_wh=self._noise_wh(contract, baseline, readings),
            kind=home.kind_for(max(told_w)),
        )

    def _ended(self, contract: Contract) -> Ended:
        stored = self._store.events.find(contract.terms.dr_event_id)
        if stored is not None and stored.cancelled:
            return Ended.RELEASED
        if stored is not None and stored.opt is Opt.OUT:
            return Ended.OPTED_OUT
        return Ended.DELIVERED

    def _noise_wh(self, contract: Contract, baseline: BaselineCommitment, readings: Mapping[int, int]) -> int:
        """By how much such a baseline errs over such an event on days without one: the standard deviation of the days
        it is made of, each adjusted like the event's, and of their mean."""
        preset, need_ms = PRESETS.get(baseline.preset), need_start_ms(baseline)
        starts_ms, window_ms = starts_of(contract), _window(contract, baseline)
        if preset is None or need_ms is None:
            return sum(abs(wh) for wh in baseline.curve_wh)
        rows = like_day_slots(
            readings,
            self._calendar,
            contract.terms.interval_s,
            [*starts_ms, *window_ms],
            event_start_ms=need_ms,
            look_back_days=preset.lookback_days,
            excluded=self._event_days(contract),
        )
        count = len(starts_ms)
        days = [(row[:count], row[count:]) for _, row in rows]
        whole = [
            (sum(a), sum(b)) for a, b in ((_whole(a), _whole(b)) for a, b in days) if a is not None and b is not None
        ]
        if len(whole) < _DAYS_MIN:
            return sum(abs(wh) for wh in baseline.curve_wh)
        event_wh, before_wh = (sum(day[n] for day in whole) / len(whole) for n in (0, 1))
        cap = adjustment_cap_wh(baseline)
        errors = [
            event - event_wh - count * max(-cap, min(cap, (before - before_wh) / max(1, len(window_ms))))
            for event, before in whole
        ]
        variance = sum(error * error for error in errors) / (len(errors) - 1)
        return round(math.sqrt(variance * (1 + 1 / len(errors))))

    def _event_days(self, contract: Contract) -> Collection[date]:
        """Local days of other contracts: no days without event."""
        return {
            self._calendar.day_of(each.terms.start_ms)
            for each in self._store.contracts.all()
            if each.state.binding and each.contract_id != contract.contract_id
        }


def rated_home(settings: VenSettings, store: Store, device: object, now_ms: int) -> Rated:
    """What a home could do by its devices, its settings and its owner."""
    return rated(
        device,
        read_owner(store.notes),
        now_ms,
        flexible_w=settings.flexible_w,
        flexible_percent=settings.flexible_percent,
        max_events_per_week=settings.max_events_per_week,
    )


def _window(contract: Contract, baseline: BaselineCommitment) -> list[int]:
    """Starts of the intervals of the adjustment window."""
    step_ms = contract.terms.interval_s * 1000
    return [baseline.adjustment_start_ms + n * step_ms for n in range(len(baseline.adjustment_wh))]


def _whole(slots: tuple[int | None, ...]) -> list[int] | None:
    """A day's readings, None if one is missing."""
    found = [wh for wh in slots if wh is not None]
    return found if len(found) == len(slots) else None
