"""Should the home accept a contract? Pure: everything it needs is passed in.

deadline ─▶ owner ─▶ device ─▶ event (digest, time) ─▶ baseline (own meter)  ─▶  Accept
   │          │         │         │ not there yet: Wait      │
   └──────────┴─────────┴─────────┴──────────────────────────┴─▶ Reject(code)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from contracts.baseline import InsufficientHistory
from contracts.core.commands import Terms
from forecasting.calendar import SiteCalendar
from ven.home.baseline import recompute
from ven.home.decision import Availability, obligation_w
from ven.home.owner import Owner
from ven.home.store import Contract, OptSchedule, StoredEvent

GIVE_UP_PERMILLE = 900
"""A proposal whose event has not come is rejected when so much of the time to accept it has passed."""


@dataclass(frozen=True)
class Accept:
    """The terms are what this home can agree to."""


@dataclass(frozen=True)
class Wait:
    """Nothing speaks against it, but the event has not arrived over OpenADR yet; look again by `until_ms`."""

    until_ms: int


@dataclass(frozen=True)
class Reject:
    """`code`: clock, deadline, owner, device, capability, event_unknown, event_cancelled, event_mismatch, time_frame,
    baseline."""

    code: str
    reason: str

    @property
    def text(self) -> str:
        """As it is recorded: at most 200 characters."""
        return f"{self.code}: {self.reason}"[:200]


Verdict = Accept | Wait | Reject


@dataclass(frozen=True)
class View:
    """What the home knows at `now_ms`. `readings_wh`: its own meter. `reported_from_ms`: the oldest reading it gave the
    VTN (None: none). `event_days`: local days on which it was under contract. `agreed`: its binding contracts.
    `schedules`: the owner's, for `resource`. `clock_wrong`: why the home cannot keep to a time. `incapable`: why past
    events say that it cannot give what the contract asks."""

    now_ms: int
    owner: Owner
    calendar: SiteCalendar
    max_shed_w: int
    interval_s: int
    event: StoredEvent | None
    readings_wh: Mapping[int, int]
    reported_from_ms: int | None
    event_days: Collection[date]
    agreed: Sequence[Contract]
    schedules: Sequence[OptSchedule] = ()
    resource: str = ""
    clock_wrong: str | None = None
    incapable: str | None = None


def judge(contract: Contract, view: View) -> Verdict:
    """The verdict on a proposal."""
    terms = contract.terms
    if view.clock_wrong is not None:
        return Reject("clock", view.clock_wrong)
    if view.now_ms > terms.accept_by_ms:
        return Reject("deadline", "the time to accept it has passed")
    return (
        _against_owner(contract, view)
        or _against_device(contract, view)
        or _against_event(terms, contract.received_ms, view)
        or _against_baseline(terms, view)
        or Accept()
    )


def peak_w(contract: Contract) -> int:
    """The largest reduction a contract obliges to, in W."""
    return max(obligation_w(contract, n) for n in range(len(contract.terms.obligation_wh)))


def _against_owner(contract: Contract, view: View) -> Reject | None:
    owner, terms = view.owner, contract.terms
    availability = Availability(owner, view.schedules, view.resource)
    program = None if view.event is None else view.event.event.program
    if owner.opted_out(view.now_ms):
        return Reject("owner", "the owner has opted out")
    if (absence := availability.absence_within(terms.start_ms, contract.end_ms, program)) is not None:
        return Reject("owner", absence)
    if terms.energy_price_minor_per_mwh < owner.price_min_minor_per_mwh:
        return Reject("owner", "it pays less than the owner asks")
    if terms.deposit_minor > owner.deposit_max_minor:
        return Reject("owner", f"a deposit of {terms.deposit_minor} is more than the owner puts at stake")
    refusal = owner.refusal(
        calendar=view.calendar,
        start_ms=terms.start_ms,
        end_ms=contract.end_ms,
        reduction_w=peak_w(contract),
        other_starts_ms=[other.terms.start_ms for other in view.agreed],
    )
    return None if refusal is None else Reject("owner", refusal)


def _against_device(contract: Contract, view: View) -> Reject | None:
    terms = contract.terms
    if terms.interval_s != view.interval_s:
        return Reject("device", f"intervals of {terms.interval_s} s, the meter has {view.interval_s} s")
    if peak_w(contract) > view.max_shed_w:
        return Reject("device", f"{peak_w(contract)} W is more than the device can shed ({view.max_shed_w} W)")
    most_wh = max((abs(value) for value in view.readings_wh.values()), default=0)
    if most_wh > terms.meter_limit_wh:
        return Reject(
            "device", f"readings beyond {terms.meter_limit_wh} Wh would not count, this meter has {most_wh} Wh"
        )
    if any(terms.start_ms < other.end_ms and other.terms.start_ms < contract.end_ms for other in view.agreed):
        return Reject("device", "under contract in this time already")
    return None if view.incapable is None else Reject("capability", view.incapable)


def _against_event(terms: Terms, received_ms: int, view: View) -> Reject | Wait | None:
    stored = view.event
    if stored is None:
        patience_ms = (terms.accept_by_ms - received_ms) * GIVE_UP_PERMILLE // 1000
        give_up_ms = received_ms + max(0, patience_ms)
        if view.now_ms < give_up_ms:
            return Wait(give_up_ms)
        return Reject("event_unknown", f"the event {terms.dr_event_id} did not arrive over OpenADR")
    if stored.cancelled:
        return Reject("event_cancelled", f"the event {terms.dr_event_id} is cancelled")
    if stored.digest != terms.dr_event_digest:
        return Reject("event_mismatch", "the event received is not the one the contract names")
    end_ms = terms.start_ms + len(terms.obligation_wh) * terms.interval_s * 1000
    event = stored.event
    if terms.start_ms < event.start_ms or (event.end_ms is not None and end_ms > event.end_ms):
        return Reject("time_frame", "the contract reaches outside its event")
    return None


def _against_baseline(terms: Terms, view: View) -> Reject | None:
    """The curve must be the home's own. What it stored before it first reported may be unknown to the other side: the
    curve from the readings both hold is accepted too, which leaves the other side no choice but how far back to ask."""
    known = [view.readings_wh]
    if view.reported_from_ms is not None:
        from_ms = view.reported_from_ms
        known.append({start_ms: value for start_ms, value in view.readings_wh.items() if start_ms >= from_ms})
    reason = "the committed baseline is not the one computed from the home's own readings"
    for readings_wh in known:
        try:
            if recompute(readings_wh, view.calendar, terms, view.event_days) == terms.baseline:
                return None
        except InsufficientHistory as error:
            reason = str(error)
    return Reject("baseline", reason)
