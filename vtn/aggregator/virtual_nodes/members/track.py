"""What the ledger says of each home: how its contracts ended, how often it was called, what its offers are worth."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date

from contracts.core import facts
from contracts.core.commands import Terms
from forecasting.calendar import DayType, SiteCalendar, slot_of
from vtn.aggregator.dispatch import reliability_bp
from vtn.flexibility.answering import Call
from vtn.flexibility.calls import CallsMade
from vtn.flexibility.history import History, Trial
from vtn.flexibility.learning import Learnt
from vtn.services.programs import ProgramTerms

WEEK_DAYS, SEASON_DAYS = 7, 183
_HOUR_S = 3_600


class TrackRecord:
    """What the ledger says of each device: contracts ended, how they ended, and days under contract.

    Fed with facts in order; the same facts give the same record, so it is rebuilt after a restart. derate_percent: of
    what a home is known to give, so much is asked."""

    def __init__(self, calendar: SiteCalendar, derate_percent: int = 100) -> None:
        self._calendar = calendar
        self._history = History(derate_percent)
        self._terms: dict[str, Terms] = {}
        self._ended: dict[str, int] = {}
        self._succeeded: dict[str, int] = {}
        self._days: dict[str, list[date]] = {}
        self._declined: dict[str, list[str]] = {}
        self._accepted: set[str] = set()
        self._released: set[str] = set()

    def observe(self, fact: facts.Fact) -> None:
        """Takes one fact of a contract with a device into account."""
        match fact:
            case facts.DRSetUp(parent=str()):
                self._terms[fact.contract_id] = fact.terms
                call = self.call(fact.payee, fact.terms.start_ms, fact.terms.accept_by_ms)
                self._history.asked(fact.contract_id, call)
            case facts.ReductionAccepted(parent=str()):
                terms = self._terms[fact.contract_id]
                self._accepted.add(fact.contract_id)
                self._days.setdefault(fact.payee, []).append(self._calendar.day_of(terms.start_ms))
            case facts.ReductionRejected(parent=str()):
                self._declined.setdefault(fact.payee, []).append(self._terms[fact.contract_id].need_id)
                self._history.refused(fact.payee, fact.contract_id, fact.reason)
            case facts.DRExpired(parent=str()) if fact.contract_id not in self._accepted:
                self._history.refused(fact.payee, fact.contract_id, "no answer")
            case facts.DRSettled(parent=str()) if fact.contract_id in self._released:
                self._history.ended(fact.payee, fact.contract_id, None)
            case facts.DRSettled(parent=str()):
                self._ended[fact.payee] = self._ended.get(fact.payee, 0) + 1
                if fact.outcome == "success":
                    self._succeeded[fact.payee] = self._succeeded.get(fact.payee, 0) + 1
                # what a silent home used is nobody's knowledge
                trial = None if fact.missing else self._trial(fact)
                self._history.ended(fact.payee, fact.contract_id, trial)
            case _:
                pass

    def release(self, contract_ids: Collection[str]) -> None:
        """Devices of these contracts were let go before the end: what they delivered says nothing of them."""
        self._released.update(contract_ids)

    def opted_out(self, contracts: Mapping[str, str]) -> None:
        """Devices that opted out of these contracts after they accepted them; with their reasons, "" for none."""
        self._history.opted_out(contracts)

    def corrected(self, device: str, at_ms: int) -> None:
        """The device corrects what it says by itself, and said something else at `at_ms` (0: it does not)."""
        self._history.corrected(device, at_ms)

    def event_days(self, device: str) -> Collection[date]:
        """Local days on which the device was under contract: no like-days for a baseline."""
        return self._days.get(device, ())

    def declined(self, device: str, need_id: str) -> bool:
        """Did the device reject a contract of this need?"""
        return need_id in self._declined.get(device, ())

    def learnt(self, device: str) -> Learnt:
        """What its offers turned out to be worth, and how often it answered."""
        return self._history.learnt(device)

    def call(self, device: str, start_ms: int, accept_by_ms: int) -> Call:
        """A call of the device for `start_ms`, to be answered by `accept_by_ms`, as one that is likely to be heeded or
        not."""
        day = self._calendar.day_of(start_ms)
        return Call(
            hour=slot_of(self._calendar.zone, _HOUR_S, start_ms),
            weekend=self._calendar.day_type(day) is not DayType.WORKING,
            notice_s=max(0, start_ms - accept_by_ms) // 1000,
            lately=sum(0 <= (day - each).days < WEEK_DAYS for each in self._days.get(device, ())),
        )

    def answers(self, device: str, call: Call) -> float:
        """Probability that the device accepts a call and does not opt out of it."""
        return self._history.answering.probability(device, call)

    def refusals(self, device: str) -> Mapping[str, int]:
        """Why it did not answer, how often each."""
        return self._history.reasons(device)

    def calls(self, device: str, day: date, week_most: int | None = None, planned: Collection[date] = ()) -> CallsMade:
        """Contracts it accepted, and days for which it is asked already (`planned`): of `day`, of the fullest week that
        holds it (calls for later days may be known before), and of the season until then."""
        ago = [(day - each).days for each in (*self._days.get(device, ()), *planned)]
        return CallsMade(
            day=ago.count(0),
            week=max(sum(-after <= days < WEEK_DAYS - after for days in ago) for after in range(WEEK_DAYS)),
            season=sum(days < SEASON_DAYS for days in ago),
            week_most=week_most,
        )

    def accepted(self, contract_id: str) -> bool:
        """Did the device accept this contract?"""
        return contract_id in self._accepted

    def mean_calls(self, devices: Collection[str], day: date) -> float:
        """Calls of the season of these homes on average."""
        return sum(self.calls(device, day).season for device in devices) / max(1, len(devices))

    def reliability_bp(self, device: str, program: ProgramTerms) -> int:
        """Share of contracts delivered, shrunk toward the programme's prior."""
        return reliability_bp(
            self._succeeded.get(device, 0),
            self._ended.get(device, 0),
            program.reliability_prior_bp,
            program.reliability_prior_events,
        )

    def _trial(self, fact: facts.DRSettled) -> Trial:
        terms = self._terms[fact.contract_id]
        baseline_wh = 0 if terms.baseline is None else sum(terms.baseline.curve_wh)
        return Trial(terms.start_ms, fact.obligation_wh, fact.delivered_wh, baseline_wh)
