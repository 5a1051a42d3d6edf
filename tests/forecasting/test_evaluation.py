"""Tests on history: what they may know, what they count, which model they choose, and when they raise an alarm."""

import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from forecasting.calendar import SiteCalendar
from forecasting.evaluation.choice import choose
from forecasting.evaluation.drift import DayErrors, alarms
from forecasting.evaluation.rolling import DECILES, Skill, day_ahead, intraday, rolling
from forecasting.panels.panel import Panel
from forecasting.serving.catalogue import model
from tests.forecasting.synthetic import LOS_ANGELES, some_homes

HOMES = some_homes(4, 100)
DAYS = [date(2026, 4, 1) + timedelta(days=back) for back in range(5)]


def a_test(name="similar-days", panel=HOMES, issues=None, **options):
    return rolling(model(name), panel, LOS_ANGELES, issues or day_ahead(LOS_ANGELES, DAYS, panel.interval_s), **options)


def test_scores_are_those_of_the_forecasts_that_each_day_would_have_got():
    made = a_test("last-week", levels=())
    expected = np.stack([HOMES.values[:, _at(day - timedelta(days=7)) :][:, :24] for day in DAYS], axis=1)
    truth = np.stack([HOMES.values[:, _at(day) :][:, :24] for day in DAYS], axis=1)
    assert np.array_equal(made.forecast, expected)
    skill = made.skill()
    assert skill.intervals == 4 * 5 * 24
    assert skill.mae == pytest.approx(np.abs(expected - truth).mean())
    rmse = np.sqrt(((expected - truth) ** 2).mean(axis=(1, 2)))
    assert skill.nrmse == pytest.approx((rmse / truth.mean(axis=(1, 2))).mean())
    assert skill.bias == pytest.approx((expected - truth).sum() / truth.sum())
    assert math.isnan(skill.coverage)


def _at(day):
    return (LOS_ANGELES.start_ms(day) - HOMES.start_ms) // HOMES.step_ms


def test_a_perfect_forecast_has_no_error_and_no_loss():
    made = a_test(
        "last-week", Panel(HOMES.ids, HOMES.start_ms, 3600, np.tile(HOMES.values[:, :168], 14)), levels=DECILES
    )
    assert made.skill().mae == 0
    assert made.skill().crps < 0.01 * HOMES.values.mean()
    assert made.skill().coverage == 1


def test_the_future_changes_no_score_of_the_past():
    changed = HOMES.values.copy()
    changed[:, _at(DAYS[3]) :] *= 3
    one, other = a_test(), a_test(panel=Panel(HOMES.ids, HOMES.start_ms, 3600, changed))
    assert np.array_equal(one.forecast[:, :4], other.forecast[:, :4])
    assert not np.array_equal(one.forecast[:, 4], other.forecast[:, 4])


def test_gaps_are_not_counted_and_a_time_without_history_is_refused():
    values = HOMES.values.copy()
    values[0, _at(DAYS[0]) : _at(DAYS[0]) + 3] = np.nan
    assert a_test(panel=Panel(HOMES.ids, HOMES.start_ms, 3600, values)).skill().intervals == 4 * 5 * 24 - 3
    early = day_ahead(LOS_ANGELES, [date(2026, 1, 1), date(2026, 1, 2)], 3600)
    made = a_test(issues=early)
    assert made.refused == 1
    assert made.skill().intervals == 4 * 24


def test_days_of_23_and_25_hours_are_whole_days():
    calendar = SiteCalendar("Europe/Berlin")
    assert [each.count for each in day_ahead(calendar, [date(2026, 3, 29), date(2026, 10, 25)], 900)] == [92, 100]


def test_errors_grow_with_the_horizon_and_the_table_says_so():
    made = a_test("blend", issues=intraday(LOS_ANGELES, DAYS, 3600, every_h=6, horizon_h=12))
    table = made.by_horizon((0, 1, 6, 12, 24))
    assert [(low, high) for low, high, _ in table] == [(0, 1), (1, 6), (6, 12)]
    assert [skill.intervals for _, _, skill in table] == [80, 400, 480]


def test_issues_come_in_the_order_of_time():
    with pytest.raises(ValueError, match="order of time"):
        a_test(issues=day_ahead(LOS_ANGELES, DAYS[::-1], 3600))


def a_skill(nrmse):
    return Skill(10, 1.0, nrmse, 0.0, 1.0, 0.8)


def test_the_best_model_is_chosen_and_among_equals_the_simplest():
    order = ("naive", "simple", "rich")
    chosen = choose({"naive": a_skill(0.3), "simple": a_skill(0.25), "rich": a_skill(0.2)}, "naive", order)
    assert (chosen.model, round(chosen.skill, 3)) == ("rich", 0.333)
    chosen = choose({"naive": a_skill(0.3), "simple": a_skill(0.201), "rich": a_skill(0.2)}, "naive", order)
    assert chosen.model == "simple"
    assert "rich is better by less than 1 %" in chosen.reason
    with pytest.raises(ValueError, match="no score of naive"):
        choose({"rich": a_skill(0.2)}, "naive", order)


def test_a_failing_model_is_not_chosen():
    assert choose({"naive": a_skill(0.3), "rich": a_skill(math.nan)}, "naive", ("naive",)).model == "naive"


def some_days(count, *, bias=0.0, size=1.0, coverage=0.8, seed=1, first=date(2026, 1, 1)):
    random = np.random.default_rng(seed)
    return [
        DayErrors(
            first + timedelta(days=each),
            float(bias + random.normal(0, 10)),
            float(size * random.uniform(30, 50)),
            float(np.clip(coverage + random.normal(0, 0.05), 0, 1)),
        )
        for each in range(count)
    ]


def test_nothing_drifts_where_nothing_changed():
    quiet = [alarms(some_days(42, seed=seed), some_days(30, seed=100 + seed)) for seed in range(20)]
    assert sum(map(len, quiet)) <= 2


def test_a_spell_of_weather_is_no_drift():
    """Errors go on from day to day (here half of each); the watch over bias looked at daily for 4 years."""
    random = np.random.default_rng(5)
    noise, errors = random.normal(0, 10, 1500), [0.0]
    for each in noise:
        errors.append(0.5 * errors[-1] + each)
    days = [replace(day, bias=bias) for day, bias in zip(some_days(1500), errors[1:], strict=True)]
    looks = [alarms(days[end - 74 : end - 14], days[end - 14 : end]) for end in range(74, 1500, 7)]
    assert sum(alarm.watch == "bias" for look in looks for alarm in look) <= 10


@pytest.mark.parametrize(
    ("change", "watch"), [({"bias": 15.0}, "bias"), ({"size": 1.6}, "size"), ({"coverage": 0.55}, "coverage")]
)
def test_each_watch_notices_its_drift_within_two_weeks(change, watch):
    start = date(2026, 3, 1)
    recent = some_days(10, seed=2, first=start - timedelta(days=10)) + some_days(14, seed=3, first=start, **change)
    found = {alarm.watch: alarm for alarm in alarms(some_days(42), recent)}
    assert found[watch].noticed >= start
    assert abs((found[watch].since - start).days) <= 7


def test_an_alarm_needs_something_to_compare_with():
    with pytest.raises(ValueError, match="14 are needed"):
        alarms(some_days(5), some_days(5))
