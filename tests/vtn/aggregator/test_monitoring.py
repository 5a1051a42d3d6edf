"""Watching delivery: lost devices, short groups, and what is no longer covered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.core.commands import BaselineCommitment, Terms
from vtn.aggregator.virtual_nodes.evidence.silence import together
from vtn.aggregator.virtual_nodes.monitoring import RELEASED, Live, Watched, assess, is_spare, uncovered_wh

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


def watched(name: str, event: dict[int, int], terms: Terms | None = None, **given: Any) -> Watched:
    """A device with a full window at its baseline and `event` readings by interval number."""
    terms = terms or some_terms()
    readings = {WINDOW_MS + n * STEP_MS: 400 for n in range(12)}
    readings |= {START_MS + n * STEP_MS: value for n, value in event.items()}
    defaults: dict[str, Any] = {"opted_out": False}
    return Watched(contract_id=name, device=name, terms=terms, readings_wh=readings, **{**defaults, **given})


def assessed(watched: list[Watched], closed: int, terms: Terms | None = None, noise: int = 0) -> Any:
    """After so many closed intervals, in the running one."""
    until_ms = START_MS + closed * STEP_MS
    return assess(terms or some_terms(), watched, until_ms, until_ms + STEP_MS // 3, noise)


def test_a_device_is_lost_after_two_silent_intervals_not_one() -> None:
    silent_once, silent_twice = watched("once", {0: 400}), watched("twice", {})
    assert assessed([silent_once, silent_twice], 2).lost == {"twice": "no reading for 2 intervals"}


def test_a_device_that_missed_its_polls_too_is_lost_after_one_silent_interval() -> None:
    found = assessed([watched("polls", {}, unheard=False), watched("gone", {}, unheard=True)], 1)
    assert found.lost == {"gone": "no reading for an interval, and it missed its polls"}
    assert assessed([watched("reports", {0: 400}, unheard=True)], 1).lost == {}, "it reports, whatever its polls do"


def test_an_opt_out_is_lost_at_once() -> None:
    assert assessed([watched("gone", {}, opted_out=True)], 0).lost == {"gone": "opted out"}


def test_many_that_miss_their_polls_at_once_are_lost_in_the_running_interval() -> None:
    """Three of fifteen are no chance where two in a hundred are out of reach; two of them are."""
    homes = [watched(f"{n:02d}", {}, unheard=n < 3) for n in range(15)]
    assert assessed(homes, 0).lost == dict.fromkeys(("00", "01", "02"), "3 of 15 homes missed their polls at once")
    assert assessed(homes[1:], 0).lost == {}


def test_many_that_send_no_reading_are_lost_after_one_interval_where_nothing_is_known_of_polls() -> None:
    homes = [watched(f"{n:02d}", {} if n < 3 else {0: 400}) for n in range(15)]
    assert set(assessed(homes, 1).lost.values()) == {"3 of 15 homes sent no reading at once"}
    assert assessed(homes[1:], 1).lost == {}


def test_chance_explains_one_home_of_few_and_never_a_third_of_many() -> None:
    assert not together(1, 5)
    assert not together(2, 20)
    assert together(3, 20)
    assert not together(4, 61)
    assert together(19, 61)


def test_a_home_that_is_always_late_is_judged_when_its_reading_is_due() -> None:
    """Its readings come an interval late at best: after two closed intervals one of them is due, after three two."""
    late = watched("late", {}, delay_ms=STEP_MS)
    assert assessed([late], 2).lost == {}
    assert assessed([late], 3).lost == {"late": "no reading for 2 intervals"}


@pytest.mark.parametrize("part", [0.3, 0.4, 0.5, 0.9])
def test_a_group_that_pushes_its_readings_late_is_not_taken_for_silent(part: float) -> None:
    """Readings are looked at a third of an interval after its end; nothing is known of the polls of who pushes."""
    homes = [watched(f"{n:02d}", {0: 400}, delay_ms=int(part * STEP_MS)) for n in range(20)]
    assert assessed(homes, 2).lost == {}, "those of the second interval are still on their way"
    assert len(assessed(homes, 3).lost) == 20


def test_a_home_is_judged_in_its_own_window_only() -> None:
    """It begins two intervals after the others and ends an interval before them."""
    own = some_terms((100,), START_MS + 2 * STEP_MS)
    homes = [watched(f"{n}", {}, own, unheard=True) for n in range(5)]
    assert assessed(homes, 2).lost != {}, "in the interval in which they begin"
    assert assessed(homes, 1).lost == {}
    assert assessed([watched("a", {}, own)], 3).lost == {}, "one silent interval is all it had"


def test_a_closed_interval_counts_those_who_reported() -> None:
    """Baseline 500 + adjustment 0; one device used 380, the other said nothing."""
    found = assessed([watched("a", {0: 380}), watched("b", {})], 1, some_terms((200,) * 4))
    [interval] = found.intervals
    assert (interval.baseline_wh, interval.metered_wh, interval.delivered_wh) == (500, 380, 120)
    assert (interval.reporting, interval.contracted, interval.obligation_wh) == (1, 2, 200)


def test_the_same_day_adjustment_enters_what_is_watched() -> None:
    """The window ran 50 Wh above its baseline, so does the event's: 500 + 50 - 380 = 170."""
    device = watched("a", {0: 380})
    higher = {start: value + 50 if start < START_MS else value for start, value in device.readings_wh.items()}
    found = assessed([msgspec.structs.replace(device, readings_wh=higher)], 1)
    assert found.intervals[0].delivered_wh == 170


def test_what_a_group_delivers_is_expected_of_it_where_its_baseline_is_sure() -> None:
    """100 an interval obliged, 20 delivered in the first interval."""
    found = assessed([watched("a", {0: 480})], 1).performance
    assert (found.factor, found.weight, found.of) == (pytest.approx(0.2), 1.0, {"a"})


def test_what_lies_within_the_noise_of_a_baseline_moves_the_expectation_little() -> None:
    """The error of the baseline (500 Wh) is 100 Wh, all that was asked for: w = 0.01 / (0.01 + 1)."""
    homes = [watched("a", {0: 480, 1: 480})]
    found = assessed(homes, 2, noise=40).performance
    assert found.weight == pytest.approx(0.01 / 1.01)
    assert found.factor == pytest.approx(1 - 0.8 * found.weight)


def test_the_lost_do_not_count_in_what_the_others_deliver() -> None:
    found = assessed([watched("a", {0: 400, 1: 400}), watched("gone", {})], 2)
    assert found.performance.factor == pytest.approx(1.0)
    assert found.performance.of == {"a"}


def test_uncovered_is_what_contracts_weighted_with_reliability_leave() -> None:
    """One contract of 100 at 90 % leaves 10 of 100; a late one covers only the last two; the past cannot be called."""
    late = Live(terms=some_terms((100, 100), START_MS + 2 * STEP_MS), reliability_bp=10_000)
    first = Live(terms=some_terms(), reliability_bp=9_000)
    assert uncovered_wh(some_terms(), [first], START_MS) == (10, 10, 10, 10)
    assert uncovered_wh(some_terms(), [first, late], START_MS) == (10, 10, 0, 0)
    assert uncovered_wh(some_terms(), [], START_MS + 3 * STEP_MS) == (0, 0, 0, 100)


def test_a_home_that_claims_too_much_does_not_hide_that_others_are_short() -> None:
    """Two homes obliged to 100 each: one does nothing, one tells of an export of 9 kWh. 300 of it are believed,
    three times what it was asked for."""
    idle, liar = watched("idle", {0: 500, 1: 500}), watched("liar", {0: -9_000, 1: -9_000})
    found = assessed([idle, liar], 2, some_terms((1_000,) * 4))
    assert found.intervals[0].delivered_wh == 9_500
    assert found.intervals[0].believed_wh == 300
    assert found.performance.factor == pytest.approx(1.5)


def test_a_reading_no_connection_could_carry_is_none_and_its_home_is_lost_until_it_sends_another() -> None:
    """The limit of the contract is 10 kWh an interval."""
    found = assessed([watched("liar", {0: -20_000})], 1)
    assert found.lost == {"liar": "readings beyond what its connection carries"}
    assert assessed([watched("glitch", {0: -20_000, 1: 400})], 2).lost == {}
    assert found.intervals[0].reporting == 0


def test_who_is_called_for_nothing_is_spare_as_far_as_the_group_is_measured() -> None:
    """Obliged 100, 130 expected of three homes: without one that gives 20 there are still 110, without one of 30 not
    105. Unmeasured, 130 is more than the cap of 120, but 110 is not enough."""
    obligation = some_terms()
    homes = [Live(terms=some_terms((wh,) * 4), reliability_bp=10_000) for wh in (80, 30, 20)]
    assert is_spare(obligation, homes, homes[2], START_MS, 1.0)
    assert not is_spare(obligation, homes, homes[1], START_MS, 1.0)
    assert not is_spare(obligation, homes, homes[2], START_MS, 0.1)
    assert is_spare(obligation, [*homes, homes[2]], homes[2], START_MS, 0.1)


def test_nobody_is_spare_who_is_needed_in_a_later_interval_of_its_own() -> None:
    obligation = some_terms((100, 100, 100, 130))
    homes = [Live(terms=some_terms((wh,) * 4), reliability_bp=10_000) for wh in (110, 20)]
    assert not is_spare(obligation, homes, homes[1], START_MS, 1.0)
    assert is_spare(obligation, homes, Live(terms=some_terms((20,) * 2), reliability_bp=10_000), START_MS, 1.0)


def test_a_home_that_was_let_go_is_counted_on_no_more() -> None:
    assert assessed([watched("gone", {0: 500}, released=True)], 1).lost == {"gone": RELEASED}
