"""What holds for every model of the catalogue, and what each is for."""

from datetime import date, timedelta

import numpy as np
import pytest

from forecasting.calendar import SiteCalendar
from forecasting.errors import NoHistory
from forecasting.panels.panel import Panel
from forecasting.serving.catalogue import CATALOGUE, model
from tests.forecasting.synthetic import LOS_ANGELES, some_homes

ARRAY_MODELS = ("last-week", "weekday-mean", "recent-days", "similar-days", "ridge", "blend")
HOMES = some_homes(6, 120)
DAY = date(2026, 4, 21)
DAY_MS = 86_400_000
each_model = pytest.mark.parametrize("name", ARRAY_MODELS)


def day_ahead(name, panel=HOMES, day=DAY, calendar=LOS_ANGELES, levels=(), issued_before_h=0, count=None, **fitting):
    start_ms = calendar.start_ms(day)
    length = (calendar.start_ms(day + timedelta(days=1)) - start_ms) // panel.step_ms
    fitted = model(name).fit(panel, calendar, **fitting)
    return fitted.forecast(start_ms, count or length, start_ms - issued_before_h * 3_600_000, levels)


def actual(panel, forecast):
    first = (forecast.start_ms - panel.start_ms) // panel.step_ms
    return panel.values[:, first : first + forecast.values.shape[1]]


@each_model
def test_a_forecast_uses_nothing_that_had_not_ended_at_its_issue(name):
    known = model(name).fit(HOMES.ended_by(LOS_ANGELES.start_ms(DAY) - 5 * 3_600_000), LOS_ANGELES)
    start_ms = LOS_ANGELES.start_ms(DAY)
    blind = known.forecast(start_ms, 24, start_ms - 5 * 3_600_000, (0.1, 0.9))
    sighted = day_ahead(name, levels=(0.1, 0.9), issued_before_h=5)
    assert np.array_equal(blind.values, sighted.values)
    assert np.array_equal(blind.quantiles[0.9], sighted.quantiles[0.9])
    assert sighted.known_until_ms == start_ms - 5 * 3_600_000


@each_model
def test_a_fit_that_grew_says_what_a_new_fit_says(name):
    until_ms = LOS_ANGELES.start_ms(DAY - timedelta(days=3))
    grown = model(name).fit(HOMES.ended_by(until_ms), LOS_ANGELES)
    grown.forecast(until_ms, 24, until_ms)
    grown = grown.update(HOMES.between(until_ms, HOMES.end_ms))
    start_ms = LOS_ANGELES.start_ms(DAY)
    assert np.array_equal(grown.forecast(start_ms, 24, start_ms).values, day_ahead(name).values)


@pytest.mark.parametrize("gaps", [0.0, 0.05])
def test_a_forecast_is_the_same_whatever_was_asked_before(gaps):
    """Asked in the evening, when the day counts as known, and again at midnight; and the other way round."""
    values = np.where(np.random.default_rng(3).random(HOMES.values.shape) < gaps, np.nan, HOMES.values)
    panel = Panel(HOMES.ids, HOMES.start_ms, 3600, values).rows(slice(0, 4))
    midnight_ms = LOS_ANGELES.start_ms(DAY)
    evening_ms = midnight_ms - 3 * 3_600_000
    early = model("ridge").fit(panel.ended_by(evening_ms), LOS_ANGELES)
    fresh = {at: model("ridge").fit(panel, LOS_ANGELES).forecast(at, 24, at) for at in (evening_ms, midnight_ms)}
    assert np.array_equal(early.forecast(evening_ms, 24, evening_ms).values, fresh[evening_ms].values)
    grown = early.update(panel.between(evening_ms, panel.end_ms))
    assert np.array_equal(grown.forecast(midnight_ms, 24, midnight_ms).values, fresh[midnight_ms].values)
    assert np.array_equal(grown.forecast(evening_ms, 24, evening_ms).values, fresh[evening_ms].values)


@each_model
@pytest.mark.parametrize(
    ("zone", "first", "day", "intervals"),
    [
        ("Europe/Berlin", date(2026, 1, 26), date(2026, 3, 29), 23),
        ("Australia/Sydney", date(2026, 2, 2), date(2026, 4, 5), 25),
        ("Asia/Kolkata", date(2026, 2, 2), date(2026, 4, 5), 24),
    ],
)
def test_days_on_which_the_clock_changes_have_a_value_for_every_interval(name, zone, first, day, intervals):
    calendar = SiteCalendar(zone)
    panel = some_homes(2, (day - first).days, calendar, first=first, interval_s=1800)
    forecast = day_ahead(name, panel, day, calendar)
    assert forecast.values.shape == (2, 2 * intervals)
    assert np.isfinite(forecast.values).all()
    assert forecast.reasons == {}


@each_model
def test_a_week_ahead_each_day_is_forecast_with_what_its_lead_allows(name):
    forecast = day_ahead(name, count=7 * 24)
    assert np.isfinite(forecast.values).all()
    assert np.abs(forecast.values - actual(HOMES, forecast)).mean() < 0.6 * actual(HOMES, forecast).mean()


def test_the_default_beats_the_seasonal_naive_and_the_sum_is_easier_than_the_homes():
    def error(name, panel):
        errors = []
        for back in range(8):
            forecast = day_ahead(name, panel, DAY - timedelta(days=back))
            errors.append((forecast.values - actual(panel, forecast)) / panel.values.mean())
        return float(np.sqrt(np.mean(np.square(errors))))

    node = HOMES.summed({"vn": HOMES.ids})
    assert error("blend", HOMES) < 0.85 * error("last-week", HOMES)
    assert error("ridge", node) < 0.85 * error("last-week", node)
    assert error("ridge", node) < error("ridge", HOMES)


@pytest.mark.parametrize(
    ("days", "basis"),
    [(1, "recent-days"), (2, "similar-days"), (7, "similar-days"), (8, "blend"), (40, "blend")],
)
def test_short_history_falls_back_and_says_so(days, basis):
    panel = some_homes(1, days, first=DAY - timedelta(days=days))
    forecast = day_ahead("blend", panel, levels=(0.1, 0.9))
    assert forecast.basis[0].startswith(basis)
    assert np.isfinite(forecast.values).all()
    if basis != "blend":
        assert f"{days} days of history" in forecast.reasons["home-00000"][0]
    if days == 1:
        assert np.array_equal(forecast.values, panel.values)
        assert forecast.reasons["home-00000"][1] == "0 days of past errors: the bands are rough"
        assert (forecast.quantiles[0.9] > forecast.quantiles[0.1]).all()


def test_homes_of_one_panel_fall_back_each_for_itself():
    values = HOMES.values.copy()
    values[1, : -24 * 5 - 24 * 9] = np.nan
    values[2] = np.nan
    values[3, 100 * 24 :] = np.nan
    forecast = day_ahead("blend", Panel(HOMES.ids, HOMES.start_ms, 3600, values), day=DAY)
    assert forecast.basis[0].startswith("blend")
    assert "5 days of history" in " ".join(forecast.reasons["home-00001"]) or forecast.basis[1].startswith("similar")
    assert forecast.refused == {"home-00002": "no reading had ended at the issue"}
    assert np.isnan(forecast.values[2]).all()
    assert "no reading for 10 days" in " ".join(forecast.reasons["home-00003"])
    undisturbed = day_ahead("blend")
    assert forecast.values[0] == pytest.approx(undisturbed.values[0], rel=1e-4)


def test_nothing_known_is_an_error_and_not_a_zero():
    with pytest.raises(NoHistory):
        day_ahead("blend", day=date(2026, 1, 1))
    with pytest.raises(ValueError, match="cannot forecast"):
        model("blend").fit(HOMES, LOS_ANGELES).forecast(HOMES.end_ms + 1, 24, HOMES.end_ms)
    with pytest.raises(ValueError, match="crystal-ball"):
        model("crystal-ball")


@each_model
def test_a_constant_series_stays_constant(name):
    panel = Panel(("c",), HOMES.start_ms, 3600, np.full((1, HOMES.values.shape[1]), 250.0, dtype=np.float32))
    forecast = day_ahead(name, panel, levels=(0.1, 0.9))
    assert forecast.values == pytest.approx(250.0, abs=0.1)
    assert forecast.quantiles[0.9] == pytest.approx(250.0, abs=0.1)


def test_feeding_in_is_forecast_as_such_and_pure_load_never_is():
    values = HOMES.values.copy()
    values[0] -= 2_000
    forecast = day_ahead("blend", Panel(HOMES.ids, HOMES.start_ms, 3600, values))
    assert forecast.values[0].mean() < -500
    assert forecast.values[1:].min() >= 0


def test_event_days_are_not_learnt_from():
    values = HOMES.values.copy()
    events = [DAY - timedelta(days=back) for back in (1, 2, 3, 4)]
    for day in events:
        first = (LOS_ANGELES.start_ms(day) - HOMES.start_ms) // HOMES.step_ms
        values[:, first : first + 24] = 0
    panel = Panel(HOMES.ids, HOMES.start_ms, 3600, values)
    without = day_ahead("blend", panel, excluded=events).values.sum()
    assert without > 1.1 * day_ahead("blend", panel).values.sum()
    assert without == pytest.approx(day_ahead("blend").values.sum(), rel=0.25)


def test_bands_cover_what_they_say():
    panel = some_homes(20, 140, seed=11)
    inside = []
    for back in range(18):
        forecast = day_ahead("blend", panel, DAY + timedelta(days=25 - back), levels=(0.1, 0.9))
        truth = actual(panel, forecast)
        inside.append((forecast.quantiles[0.1] <= truth) & (truth <= forecast.quantiles[0.9]))
    assert 0.77 <= np.mean(inside) <= 0.83


@pytest.mark.parametrize(
    ("history", "low", "high"), [(9, 0.76, 0.89), (14, 0.77, 0.84), (21, 0.77, 0.83), (28, 0.77, 0.83)]
)
def test_bands_of_short_history_are_honest_too(history, low, high):
    """With nine days they err on the wide side where a model learns as fast as here: its first errors were large."""
    panel = some_homes(40, history + 7, first=DAY - timedelta(days=history + 7), seed=12)
    inside = []
    for back in range(1, 7):
        known = panel.between(panel.end_ms - (history + back) * DAY_MS, panel.end_ms)
        forecast = day_ahead("blend", known, DAY - timedelta(days=back), levels=(0.1, 0.9))
        truth = actual(panel, forecast)
        inside.append((forecast.quantiles[0.1] <= truth) & (truth <= forecast.quantiles[0.9]))
    assert low <= np.mean(inside) <= high


@pytest.mark.parametrize("history", [9, 16, 25])
def test_with_few_weeks_of_history_the_default_is_no_worse_than_like_days(history):
    def error(name):
        panel = some_homes(60, history + 4, first=DAY - timedelta(days=history), seed=13)
        found = [day_ahead(name, panel, DAY + timedelta(days=later)) for later in range(4)]
        return np.sqrt(np.mean([(each.values - actual(panel, each)) ** 2 for each in found]))

    assert error("blend") < 1.02 * error("similar-days")


def test_the_day_so_far_improves_the_next_hours():
    """A spell that began this morning goes on: the forecast at noon follows it, that of midnight could not."""
    values = HOMES.values.copy()
    start = (LOS_ANGELES.start_ms(DAY) - HOMES.start_ms) // HOMES.step_ms
    for spell in range(20, 111, 10):  # such mornings have been there before
        values[:, spell * 24 + 6 : spell * 24 + 22] *= 1.8
    values[:, start + 6 : start + 22] *= 1.8
    panel = Panel(HOMES.ids, HOMES.start_ms, 3600, values)
    fitted = model("blend").fit(panel, LOS_ANGELES)
    noon_ms = LOS_ANGELES.start_ms(DAY) + 12 * 3_600_000
    at_noon = fitted.forecast(noon_ms, 8, noon_ms, (0.1, 0.9))
    at_midnight = fitted.forecast(noon_ms, 8, noon_ms - 12 * 3_600_000)
    truth = actual(panel, at_noon)
    assert np.abs(at_noon.values - truth).mean() < 0.8 * np.abs(at_midnight.values - truth).mean()
    assert (at_noon.quantiles[0.1] <= at_noon.quantiles[0.9]).all()


@pytest.mark.parametrize("hour", [20, 21])
def test_a_spell_is_followed_until_the_day_ends(hour):
    """From eight in the evening on a day counts as known: what went wrong in it is carried forward all the same."""
    values = HOMES.values.copy()
    start = (LOS_ANGELES.start_ms(DAY) - HOMES.start_ms) // HOMES.step_ms
    for spell in range(20, 111, 10):
        values[:, spell * 24 + 14 : spell * 24 + 24] *= 1.8
    values[:, start + 14 : start + 24] *= 1.8
    fitted = model("ridge").fit(Panel(HOMES.ids, HOMES.start_ms, 3600, values), LOS_ANGELES)
    issued_ms = LOS_ANGELES.start_ms(DAY) + hour * 3_600_000
    now, before = (fitted.forecast(issued_ms, 3, at) for at in (issued_ms, issued_ms - hour * 3_600_000))
    truth = values[:, start + hour : start + hour + 3]
    assert np.abs(now.values - truth).mean() < 0.85 * np.abs(before.values - truth).mean()


def test_a_load_that_follows_the_weather_is_forecast_better_with_it():
    from forecasting.panels.weather import Weather

    random = np.random.default_rng(5)
    daily = 24 + 7 * random.standard_normal(121)
    hour = np.arange(24)
    temperature = (daily[:, None] + 5 * np.sin((hour - 9) / 24 * 2 * np.pi)).ravel()
    values = HOMES.values + 120 * np.maximum(temperature[: HOMES.values.shape[1]] - 20, 0).astype(np.float32)
    panel = Panel(HOMES.ids, HOMES.start_ms, 3600, values)
    weather = Weather("made up", "forecast", HOMES.start_ms, 3600, {"temp_c": temperature})

    def error(**fitting):
        days = [DAY - timedelta(days=back) for back in range(6)]
        found = [day_ahead("ridge", panel, day, **fitting) for day in days]
        return np.mean([np.abs(each.values - actual(panel, each)).mean() for each in found])

    assert error(weather=weather) < 0.75 * error()
    assert day_ahead("ridge", panel, weather=weather).weather == "made up"


def test_every_model_explains_itself():
    assert all(entry.text for entry in CATALOGUE.values())


def test_one_series_of_a_panel_forecast_reads_like_any_forecast():
    forecast = day_ahead("blend", levels=(0.1, 0.9))
    one = forecast.one("home-00002")
    assert one.values == pytest.approx(forecast.values[2])
    assert one.basis == (forecast.basis[2],) * 24
    assert one.quantiles[0.9] == pytest.approx(forecast.quantiles[0.9][2])
    with pytest.raises(KeyError):
        forecast.one("nobody")
