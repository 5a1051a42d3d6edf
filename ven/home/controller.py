"""The home's controller: from contracts, events and the owner's choice to answers and to the device."""

from __future__ import annotations

from dataclasses import dataclass

from forecasting.calendar import SiteCalendar
from ven.home.actuator import Actuator
from ven.home.answer import Answer, Home, answer_contracted, answer_followed
from ven.home.decision import Action, Reduce, contracted, followed, next_change_ms
from ven.home.owner import Owner, read_owner
from ven.home.store import ContractState, Opt, Store, StoredEvent


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

    def tick(self, now_ms: int, ven_id: str) -> int | None:
        """Answers events and moves the device; returns when to look again if nothing else happens."""
        owner = read_owner(self._store.notes)
        events = self._store.events.all()
        home = Home(now_ms, owner, self._calendar, ven_id, self._resource, self._party)
        for stored in events:
            if not stored.gone:
                self._answer(stored, events, home)
        events = self._store.events.all()
        followed_done = self._actuator.apply(self._action(now_ms, owner, events), now_ms)
        ends = [owner.opt_out_until_ms] if owner.opted_out(now_ms) and owner.opt_out_until_ms is not None else []
        accepted = self._store.contracts.in_state(ContractState.ACCEPTED)
        change_ms = next_change_ms(now_ms, accepted, [stored for stored in events if not stored.cancelled])
        if change_ms is not None:
            ends.append(change_ms)
        if not followed_done:
            ends.append(now_ms + 1000)  # the device did not follow: try again
        return min(ends, default=None)

    def release(self, now_ms: int) -> None:
        """Frees the device, because the agent stops; a restart in the middle of an event reduces again."""
        self._actuator.apply(None, now_ms)

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

    def _action(self, now_ms: int, owner: Owner, events: list[StoredEvent]) -> Action:
        if owner.opted_out(now_ms):
            return None
        cancelled = frozenset(stored.event.event_id for stored in events if stored.cancelled)
        accepted = self._store.contracts.in_state(ContractState.ACCEPTED)
        action = contracted(now_ms, accepted, cancelled, self._rules.margin_percent)
        if action is None and not self._rules.require_contract:
            action = followed(now_ms, [each for each in events if each.opt is Opt.IN and not each.cancelled])
        if isinstance(action, Reduce):
            most_w = self._actuator.device.max_shed_w
            if owner.max_shed_w is not None:
                most_w = min(most_w, owner.max_shed_w)
            return Reduce(min(action.reduction_w, most_w), action.until_ms, action.reason) if most_w else None
        return action
