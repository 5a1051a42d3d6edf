"""Watching delivery: lost devices, short groups, and what is no longer covered."""

from __future__ import annotations

import msgspec

from contracts.core.commands import BaselineCommitment, Terms
from vtn.aggregator.virtual_nodes.monitoring import (
    RELEASED,
    Live,
    Watched,
    assess,
    spare_wh,
    still_short_wh,
    uncovered_wh,
)

STEP_MS = 900_000
START_MS = 1_600 * STEP_MS
WINDOW_MS = START_MS - 16 * STEP_MS


def some_terms(obligation: tuple[int, ...] = (100, 100, 100, 100), start_ms: int = START_MS, curve: int = 500) -> Terms:
    baseline = BaselineCommitment(
        preset="10of10-additive", preset_version=1, history_digest="0" * 64, curve_wh=(curve,) * len(obligation),
        adjustment_start_ms=WINDOW_MS, adjustment_wh=(400,) * 12, adjustment_cap_percent=100,
    )  # fmt: skip
    return Terms(
        need_id="need-1", dr_event_id="evt-1", dr_event_digest="0" * 64, start_ms=start_ms, interval_s=900,
        obligation_wh=obligation, energy_price_minor_per_mwh=1, penalty_price_minor_per_mwh=1, tolerance_percent=50,
        cap_percent=120, success_percent=90, partial_percent=60, minimum_percent=70, deposit_minor=0,
        meter_limit_wh=10_000, accept_by_ms=start_ms, activate_by_ms=start_ms,
        settle_after_ms=start_ms + 10 * STEP_MS,
        baseline_preset="10of10-additive", baseline=baseline, assisting=(),
    )  # fmt: skip


def watched(name: str, event: dict[int, int], opted_out: bool = False, terms: Terms | None = None) -> Watched:
    """A device with a full window at its baseline and `event` readings by interval number."""
    terms = terms or some_terms()
    readings = {WINDOW_MS + n * STEP_MS: 400 for n in range(12)}
    readings |= {START_MS + n * STEP_MS: value for n, value in event.items()}
    return Watched(contract_id=name, device=name, terms=terms, readings_wh=readings, opted_out=opted_out)


def test_a_device_is_lost_after_two_silent_intervals_not_one() -> None:
    after_two = START_MS + 2 * STEP_MS
    silent_once = watched("once", {0: 400})
    silent_twice = watched("twice", {})
    assert set(assess(some_terms(), [silent_once, silent_twice], after_two, 40).lost) == {"twice"}


def test_an_opt_out_is_lost_at_once() -> None:
    found = assess(some_terms(), [watched("gone", {}, opted_out=True)], START_MS, 40)
    assert found.lost == {"gone": "opted out"}


def test_a_closed_interval_counts_those_who_reported() -> None:
    """Baseline 500 + adjustment 0; one device used 380, the other said nothing."""
    found = assess(some_terms((200,) * 4), [watched("a", {0: 380}), watched("b", {})], START_MS + STEP_MS, 40)
    [interval] = found.intervals
    assert (interval.baseline_wh, interval.metered_wh, interval.delivered_wh) == (500, 380, 120)
    assert (interval.reporting, interval.contracted, interval.obligation_wh) == (1, 2, 200)


def test_the_same_day_adjustment_enters_what_is_watched() -> None:
    """The window ran 50 Wh above its baseline, so does the event's: 500 + 50 - 380 = 170."""
    device = watched("a", {0: 380})
    higher = {start: value + 50 if start < START_MS else value for start, value in device.readings_wh.items()}
    found = assess(some_terms(), [msgspec.structs.replace(device, readings_wh=higher)], START_MS + STEP_MS, 40)
    assert found.intervals[0].delivered_wh == 170


def test_a_group_is_short_when_it_delivers_too_little_over_two_intervals() -> None:
    """100 an interval obliged, 20 delivered: 80 short, beyond 40 % tolerance; with 70 delivered within it."""
    after_two = START_MS + 2 * STEP_MS
    assert assess(some_terms(), [watched("a", {0: 480, 1: 480})], after_two, 40).short_wh == 80
    assert assess(some_terms(), [watched("a", {0: 430, 1: 430})], after_two, 40).short_wh == 0
    assert assess(some_terms(), [watched("a", {0: 480})], START_MS + STEP_MS, 40).short_wh == 0


def test_uncovered_is_what_contracts_weighted_with_reliability_leave() -> None:
    """One contract of 100 at 90 % leaves 10 of 100; a late one covers only the last two; the past cannot be called."""
    late = Live(terms=some_terms((100, 100), START_MS + 2 * STEP_MS), reliability_bp=10_000)
    first = Live(terms=some_terms(), reliability_bp=9_000)
    assert uncovered_wh(some_terms(), [first], START_MS) == (10, 10, 10, 10)
    assert uncovered_wh(some_terms(), [first, late], START_MS) == (10, 10, 0, 0)
    assert uncovered_wh(some_terms(), [], START_MS + 3 * STEP_MS) == (0, 0, 0, 100)


def test_a_shortage_that_was_answered_is_not_answered_again_before_it_can_show() -> None:
    """Two intervals were measured 60 Wh short; a home called for 50 Wh (reliability 90 %: 45) starts behind them."""
    late = Live(terms=some_terms((50,), START_MS + 3 * STEP_MS), reliability_bp=9_000)
    from_ms, closed_ms = START_MS + 3 * STEP_MS, START_MS + 2 * STEP_MS
    assert still_short_wh(some_terms(), 60, [late], from_ms, closed_ms - 2 * STEP_MS) == (0, 0, 0, 15)


def test_a_contract_that_was_measured_itself_answers_no_shortage() -> None:
    first = Live(terms=some_terms(), reliability_bp=10_000)
    assert still_short_wh(some_terms(), 60, [first], START_MS + 3 * STEP_MS, START_MS) == (0, 0, 0, 60)


def test_a_home_that_claims_too_much_does_not_hide_that_others_are_short() -> None:
    """Two homes obliged to 100 each: one does nothing, one tells of an export of 9 kWh. 300 of it are believed,
    three times what it was asked for; of 1,000 obliged 700 are missing."""
    after_two = START_MS + 2 * STEP_MS
    idle = watched("idle", {0: 500, 1: 500})
    liar = watched("liar", {0: -9_000, 1: -9_000})
    found = assess(some_terms((1_000,) * 4), [idle, liar], after_two, 40)
    assert found.intervals[0].delivered_wh == 9_500
    assert found.intervals[0].believed_wh == 300
    assert found.short_wh == 700


def test_readings_no_connection_could_carry_are_none_and_their_home_is_lost() -> None:
    """The limit of the contract is 10 kWh an interval."""
    found = assess(some_terms(), [watched("liar", {0: -20_000, 1: -20_000})], START_MS + 2 * STEP_MS, 40)
    assert found.lost == {"liar": "readings beyond what its connection carries"}
    assert found.intervals[0].reporting == 0


def test_what_is_delivered_beyond_the_cap_is_spare_once_both_intervals_show_it() -> None:
    """Obliged 100, cap 120 %: 170 delivered twice leave 50 to spare, less what was released already."""
    obligation, after_two = some_terms(), START_MS + 2 * STEP_MS
    intervals = assess(obligation, [watched("a", {0: 330, 1: 330})], after_two, 40).intervals
    assert spare_wh(obligation, intervals, [], 60) == 50
    assert spare_wh(obligation, intervals, [], 80) == 0, "170 % is within 80 % of the obligation"
    assert spare_wh(obligation, intervals, [some_terms((20,) * 4)], 40) == 30
    assert spare_wh(obligation, intervals[:1], [], 60) == 0
    assert spare_wh(obligation, intervals, [], 20, noise_percent=5) == 25, "5 % of a baseline of 500 may be error"
    assert spare_wh(obligation, intervals, [], 20, noise_percent=20) == 0


def test_a_home_that_was_let_go_is_counted_on_no_more() -> None:
    gone = msgspec.structs.replace(watched("gone", {0: 500}), released=True)
    assert assess(some_terms(), [gone], START_MS + STEP_MS, 40).lost == {"gone": RELEASED}
