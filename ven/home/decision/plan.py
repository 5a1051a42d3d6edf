"""Who governs, interval by interval: pure, from contracts, events and the owner's word.

    contract           |=== 400 W ===|=== 200 W ===|
    event, priority 1        |---- level 3 ----|
    event, priority 0  |--------------- level 1 ---------------|
    told to the device [400 W][ all it may     ][200 W][level 1 ]

1. The owner: who is out is left alone, and it is said what is not done for it.
2. A contract's obligation is the least that is done: no event takes away from it, one may add to it.
3. Of events without a contract the active one of the best priority governs (1 first .. 0 last), then the earlier start
   (rule 15). The others wait, and it is said for whom.

A contract whose acceptance was sent counts although the ledger's answer is outstanding: it may bind. Two contracts at
one time are both met by the larger obligation, because one reduction is measured under both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from openadr import timeline
from openadr.model import DrEvent
from ven.home.decision.actions import Abilities, Action, Charge, Level, Limit, Reduce
from ven.home.decision.availability import Availability
from ven.home.decision.demands import Demand, PriceLevels, asked, heeded
from ven.home.store import Contract, ContractState, Opt, StoredEvent

MS_PER_S = 1000
OPEN_ENDED_S = 3600  # an open-ended event is followed hour by hour, so that a dead agent frees the device
_SECONDS_PER_HOUR = 3600
_ALL = 3  # SIMPLE level "special": all the owner allows


@dataclass(frozen=True)
class Known:
    """All a decision depends on. `contracts`: accepted, or with the acceptance on its way. `events`: all that are
    stored. `follow`: are events followed without a contract? `prices`: see demands."""

    contracts: Sequence[Contract]
    events: Sequence[StoredEvent]
    availability: Availability
    abilities: Abilities
    margin_percent: int = 0
    follow: bool = False
    prices: PriceLevels = ()


@dataclass(frozen=True)
class _Wish:
    """What the events without contract ask for: of the one that `governs` ("": none), and what waits for it. `absent`:
    why the owner is out of one of them."""

    demand: Demand
    governs: str
    why: str
    waits: tuple[tuple[str, str], ...]
    absent: str | None


@dataclass(frozen=True)
class Decision:
    """What holds in [start_ms, end_ms) (None: without end known). `governs`: the id of the contract or event, or
    "owner", or "" where nothing is asked. `waits`: (id, why) of what is asked at this time and not done, or done by
    what is done for another."""

    start_ms: int
    end_ms: int | None
    demand: Demand
    governs: str
    why: str
    waits: tuple[tuple[str, str], ...] = ()
    least_until_ms: int = field(default=0)
    """End of the contracts in force: a device whose agent dies keeps to them until then."""

    @property
    def what(self) -> tuple[Demand, str, int]:
        """What makes two decisions one for the device."""
        return self.demand, self.governs, self.least_until_ms


def plan(now_ms: int, known: Known) -> tuple[Decision, ...]:
    """What is decided from `now_ms` on, as known now; without gaps, the last without end."""
    known = replace(known, events=_concerning(now_ms, known))
    edges = [now_ms, *(edge for edge in _edges(known) if edge > now_ms)]
    found: list[Decision] = []
    for position, start_ms in enumerate(edges):
        end_ms = edges[position + 1] if position + 1 < len(edges) else None
        decision = replace(decide(start_ms, known), end_ms=end_ms)
        last = found[-1] if found else None
        if last is not None and replace(last, start_ms=start_ms, end_ms=end_ms) == decision:
            found[-1] = replace(last, end_ms=end_ms)
        else:
            found.append(decision)
    return tuple(found)


def action(now_ms: int, decisions: Sequence[Decision]) -> Action:
    """What the device is told at `now_ms`, the start of `decisions`: with an end of its own, so that a device whose
    agent dies keeps what was agreed and not a watt longer."""
    first, *later = decisions
    if first.demand is None:
        return None
    end_ms = first.end_ms
    for decision in later:
        if decision.what != first.what:
            break
        end_ms = decision.end_ms
    if first.least_until_ms:
        end_ms = first.least_until_ms
    if end_ms is None:
        # renewed before it is over; the same for half an hour, so that a device is not told anew at each look
        end_ms = now_ms - now_ms % (OPEN_ENDED_S * MS_PER_S // 2) + OPEN_ENDED_S * MS_PER_S
    return replace(first.demand, until_ms=end_ms)


def next_change_ms(now_ms: int, decisions: Sequence[Decision]) -> int | None:
    """When to look again if nothing else happens; None if nothing will change."""
    end_ms = decisions[0].end_ms
    if end_ms is None and decisions[0].demand is not None:
        return now_ms + OPEN_ENDED_S * MS_PER_S // 2
    return end_ms


def decide(at_ms: int, known: Known) -> Decision:
    """What governs at one moment."""
    programs = {each.event.event_id: each.event.program for each in known.events}
    cancelled = {each.event.event_id for each in known.events if each.cancelled}
    bound: list[tuple[int, Contract]] = []
    waits: list[tuple[str, str]] = []
    absent = None
    for contract in known.contracts:
        watts = _bound_w(contract, at_ms, known.margin_percent)
        event_id = contract.terms.dr_event_id
        if not watts:
            continue
        why = known.availability.absence(at_ms, programs.get(event_id))
        if why is not None:
            absent = why
            waits.append((contract.contract_id, f"{watts} W are owed and not given: {why}"))
        elif event_id in cancelled:
            waits.append((contract.contract_id, "its event was cancelled"))
        else:
            bound.append((watts, contract))
    wish = _wish(at_ms, known)
    waits += wish.waits
    if bound:
        return _bounded(at_ms, known, bound, wish, waits)
    if wish.governs:
        return Decision(at_ms, None, _capped(wish.demand, known), wish.governs, wish.why, tuple(waits))
    absent = absent or wish.absent
    if absent is not None:
        return Decision(at_ms, None, None, "owner", absent, tuple(waits))
    return Decision(at_ms, None, None, "", "nothing is asked", tuple(waits))


def obligation_w(contract: Contract, interval: int, margin_percent: int = 0) -> int:
    """Power of an interval's obligation and a margin, in W, rounded up."""
    terms = contract.terms
    scaled = terms.obligation_wh[interval] * _SECONDS_PER_HOUR * (100 + margin_percent)
    return -(-scaled // (terms.interval_s * 100))


def _bound_w(contract: Contract, at_ms: int, margin_percent: int) -> int:
    terms = contract.terms
    if not terms.start_ms <= at_ms < contract.end_ms:
        return 0
    return obligation_w(contract, (at_ms - terms.start_ms) // (terms.interval_s * MS_PER_S), margin_percent)


def _bounded(
    at_ms: int,
    known: Known,
    bound: list[tuple[int, Contract]],
    wish: _Wish,
    waits: list[tuple[str, str]],
) -> Decision:
    """Under contract: the largest obligation, or what an event asks beyond it."""
    ordered = sorted(bound, key=lambda each: (-each[0], each[1].terms.start_ms, each[1].contract_id))
    watts, first = ordered[0]
    for _, contract in ordered[1:]:
        waits.append((contract.contract_id, f"met by the reduction for {first.contract_id}"))
    more_w = _beside(wish.demand, known.abilities)
    least_until_ms = max(contract.end_ms for _, contract in bound)
    governs, why, wanted_w = first.contract_id, f"{watts} W are owed by contract", watts
    if first.state is ContractState.ACCEPTING:
        why += "; the ledger's answer to the acceptance is outstanding"
    if wish.governs and more_w is not None and more_w > watts:
        governs, wanted_w = wish.governs, more_w
        why = f"{wish.why}; it asks for more than the {watts} W owed by contract"
        waits.append((first.contract_id, f"met by the reduction for {wish.governs}"))
    elif wish.governs:
        reason = "what it asks lies within what is owed" if more_w is not None else "it cannot be met beside it"
        waits.append((wish.governs, f"the contract {first.contract_id} comes first: {reason}"))
    capped = _capped(Reduce(wanted_w, 0, governs), known)
    given_w = capped.reduction_w if isinstance(capped, Reduce) else 0
    if given_w < watts:
        why += f"; the owner and the device allow {given_w} W"
    return Decision(at_ms, None, capped, governs, why, tuple(waits), least_until_ms)


def _beside(demand: Demand, abilities: Abilities) -> int | None:
    """The reduction, in W, that meets what an event asks together with an obligation; None if it cannot be said.

    A device takes levels or watts: level 3 is all the owner allows, 1 and 2 ask for no number of watts."""
    match demand:
        case Reduce():
            return demand.reduction_w
        case Level(level=level):
            return abilities.max_shed_w if level == _ALL else 0
        case Limit() if abilities.rated_w is not None:
            return max(0, abilities.rated_w - demand.power_w)
        case Limit() | Charge():
            return None
    return 0


def _wish(at_ms: int, known: Known) -> _Wish:
    waits: list[tuple[str, str]] = []
    absent: str | None = None
    contracted = {contract.terms.dr_event_id for contract in known.contracts}
    active: list[StoredEvent] = []
    for each in known.events if known.follow else ():
        event = each.event
        if event.event_id in contracted or not _active(each, at_ms):
            continue
        if event.test_event:  # rule 6: it shows that messages arrive, and moves nothing
            waits.append((event.event_id, "it is a test: answered, and not followed"))
            continue
        why = known.availability.absence(at_ms, event.program)
        if why is not None:
            absent = why
            waits.append((event.event_id, why))
        elif each.opt is not Opt.IN:
            waits.append((event.event_id, each.opt_reason or "it was not opted in to"))
        else:
            active.append(each)
    if not active:
        return _Wish(None, "", "", tuple(waits), absent)
    active.sort(key=lambda each: (_rank(each.event), timeline.span(each.event, each.offset_s)[0], each.event.event_id))
    first = active[0]
    for other in active[1:]:
        waits.append((other.event.event_id, f"{first.event.event_id} governs: {_before(first, other)}"))
    demand, why = _demand(first, at_ms, known)
    return _Wish(demand, first.event.event_id, why, tuple(waits), absent)


def _demand(stored: StoredEvent, at_ms: int, known: Known) -> tuple[Demand, str]:
    event = stored.event
    signal = heeded(event, known.abilities, known.prices)
    if signal is None:
        return None, "it has no signal that this device can follow"
    step = timeline.step_at(_uncancelled(event), signal, at_ms, stored.offset_s)
    if step is None:
        return None, f"{signal.name} asks nothing at this time"
    found = asked(signal, step.payload, known.abilities, known.prices, event.event_id)
    why = f"{signal.name} {signal.type} {step.payload} in interval {step.index}, priority {event.priority}"
    return found, f"{why}; cancelled, and freed after the random part of its start" if event.cancelled else why


def _capped(demand: Demand, known: Known) -> Demand:
    """Never more watts than owner and device allow. Levels, limits and storage have the device's own limits."""
    if not isinstance(demand, Reduce):
        return demand
    most_w = known.abilities.max_shed_w
    if known.availability.owner.max_shed_w is not None:
        most_w = min(most_w, known.availability.owner.max_shed_w)
    return replace(demand, reduction_w=min(demand.reduction_w, most_w)) if most_w else None


def _before(first: StoredEvent, other: StoredEvent) -> str:
    if _rank(first.event) != _rank(other.event):
        return f"priority {first.event.priority} comes before {other.event.priority}"
    return "the same priority, and it began earlier"


def _rank(event: DrEvent) -> int:
    return event.priority or 2**32


def _active(stored: StoredEvent, at_ms: int) -> bool:
    if stored.cancelled and at_ms >= _freed_ms(stored):
        return False
    return timeline.status(_uncancelled(stored.event), at_ms, stored.offset_s) is timeline.EventStatus.ACTIVE


def _freed_ms(stored: StoredEvent) -> int:
    """When a cancelled event lets the device go: one that began at a random moment ends at one too (rules 30, 65), so
    that a fleet does not come back at once."""
    return 0 if stored.gone else stored.received_ms + stored.offset_s * MS_PER_S


def _uncancelled(event: DrEvent) -> DrEvent:
    return msgspec.structs.replace(event, cancelled=False) if event.cancelled else event


def _concerning(now_ms: int, known: Known) -> list[StoredEvent]:
    """Events that may decide something from now on: a store keeps those of months."""
    named = {contract.terms.dr_event_id for contract in known.contracts}
    found = []
    for each in known.events:
        end_ms = timeline.span(each.event, each.offset_s)[1]
        over = (end_ms is not None and end_ms <= now_ms) or (each.cancelled and _freed_ms(each) <= now_ms)
        if each.event.event_id in named or (known.follow and not over):
            found.append(each)
    return found


def _edges(known: Known) -> list[int]:
    """Every moment at which a decision may change, in order."""
    found = set(known.availability.edges())
    for contract in known.contracts:
        step_ms = contract.terms.interval_s * MS_PER_S
        found.update(range(contract.terms.start_ms, contract.end_ms + 1, step_ms))
    for each in known.events if known.follow else ():
        if each.cancelled:
            found.add(_freed_ms(each))
        found.update(edge for edge in timeline.span(each.event, each.offset_s) if edge is not None)
        for signal in each.event.signals:
            steps = timeline.steps(each.event, signal, each.offset_s)
            found.update(edge for step in steps for edge in (step.start_ms, step.end_ms) if edge is not None)
    return sorted(found)
