"""The home's controller: from contracts, events and the owner's choice to answers and to the device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from forecasting.calendar import SiteCalendar
from runtime.logs import get_logger
from ven.errors import StoreFull
from ven.home.actuator import Actuator
from ven.home.answer import Answer, Home, answer_contracted, answer_followed
from ven.home.decision import Decision, Known, action, next_change_ms, plan
from ven.home.owner import read_owner
from ven.home.store import ContractState, Opt, Store, StoredEvent

DECISIONS_NOTE = "decisions"
_TOLD_MAX = 48  # decisions kept for people to look at

_log = get_logger("ven.home.controller")


@dataclass(frozen=True)
class Rules:
    """How a home takes part: `require_contract`, and the margin on top of an obligation."""

    require_contract: bool
    margin_percent: int


class Controller:
    """Decides at each tick what is to be answered and done, from what is stored alone: a restart changes nothing."""

    def __init__(
        self, store: Store, actuator: Actuator, calendar: SiteCalendar, rules: Rules, *, resource: str, party: str
    ) -> None:
        self._store = store
        self._actuator = actuator
        self._calendar = calendar
        self._rules = rules
        self._resource = resource
        self._party = party
        self._kept: tuple[Decision, ...] = ()

    def tick(self, now_ms: int, ven_id: str) -> int | None:
        """Answers events and moves the device; returns when to look again if nothing else happens."""
        owner = read_owner(self._store.notes)
        events = self._store.events.all()
        home = Home(
            now_ms,
            owner,
            self._calendar,
            ven_id,
            self._resource,
            self._party,
            self._store.schedules.live(),
            self._actuator.abilities,
        )
        for stored in events:
            if not stored.gone:
                self._answer(stored, events, home)
        known = self._known(home)
        decisions = plan(now_ms, known)
        self._keep(decisions)
        change_ms = next_change_ms(now_ms, decisions)
        if self._actuator.apply(action(now_ms, decisions), now_ms):
            return change_ms
        again_ms = now_ms + 1000  # the device did not follow: try again
        return again_ms if change_ms is None else min(again_ms, change_ms)

    def release(self, now_ms: int) -> None:
        """Frees the device, because the agent stops; a restart in the middle of an event reduces again."""
        try:
            self._actuator.apply(None, now_ms)
        except StoreFull as error:
            _log.warning("device freed, and not written down", home=self._resource, why=str(error))

    def _answer(self, stored: StoredEvent, events: list[StoredEvent], home: Home) -> None:
        event_id = stored.event.event_id
        answer: Answer | None
        if self._rules.require_contract:
            answer = answer_contracted(stored, self._store.contracts.of_event(event_id), home)
        else:
            agreed = [each for each in events if each.opt is Opt.IN and each.event.event_id != event_id]
            answer = answer_followed(stored, [each for each in agreed if not each.cancelled], home)
        if answer is not None and (answer.opt, int(answer.code), answer.reason) != (
            stored.opt,
            stored.opt_code,
            stored.opt_reason,
        ):
            self._store.events.decide(event_id, answer.opt, int(answer.code), answer.reason)

    def _known(self, home: Home) -> Known:
        """What decisions depend on, as it is stored now. An acceptance on its way may bind already."""
        return Known(
            contracts=self._store.contracts.in_state(ContractState.ACCEPTED, ContractState.ACCEPTING),
            events=self._store.events.all(),
            availability=home.availability,
            abilities=home.abilities,
            margin_percent=self._rules.margin_percent,
            follow=not self._rules.require_contract,
            prices=home.owner.price_levels,
        )

    def _keep(self, decisions: tuple[Decision, ...]) -> None:
        """Writes down what was decided and why, for people to look at, whenever it is something else."""
        told = decisions[:_TOLD_MAX]
        if self._kept and replace(told[0], start_ms=self._kept[0].start_ms) == self._kept[0]:
            told = (self._kept[0], *told[1:])  # it holds since then
        if told == self._kept:
            return
        first = told[0]
        if not self._kept or first.what != self._kept[0].what:
            _log.info("decided", home=self._resource, governs=first.governs, demand=repr(first.demand), why=first.why)
        self._kept = told
        self._store.notes.write(DECISIONS_NOTE, [_shown(each) for each in told])


def _shown(decision: Decision) -> dict[str, Any]:
    demand = decision.demand
    asked = None
    if demand is not None:
        values = {name: value for name, value in vars(demand).items() if name not in ("until_ms", "reason")}
        asked = {"kind": type(demand).__name__.lower(), **values}
    return {
        "start_ms": decision.start_ms,
        "end_ms": decision.end_ms,
        "governs": decision.governs,
        "asked": asked,
        "why": decision.why,
        "waits": [{"id": subject, "why": why} for subject, why in decision.waits],
    }
