"""Bands from past errors: exact ranks, honest fallbacks, and coverage on data that deserves it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.conformal import calibrate, errors_wanted, order_statistic
from forecasting.model import Forecast

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def flat_forecast(count: int = 24) -> Forecast:
    return Forecast("test", 0, 0, 0, 3600, (100.0,) * count, ("test",) * count)


def test_nine_errors_give_their_extremes_as_the_levels_0_1_and_0_9() -> None:
    """n = 9: ceil(10 * 0.9) = 9, the largest; floor(10 * 0.1) = 1, the smallest; floor(10 * 0.5) = 5, the middle."""
    errors = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert [order_statistic(errors, level) for level in (0.1, 0.5, 0.7, 0.9)] == [1.0, 5.0, 7.0, 9.0]


def test_ranks_do_not_slip_by_floating_point() -> None:
    """n = 99: (99 + 1) * 0.55 is rank 55, though floats make it 55.00000000000001."""
    assert order_statistic([float(rank) for rank in range(1, 100)], 0.55) == 55.0


@pytest.mark.parametrize(("level", "count"), [(0.1, 9), (0.9, 9), (0.05, 19), (0.95, 19), (0.5, 1), (0.99, 99)])
def test_the_fewest_errors_for_a_level(level: float, count: int) -> None:
    assert errors_wanted(level) == count


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 2.0])
def test_levels_outside_zero_and_one_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibrate([(0, 0.0)], "UTC", 3600).apply(flat_forecast(), [level])


def test_each_hour_uses_its_own_errors_and_those_one_hour_around_it() -> None:
    """Hour h made the errors -h and +h on 5 days. Around hour 12: 5 each of +-11, +-12, +-13, n = 30. 0.9: rank
    ceil(31 * 0.9) = 28 of the sorted list, which ends in 5 x 11, 5 x 12, 5 x 13: rank 28 is 13. 0.1: rank 3, -13."""
    errors = [
        (day * DAY_MS + hour * HOUR_MS, float(sign * hour))
        for day in range(5)
        for hour in range(24)
        for sign in (-1, 1)
    ]
    banded = calibrate(errors, "UTC", 3600).apply(flat_forecast(), [0.1, 0.9])
    assert banded.quantiles[0.9][12] == 113.0
    assert banded.quantiles[0.1][12] == 87.0
    assert banded.quantiles[0.9][0] == 123.0  # midnight's neighbours are 23:00 and 01:00
    assert banded.reasons == ()


def test_an_hour_with_too_few_errors_borrows_those_of_the_day_and_says_so() -> None:
    errors = [(hour * HOUR_MS, float(hour)) for hour in range(24)]
    banded = calibrate(errors, "UTC", 3600).apply(flat_forecast(), [0.9])
    assert set(banded.quantiles[0.9]) == {122.0}  # 24 errors 0..23: rank ceil(25 * 0.9) = 23, the value 22
    assert banded.reasons == ("level 0.9: 24 of 24 intervals use the errors of the whole day",)


def test_too_few_errors_altogether_give_the_extreme_one_and_a_warning() -> None:
    banded = calibrate([(0, -3.0), (HOUR_MS, 5.0)], "UTC", 3600).apply(flat_forecast(2), [0.05, 0.95])
    assert banded.quantiles == {0.05: (97.0, 97.0), 0.95: (105.0, 105.0)}
    assert all("too narrow" in reason for reason in banded.reasons)
    assert len(banded.reasons) == 2


def test_a_perfect_model_has_a_band_of_no_width() -> None:
    banded = calibrate([(hour * HOUR_MS, 0.0) for hour in range(240)], "UTC", 3600).apply(flat_forecast(), [0.1, 0.9])
    assert banded.quantiles[0.1] == banded.quantiles[0.9] == banded.values


def test_without_errors_or_with_one_that_is_no_number_there_is_no_band() -> None:
    with pytest.raises(ValueError, match="no past errors"):
        calibrate([], "UTC", 3600)
    with pytest.raises(ValueError, match="is nan"):
        calibrate([(0, float("nan"))], "UTC", 3600)


def test_another_interval_length_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        calibrate([(0, 1.0)], "UTC", 900).apply(flat_forecast(), [0.5])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6))
def test_quantiles_never_cross(errors: list[float], levels: list[float]) -> None:
    ordered = sorted(errors)
    values = [order_statistic(ordered, level) for level in sorted(levels)]
    assert values == sorted(values)


def test_bands_from_exchangeable_errors_cover_at_least_what_they_promise() -> None:
    """42 days of seeded Gaussian errors, 400 new days: the share inside 0.1..0.9 is 0.80 plus at most 2 / (n + 1) and
    sampling error; n = 126 an hour, so 0.80 .. 0.82, and 9,600 draws give a standard error of 0.4 % (more with the
    calibration's own): between 0.78 and 0.84."""
    rng = random.Random(7)
    past = [(hour * HOUR_MS, rng.gauss(0, 50)) for hour in range(42 * 24)]
    banded = calibrate(past, "UTC", 3600).apply(flat_forecast(), [0.1, 0.9])
    actual = [(hour % 24, 100 + rng.gauss(0, 50)) for hour in range(400 * 24)]
    inside = [banded.quantiles[0.1][hour] <= value <= banded.quantiles[0.9][hour] for hour, value in actual]
    assert 0.78 <= sum(inside) / len(inside) <= 0.84
