"""What the ledger says of each home: how its contracts ended, how often it was called, what its offers are worth."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from contracts.core import facts
from contracts.core.commands import Terms
from forecasting.calendar import SiteCalendar
from vtn.aggregator.dispatch import reliability_bp
from vtn.flexibility.calls import CallsMade
from vtn.flexibility.learning import Learnt
from vtn.services.programs import ProgramTerms

WEEK_DAYS, SEASON_DAYS = 7, 183


class TrackRecord:
    """What the ledger says of each device: contracts ended, how they ended, and days under contract.

    Fed with facts in order; the same facts give the same record, so it is rebuilt after a restart."""

    def __init__(self, calendar: SiteCalendar) -> None:
        self._calendar = calendar
        self._terms: dict[str, Terms] = {}
        self._ended: dict[str, int] = {}
        self._succeeded: dict[str, int] = {}
        self._days: dict[str, list[date]] = {}
        self._declined: dict[str, list[str]] = {}
        self._learnt: dict[str, Learnt] = {}
        self._accepted: set[str] = set()
        self._released: set[str] = set()

    def observe(self, fact: facts.Fact) -> None:
        """Takes one fact of a contract with a device into account."""
        match fact:
            case facts.DRSetUp(parent=str()):
                self._terms[fact.contract_id] = fact.terms
            case facts.ReductionAccepted(parent=str()):
                terms = self._terms[fact.contract_id]
                self._accepted.add(fact.contract_id)
                self._days.setdefault(fact.payee, []).append(self._calendar.day_of(terms.start_ms))
            case facts.ReductionRejected(parent=str()):
                self._declined.setdefault(fact.payee, []).append(self._terms[fact.contract_id].need_id)
                self._learnt[fact.payee] = self.learnt(fact.payee).away()
            case facts.DRExpired(parent=str()) if fact.contract_id not in self._accepted:
                self._learnt[fact.payee] = self.learnt(fact.payee).away()
            case facts.DRSettled(parent=str()) if fact.contract_id not in self._released:
                self._ended[fact.payee] = self._ended.get(fact.payee, 0) + 1
                if fact.outcome == "success":
                    self._succeeded[fact.payee] = self._succeeded.get(fact.payee, 0) + 1
                if not fact.missing:  # what a silent home used is nobody's knowledge
                    known = self.learnt(fact.payee)
                    self._learnt[fact.payee] = known.after(fact.obligation_wh, fact.delivered_wh)
            case _:
                pass

    def release(self, contract_ids: Collection[str]) -> None:
        """Devices of these contracts were let go before the end: what they delivered says nothing of them."""
        self._released.update(contract_ids)

    def event_days(self, device: str) -> Collection[date]:
        """Local days on which the device was under contract: no like-days for a baseline."""
        return self._days.get(device, ())

    def declined(self, device: str, need_id: str) -> bool:
        """Did the device reject a contract of this need?"""
        return need_id in self._declined.get(device, ())

    def learnt(self, device: str) -> Learnt:
        """What its offers turned out to be worth, and how often it answered."""
        return self._learnt.get(device, Learnt())

    def calls(self, device: str, day: date, week_most: int | None = None) -> CallsMade:
        """Contracts it accepted until `day`: of that day, of the week and of the season that end with it."""
        ago = [(day - each).days for each in self._days.get(device, ())]
        return CallsMade(
            day=ago.count(0),
            week=sum(0 <= days < WEEK_DAYS for days in ago),
            season=sum(0 <= days < SEASON_DAYS for days in ago),
            week_most=week_most,
        )

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
