"""What each home did of what it was asked: the input of learning and answering, kept so that both can be done again.

    asked ──▶ refused (or no answer)            ──▶ not answered
      └─────▶ accepted ──▶ opted out later      ──▶ not answered, and what it delivered says nothing of it
                    └────▶ ended                ──▶ answered ──▶ what it can give (unless let go, or without readings)

Everything comes in the order of the ledger; the same order gives the same history, whenever it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from vtn.flexibility.answering import Answering, Call
from vtn.flexibility.learning import Learnt

#: a home that cannot give so much, and says so, will answer when it is asked for less; a clock can be set
_OF_THE_MOMENT = ("capability", "clock", "deadline")
_EXCUSED = 3
"""So often in a row: who says it every time does not answer."""
_TRIALS = 200
_NOTHING = Learnt()


class Trial(NamedTuple):
    """One event a home answered: when it began, what it was obliged to, what it delivered, of what baseline (Wh)."""

    start_ms: int
    offered_wh: int
    delivered_wh: int
    baseline_wh: int


class History:
    """Homes by their party on the ledger. derate_percent: of what a home says, and is known to give, so much is asked.
    answering: what is known of a group's answers before its first call."""

    def __init__(self, derate_percent: int = 100, answering: Answering | None = None) -> None:
        self._derate = max(1, derate_percent) / 100
        self.answering = answering or Answering()
        self._trials: dict[str, list[Trial]] = {}
        self._learnt: dict[str, Learnt] = {}
        self._corrected_ms: dict[str, int] = {}
        self._calls: dict[str, Call | None] = {}
        self._opted_out: dict[str, str] = {}
        self._reasons: dict[str, Counter[str]] = {}
        self._excused: dict[str, int] = {}

    def asked(self, contract_id: str, call: Call | None) -> None:
        """A home is asked; `call` says when and how."""
        self._calls[contract_id] = call

    def refused(self, home: str, contract_id: str, reason: str) -> None:
        """It rejected, or left the question without an answer; `reason` is `code: words`."""
        code = reason.partition(":")[0].strip() or "no reason"
        self._reasons.setdefault(home, Counter())[code] += 1
        call = self._calls.pop(contract_id, None)
        if code in _OF_THE_MOMENT:
            self._excused[home] = self._excused.get(home, 0) + 1
        if code not in _OF_THE_MOMENT or self._excused[home] > _EXCUSED:
            self.answering.observe(home, False, call)

    def opted_out(self, contracts: Mapping[str, str] | Collection[str]) -> None:
        """These contracts were accepted, and opted out of later; with the reason, where one was given."""
        for contract_id in contracts:
            reason = contracts[contract_id] if isinstance(contracts, Mapping) else ""
            self._opted_out[contract_id] = reason or self._opted_out.get(contract_id, "")

    def ended(self, home: str, contract_id: str, trial: Trial | None) -> None:
        """A contract it accepted is settled; `trial` is None where what it delivered says nothing of it."""
        call = self._calls.pop(contract_id, None)
        if contract_id in self._opted_out:
            self._reasons.setdefault(home, Counter())[self._opted_out[contract_id] or "optOut"] += 1
            self.answering.observe(home, False, call)
            return
        self.answering.observe(home, True, call)
        self._excused.pop(home, None)
        if trial is None:
            return
        trials = self._trials.setdefault(home, [])
        trials.append(trial)
        del trials[:-_TRIALS]
        if trial.start_ms >= self._corrected_ms.get(home, 0):
            self._learnt[home] = self._after(self.learnt(home), trial)

    def corrected(self, home: str, at_ms: int) -> None:
        """The home said at `at_ms` that it corrects by itself what it says: what it did before counts no more."""
        if at_ms == self._corrected_ms.get(home, 0):
            return
        self._corrected_ms[home] = at_ms
        fresh = _NOTHING
        for trial in self._trials.get(home, ()):
            fresh = self._after(fresh, trial) if trial.start_ms >= at_ms else fresh
        self._learnt[home] = fresh

    def learnt(self, home: str) -> Learnt:
        """What its word is worth."""
        return self._learnt.get(home, _NOTHING)

    def reasons(self, home: str) -> Mapping[str, int]:
        """Why it did not answer, how often: codes of its rejections, reasons of its opt-outs."""
        return self._reasons.get(home, {})

    def _after(self, known: Learnt, trial: Trial) -> Learnt:
        asked = self._derate * min(1.0, known.part)
        return known.after(trial.offered_wh, trial.delivered_wh, asked=asked, baseline_wh=trial.baseline_wh or None)
