"""What the device is told, moment by moment, by hand arithmetic."""

from __future__ import annotations

import pytest

from openadr.model import SignalInterval
from tests.builders import START_MS, a_dr_event, a_signal, device_terms
from tests.ven.homes import a_stored_contract, a_stored_event
from ven.home.decision import Level, Reduce, contracted, followed, next_change_ms, obligation_w

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
NONE = frozenset()


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
    assert contracted(at_ms, [contract], NONE, 0) == expected


def test_the_margin_is_added_and_rounded_up():
    contract = a_stored_contract(terms=device_terms(obligation_wh=(101,)))
    assert obligation_w(contract, 0, 10) == 445  # 404 W * 1.1 = 444.4
    assert contracted(START_MS, [contract], NONE, 10) == Reduce(445, START_MS + 15 * MINUTE_MS, "sc2-1")


def test_a_cancelled_event_frees_the_device():
    assert contracted(START_MS, [a_stored_contract()], frozenset({"event-1"}), 0) is None


def test_of_two_contracts_one_after_the_other_the_present_one_counts():
    second = a_stored_contract("sc2-2", device_terms(start_ms=START_MS + HOUR_MS, obligation_wh=(25,)))
    at_ms = START_MS + HOUR_MS + 1
    assert contracted(at_ms, [a_stored_contract(), second], NONE, 0) == Reduce(100, second.end_ms, "sc2-2")


def test_levels_follow_the_steps_of_the_signal():
    signal = a_signal(intervals=(SignalInterval(1800, "1"), SignalInterval(1800, "3")))
    stored = a_stored_event(a_dr_event(signals=(signal,)))
    half_ms = START_MS + 30 * MINUTE_MS
    assert followed(START_MS - 1, [stored]) is None
    assert followed(START_MS, [stored]) == Level(1, half_ms, "event-1")
    assert followed(half_ms, [stored]) == Level(3, START_MS + HOUR_MS, "event-1")
    assert followed(START_MS + HOUR_MS, [stored]) is None


def test_a_level_of_zero_asks_nothing():
    stored = a_stored_event(a_dr_event(signals=(a_signal(intervals=(SignalInterval(3600, "0"),)),)))
    assert followed(START_MS, [stored]) is None


def test_the_event_of_the_better_priority_governs():
    low = a_stored_event(a_dr_event("low", priority=2))
    high_signal = a_signal(intervals=(SignalInterval(1800, "3"),))
    high = a_stored_event(a_dr_event("high", priority=1, duration_s=1800, signals=(high_signal,)))
    assert followed(START_MS, [low, high]) == Level(3, START_MS + 30 * MINUTE_MS, "high")
    assert followed(START_MS + 30 * MINUTE_MS, [low, high]) == Level(1, START_MS + HOUR_MS, "low")


def test_a_drawn_offset_shifts_start_and_end():
    stored = a_stored_event(a_dr_event(start_after_s=600), offset_s=300)
    assert followed(START_MS + 299_999, [stored]) is None
    assert followed(START_MS + 300_000, [stored]) == Level(1, START_MS + HOUR_MS + 300_000, "event-1")


def test_an_open_ended_event_is_followed_piece_by_piece():
    signal = a_signal(intervals=(SignalInterval(0, "2"),))
    stored = a_stored_event(a_dr_event(duration_s=0, signals=(signal,)))
    action = followed(START_MS + 10 * HOUR_MS, [stored])
    assert isinstance(action, Level)
    assert HOUR_MS // 2 < action.until_ms - (START_MS + 10 * HOUR_MS) <= HOUR_MS
    assert next_change_ms(START_MS + 10 * HOUR_MS, [], [stored]) < action.until_ms


def test_the_next_change_is_the_next_interval_and_at_last_the_end():
    contract = a_stored_contract()
    assert next_change_ms(START_MS - HOUR_MS, [contract], []) == START_MS
    assert next_change_ms(START_MS, [contract], []) == START_MS + 15 * MINUTE_MS
    assert next_change_ms(START_MS + 46 * MINUTE_MS, [contract], []) == START_MS + HOUR_MS
    assert next_change_ms(START_MS + HOUR_MS, [contract], []) is None
