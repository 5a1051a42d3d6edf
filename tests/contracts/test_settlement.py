"""Settlement by hand and by property: from readings to Wh, from Wh to money."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts import settlement
from contracts.baseline import TEN_OF_TEN, InsufficientHistory, LikeDay, adjustment_cap_wh, adjustment_wh, commit
from contracts.core.codec import digest
from contracts.core.commands import BaselineCommitment
from contracts.core.units import charged_minor, earned_minor, percent_of
from tests.contracts.world import BASELINE, EVENT_MS, HOUR_MS, changed, group_terms, home_terms

MWH = 1_000_000


@pytest.mark.parametrize(("allocation", "expected"), [(7, 14), (8, 14), (9, -4), (10, -22), (11, -33)])
def test_usef_single_sided_figures(allocation: int, expected: int) -> None:
    """USEF: baseline 10 MWh, ordered 2, price 7, penalty 11. 7: 3 delivered, 2 paid = 14. 9: 1 paid, 1 short =
    7 - 11. 11: 1 consumed more, 3 short = -33."""
    baseline = changed(BASELINE, curve_wh=(10 * MWH,), adjustment_wh=())
    terms = home_terms(
        obligation_wh=(2 * MWH,), energy_price_minor_per_mwh=7, penalty_price_minor_per_mwh=11, tolerance_percent=0,
        cap_percent=100, meter_limit_wh=20 * MWH, baseline=baseline,
    )  # fmt: skip
    delivery = settlement.device_delivery(terms, baseline, [allocation * MWH], [])
    paid = settlement.payment(terms, settlement.clamped_wh(terms, delivery.total_wh), delivery.shortfall_wh, 100)
    assert paid.from_escrow_minor - paid.from_deposit_minor == expected


def a_day(n: int, event_wh: tuple[int | None, ...], window_wh: tuple[int | None, ...] = (50,) * 12) -> LikeDay:
    return LikeDay(date=f"2025-12-{n:02d}", event_wh=event_wh, window_wh=window_wh)


def test_ten_of_ten_by_hand() -> None:
    """Days 25 to 15, most recent first; day 24 lacks two of 14 intervals (86 % < 90 %) and drops out, day 23 lacks one
    (93 %) and stays. Left are ten: 25, 23, 22, ..., 15.

    First interval: day 25: 100; day 23: none; days 22..15: 110, 120, ..., 180. Sum 100 + 8 * 145 = 1260 over nine
    values = 140. Second: -5 nine times and -6: -51 / 10 = -5.1, rounded down -6. Window: 50.
    """
    days = [a_day(25, (100, -5)), a_day(24, (None, None)), a_day(23, (None, -5))]
    days += [a_day(22 - n, (110 + 10 * n, -5 if n else -6)) for n in range(8)]
    days += [a_day(14, (10_000, 10_000))]
    commitment = commit(TEN_OF_TEN, days, EVENT_MS)
    assert commitment == BaselineCommitment(
        preset="10of10-additive",
        preset_version=1,
        history_digest=digest(
            [
                {"date": day.date, "event_wh": list(day.event_wh), "window_wh": list(day.window_wh)}
                for day in days
                if day.date not in ("2025-12-24", "2025-12-14")
            ]
        ),
        curve_wh=(140, -6),
        adjustment_start_ms=EVENT_MS - 4 * HOUR_MS,
        adjustment_wh=(50,) * 12,
        adjustment_cap_percent=40,
    )


def test_ten_of_ten_needs_five_days_and_a_value_an_interval() -> None:
    assert commit(TEN_OF_TEN, [a_day(n, (7,)) for n in (9, 8, 7, 6, 5)], EVENT_MS).curve_wh == (7,)
    with pytest.raises(InsufficientHistory, match="needs 5 eligible like-days, there are 4 of 5"):
        commit(TEN_OF_TEN, [a_day(n, (7,)) for n in (9, 8, 7, 6)] + [a_day(5, (7,), (None,) * 12)], EVENT_MS)
    with pytest.raises(InsufficientHistory, match="interval 0"):
        commit(TEN_OF_TEN, [a_day(n, (None, 7)) for n in (9, 8, 7, 6, 5)], EVENT_MS)
    with pytest.raises(InsufficientHistory):
        commit(TEN_OF_TEN, [], EVENT_MS)


def test_the_adjustment_is_the_mean_difference_of_the_window_within_the_cap() -> None:
    """Curve 600: cap 240, 40 % of it. Window 12 * 500."""
    assert adjustment_cap_wh(BASELINE) == 240
    assert adjustment_wh(BASELINE, (500,) * 12) == 0
    assert adjustment_wh(BASELINE, (511,) * 12) == 11
    assert adjustment_wh(BASELINE, (500,) * 11 + (499,)) == -1, "minus a twelfth, rounded down"
    assert adjustment_wh(BASELINE, (500,) * 11 + (511,)) == 0, "eleven twelfths, rounded down"
    assert adjustment_wh(BASELINE, (740,) * 12) == 240
    assert adjustment_wh(BASELINE, (741,) * 12) == 240
    assert adjustment_wh(BASELINE, (-900,) * 12) == -240
    assert adjustment_wh(BASELINE, (5000,) * 11 + (None,)) == -240
    assert adjustment_wh(BASELINE, (None,) * 12) == -240
    exporting = changed(BASELINE, curve_wh=(-600, 601, 0, 0))
    assert adjustment_cap_wh(exporting) == 120, "of the mean size, rounded down"
    assert adjustment_wh(changed(BASELINE, adjustment_wh=()), ()) == 0


def test_a_device_delivers_baseline_plus_adjustment_less_reading() -> None:
    """Adjustment 10: 610 - reading. Obligation 250, tolerance 50 %: below 125 lacks."""
    delivery = settlement.device_delivery(home_terms(), BASELINE, (360, 500, 486, 700), (510,) * 12)
    assert delivery == settlement.Delivery(
        delivered_wh=(250, 110, 124, -90), total_wh=394, shortfall_wh=15 + 1 + 215, missing=0, adjustment_wh=10
    )


def test_a_missing_interval_counts_as_the_worst_reported_one() -> None:
    """Baseline 600, obligation 250, tolerance 50 %. With 300 twice, a missing one delivers 0 and lacks 250, without
    tolerance. With 900 reported, that is -300: it lacks 125 + 300, a missing one 250 + 300. With nothing reported all
    four lack 250."""
    good = settlement.device_delivery(home_terms(), BASELINE, (300, None, 300, None), (500,) * 12)
    assert (good.delivered_wh, good.shortfall_wh, good.missing) == ((300, 0, 300, 0), 500, 2)
    bad = settlement.device_delivery(home_terms(), BASELINE, (300, None, 900, None), (500,) * 12)
    assert (bad.delivered_wh, bad.shortfall_wh, bad.missing) == ((300, -300, -300, -300), 425 + 2 * 550, 2)
    none = settlement.device_delivery(home_terms(), BASELINE, (None,) * 4, (500,) * 12)
    assert (none.delivered_wh, none.shortfall_wh, none.missing) == ((0,) * 4, 1000, 4)


def test_a_missing_interval_lacks_at_least_as_much_as_the_worst_reported_one() -> None:
    """Obligations 400 and 100, reading 700: -100. It lacks 200 + 100 = 300, more than the 100 + 100 of the missing."""
    terms = home_terms(obligation_wh=(400, 100, 0, 0))
    delivery = settlement.device_delivery(terms, BASELINE, (700, None, 600, 600), (500,) * 12)
    assert (delivery.delivered_wh, delivery.shortfall_wh) == ((-100, -100, 0, 0), 300 + 300)


def test_a_reading_at_the_meter_limit_counts_and_one_beyond_it_is_missing() -> None:
    """Limit 1000: 600 - 1000 = -400 and 600 + 1000 = 1600; one Wh more either way is missing and counts -400. Lacking:
    125 + 400, nothing, and twice 250 + 400. With a limit of 0, a window of zeros against 12 * 100
    gives -100, not the -240 of a missing one."""
    terms = home_terms(meter_limit_wh=1000)
    delivery = settlement.device_delivery(terms, BASELINE, (1000, 1001, -1000, -1001), (500,) * 12)
    assert delivery == settlement.Delivery(
        delivered_wh=(-400, -400, 1600, -400), total_wh=400, shortfall_wh=525 + 2 * 650, missing=2, adjustment_wh=0
    )
    low_window = changed(BASELINE, adjustment_wh=(100,) * 12)
    nothing = settlement.device_delivery(home_terms(meter_limit_wh=0), low_window, (1, 0, -1, 0), (0,) * 12)
    assert (nothing.missing, nothing.adjustment_wh) == (2, -100), "zero is within a limit of zero"


def test_a_window_with_a_reading_beyond_the_meter_limit_gives_the_lowest_adjustment() -> None:
    """Window 12 * 500, cap 240. 1000 once: 500 / 12 = 41; -1000 once: -1500 / 12 = -125."""
    terms = home_terms(meter_limit_wh=1000)
    for reading, expected in ((1000, 41), (1001, -240), (-1000, -125), (-1001, -240)):
        window = (500,) * 11 + (reading,)
        assert settlement.device_delivery(terms, BASELINE, (600,) * 4, window).adjustment_wh == expected


def test_an_interval_without_obligation_lacks_nothing() -> None:
    assert settlement.lack_wh(0, -500, 0) == settlement.lack_wh(0, -500, 300) == 0
    assert settlement.lack_wh(100, -500, 0) == 600
    assert settlement.lack_wh(100, 100, 0) == settlement.lack_wh(100, 0, 100) == settlement.lack_wh(100, 0, 101) == 0


def test_a_tolerance_above_the_obligation_accepts_some_consumption_above_the_baseline() -> None:
    """300 % of 100: down to -200. 150 % of 33: -16.5, rounded down to -17. 200 % of 250: -300 lacks 50; a missing
    reading is not tolerated and lacks 250 + 300."""
    assert [settlement.lack_wh(100, delivered, 300) for delivered in (-200, -201, -500)] == [0, 1, 300]
    assert [settlement.lack_wh(33, delivered, 150) for delivered in (-17, -18)] == [0, 1]
    delivery = settlement.device_delivery(
        home_terms(tolerance_percent=200), BASELINE, (900, 850, 851, None), (500,) * 12
    )
    assert (delivery.delivered_wh, delivery.shortfall_wh) == ((-300, -250, -251, -300), 50 + 0 + 1 + 550)


LIMIT = 3000
READINGS = st.lists(st.integers(-LIMIT, LIMIT), min_size=4, max_size=4)
WINDOWS = st.lists(st.integers(-LIMIT, LIMIT), min_size=12, max_size=12)
HIDDEN = st.sets(st.integers(0, 3), min_size=1, max_size=4)
OBLIGATIONS = st.lists(st.integers(0, 600), min_size=4, max_size=4).filter(any)
TERMS = st.builds(
    lambda obligation, tolerance, cap, price, penalty: home_terms(
        obligation_wh=tuple(obligation), tolerance_percent=tolerance, cap_percent=cap,
        energy_price_minor_per_mwh=price, penalty_price_minor_per_mwh=penalty, meter_limit_wh=LIMIT,
    ),
    OBLIGATIONS, st.integers(0, 400), st.integers(1, 200), st.integers(0, 900_000), st.integers(0, 900_000),
)  # fmt: skip


def hide(values: list[int], hidden: set[int]) -> list[int | None]:
    return [None if n in hidden else value for n, value in enumerate(values)]


@given(TERMS, READINGS, WINDOWS, st.sets(st.integers(0, 11), min_size=1))
def test_hiding_readings_of_the_window_never_pays(
    terms: Any, readings: list[int], window: list[int], hidden: set[int]
) -> None:
    shown = settlement.device_delivery(terms, BASELINE, readings, window)
    kept = settlement.device_delivery(terms, BASELINE, readings, hide(window, hidden))
    assert kept.total_wh <= shown.total_wh
    assert kept.shortfall_wh >= shown.shortfall_wh


@given(TERMS, READINGS, WINDOWS, HIDDEN, st.sampled_from((LIMIT + 1, -LIMIT - 1, 10**8, -(10**8))))
def test_a_reading_beyond_the_limit_is_worth_what_a_hidden_one_is(
    terms: Any, readings: list[int], window: list[int], at: set[int], beyond: int
) -> None:
    forged = [beyond if n in at else value for n, value in enumerate(readings)]
    forged_window = [beyond if n in at else value for n, value in enumerate(window)]
    assert settlement.device_delivery(terms, BASELINE, forged, forged_window) == settlement.device_delivery(
        terms, BASELINE, hide(readings, at), hide(window, at)
    )


def own_minor(terms: Any, delivery: settlement.Delivery) -> int:
    """What a device alone in its group earns."""
    counted_wh = settlement.clamped_wh(terms, delivery.total_wh)
    paid_wh = settlement.share_wh(counted_wh, counted_wh, counted_wh)
    due = settlement.payment(terms, paid_wh, delivery.shortfall_wh, 10_000)
    return due.from_escrow_minor - due.from_deposit_minor


@given(TERMS, READINGS, WINDOWS, HIDDEN)
def test_hiding_readings_of_the_event_never_pays_while_one_as_bad_is_shown(
    terms: Any, readings: list[int], window: list[int], hidden: set[int]
) -> None:
    """As bad: no less delivered than by the worst of those hidden, or none of them is below zero."""
    shown = settlement.device_delivery(terms, BASELINE, readings, window)
    worst = min([0, *(shown.delivered_wh[n] for n in range(4) if n not in hidden)])
    assume(all(shown.delivered_wh[n] >= worst for n in hidden))
    kept = settlement.device_delivery(terms, BASELINE, hide(readings, hidden), window)
    assert kept.total_wh <= shown.total_wh
    assert kept.shortfall_wh >= shown.shortfall_wh
    assert own_minor(terms, kept) <= own_minor(terms, shown)


@given(TERMS, READINGS, WINDOWS, HIDDEN)
def test_hiding_the_worst_readings_gains_at_most_what_the_connection_carries_above_the_baseline(
    terms: Any, readings: list[int], window: list[int], hidden: set[int]
) -> None:
    shown = settlement.device_delivery(terms, BASELINE, readings, window)
    kept = settlement.device_delivery(terms, BASELINE, hide(readings, hidden), window)
    above_wh = sum(max(0, LIMIT - BASELINE.curve_wh[n] - shown.adjustment_wh) for n in hidden)
    assert kept.total_wh - shown.total_wh <= above_wh
    assert shown.shortfall_wh - kept.shortfall_wh <= above_wh
    gain = own_minor(terms, kept) - own_minor(terms, shown)
    assert gain <= charged_minor(above_wh, terms.energy_price_minor_per_mwh) + charged_minor(
        above_wh, terms.penalty_price_minor_per_mwh
    )


def test_what_hiding_a_reading_at_the_limit_gains_by_hand() -> None:
    """Limit 3000: (300, 300, 300, -2400) shown, 900 - 2400 below zero, lacking 125 + 2400: 253 of penalty at 100/kWh.
    Hidden: 900 Wh at 200/kWh less 25 for the obligation of 250. The gain of 408 is within (2400 * 0.2) + (2400 * 0.1).
    """
    terms = home_terms(meter_limit_wh=3000)
    shown = settlement.device_delivery(terms, BASELINE, (300, 300, 300, 3000), (500,) * 12)
    kept = settlement.device_delivery(terms, BASELINE, (300, 300, 300, None), (500,) * 12)
    assert (own_minor(terms, shown), own_minor(terms, kept)) == (-253, 180 - 25)
    beyond = settlement.device_delivery(terms, BASELINE, (300, 300, 300, 3001), (500,) * 12)
    assert beyond == kept, "a forged value gains no more than a hidden one"


def test_the_group_is_clamped_once_an_event() -> None:
    terms = group_terms(obligation_wh=(100,) * 4, cap_percent=120)
    assert [settlement.clamped_wh(terms, total) for total in (-1, 0, 1, 480, 481)] == [0, 0, 1, 480, 480]


@given(st.lists(st.integers(-3000, 3000), min_size=1, max_size=30), st.integers(1, 200))
def test_shares_stay_within_the_group_the_own_delivery_and_the_own_cap(totals: list[int], cap: int) -> None:
    group = group_terms(obligation_wh=(len(totals) * 100,), cap_percent=cap)
    home = home_terms(obligation_wh=(100,), cap_percent=cap)
    group_wh = settlement.clamped_wh(group, sum(totals))
    counted = [settlement.clamped_wh(home, total) for total in totals]
    shares = [settlement.share_wh(own, group_wh, sum(counted)) for own in counted]
    assert min(group_wh, sum(counted)) - len(shares) <= sum(shares) <= group_wh, "only the rounding is lost"
    for share, total in zip(shares, totals, strict=True):
        assert 0 <= share <= max(0, total)
        assert share <= cap


def test_shares_by_hand() -> None:
    """Obligation 250, cap 120 %: of +290, +500, -300 count 290, 300 and 0, sum 590. The group's 490: 290 * 490 / 590 =
    240.8 and 300 * 490 / 590 = 249.2, rounded down. Of a group that delivered more than counts, each is paid what
    counts."""
    home = home_terms(obligation_wh=(250,))
    counted = [settlement.clamped_wh(home, own) for own in (290, 500, -300)]
    assert counted == [290, 300, 0]
    assert [settlement.share_wh(own, 490, 590) for own in counted] == [240, 249, 0]
    assert [settlement.share_wh(own, 700, 590) for own in counted] == counted
    assert settlement.share_wh(300, 0, 800) == settlement.share_wh(0, 500, 0) == 0


TOTALS = st.lists(st.integers(-3000, 3000), min_size=1, max_size=12)


def shares_of(totals: list[int], group: Any, home: Any) -> list[int]:
    counted = [settlement.clamped_wh(home, total) for total in totals]
    group_wh = settlement.clamped_wh(group, sum(totals))
    return [settlement.share_wh(own, group_wh, sum(counted)) for own in counted]


@given(TOTALS, READINGS, WINDOWS, st.integers(1, 200))
def test_one_meter_takes_no_more_from_the_others_than_its_connection_carries(
    others: list[int], readings: list[int], window: list[int], cap: int
) -> None:
    """Against a home that delivers nothing: what it imports above its baseline at most, and where the group's cap is
    short its own cap; and a Wh of rounding a home."""
    group = group_terms(obligation_wh=(len(others) * 100 + 100,), cap_percent=cap)
    home = home_terms(obligation_wh=(100, 0, 0, 0), cap_percent=cap, meter_limit_wh=LIMIT)
    forged = settlement.device_delivery(home, BASELINE, readings, window)
    above_wh = sum(max(0, LIMIT - base - forged.adjustment_wh) for base in BASELINE.curve_wh)
    before = sum(shares_of([*others, 0], group, home)[:-1])
    after = sum(shares_of([*others, forged.total_wh], group, home)[:-1])
    assert before - after <= max(above_wh, cap) + len(others)


@given(TOTALS, st.integers(-3000, 3000), st.integers(0, 10**9), st.integers(1, 200))
def test_a_forged_export_takes_nothing_from_the_others(others: list[int], own: int, more: int, cap: int) -> None:
    """As long as the group's cap is that of its homes together."""
    group = group_terms(obligation_wh=(len(others) * 100 + 100,), cap_percent=cap)
    home = home_terms(obligation_wh=(100,), cap_percent=cap)
    before, after = (shares_of([*others, total], group, home)[:-1] for total in (own, own + more))
    assert all(a >= b for a, b in zip(after, before, strict=True))


@given(st.integers(0, 10**12), st.integers(0, 10**9))
def test_money_is_rounded_toward_the_escrow(energy_wh: int, price: int) -> None:
    exact = Fraction(energy_wh * price, MWH)
    assert exact - 1 < earned_minor(energy_wh, price) <= exact <= charged_minor(energy_wh, price) < exact + 1


@given(TERMS, st.integers(0, 5000), st.integers(0, 20_000), st.integers(0, 500), st.integers(-500, 500))
def test_a_payment_is_energy_less_penalty_and_never_takes_more_than_was_agreed(
    terms: Any, paid_wh: int, shortfall_wh: int, held: int, passed_on: int
) -> None:
    due = settlement.payment(terms, paid_wh, shortfall_wh, held, passed_on_minor=passed_on)
    assert due.energy_minor == earned_minor(paid_wh, terms.energy_price_minor_per_mwh)
    own = max(0, due.energy_minor - passed_on)
    assert due.from_escrow_minor - due.from_deposit_minor == own - due.penalty_minor
    assert 0 in (due.from_escrow_minor, due.from_deposit_minor)
    assert 0 <= due.from_deposit_minor <= held
    full = charged_minor(shortfall_wh, terms.penalty_price_minor_per_mwh)
    assert due.penalty_minor == min(full, own + held)


@pytest.mark.parametrize(
    ("delivered", "expected"),
    [(950, "success"), (949, "partial_failure"), (600, "partial_failure"), (599, "failure"), (0, "failure")],
)
def test_the_outcome_follows_the_percentages(delivered: int, expected: str) -> None:
    assert settlement.outcome(group_terms(obligation_wh=(1000,)), delivered) == expected


def test_percent_and_escrow_round_down() -> None:
    assert (percent_of(199, 50), percent_of(-1, 50)) == (99, -1)
    assert settlement.escrow_minor(group_terms(obligation_wh=(999,)), 1_000_000) == 1198
