"""What the device should do now: pure, from contracts, events and the owner's choice, with the moment passed in.

    contract     |---500 Wh---|---500 Wh---|---250 Wh---|      obligation per interval
    action       [ 2200 W until the end   ][ 1100 W .. ]      with a margin of 10 %

Every action lasts until the contract's end, so that a device whose agent dies keeps what was agreed and not a watt
longer; the agent looks again at each change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openadr import timeline
from openadr.model import DrEvent, Signal
from ven.home.store import Contract, StoredEvent

MS_PER_S = 1000
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Reduce:
    """Use `reduction_w` less than without control, until `until_ms`, for a contract."""

    reduction_w: int
    until_ms: int
    reason: str


@dataclass(frozen=True)
class Level:
    """Follow SIMPLE level 1..3 until `until_ms`, for an event without contract."""

    level: int
    until_ms: int
    reason: str


Action = Reduce | Level | None
"""None: nothing is asked, the device is free."""

_OPEN_ENDED_S = 3600  # an open-ended event is followed hour by hour, so that a dead agent frees the device


def contracted(now_ms: int, contracts: Sequence[Contract], cancelled: frozenset[str], margin_percent: int) -> Action:
    """The reduction that accepted contracts oblige to at `now_ms`. `cancelled`: ids of cancelled events."""
    for contract in contracts:
        terms = contract.terms
        if terms.dr_event_id in cancelled or not terms.start_ms <= now_ms < contract.end_ms:
            continue
        reduction_w = obligation_w(contract, (now_ms - terms.start_ms) // (terms.interval_s * MS_PER_S), margin_percent)
        if reduction_w:
            return Reduce(reduction_w, contract.end_ms, contract.contract_id)
    return None


def obligation_w(contract: Contract, interval: int, margin_percent: int = 0) -> int:
    """Power of an interval's obligation and a margin, in W, rounded up."""
    terms = contract.terms
    scaled = terms.obligation_wh[interval] * _SECONDS_PER_HOUR * (100 + margin_percent)
    return -(-scaled // (terms.interval_s * 100))


def followed(now_ms: int, events: Sequence[StoredEvent]) -> Action:
    """The SIMPLE level of the event that governs at `now_ms`, of events that were opted in to without a contract."""
    offsets_s = {each.event.event_id: each.offset_s for each in events}
    for segment in timeline.plan([each.event for each in events], offsets_s):
        if segment.start_ms <= now_ms and (segment.end_ms is None or now_ms < segment.end_ms):
            return _level(now_ms, segment, offsets_s[segment.event.event_id])
    return None


def next_change_ms(now_ms: int, contracts: Sequence[Contract], events: Sequence[StoredEvent]) -> int | None:
    """The next moment at which `contracted` or `followed` may answer otherwise; None if there is none."""
    moments: list[int] = []
    for contract in contracts:
        step_ms = contract.terms.interval_s * MS_PER_S
        moments += range(contract.terms.start_ms, contract.end_ms + 1, step_ms)
    for each in events:
        for signal in each.event.signals:
            for step in timeline.steps(each.event, signal, each.offset_s):
                moments.append(step.start_ms)
                # an open end is renewed while it lasts
                moments.append(now_ms + _OPEN_ENDED_S * MS_PER_S // 2 if step.end_ms is None else step.end_ms)
    return min((moment for moment in moments if moment > now_ms), default=None)


def simple_signal(event: DrEvent) -> Signal | None:
    """The SIMPLE signal of an event (rule 7: there is at most one)."""
    return next((signal for signal in event.signals if signal.name.upper() == "SIMPLE"), None)


def _level(now_ms: int, segment: timeline.Segment, offset_s: int) -> Action:
    signal = simple_signal(segment.event)
    step = None if signal is None else timeline.step_at(segment.event, signal, now_ms, offset_s)
    if step is None or step.payload not in ("1", "2", "3"):
        return None
    ends = [end for end in (step.end_ms, segment.end_ms) if end is not None]
    until_ms = min(ends, default=now_ms - now_ms % (_OPEN_ENDED_S * 500) + _OPEN_ENDED_S * MS_PER_S)
    return Level(int(step.payload), until_ms, segment.event.event_id)
