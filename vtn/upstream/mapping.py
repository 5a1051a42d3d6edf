"""What an event of the utility asks for, as energy per interval of the ledger's grid. Pure: no clock, no database.

    LOAD_DISPATCH    power of each interval, as the settings read it    ┐
    SIMPLE           the power the settings give to the level           ┴▶ Wanted: Wh per interval
    prices           what they are                                       ─▶ Priced: an operator decides
    else                                                                 ─▶ Unservable, with the code to answer

Energy of an interval = power x the time the event takes of it, so an event need not lie on the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

import msgspec

from contracts.core.commands import INTERVALS_MAX
from contracts.core.units import MS_PER_S
from contracts.demand_response.needs import PORTFOLIO
from openadr.errors import ResponseCode
from openadr.model import SCALE_EXPONENTS, DrEvent, Signal
from openadr.timeline import span, steps

Setpoint = Literal["reduction", "limit"]
Delta = Literal["change", "reduction"]
Usual = Callable[[Sequence[int]], Sequence[int] | None]
"""Starts of intervals (ms) -> Wh the homes usually draw in them, None where that is not known."""

_PRICES = ("ELECTRICITY_PRICE", "ENERGY_PRICE", "DEMAND_CHARGE", "BID_PRICE")
_HOUR_MS = 3_600_000
_WATTS_MAX = 10**12


class SignalTerms(msgspec.Struct, frozen=True, kw_only=True):
    """How signals are read. simple_w: watts for SIMPLE level 1, 2 and 3, 0: not served. setpoint: LOAD_DISPATCH is the
    reduction itself, or the limit the load may reach. delta: a change of the load (negative is less), or the reduction.
    An open-ended event is served for `open_ended_s`."""

    simple_w: tuple[int, int, int]
    setpoint: Setpoint
    delta: Delta
    open_ended_s: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Reduction in Wh per interval from `start_ms` on, its greatest power, and what it was read from."""

    start_ms: int
    interval_s: int
    target_wh: tuple[int, ...]
    peak_w: int
    source: str

    def at(self, start_ms: int) -> int:
        """Wh asked for in the interval that starts then."""
        position, rest = divmod(start_ms - self.start_ms, self.interval_s * MS_PER_S)
        return self.target_wh[position] if not rest and 0 <= position < len(self.target_wh) else 0

    @property
    def starts_ms(self) -> list[int]:
        """Where its intervals begin."""
        return [self.start_ms + n * self.interval_s * MS_PER_S for n in range(len(self.target_wh))]

    @property
    def end_ms(self) -> int:
        """End of the last interval."""
        return self.start_ms + len(self.target_wh) * self.interval_s * MS_PER_S


class Priced(msgspec.Struct, frozen=True):
    """Prices, as people read them; nothing follows from them by itself."""

    text: str


class Nothing(msgspec.Struct, frozen=True):
    """An event that is taken note of: normal operation."""

    reason: str


class Unservable(msgspec.Struct, frozen=True):
    """No need can be made of it: the OpenADR code and the reason to answer with."""

    code: int
    reason: str


Asked = Wanted | Priced | Nothing | Unservable


def read_event(
    event: DrEvent, terms: SignalTerms, *, offset_s: int, interval_s: int, earliest_ms: int, usual: Usual
) -> Asked:
    """What the event asks for, its start shifted by `offset_s`, in intervals of the grid that start at `earliest_ms` or
    later. Half of the energy at least must be left there: less is answered as too late."""
    asked = too_long(event, terms, interval_s) or _asked(event, terms, offset_s, interval_s, usual)
    if isinstance(asked, Unservable | Nothing | Priced):
        return asked
    signal, power = asked
    if any(abs(watts) > _WATTS_MAX for _, _, watts in power):
        return Unservable(ResponseCode.INVALID_DATA, f"more than {_WATTS_MAX} W")
    step_ms = interval_s * MS_PER_S
    whole = _on_grid(power, step_ms)
    if not sum(whole.values()):
        return Nothing("normal operation")
    target = tuple(whole.get(start, 0) for start in range(min(whole), max(whole) + step_ms, step_ms))
    peak_w = max(watts for _, _, watts in power)
    wanted = Wanted(start_ms=min(whole), interval_s=interval_s, target_wh=target, peak_w=peak_w, source=_named(signal))
    return from_on(wanted, earliest_ms)


def too_long(event: DrEvent, terms: SignalTerms, interval_s: int) -> Unservable | None:
    """Why an event lasts longer than a need can; None if it does not. To be asked before anything is spread over it."""
    lasts_s = max(
        event.duration_s or terms.open_ended_s,
        *(sum(each.duration_s for each in signal.intervals) for signal in event.signals),
    )
    if lasts_s <= (INTERVALS_MAX - 1) * interval_s:
        return None
    hours = (INTERVALS_MAX - 1) * interval_s / 3600
    return Unservable(ResponseCode.NOT_ALLOWED, f"it lasts longer than the {hours:g} hours a need can have")


def from_on(wanted: Wanted, earliest_ms: int) -> Wanted | Unservable:
    """What of it starts at `earliest_ms` or later, without empty intervals before and after. Half of the energy at
    least must be left: less is too late."""
    kept = {n for n, start in enumerate(wanted.starts_ms) if start >= earliest_ms and wanted.target_wh[n]}
    if not kept or 2 * sum(wanted.target_wh[n] for n in kept) < sum(wanted.target_wh):
        return Unservable(ResponseCode.OK, "too late: the contracts with the homes would not be accepted in time")
    first, last = min(kept), max(kept)
    return msgspec.structs.replace(
        wanted, start_ms=wanted.starts_ms[first], target_wh=wanted.target_wh[first : last + 1]
    )


def of_power(event: DrEvent, power_w: int, *, offset_s: int, interval_s: int, open_ended_s: int) -> Wanted:
    """One power over the whole event: what an operator makes of prices, or of a signal he reads otherwise."""
    start_ms, end_ms = span(event, offset_s)
    end_ms = start_ms + open_ended_s * MS_PER_S if end_ms is None else end_ms
    step_ms = interval_s * MS_PER_S
    whole = _on_grid([(start_ms, end_ms, power_w)], step_ms)
    return Wanted(
        start_ms=min(whole), interval_s=interval_s, target_wh=tuple(whole.values()), peak_w=power_w, source="operator"
    )


def area_of(event: DrEvent, ven_id: str, areas: Mapping[str, str], usual: str) -> str | Unservable:
    """Whose homes an event is for: those of a virtual node it names as a resource, else (it names all of them, the
    resource "portfolio", or us) those of the area `usual`. `areas`: virtual node -> its area. A group or party is one
    the utility counts us to, or it had not sent the event (rule 22: who is not targeted does not act)."""
    ours = (ven_id, PORTFOLIO)
    if any(target.kind in ("group", "group_name", "party") or target.value in ours for target in event.targets):
        return usual
    named = {areas.get(target.value, "") for target in event.targets if target.kind == "resource"}
    if not event.targets or (named and named == set(areas.values())):
        return usual
    if len(named) == 1 and "" not in named:
        return named.pop()
    if len(named) > 1 and "" not in named:
        return Unservable(
            ResponseCode.TARGET_MISMATCH, "it names some virtual nodes: send one event for each, or for all"
        )
    return Unservable(ResponseCode.TARGET_MISMATCH, "its targets are not ours")


Stretch = tuple[int, int, int]
"""From (ms), to (ms), watts of reduction."""


def _asked(
    event: DrEvent, terms: SignalTerms, offset_s: int, interval_s: int, usual: Usual
) -> tuple[Signal, list[Stretch]] | Unservable | Nothing | Priced:
    by_name = {signal.name.upper(): signal for signal in reversed(event.signals)}
    dispatch, simple = by_name.get("LOAD_DISPATCH"), by_name.get("SIMPLE")
    if dispatch is not None and dispatch.type != "level":
        found = _dispatched(event, dispatch, terms, offset_s, interval_s, usual)
        return found if isinstance(found, Unservable) else (dispatch, found)
    if simple is not None and any(interval.payload != "0" for interval in simple.intervals):
        levels = _levels(event, simple, terms, offset_s)
        return levels if isinstance(levels, Unservable) else (simple, levels)
    prices = [signal for name, signal in by_name.items() if name in _PRICES]
    if prices:
        return Priced("; ".join(_prices(signal) for signal in prices))
    if simple is not None:
        return Nothing("normal operation")
    names = ", ".join(sorted(by_name))
    return Unservable(ResponseCode.SIGNAL_NOT_SUPPORTED, f"{names}: LOAD_DISPATCH, SIMPLE or prices are understood")


def _dispatched(
    event: DrEvent, signal: Signal, terms: SignalTerms, offset_s: int, interval_s: int, usual: Usual
) -> list[Stretch] | Unservable:
    if signal.type in ("setpoint", "delta") and (signal.unit is None or signal.unit.kind != "power_real"):
        return Unservable(ResponseCode.SIGNAL_NOT_SUPPORTED, "LOAD_DISPATCH is understood in real power alone")
    scale = 0 if signal.unit is None else SCALE_EXPONENTS[signal.unit.scale]
    stretches = _stretches(event, signal, terms, offset_s)
    values = [(start, end, Decimal(payload).scaleb(scale)) for start, end, payload in stretches]
    if signal.type == "multiplier" or (signal.type == "setpoint" and terms.setpoint == "limit"):
        return _below_usual(values, signal.type == "multiplier", interval_s * MS_PER_S, usual)
    sign = -1 if signal.type == "delta" and terms.delta == "change" else 1
    found = [(start, end, sign * _whole(value)) for start, end, value in values]
    if any(watts < 0 for _, _, watts in found):
        return Unservable(ResponseCode.SIGNAL_NOT_SUPPORTED, "it asks for more load: homes are called for less alone")
    return found


def _below_usual(
    values: Sequence[tuple[int, int, Decimal]], relative: bool, step_ms: int, usual: Usual
) -> list[Stretch] | Unservable:
    """The reduction from what the homes usually draw down to a limit, or to a part of it; one stretch an interval."""
    pieces = [
        (max(start, grid_ms), min(end, grid_ms + step_ms), grid_ms, value)
        for start, end, value in values
        for grid_ms in range(start - start % step_ms, end, step_ms)
    ]
    loads = usual(list(dict.fromkeys(grid_ms for _, _, grid_ms, _ in pieces)))
    if loads is None:
        return Unservable(ResponseCode.OK, "what the homes usually draw is not known yet")
    load_w = {
        grid_ms: wh * _HOUR_MS // step_ms
        for grid_ms, wh in zip(dict.fromkeys(grid_ms for _, _, grid_ms, _ in pieces), loads, strict=True)
    }
    return [
        (start, end, max(0, load_w[grid_ms] - _whole(value * load_w[grid_ms] if relative else value)))
        for start, end, grid_ms, value in pieces
    ]


def _levels(event: DrEvent, signal: Signal, terms: SignalTerms, offset_s: int) -> list[Stretch] | Unservable:
    watts = {"0": 0, **{str(n): each for n, each in enumerate(terms.simple_w, start=1)}}
    found = _stretches(event, signal, terms, offset_s)
    unserved = sorted({level for _, _, level in found if level != "0" and not watts.get(level)})
    if unserved:
        return Unservable(ResponseCode.OK, f"no reduction is agreed for SIMPLE level {', '.join(unserved)}")
    return [(start, end, watts[level]) for start, end, level in found]


def _stretches(event: DrEvent, signal: Signal, terms: SignalTerms, offset_s: int) -> list[tuple[int, int, str]]:
    """The steps of a signal; what has no end is cut off after `open_ended_s`."""
    cut_ms = span(event, offset_s)[0] + terms.open_ended_s * MS_PER_S
    return [
        (step.start_ms, max(step.start_ms, cut_ms) if step.end_ms is None else step.end_ms, step.payload)
        for step in steps(event, signal, offset_s)
    ]


def _on_grid(power: Sequence[Stretch], step_ms: int) -> dict[int, int]:
    """Wh by start of the grid's intervals, rounded half to even once an interval."""
    parts: dict[int, int] = {}
    for start, end, watts in power:
        for grid_ms in range(start - start % step_ms, end, step_ms):
            taken_ms = min(end, grid_ms + step_ms) - max(start, grid_ms)
            parts[grid_ms] = parts.get(grid_ms, 0) + watts * taken_ms
    return {grid_ms: _whole(Decimal(part) / _HOUR_MS) for grid_ms, part in parts.items()}


def _whole(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_HALF_EVEN))


def _named(signal: Signal) -> str:
    return f"{signal.name} {signal.type}"


def _prices(signal: Signal) -> str:
    values = ", ".join(f"{each.payload} for {each.duration_s // 60} min" for each in signal.intervals)
    unit = "" if signal.unit is None else f" {signal.unit.symbol}"
    return f"{_named(signal)}{unit}: {values}"
