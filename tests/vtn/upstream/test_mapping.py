"""What an event of the utility asks for, in Wh per interval: figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openadr.model import DrEvent, Signal, SignalInterval, Target, Unit
from tests.builders import START_MS, a_dr_event, a_signal
from tests.openadr.strategies import events
from vtn.upstream.mapping import (
    Asked,
    Nothing,
    Priced,
    SignalTerms,
    Unservable,
    Wanted,
    area_of,
    of_power,
    read_event,
)

TERMS = SignalTerms(simple_w=(2_000, 4_000, 0), setpoint="reduction", delta="change", open_ended_s=7_200)
QUARTER_MS = 900_000
KW = Unit("power_real", "W", "k")


def dispatch(*steps: tuple[int, str], type: str = "setpoint", unit: Unit | None = KW) -> Signal:
    return Signal("s", "LOAD_DISPATCH", type, unit, tuple(SignalInterval(60 * minutes, kw) for minutes, kw in steps))


def an_event(*signals: Signal, start_ms: int = START_MS, minutes: int = 60, **given: Any) -> DrEvent:
    return a_dr_event(signals=signals, start_ms=start_ms, duration_s=60 * minutes, **given)


def asked(event: DrEvent, *, usual: Any = lambda starts: None, earliest_ms: int = 0, **given: Any) -> Asked:
    terms = SignalTerms(**{**{name: getattr(TERMS, name) for name in TERMS.__struct_fields__}, **given})
    return read_event(event, terms, offset_s=0, interval_s=900, earliest_ms=earliest_ms, usual=usual)


def wanted(event: DrEvent, **given: Any) -> Wanted:
    found = asked(event, **given)
    assert isinstance(found, Wanted), found
    return found


def test_a_dispatch_is_energy_per_interval():
    """8 kW for half an hour, then 4 kW: 2,000 Wh a quarter, then 1,000 Wh."""
    found = wanted(an_event(dispatch((30, "8"), (30, "4"))))
    assert found == Wanted(
        start_ms=START_MS, interval_s=900, target_wh=(2_000, 2_000, 1_000, 1_000), peak_w=8_000,
        source="LOAD_DISPATCH setpoint",
    )  # fmt: skip


def test_an_event_off_the_grid_takes_its_part_of_each_interval():
    """20 minutes of 6 kW from ten past: 5 of the first quarter (500 Wh), 15 of the second (1,500 Wh)."""
    found = wanted(an_event(dispatch((20, "6")), start_ms=START_MS + 600_000, minutes=20))
    assert (found.start_ms, found.target_wh) == (START_MS, (500, 1_500))


def test_a_drawn_start_shifts_what_is_asked_for():
    event = an_event(dispatch((30, "8")), minutes=30, start_after_s=900)
    found = read_event(event, TERMS, offset_s=450, interval_s=900, earliest_ms=0, usual=lambda starts: None)
    assert isinstance(found, Wanted)
    assert found.target_wh == (1_000, 2_000, 1_000)


def test_a_level_is_the_power_agreed_for_it():
    found = wanted(an_event(a_signal(intervals=(SignalInterval(1_800, "1"), SignalInterval(1_800, "2")))))
    assert found.target_wh == (500, 500, 1_000, 1_000)


def test_a_level_nothing_is_agreed_for_is_not_served():
    found = asked(an_event(a_signal(intervals=(SignalInterval(3_600, "3"),))))
    assert found == Unservable(200, "no reduction is agreed for SIMPLE level 3")


def test_normal_operation_asks_for_nothing():
    assert isinstance(asked(an_event(a_signal(intervals=(SignalInterval(3_600, "0"),)))), Nothing)
    assert isinstance(asked(an_event(dispatch((60, "0")))), Nothing)


def test_a_negative_change_is_less_load_and_a_positive_one_is_refused():
    assert wanted(an_event(dispatch((60, "-8"), type="delta"))).target_wh == (2_000,) * 4
    refused = asked(an_event(dispatch((60, "8"), type="delta")))
    assert isinstance(refused, Unservable)
    assert refused.code == 460
    assert wanted(an_event(dispatch((60, "8"), type="delta")), delta="reduction").target_wh == (2_000,) * 4


def test_a_limit_is_the_reduction_from_what_homes_usually_draw():
    """Usually 3,000 Wh a quarter (12 kW); limit 8 kW: 4 kW less, 1,000 Wh a quarter."""

    def usual(starts: list[int]) -> list[int]:
        return [3_000 for _ in starts]

    assert wanted(an_event(dispatch((60, "8"))), setpoint="limit", usual=usual).target_wh == (1_000,) * 4
    assert wanted(an_event(dispatch((60, "0.75"), type="multiplier", unit=None)), usual=usual).target_wh == (750,) * 4
    unknown = asked(an_event(dispatch((60, "8"))), setpoint="limit")
    assert unknown == Unservable(200, "what the homes usually draw is not known yet")


def test_prices_are_shown_and_nothing_follows():
    prices = Signal(
        "p", "ELECTRICITY_PRICE", "price", Unit("currency_per_kwh", "EUR"),
        (SignalInterval(1_800, "0.45"), SignalInterval(1_800, "0.3")),
    )  # fmt: skip
    assert asked(an_event(prices)) == Priced("ELECTRICITY_PRICE price EUR: 0.45 for 30 min, 0.3 for 30 min")
    both = an_event(prices, a_signal("simple", intervals=(SignalInterval(3_600, "1"),)))
    assert wanted(both).source == "SIMPLE level"


def test_a_dispatch_comes_before_a_level():
    both = an_event(a_signal("simple", intervals=(SignalInterval(3_600, "1"),)), dispatch((60, "8")))
    assert wanted(both).source == "LOAD_DISPATCH setpoint"


@pytest.mark.parametrize(("lost", "left"), [(1, (1_000, 1_000, 1_000)), (2, (1_000, 1_000)), (3, None)])
def test_an_event_too_late_for_half_of_it_is_not_served(lost: int, left: tuple[int, ...] | None):
    found = asked(an_event(dispatch((60, "4"))), earliest_ms=START_MS + lost * QUARTER_MS)
    if left is None:
        assert isinstance(found, Unservable)
        assert found.reason.startswith("too late")
    else:
        assert isinstance(found, Wanted)
        assert (found.start_ms, found.target_wh) == (START_MS + lost * QUARTER_MS, left)


def test_an_open_ended_event_is_served_for_a_while():
    event = an_event(a_signal(intervals=(SignalInterval(0, "1"),)), minutes=0)
    assert wanted(event).target_wh == (500,) * 8


@pytest.mark.parametrize("minutes", [60 * 49, 10**12])
def test_an_event_longer_than_a_need_can_be_is_refused_without_counting_it_out(minutes: int):
    found = asked(an_event(dispatch((minutes, "8")), minutes=minutes))
    assert found == Unservable(451, "it lasts longer than the 47.75 hours a need can have")


def test_an_open_ended_event_may_hide_its_length_in_its_intervals():
    found = asked(an_event(dispatch((10**12, "8"), (0, "8")), minutes=0))
    assert isinstance(found, Unservable)
    assert found.code == 451


def test_a_power_nobody_has_is_invalid():
    assert asked(an_event(dispatch((60, "1e30")))) == Unservable(454, "more than 1000000000000 W")


def test_a_signal_that_is_not_understood_is_named():
    state = Signal("c", "CHARGE_STATE", "multiplier", None, (SignalInterval(3_600, "1"),))
    found = asked(an_event(state))
    assert isinstance(found, Unservable)
    assert (found.code, found.reason.split(":")[0]) == (460, "CHARGE_STATE")


AREAS = {"vn-F1": "F1", "vn-F2": "F2"}


@pytest.mark.parametrize(
    ("targets", "area"),
    [
        ((), "portfolio"),
        ((Target("ven", "us"),), "portfolio"),
        ((Target("group", "aggregators"),), "portfolio"),
        ((Target("resource", "portfolio"),), "portfolio"),
        ((Target("resource", "vn-F2"),), "F2"),
        ((Target("resource", "vn-F1"), Target("resource", "vn-F2")), "portfolio"),
        ((Target("ven", "them"),), None),
        ((Target("resource", "pump-1"),), None),
        ((Target("resource", "vn-F1"), Target("resource", "pump-1")), None),
    ],
)
def test_a_target_says_whose_homes_are_meant(targets: tuple[Target, ...], area: str | None):
    found = area_of(a_dr_event(targets=targets), "us", AREAS, "portfolio")
    assert (None if isinstance(found, Unservable) else found) == area
    assert area is not None or (isinstance(found, Unservable) and found.code == 462)


def test_an_operator_sets_one_power_for_the_whole_event():
    found = of_power(an_event(dispatch((45, "1")), minutes=45), 4_000, offset_s=0, interval_s=900, open_ended_s=3_600)
    assert (found.target_wh, found.peak_w) == ((1_000,) * 3, 4_000)


@given(
    st.lists(st.tuples(st.integers(1, 600), st.integers(0, 50_000)), min_size=1, max_size=12),
    st.integers(0, 86_400), st.integers(0, 3_600),
)  # fmt: skip
def test_no_energy_is_lost_or_made_between_an_event_and_its_need(steps: list[tuple[int, int]], late_s: int, drawn: int):
    """Power times time, to half a Wh an interval of the grid."""
    watts = tuple(SignalInterval(60 * minutes, str(power)) for minutes, power in steps)
    signal = Signal("s", "LOAD_DISPATCH", "setpoint", Unit("power_real", "W"), watts)
    total_s = sum(each.duration_s for each in watts)
    event = a_dr_event(signals=(signal,), start_ms=START_MS + 1000 * late_s, duration_s=total_s)
    found = read_event(event, TERMS, offset_s=drawn, interval_s=900, earliest_ms=0, usual=lambda starts: None)
    exact_wh = sum(60 * minutes * power for minutes, power in steps) / 3600
    if isinstance(found, Wanted):
        assert abs(sum(found.target_wh) - exact_wh) <= 0.5 * (total_s / 900 + 2)  # empty ones at the ends are left out
        assert found.start_ms >= START_MS + 1000 * (late_s + drawn - 900)
        assert found.end_ms <= event.start_ms + 1000 * (total_s + drawn + 900)
    elif isinstance(found, Nothing):
        assert exact_wh <= 0.5 * (total_s / 900 + 2)
    else:
        assert total_s > 191 * 900


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(events(), st.sampled_from(["reduction", "limit"]), st.integers(0, 2**50))
def test_whatever_a_utility_sends_is_understood_or_refused(event: DrEvent, setpoint: Any, earliest_ms: int):
    found = asked(event, setpoint=setpoint, earliest_ms=earliest_ms, usual=lambda starts: [1_000 for _ in starts])
    assert isinstance(found, Wanted | Priced | Nothing | Unservable)
    if isinstance(found, Wanted):
        assert sum(found.target_wh) > 0
        assert min(found.target_wh) >= 0
        assert found.starts_ms[0] >= earliest_ms
