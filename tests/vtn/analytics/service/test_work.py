"""What `serve` does by the clock: forecasts at midnight, once, whoever is killed; the watch; the models' choice."""

from __future__ import annotations

import asyncio
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import insert
from structlog.testing import capture_logs

from forecasting.calendar import SiteCalendar
from forecasting.panels.panel import Panel
from runtime.clock import ManualClock
from tests.vtn.analytics.service.reporting import DAY_MS, HOUR_MS, PROGRAM, report, reporting
from tests.vtn.opened import Opened, opened
from vtn.aggregator.records import sc2_plans
from vtn.analytics.runs import HOMES, VIRTUAL_NODES, Run, Runs
from vtn.analytics.service.making import Maker
from vtn.analytics.service.marks import DayMeasured, Mark, Marks
from vtn.analytics.service.schedule import CHOICE, DAY_AHEAD, INTRADAY
from vtn.analytics.service.work import Analytics
from vtn.analytics.subjects import of_vtn

BERLIN = SiteCalendar("Europe/Berlin")
CHANGE = date(2026, 3, 29)
"""In Berlin this day has 23 hours."""


async def runs_of(found: Opened, scope: str) -> list[Run]:
    return await Runs(found.vtn.database).runs(PROGRAM, scope, 0, 2**52)


def task(found: Opened) -> tuple[Analytics, Maker]:
    return Analytics(found.vtn, CollectorRegistry()), Maker(found.vtn)


async def test_a_day_is_forecast_at_its_local_midnight_and_a_missed_one_is_not(vtn_url: str, tmp_path: Path) -> None:
    midnight_ms = BERLIN.start_ms(CHANGE)
    clock = ManualClock(midnight_ms - HOUR_MS)
    async with opened(vtn_url, clock, tmp_path, forecast_choice_days=0) as found:
        await reporting(found.vtn, 3, 40, zone="Europe/Berlin", until_ms=midnight_ms)
        analytics, maker = task(found)
        await analytics.turn(maker)
        before = {each.run_id for each in await runs_of(found, HOMES)}
        clock.advance(HOUR_MS)
        assert await analytics.turn(maker)
        [homes] = [each for each in await runs_of(found, HOMES) if each.run_id not in before]
        assert (homes.issued_at_ms, homes.start_ms) == (midnight_ms, midnight_ms)
        assert len(homes.values[0]) == 23, "the whole local day"
        node = [each for each in await runs_of(found, VIRTUAL_NODES) if each.issued_at_ms == midnight_ms]
        assert [len(each.values[0]) for each in node] == [23 + 24], "the day and the next one"
        assert homes.entry == "blend"
        assert not await analytics.turn(maker), "once"

        clock.advance(23 * HOUR_MS + 2 * DAY_MS + 9 * HOUR_MS)  # nobody looks for two midnights
        assert await analytics.turn(maker)
        newest = max(await runs_of(found, HOMES), key=lambda each: each.start_ms)
        assert BERLIN.day_of(newest.start_ms) == CHANGE + timedelta(days=3)
        assert newest.issued_at_ms == newest.start_ms == clock.now_ms(), "as of now: midnight is over"
        assert len(newest.values[0]) == 24 - 9
        days = {BERLIN.day_of(each.start_ms) for each in await runs_of(found, HOMES)}
        assert not days & {CHANGE + timedelta(days=1), CHANGE + timedelta(days=2)}
        marks = await Marks(found.vtn.database).of_program(PROGRAM)
        assert BERLIN.day_of(marks[INTRADAY].slot_ms) == CHANGE + timedelta(days=3)


async def test_of_two_workers_one_makes_the_run(vtn_url: str, tmp_path: Path) -> None:
    clock = ManualClock(BERLIN.start_ms(CHANGE))
    settings = {"forecast_choice_days": 0, "forecast_intraday_h": 0}
    async with (
        opened(vtn_url, clock, tmp_path, **settings) as one,
        opened(vtn_url, clock, tmp_path, one.ledger, **settings) as two,
    ):
        await reporting(one.vtn, 2, 30, zone="Europe/Berlin", until_ms=clock.now_ms())
        registries = [CollectorRegistry(), CollectorRegistry()]
        running = [
            asyncio.create_task(Analytics(each.vtn, registry).run(each.vtn))
            for each, registry in zip((one, two), registries, strict=True)
        ]

        def done() -> list[float]:
            name = "gridpact_vtn_forecast_runs_total"
            labels = {"kind": DAY_AHEAD, "outcome": "done"}
            return [each.get_sample_value(name, labels) or 0.0 for each in registries]

        async with asyncio.timeout(60):
            while sum(done()) < 1:
                await asyncio.sleep(0.05)
            leader = done().index(1.0)
            running[leader].cancel()  # the other follows, and finds that all is done
            await asyncio.gather(running[leader], return_exceptions=True)
            clock.advance(DAY_MS)
            while done()[1 - leader] < 1:
                await asyncio.sleep(0.05)
        running[1 - leader].cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert sorted(done()) == [1.0, 1.0]
        starts = [each.start_ms for each in await runs_of(one, HOMES)]
        assert len(starts) == len(set(starts)) == 2


async def test_a_program_without_readings_is_said_and_not_tried_again_and_again(
    opened_vtn: Opened, clock: ManualClock
) -> None:
    analytics, maker = task(opened_vtn)
    assert await analytics.turn(maker)
    assert not await analytics.turn(maker)
    [program] = await opened_vtn.vtn.programs.list()
    assert "usable readings" in (await Marks(opened_vtn.vtn.database).of_program(program.name))[DAY_AHEAD].outcome


async def test_every_study_leaves_out_the_days_on_which_a_home_was_called(
    opened_vtn: Opened, clock: ManualClock
) -> None:
    """From before midnight until after it: both days; the command's study is the one of the service."""
    _, panel = await reporting(opened_vtn.vtn, 2, 5, until_ms=clock.now_ms())
    utc = SiteCalendar("UTC")
    day = utc.day_of(clock.now_ms()) - timedelta(days=3)
    terms = {"start_ms": utc.start_ms(day) + 23 * HOUR_MS, "interval_s": 3600, "obligation_wh": [500, 500]}
    async with opened_vtn.vtn.database.transaction() as connection:
        await connection.execute(
            insert(sc2_plans).values(
                contract_id="sc2-a",
                sc1="sc1-a",
                round=1,
                device="d",
                ven_id=panel.ids[0],
                terms=msgspec.json.encode(terms),
                reliability_bp=9000,
            )
        )
    for study in (of_vtn(opened_vtn.vtn, PROGRAM, 5), Maker(opened_vtn.vtn).subjects(PROGRAM)):
        seen = (await study).loaded.panel
        gaps = np.isnan(seen.between(utc.start_ms(day), utc.start_ms(day + timedelta(days=2))).values)
        assert gaps[seen.ids.index(panel.ids[0])].all()
        assert not gaps[seen.ids.index(panel.ids[1])].any()
        assert np.isnan(seen.values).sum() == gaps.sum()


async def test_what_failed_is_tried_again_before_its_slot_is_given_up(
    vtn_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(BERLIN.start_ms(CHANGE))
    async with opened(vtn_url, clock, tmp_path, forecast_choice_days=0) as found:
        await reporting(found.vtn, 2, 20, zone="Europe/Berlin", until_ms=clock.now_ms())
        analytics, maker = task(found)
        step, tries = maker.step, []

        async def failing(*asked: Any) -> Any:
            tries.append(asked[0].slot_ms)
            if len(tries) < 3:
                raise RuntimeError("the scheduler is away")
            return await step(*asked)

        monkeypatch.setattr(maker, "step", failing)
        monkeypatch.setattr("vtn.analytics.service.work._AGAIN_S", (0.0, 3600.0, 0.0))
        for _ in range(4):
            await analytics.turn(maker)
        assert len(tries) == 2, "an hour has to pass after the second"
        assert DAY_AHEAD not in await Marks(found.vtn.database).of_program(PROGRAM)
        analytics, _ = task(found)  # after a restart
        await analytics.turn(maker)
        assert len(tries) == 3
        assert "homes by" in (await Marks(found.vtn.database).of_program(PROGRAM))[DAY_AHEAD].outcome


async def test_marks_of_a_clock_that_was_ahead_are_replaced_once(opened_vtn: Opened, clock: ManualClock) -> None:
    [program] = await opened_vtn.vtn.programs.list()
    marks, ahead_ms = Marks(opened_vtn.vtn.database), clock.now_ms() + 3000 * DAY_MS
    await marks.put(Mark(program=program.name, kind=DAY_AHEAD, slot_ms=ahead_ms, done_ms=ahead_ms, outcome="ahead"))
    analytics, maker = task(opened_vtn)
    assert await analytics.turn(maker)
    assert (await marks.of_program(program.name))[DAY_AHEAD].slot_ms <= clock.now_ms()
    assert not await analytics.turn(maker)


async def test_models_are_chosen_anew_and_the_choice_serves_with_its_skill(vtn_url: str, tmp_path: Path) -> None:
    clock = ManualClock(BERLIN.start_ms(CHANGE) + HOUR_MS)
    async with opened(vtn_url, clock, tmp_path, forecast_choice_models=("similar-days",)) as found:
        await reporting(found.vtn, 3, 45, zone="Europe/Berlin", until_ms=clock.now_ms())
        registry = CollectorRegistry()
        await Analytics(found.vtn, registry).turn(Maker(found.vtn))
        chosen = await Runs(found.vtn.database).chosen(PROGRAM, HOMES)
        assert chosen is not None
        assert chosen.model == "similar-days"
        assert chosen.skill > 0.1
        labels = {"program": PROGRAM, "scope": HOMES}
        assert registry.get_sample_value("gridpact_vtn_forecast_skill", labels) == pytest.approx(chosen.skill)
        assert {each.entry for each in await runs_of(found, HOMES)} == {"similar-days"}
        assert "similar-days" in (await Marks(found.vtn.database).of_program(PROGRAM))[CHOICE].outcome


async def test_an_alarm_is_raised_when_homes_begin_to_use_more(vtn_url: str, tmp_path: Path) -> None:
    """After a month that was measured as usual come three such days; then everybody uses twice as much."""
    begin_ms = BERLIN.start_ms(date(2026, 4, 20))
    clock = ManualClock(begin_ms)
    settings = {"forecast_choice_days": 0, "forecast_intraday_h": 0, "forecast_history_days": 28}
    async with opened(vtn_url, clock, tmp_path, **settings) as found:
        _, panel = await reporting(found.vtn, 3, 42, zone="Europe/Berlin", until_ms=begin_ms + 12 * DAY_MS)
        registry = CollectorRegistry()
        analytics, maker = Analytics(found.vtn, registry), Maker(found.vtn)
        labels = {"program": PROGRAM, "scope": VIRTUAL_NODES}

        async def alarms() -> float:
            await analytics.turn(maker)
            return registry.get_sample_value("gridpact_vtn_forecast_alarms", labels) or 0.0

        for back in range(31, 0, -1):
            day = date(2026, 4, 20) - timedelta(days=back)
            usual = DayMeasured(day.isoformat(), 400.0 if back % 2 else -400.0, 500.0, 0.8)
            await Marks(found.vtn.database).measure(PROGRAM, VIRTUAL_NODES, usual)
        for _ in range(3):
            assert await alarms() == 0
            clock.advance(DAY_MS)
        doubled = panel.between(clock.now_ms() - DAY_MS, panel.end_ms)
        await report(found.vtn, Panel(doubled.ids, doubled.start_ms, 3600, doubled.values * 2))
        for _ in range(8):
            if await alarms():
                break
            clock.advance(DAY_MS)
        marks = await Marks(found.vtn.database).of_program(PROGRAM)
        assert {each.watch for each in marks[f"drift-{VIRTUAL_NODES}"].alarms} & {"bias", "size"}


async def test_without_the_extra_the_task_ends_and_says_so(opened_vtn: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vtn.analytics.service.making", None)
    with capture_logs() as told:
        async with asyncio.timeout(20):
            await Analytics(opened_vtn.vtn, CollectorRegistry()).run(opened_vtn.vtn)
    assert ["extra intelligence is missing" in line["event"] for line in told] == [True]
