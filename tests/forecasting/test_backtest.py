"""Rolling-origin tests: scores worked by hand, nothing from the future, and the demo's homes as real data."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest

from demo.data.series import DEMO_DAY, HOLIDAYS, ZONE, load_homes
from forecasting.backtest import backtest
from forecasting.calendar import SiteCalendar, day_intervals
from forecasting.naive import SeasonalNaive
from forecasting.series import IntervalSeries

UTC_SITE = SiteCalendar("UTC")
MONDAY = date(2017, 1, 9)
YESTERDAY = SeasonalNaive(working_days=1, other_days=1)


def days_of(values: list[float], first: date = MONDAY) -> IntervalSeries:
    """One constant value a day, hourly."""
    return IntervalSeries.of(
        [
            (start_ms, value)
            for number, value in enumerate(values)
            for start_ms, _ in day_intervals("UTC", 3600, first + timedelta(days=number))
        ],
        3600,
    )


def test_scores_of_two_days_by_hand() -> None:
    """Mon 100, Tue 110, Wed 90; each day forecast by the last: Tue 100 against 110, Wed 110 against 90.
    mae = (10 + 20) / 2 = 15; rmse = sqrt((100 + 400) / 2) = 15.8114, over the mean of 100: 0.158114;
    bias = (-10 + 20) / 200 = 0.05."""
    tuesday = MONDAY + timedelta(days=1)
    result = backtest(YESTERDAY, days_of([100, 110, 90]), UTC_SITE, [tuesday, tuesday + timedelta(days=1)])
    assert result.score.mae == pytest.approx(15)
    assert result.score.nrmse == pytest.approx(0.158114, abs=1e-6)
    assert result.score.bias == pytest.approx(0.05)
    assert (result.score.intervals, result.score.missing) == (48, 0)
    assert [origin.score.mae for origin in result.origins] == [10, 20]


def test_a_band_is_made_from_earlier_origins_only() -> None:
    """Tuesday has no earlier errors and no band. Wednesday's is made of 24 errors of +10: [120, 120], missing 90."""
    tuesday = MONDAY + timedelta(days=1)
    result = backtest(YESTERDAY, days_of([100, 110, 90]), UTC_SITE, [tuesday, tuesday + timedelta(days=1)])
    first, second = (origin.forecast for origin in result.origins)
    assert first is not None
    assert first.quantiles == {}
    assert second is not None
    assert set(second.quantiles[0.1]) == set(second.quantiles[0.9]) == {120.0}
    assert (result.score.banded, result.score.coverage) == (24, 0.0)


def test_changing_the_future_never_changes_a_forecast() -> None:
    """Issued at 18:00 the evening before: for Thursday neither Wednesday's last six hours nor errors in them count."""
    days = [MONDAY + timedelta(days=number) for number in range(1, 4)]
    series = days_of([100, 110, 90, 70, 60])
    cut_ms = UTC_SITE.start_ms(days[2]) - 6 * 3_600_000
    changed = {start: 7e5 if start >= cut_ms else value for start, value in series.readings.items()}
    before = backtest(YESTERDAY, series, UTC_SITE, days, lead_s=6 * 3600)
    after = backtest(YESTERDAY, IntervalSeries(3600, changed), UTC_SITE, days, lead_s=6 * 3600)
    assert [origin.forecast for origin in before.origins] == [origin.forecast for origin in after.origins]
    assert before.origins[2].forecast is not None
    assert before.origins[2].forecast.quantiles


def test_errors_older_than_the_calibration_are_not_used() -> None:
    """100, 110, 90, 95: errors +10 and -20. With one day of calibration Thursday has 90 - 20 = 70 twice."""
    days = [MONDAY + timedelta(days=number) for number in range(1, 4)]
    result = backtest(YESTERDAY, days_of([100, 110, 90, 95]), UTC_SITE, days, calibration_days=1)
    last = result.origins[2].forecast
    assert last is not None
    assert set(last.quantiles[0.1]) == set(last.quantiles[0.9]) == {70.0}


def test_a_day_before_any_history_is_skipped_with_its_reason_and_gaps_are_counted() -> None:
    series = days_of([100, 110])
    gap = IntervalSeries(3600, {start: value for start, value in series.readings.items() if start % 7_200_000})
    result = backtest(YESTERDAY, gap, UTC_SITE, [MONDAY, MONDAY + timedelta(days=1)])
    assert result.origins[0].forecast is None
    assert "no reading had ended" in str(result.origins[0].skipped)
    assert (result.score.intervals, result.score.missing) == (12, 12)


def test_ratios_without_meaning_are_none() -> None:
    result = backtest(YESTERDAY, days_of([0, 0]), UTC_SITE, [MONDAY + timedelta(days=1)])
    assert (result.score.mae, result.score.nrmse, result.score.bias) == (0, None, None)


def test_days_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="ascending"):
        backtest(YESTERDAY, days_of([1, 2]), UTC_SITE, [MONDAY, MONDAY])


def test_on_the_demo_feeders_ten_like_days_beat_yesterday_and_the_band_covers_most_hours() -> None:
    """26 real homes a feeder, ten days up to the demo day; the figures are in forecasting/DESIGN.md."""
    days = [DEMO_DAY - timedelta(days=before) for before in range(9, -1, -1)]
    calendar = SiteCalendar(ZONE, HOLIDAYS)
    for feeder in ("F1", "F2"):
        total: Counter[int] = Counter()
        for home in load_homes():
            if home.home.feeder_id == feeder:
                total.update(home.gross_by_start)
        series = IntervalSeries.of(((start, float(wh)) for start, wh in total.items()), 900)
        ten = backtest(SeasonalNaive(), series, calendar, days).score
        one = backtest(YESTERDAY, series, calendar, days).score
        assert ten.nrmse is not None
        assert one.nrmse is not None
        assert ten.nrmse < one.nrmse
        assert ten.coverage is not None
        assert 0.6 < ten.coverage <= 1
