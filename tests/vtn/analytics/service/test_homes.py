"""The aggregator's forecasts of homes: by the chosen model, less each home's own event days, never without any."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import pytest
from structlog.testing import capture_logs

from forecasting.calendar import SiteCalendar
from forecasting.panels.panel import Panel
from tests.forecasting.synthetic import some_homes
from tests.vtn.opened import PROGRAM, Opened
from vtn.aggregator.ports import HomeForecast, HomeForecasts, Member
from vtn.aggregator.virtual_nodes.members.forecasts import NaiveForecasts, home_forecasts
from vtn.aggregator.virtual_nodes.members.group import evaluated
from vtn.aggregator.virtual_nodes.members.track import TrackRecord
from vtn.analytics.runs import HOMES, Chosen, Runs
from vtn.analytics.service import homes as module
from vtn.services.programs import ProgramTerms

UTC = SiteCalendar("UTC")
HOURLY = ProgramTerms(interval_s=3600)
DAY_MS = 86_400_000
PANEL = some_homes(4, 60, UTC, first=date(2026, 1, 1))
ISSUED_MS = PANEL.end_ms - DAY_MS
"""Midnight before the last day, a Sunday, which is forecast."""
TODAY = UTC.day_of(ISSUED_MS)


def readings(panel: Panel = PANEL) -> dict[str, dict[int, int]]:
    """What had been read at the issue."""
    known = panel.ended_by(ISSUED_MS)
    return {
        home: {int(at): int(wh) for at, wh in zip(known.starts_ms, known.values[row], strict=True)}
        for row, home in enumerate(known.ids)
    }


async def by(
    forecasts: HomeForecasts, wh: Mapping[str, Mapping[int, int]], days: Mapping[str, list[date]] | None = None
) -> Mapping[str, HomeForecast]:
    return await forecasts.of_homes(wh, days or {}, HOURLY, start_ms=ISSUED_MS, count=24, now_ms=ISSUED_MS)


@pytest.fixture
async def chosen(opened_vtn: Opened) -> HomeForecasts:
    """What `serve` gives the aggregator."""
    vtn = opened_vtn.vtn
    return home_forecasts(vtn.database, vtn.settings, await vtn.programs.get(PROGRAM))


def error(made: Mapping[str, HomeForecast], panel: Panel) -> float:
    truth = panel.between(ISSUED_MS, ISSUED_MS + DAY_MS).values
    return float(np.abs(np.array([made[home].values_wh for home in panel.ids]) - truth).mean())


async def test_a_home_with_a_week_of_its_own_is_forecast_better_than_by_the_mean_of_its_last_days(
    chosen: HomeForecasts,
) -> None:
    """Laundry on Sundays alone: the mean of weekend days has half of it."""
    values = PANEL.values.copy()
    for column, at in enumerate(PANEL.starts_ms):
        if UTC.day_of(int(at)).weekday() == TODAY.weekday() and 9 <= int(at) // 3_600_000 % 24 < 13:
            values[:, column] += 2500
    panel = Panel(PANEL.ids, PANEL.start_ms, 3600, values)
    naive = error(await by(NaiveForecasts(), readings(panel)), panel)
    assert error(await by(chosen, readings(panel)), panel) < 0.92 * naive


async def test_the_candidate_says_what_its_forecast_rests_on_and_how_sure_it_is(chosen: HomeForecasts) -> None:
    members = [
        Member(ven_id=home, ven_name=home, party=home, area="F1", flexible_w=9000, flexible_percent=50)
        for home in PANEL.ids
    ]
    start_ms = ISSUED_MS + 18 * 3_600_000
    found = {}
    for name, forecasts in (("chosen", chosen), ("naive", NaiveForecasts("as asked"))):
        evaluations = await evaluated(
            members, readings(), HOURLY, TrackRecord(UTC), forecasts, need_id="n", need_start_ms=start_ms,
            start_ms=start_ms, count=3, now_ms=ISSUED_MS, engaged=(), unavailable={},
        )  # fmt: skip
        found[name] = [each.candidate for each in evaluations]
    assert all(each.forecast_basis.startswith("blend") and not each.excluded for each in found["chosen"])
    assert all(each.forecast_basis.startswith("seasonal-naive-10-4-45d: as asked") for each in found["naive"])
    for sure, unsure in zip(found["naive"], found["chosen"], strict=True):
        assert unsure.spread_bp > sure.spread_bp, "its bands are not in a forecast without any"


async def test_the_model_that_was_chosen_serves(chosen: HomeForecasts, opened_vtn: Opened) -> None:
    choice = Chosen(
        program=PROGRAM, scope=HOMES, chosen_ms=1, model="similar-days", skill=0.2, reason="tested", table={}
    )
    await Runs(opened_vtn.vtn.database).choose(choice)
    assert {each.model for each in (await by(chosen, readings())).values()} == {"similar-days-10-6-0.9"}


async def test_a_day_of_an_event_says_nothing_of_the_home_that_was_called_and_all_of_the_others(
    chosen: HomeForecasts,
) -> None:
    """Yesterday and the Sunday before everybody used nothing; only the first home was called."""
    called, other = PANEL.ids[:2]
    wh = readings()
    days = [TODAY - timedelta(days=back) for back in (1, 7)]
    wh = {home: {at: 0 if UTC.day_of(at) in days else value for at, value in each.items()} for home, each in wh.items()}
    without = {**wh, called: {at: value for at, value in wh[called].items() if UTC.day_of(at) not in days}}
    made = await by(chosen, wh, {called: days})
    expected, fooled = await by(chosen, without), await by(chosen, wh)
    assert made[called].values_wh == pytest.approx(expected[called].values_wh, rel=1e-4)
    assert sum(fooled[called].values_wh) < 0.9 * sum(made[called].values_wh)
    assert made[other].values_wh == pytest.approx(fooled[other].values_wh, rel=1e-4)


async def test_a_home_the_model_refuses_is_forecast_by_the_simpler_one_and_the_others_are_not(
    chosen: HomeForecasts,
) -> None:
    """All its days were days of events, and one home never reported."""
    called = PANEL.ids[0]
    everyday = [TODAY - timedelta(days=back) for back in range(70)]
    made = await by(chosen, {**readings(), "silent": {}}, {called: everyday})
    assert made[called].model == "seasonal-naive-10-4-45d"
    assert made[called].reason.startswith("blend: no reading")
    assert {made[home].model.split("-")[0] for home in PANEL.ids[1:]} == {"blend"}
    assert "silent" not in made
    assert await by(chosen, {"silent": {}}) == {}


async def test_a_model_that_fails_leaves_nobody_without_a_forecast(
    chosen: HomeForecasts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("singular")

    monkeypatch.setattr(module, "forecasts", failing)
    with capture_logs() as told:
        for _ in range(2):
            made = await by(chosen, readings())
            assert {each.basis.split(":")[0] for each in made.values()} == {"seasonal-naive-10-4-45d"}
            assert all("blend failed: singular" in each.reason for each in made.values())
    assert ["seasonal naive model" in line["event"] for line in told] == [True]


async def test_without_the_extra_homes_are_called_all_the_same(
    opened_vtn: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vtn.analytics.service.homes", None)
    vtn = opened_vtn.vtn
    forecasts = home_forecasts(vtn.database, vtn.settings, await vtn.programs.get(PROGRAM))
    made = await by(forecasts, readings())
    assert set(made) == set(PANEL.ids)
    assert all("intelligence is not installed" in each.reason for each in made.values())


async def test_the_setting_leaves_it_to_the_mean_of_like_days(opened_vtn: Opened) -> None:
    vtn = opened_vtn.vtn
    plain = vtn.settings.model_copy(update={"forecast_homes": "naive"})
    made = await by(home_forecasts(vtn.database, plain, await vtn.programs.get(PROGRAM)), readings())
    assert all(each.reason.startswith("by setting") for each in made.values())
    assert made == await by(NaiveForecasts("by setting (forecast_homes)"), readings())


async def test_a_model_that_takes_for_ever_holds_up_no_need(
    chosen: HomeForecasts, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over = [], threading.Event()

    def never(*given: object, **named: object) -> None:
        begun.append(given)
        over.wait(60)
        raise TimeoutError

    monkeypatch.setattr(module, "forecasts", never)
    monkeypatch.setattr(module, "_LIMIT_S", 0.2)
    try:
        made = [await by(chosen, readings()) for _ in range(3)]
    finally:
        over.set()
    naive = await by(NaiveForecasts(), readings())
    assert [{home: each.values_wh for home, each in one.items()} for one in made] == [
        {home: each.values_wh for home, each in naive.items()}
    ] * 3
    assert all("takes more than" in each.reason for each in made[-1].values())
    assert len(begun) == 1, "what is late is not begun again beside itself"
