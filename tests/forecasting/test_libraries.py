"""Models on other people's libraries: Prophet, LightGBM, pvlib, torch. Small, because each is slow to start."""

import warnings
from datetime import date, timedelta

import numpy as np
import pytest

from forecasting.calendar import SiteCalendar
from forecasting.errors import ForecastError, MissingLibrary
from forecasting.models import decomposed
from forecasting.models.boosted import Boosted
from forecasting.models.decomposed import Prophet
from forecasting.panels.holidays import national_holidays
from forecasting.panels.panel import Panel
from forecasting.panels.weather import Weather
from forecasting.serving.catalogue import model
from forecasting.serving.daily import Daily
from forecasting.solar.clearsky import Place, clear_sky
from forecasting.solar.generation import ClearSkyScaled
from tests.forecasting.synthetic import LOS_ANGELES, some_homes

HOMES = some_homes(4, 80)
NODE = HOMES.summed({"vn": HOMES.ids})
DAY = date(2026, 3, 17)
SYDNEY = SiteCalendar("Australia/Sydney")
ROOF = Place(-33.87, 151.21)

pytestmark = pytest.mark.filterwarnings("ignore")


def day_ahead(fitted, calendar=LOS_ANGELES, day=DAY, levels=()):
    start_ms = calendar.start_ms(day)
    return fitted.forecast(start_ms, 24, start_ms, levels)


def error(forecast, panel):
    first = (forecast.start_ms - panel.start_ms) // panel.step_ms
    return float(np.abs(forecast.values - panel.values[:, first : first + 24]).mean() / panel.values.mean())


def test_prophet_forecasts_a_virtual_node_with_holidays_and_says_what_it_is():
    holiday = SiteCalendar(LOS_ANGELES.zone, frozenset({date(2026, 2, 16), DAY}))
    forecast = day_ahead(Daily(Prophet(), history_days=1100).fit(NODE, holiday))
    assert forecast.model.startswith("prophet")
    assert error(forecast, NODE) < 0.5
    ordinary = day_ahead(Daily(Prophet()).fit(NODE, LOS_ANGELES))
    assert not np.allclose(forecast.values, ordinary.values, rtol=0.01)


def test_a_series_prophet_fails_on_is_served_by_another_model_and_the_others_are_not_touched(monkeypatch):
    real = decomposed.library()

    class Fails(real.Prophet):
        def fit(self, frame, **options):
            if frame["y"].max() > 1e8:
                raise RuntimeError("optimisation ended abnormally")
            return super().fit(frame, **options)

    monkeypatch.setattr(decomposed, "library", lambda: type("Library", (), {"Prophet": Fails}))
    two = np.concatenate([NODE.values, NODE.values * 1e6])[:, -24 * 30 :]
    start_ms = NODE.end_ms - two.shape[1] * NODE.step_ms
    found = day_ahead(Daily(Prophet()).fit(Panel(("good", "bad"), start_ms, 3600, two), LOS_ANGELES))
    assert [basis.split("-")[0] for basis in found.basis] == ["prophet", "similar"]
    assert "could not say: similar-days" in found.reasons["bad"][0]
    assert found.values[1] == pytest.approx(found.values[0] * 1e6, rel=0.6)
    with pytest.raises(ForecastError, match="none of 1 series; bad: optimisation"):
        day_ahead(Daily(Prophet()).fit(Panel(("bad",), start_ms, 3600, two[1:]), LOS_ANGELES))


def test_trees_learn_from_all_homes_at_once_and_repeat_themselves():
    try:
        small = Daily(Boosted(trees=40, threads=1))
    except MissingLibrary as missing:
        pytest.skip(str(missing))
    first, again = (day_ahead(small.fit(HOMES, LOS_ANGELES)) for _ in range(2))
    assert np.array_equal(first.values, again.values)
    assert error(first, HOMES) < error(day_ahead(model("last-week").fit(HOMES, LOS_ANGELES)), HOMES)


def test_a_library_that_is_not_installed_is_named_with_its_extra():
    try:
        import torch  # noqa: F401
    except (ImportError, OSError):
        with pytest.raises(MissingLibrary, match=r"pip install '\.\[lstm\]'"):
            model("lstm")
    else:
        assert error(day_ahead(model("lstm").fit(HOMES, LOS_ANGELES)), HOMES) < 0.8


def test_holidays_are_those_of_the_country_and_its_parts():
    assert date(2026, 10, 3) in national_holidays("DE", 2026, 2026)
    assert date(2026, 8, 15) not in national_holidays("DE", 2026, 2026)
    assert date(2026, 8, 15) in national_holidays("DE", 2026, 2026, "SL")
    assert date(2026, 1, 26) in national_holidays("AU", 2026, 2027)
    with pytest.raises(ValueError, match="XX"):
        national_holidays("XX", 2026, 2026)


def some_panels(days, *, east=False, seed=4):
    """PV in Sydney from 1 January: clear sky, clouds that last a day, a roof that looks east or not; and its light."""
    random = np.random.default_rng(seed)
    start_ms = SYDNEY.start_ms(date(2026, 1, 1))
    sky = clear_sky(ROOF, start_ms, 3600, 24 * days)
    clouds = np.repeat(random.uniform(0.3, 1.0, days), 24)
    hour = np.tile(np.arange(24), days)
    roof = np.where(hour < 12, 1.0, 0.5) if east else 1.0
    values = (4.0 * sky * clouds * roof).astype(np.float32)
    return Panel(("pv",), start_ms, 3600, values[None]), sky * clouds


def test_pv_follows_the_sun_and_never_shines_at_night():
    panel, _ = some_panels(60, east=True)
    day = date(2026, 2, 25)
    forecast = day_ahead(Daily(ClearSkyScaled(ROOF)).fit(panel, SYDNEY), SYDNEY, day)
    values = forecast.values[0]
    assert values[[0, 1, 2, 3, 22, 23]].tolist() == [0] * 6
    assert values[9] > 1.5 * values[16]
    assert values.sum() == pytest.approx(panel.values[0, 24 * 35 : 24 * 55].sum() / 20, rel=0.25)


def test_an_inverter_that_curtails_and_snow_on_the_roof_are_learnt_and_forgotten():
    panel, _ = some_panels(60)
    day = date(2026, 2, 25)
    limited = Panel(panel.ids, panel.start_ms, 3600, np.minimum(panel.values, 1500))
    forecast = day_ahead(Daily(ClearSkyScaled(ROOF)).fit(limited, SYDNEY), SYDNEY, day)
    assert 1000 < forecast.values.max() < 1515
    covered = panel.values.copy()
    covered[:, 24 * 40 : 24 * 43] = 0
    snow = Daily(ClearSkyScaled(ROOF)).fit(Panel(panel.ids, panel.start_ms, 3600, covered), SYDNEY)
    clear = Daily(ClearSkyScaled(ROOF)).fit(panel, SYDNEY)

    def share(days_after):
        later = date(2026, 1, 1) + timedelta(days=days_after)
        return day_ahead(snow, SYDNEY, later).values.sum() / day_ahead(clear, SYDNEY, later).values.sum()

    assert 0.6 < share(43) < 0.9
    assert 0.85 < share(58) < 1


def test_irradiance_to_come_beats_the_mean_of_past_clouds():
    panel, light = some_panels(60)
    weather = Weather("made up", "forecast", panel.start_ms, 3600, {"ghi_wm2": light})

    def total(**fitting):
        days = [date(2026, 2, 16) + timedelta(days=each) for each in range(8)]
        return sum(
            error(day_ahead(Daily(ClearSkyScaled(ROOF)).fit(panel, SYDNEY, **fitting), SYDNEY, day), panel)
            for day in days
        )

    with warnings.catch_warnings():
        assert total(weather=weather) < 0.3 * total()


def test_one_day_of_generation_is_enough_to_begin_with():
    panel, _ = some_panels(1)
    forecast = day_ahead(Daily(ClearSkyScaled(ROOF)).fit(panel, SYDNEY), SYDNEY, date(2026, 1, 2))
    assert forecast.values.sum() == pytest.approx(panel.values.sum(), rel=0.05)


def test_a_place_is_on_earth():
    with pytest.raises(ValueError, match="no place on Earth"):
        Place(95, 0)
    with pytest.raises(ValueError, match="belong together"):
        Place(5, 0, tilt_deg=30)
