"""optIn or optOut: what the home says to each event. Pure.

under contract        optIn as long as a contract that names exactly this event is accepted and the owner stays in
without (foreign VTN) optIn within the owner's limits if the event is one the device can follow and is for this home
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forecasting.calendar import SiteCalendar
from openadr.conformance import violations
from openadr.errors import ResponseCode
from openadr.model import DrEvent
from openadr.timeline import EventStatus, span, status
from ven.home.decision import Abilities, Availability, heeded
from ven.home.owner import Owner
from ven.home.store import Contract, ContractState, Opt, OptSchedule, StoredEvent

_PENDING = (ContractState.PROPOSED, ContractState.ACCEPTING)
_OPEN_ENDED_MS = 86_400_000  # an open-ended event is measured against the owner's limits as a day

_NONE = Abilities(0)


@dataclass(frozen=True)
class Answer:
    """An opt with an OpenADR response code and a reason in words."""

    opt: Opt
    code: int = 200
    reason: str = ""


@dataclass(frozen=True)
class Home:
    """Who the home is on the wire, its owner's choice at `now_ms`, and what its device can do."""

    now_ms: int
    owner: Owner
    calendar: SiteCalendar
    ven_id: str
    resource: str
    party: str
    schedules: Sequence[OptSchedule] = ()
    abilities: Abilities = _NONE

    @property
    def availability(self) -> Availability:
        return Availability(self.owner, self.schedules, self.resource)


def answer_contracted(stored: StoredEvent, contracts: Sequence[Contract], home: Home) -> Answer | None:
    """The answer where events need a contract; None while it is open. `contracts`: those that name the event."""
    general = _general(stored, home)
    if general is not None:
        return general
    accepted = [contract for contract in contracts if contract.state.binding]
    if any(contract.terms.dr_event_digest == stored.digest for contract in accepted):
        return Answer(Opt.IN)
    if accepted:
        return Answer(Opt.OUT, ResponseCode.NOT_ALLOWED, "the event is not the one the accepted contract names")
    if any(contract.state in _PENDING for contract in contracts):
        return None
    for contract in contracts:
        return Answer(Opt.OUT, reason=contract.reason or f"the contract {contract.contract_id} is {contract.state}")
    if home.now_ms >= stored.event.start_ms:
        return Answer(Opt.OUT, ResponseCode.NOT_ALLOWED, "no contract covers this event")
    return None


def answer_followed(stored: StoredEvent, agreed: Sequence[StoredEvent], home: Home) -> Answer | None:
    """The answer where events are followed without contract. `agreed`: other events that were opted in to."""
    general = _general(stored, home)
    if general is not None:
        return general
    event = stored.event
    for violation in violations(event):
        return Answer(Opt.OUT, int(violation.code), violation.detail)
    if heeded(event, home.abilities, home.owner.price_levels) is None:
        return Answer(Opt.OUT, ResponseCode.SIGNAL_NOT_SUPPORTED, "the event has no signal that this device can follow")
    if not is_target(event, home):
        return Answer(Opt.OUT, ResponseCode.TARGET_MISMATCH, "the event is for others")
    start_ms, end_ms = span(event, stored.offset_s)
    refusal = home.owner.refusal(
        calendar=home.calendar,
        start_ms=start_ms,
        end_ms=start_ms + _OPEN_ENDED_MS if end_ms is None else end_ms,
        reduction_w=0,
        other_starts_ms=[other.event.start_ms for other in agreed],
    )
    return Answer(Opt.IN) if refusal is None else Answer(Opt.OUT, reason=refusal)


def is_target(event: DrEvent, home: Home) -> bool:
    """Rule 22. Groups are the VTN's: an event for a group that it sends here is for this home."""
    mine = {("ven", home.ven_id), ("resource", home.resource), ("party", home.party)}
    return not event.targets or any(
        target.kind in ("group", "group_name") or (target.kind, target.value) in mine for target in event.targets
    )


def _general(stored: StoredEvent, home: Home) -> Answer | None:
    """What holds with and without contract; an answer to an event that is over is not changed any more."""
    if stored.event.cancelled:
        return Answer(Opt.IN, reason="cancelled")  # rule 36
    over = status(stored.event, home.now_ms, stored.offset_s) is EventStatus.COMPLETED
    if over:
        if stored.opt is not None:
            return Answer(stored.opt, stored.opt_code, stored.opt_reason)
        return Answer(Opt.OUT, reason="the event is over")
    absence = _absence(stored, home)
    return None if absence is None else Answer(Opt.OUT, reason=absence)


def _absence(stored: StoredEvent, home: Home) -> str | None:
    """Why the owner is out of an event: before it starts at any moment of it, later at this one."""
    availability, program = home.availability, stored.event.program
    start_ms, end_ms = span(stored.event, stored.offset_s)
    if home.now_ms >= start_ms:
        return availability.absence(home.now_ms, program)
    until_ms = start_ms + _OPEN_ENDED_MS if end_ms is None else end_ms
    return availability.absence(home.now_ms, program) or availability.absence_within(start_ms, until_ms, program)
