"""What the device is told, moment by moment, by hand arithmetic."""

from __future__ import annotations

import pytest

from openadr.model import SignalInterval, Unit
from tests.builders import START_MS, a_dr_event, a_signal, device_terms
from tests.ven.homes import a_stored_contract, a_stored_event
from ven.home.decision import (
    Abilities,
    Availability,
    Charge,
    Known,
    Level,
    Limit,
    Reduce,
    action,
    next_change_ms,
    obligation_w,
    plan,
)
from ven.home.owner import Owner
from ven.home.store import ContractState, Opt, OptSchedule

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
HALF_MS = START_MS + 30 * MINUTE_MS
HEATER = Abilities(max_shed_w=1500)
DIMMER = Abilities(max_shed_w=1800, rated_w=2000, limits=True)
BATTERY = Abilities(max_shed_w=0, storage_wh=10_000)
WATTS = Unit("power_real", "W")
KILOWATTS = Unit("power_real", "W", "k")


def known(contracts=(), events=(), **given) -> Known:
    availability = Availability(given.pop("owner", Owner()), given.pop("schedules", ()), "H1")
    return Known(contracts, events, availability, **{"abilities": HEATER, "follow": True, **given})


def told(at_ms, contracts=(), events=(), **given):
    return action(at_ms, plan(at_ms, known(contracts, events, **given)))


def decided(at_ms, contracts=(), events=(), **given):
    return plan(at_ms, known(contracts, events, **given))[0]


def opted_in(event_id: str = "event-2", *signals, **given):
    kept = {name: given.pop(name) for name in ("offset_s", "received_ms", "opt", "opt_reason") if name in given}
    return a_stored_event(
        a_dr_event(event_id, **{"signals": signals or (a_signal(),), **given}), **{"opt": Opt.IN, **kept}
    )


def level(value: int, seconds: int = 3600):
    return a_signal(intervals=(SignalInterval(seconds, str(value)),))


@pytest.mark.parametrize(
    ("at_ms", "reduction_w"),
    [
        (START_MS - 1, None),
        (START_MS, 400),  # 100 Wh in a quarter of an hour
        (START_MS + 15 * MINUTE_MS - 1, 400),
        (START_MS + 15 * MINUTE_MS, 800),
        (START_MS + 30 * MINUTE_MS, None),  # nothing is owed in this interval
        (START_MS + 45 * MINUTE_MS, 4),  # 1 Wh: rounded up, never down
        (START_MS + HOUR_MS, None),
    ],
)
def test_the_reduction_follows_the_obligation_of_each_interval(at_ms, reduction_w):
    contract = a_stored_contract(terms=device_terms(obligation_wh=(100, 200, 0, 1)))
    expected = None if reduction_w is None else Reduce(reduction_w, START_MS + HOUR_MS, "sc2-1")
    assert told(at_ms, [contract]) == expected


def test_the_margin_is_added_and_rounded_up():
    contract = a_stored_contract(terms=device_terms(obligation_wh=(101,)))
    assert obligation_w(contract, 0, 10) == 445  # 404 W * 1.1 = 444.4
    assert told(START_MS, [contract], margin_percent=10) == Reduce(445, START_MS + 15 * MINUTE_MS, "sc2-1")


def test_a_cancelled_event_frees_the_device_and_it_is_said():
    cancelled = a_stored_event(a_dr_event(cancelled=True))
    found = decided(START_MS, [a_stored_contract()], [cancelled])
    assert (found.demand, found.waits) == (None, (("sc2-1", "its event was cancelled"),))


def test_of_two_contracts_one_after_the_other_the_present_one_counts():
    second = a_stored_contract("sc2-2", device_terms(start_ms=START_MS + HOUR_MS, obligation_wh=(25,)))
    at_ms = START_MS + HOUR_MS + 1
    assert told(at_ms, [a_stored_contract(), second]) == Reduce(100, second.end_ms, "sc2-2")


def test_two_contracts_at_one_time_are_met_by_the_larger_obligation_until_the_last_ends():
    second = a_stored_contract("sc2-2", device_terms(start_ms=HALF_MS, obligation_wh=(200,) * 4))
    assert told(HALF_MS, [a_stored_contract(), second]) == Reduce(800, second.end_ms, "sc2-2")
    assert decided(HALF_MS, [a_stored_contract(), second]).waits == (("sc2-1", "met by the reduction for sc2-2"),)


def test_an_acceptance_without_answer_binds_already():
    """The ledger may have taken it, and the answer was lost with the line."""
    sent = a_stored_contract(state=ContractState.ACCEPTING)
    assert told(START_MS, [sent]) == Reduce(400, START_MS + HOUR_MS, "sc2-1")
    assert "outstanding" in decided(START_MS, [sent]).why


def test_levels_follow_the_steps_of_the_signal():
    signal = a_signal(intervals=(SignalInterval(1800, "1"), SignalInterval(1800, "3")))
    stored = opted_in("event-2", signal)
    assert told(START_MS - 1, events=[stored]) is None
    assert told(START_MS, events=[stored]) == Level(1, HALF_MS, "event-2")
    assert told(HALF_MS, events=[stored]) == Level(3, START_MS + HOUR_MS, "event-2")
    assert told(START_MS + HOUR_MS, events=[stored]) is None


def test_a_test_event_moves_nothing_and_holds_up_no_other():
    """Rule 6."""
    drill = opted_in("drill", level(3), test_event=True, priority=1)
    assert decided(START_MS, events=[drill]).demand is None
    assert told(START_MS, events=[drill, opted_in("event-2", level(1))]) == Level(1, START_MS + HOUR_MS, "event-2")
    assert decided(START_MS, events=[drill]).waits == (("drill", "it is a test: answered, and not followed"),)


def test_an_event_that_was_not_opted_in_to_is_not_followed_and_neither_is_any_without_leave():
    out = opted_in(opt=Opt.OUT, opt_reason="outside the hours the owner allows")
    assert decided(START_MS, events=[out]).waits == (("event-2", "outside the hours the owner allows"),)
    assert told(START_MS, events=[opted_in()], follow=False) is None


def test_a_level_of_zero_asks_nothing_but_governs():
    """Rule 15: the better priority says normal operation, and the other waits for it."""
    high = opted_in("high", level(0), priority=1)
    found = decided(START_MS, events=[opted_in("low"), high])
    assert (found.demand, found.governs) == (None, "high")
    assert found.waits == (("low", "high governs: priority 1 comes before 0"),)


def test_the_event_of_the_better_priority_governs():
    low = opted_in("low", priority=2)
    high = opted_in("high", level(3, 1800), priority=1, duration_s=1800)
    assert told(START_MS, events=[low, high]) == Level(3, HALF_MS, "high")
    assert told(HALF_MS, events=[low, high]) == Level(1, START_MS + HOUR_MS, "low")


def test_of_equal_priorities_the_earlier_start_governs_and_priority_0_is_the_lowest():
    late = opted_in("a-late", level(3), start_ms=HALF_MS, priority=5)
    assert decided(HALF_MS, events=[late, opted_in("early", priority=5)]).governs == "early"
    assert decided(HALF_MS, events=[late, opted_in("early", priority=0)]).governs == "a-late"


def test_a_drawn_offset_shifts_start_and_end():
    stored = opted_in(start_after_s=600, offset_s=300)
    assert told(START_MS + 299_999, events=[stored]) is None
    assert told(START_MS + 300_000, events=[stored]) == Level(1, START_MS + HOUR_MS + 300_000, "event-2")


def test_an_event_that_began_at_a_random_moment_ends_at_one_when_it_is_cancelled():
    """Rules 30 and 65."""
    stored = opted_in(start_after_s=600, offset_s=300, cancelled=True, received_ms=HALF_MS)
    assert told(HALF_MS + 299_999, events=[stored]) == Level(1, HALF_MS + 300_000, "event-2")
    assert told(HALF_MS + 300_000, events=[stored]) is None
    assert told(START_MS, events=[opted_in(cancelled=True, received_ms=START_MS)]) is None


def test_an_open_ended_event_is_followed_piece_by_piece():
    stored = opted_in("event-2", level(2, 0), duration_s=0)
    at_ms = START_MS + 10 * HOUR_MS
    found = told(at_ms, events=[stored])
    assert isinstance(found, Level)
    assert HOUR_MS // 2 < found.until_ms - at_ms <= HOUR_MS
    change_ms = next_change_ms(at_ms, plan(at_ms, known(events=[stored])))
    assert change_ms is not None
    assert change_ms < found.until_ms


def test_the_next_change_is_the_next_interval_and_at_last_the_end():
    contract = a_stored_contract()
    ahead = [
        next_change_ms(at_ms, plan(at_ms, known([contract])))
        for at_ms in (START_MS - HOUR_MS, START_MS, START_MS + 46 * MINUTE_MS, START_MS + HOUR_MS)
    ]
    assert ahead == [START_MS, START_MS + HOUR_MS, START_MS + HOUR_MS, None]


@pytest.mark.parametrize(
    ("signal", "asked_w", "governs"),
    [
        (level(1), 400, "sc2-1"),  # a level beside an obligation asks for no number of watts
        (level(3), 1500, "event-2"),  # all the owner allows
        (a_signal(name="LOAD_DISPATCH", type="delta", unit=WATTS, intervals=(SignalInterval(3600, "-300"),)), 400,
         "sc2-1"),
        (a_signal(name="LOAD_DISPATCH", type="delta", unit=KILOWATTS, intervals=(SignalInterval(3600, "-0.9"),)), 900,
         "event-2"),
    ],
)  # fmt: skip
def test_an_event_beside_a_contract_adds_to_its_obligation_and_never_takes_away(signal, asked_w, governs):
    stored = opted_in("event-2", signal, priority=1)
    at = (START_MS, [a_stored_contract()], [stored])
    assert told(*at) == Reduce(asked_w, START_MS + HOUR_MS, governs)
    assert [subject for subject, _ in decided(*at).waits] == ["event-2" if governs == "sc2-1" else "sc2-1"]


def test_a_limit_beside_a_contract_is_met_together_with_it_where_the_rating_is_known():
    signal = a_signal(name="LOAD_DISPATCH", type="setpoint", unit=WATTS, intervals=(SignalInterval(3600, "900"),))
    stored = opted_in("event-2", signal)
    assert told(START_MS, events=[stored], abilities=DIMMER) == Limit(900, START_MS + HOUR_MS, "event-2")
    both = told(START_MS, [a_stored_contract()], [stored], abilities=DIMMER)
    assert both == Reduce(1100, START_MS + HOUR_MS, "event-2")


@pytest.mark.parametrize(
    ("name", "kind", "unit", "payload", "abilities", "expected"),
    [
        ("LOAD_DISPATCH", "delta", KILOWATTS, "-0.4505", HEATER, Reduce(451, 0, "")),
        ("LOAD_DISPATCH", "delta", WATTS, "200", HEATER, None),  # more than normal is nothing a home is made to do
        ("LOAD_DISPATCH", "setpoint", KILOWATTS, "1.2505", DIMMER, Limit(1250, 0, "")),
        ("LOAD_DISPATCH", "multiplier", None, "0.25", DIMMER, Limit(500, 0, "")),
        ("LOAD_DISPATCH", "multiplier", None, "1", DIMMER, None),
        ("LOAD_CONTROL", "x-loadControlCapacity", None, "0", DIMMER, Limit(0, 0, "")),
        ("LOAD_CONTROL", "x-loadControlPercentOffset", None, "-15", DIMMER, Reduce(300, 0, "")),
        ("CHARGE_STATE", "setpoint", Unit("energy_real", "Wh", "k"), "7.5", BATTERY, Charge(7500, 0, "")),
        ("CHARGE_STATE", "multiplier", None, "1.5", BATTERY, Charge(10_000, 0, "")),
        ("ELECTRICITY_PRICE", "price", Unit("currency_per_kwh", "EUR"), "0.40", HEATER, Level(1, 0, "")),
        ("ENERGY_PRICE", "price", Unit("currency_per_kwh", "EUR"), "0.75", HEATER, Level(3, 0, "")),
        ("ELECTRICITY_PRICE", "price", Unit("currency_per_kwh", "EUR"), "0.39", HEATER, None),
    ],
)
def test_a_signal_is_read_in_the_terms_of_the_device(name, kind, unit, payload, abilities, expected):
    signal = a_signal(name=name, type=kind, unit=unit, intervals=(SignalInterval(3600, payload),))
    stored = opted_in("e", signal)
    found = decided(START_MS, events=[stored], abilities=abilities, prices=(("0.40", 1), ("0.60", 3)))
    assert found.governs == "e"
    assert found.demand == (None if expected is None else type(expected)(*list(vars(expected).values())[:2], "e"))


def test_the_most_precise_signal_that_the_device_can_follow_counts():
    setpoint = a_signal("s2", "LOAD_DISPATCH", "setpoint", unit=WATTS, intervals=(SignalInterval(3600, "700"),))
    stored = opted_in("e", level(1), setpoint)
    assert told(START_MS, events=[stored], abilities=DIMMER) == Limit(700, START_MS + HOUR_MS, "e")
    assert told(START_MS, events=[stored], abilities=HEATER) == Level(1, START_MS + HOUR_MS, "e")


def test_an_owner_who_is_out_is_left_alone_and_what_is_owed_is_said():
    found = decided(START_MS, [a_stored_contract()], [opted_in()], owner=Owner(opt_out=True))
    assert (found.demand, found.governs) == (None, "owner")
    assert found.waits == (
        ("sc2-1", "400 W are owed and not given: the owner has opted out"),
        ("event-2", "the owner has opted out"),
    )


def test_a_schedule_is_kept_to_the_moment_and_the_newest_one_decides():
    away = OptSchedule(opt_id="o1", opt=Opt.OUT, windows=((START_MS, START_MS + HOUR_MS),), created_ms=1)
    half = OptSchedule(opt_id="o2", opt=Opt.IN, windows=((HALF_MS, START_MS + HOUR_MS),), created_ms=2)
    at = ([a_stored_contract()], [])
    assert decided(START_MS, *at, schedules=[away]).why == "the owner's schedule o1: notParticipating"
    assert next_change_ms(START_MS, plan(START_MS, known(*at, schedules=[away, half]))) == HALF_MS
    assert told(HALF_MS, *at, schedules=[away, half]) == Reduce(400, START_MS + HOUR_MS, "sc2-1")
    assert told(HALF_MS, *at, schedules=[half, away]) is None


@pytest.mark.parametrize(
    ("given", "concerns"),
    [
        ({"resource": "H1"}, True),
        ({"resource": "pool-pump"}, False),
        ({"market_context": "http://programs.example/peak"}, True),
        ({"market_context": "http://programs.example/other"}, False),
    ],
)
def test_a_schedule_concerns_its_resource_and_programme_alone(given, concerns):
    schedule = OptSchedule(opt_id="o1", opt=Opt.OUT, windows=((START_MS, START_MS + 1),), **given)
    assert (told(START_MS, events=[opted_in()], schedules=[schedule]) is None) is concerns


def test_what_the_owner_allows_caps_what_is_owed_and_it_is_said():
    found = decided(START_MS, [a_stored_contract()], owner=Owner(max_shed_w=250))
    assert found.demand == Reduce(250, 0, "sc2-1")
    assert found.why == "400 W are owed by contract; the owner and the device allow 250 W"
