"""When analytics are due: by the program's wall clock, never for what was missed."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from forecasting.calendar import SiteCalendar
from vtn.analytics.service.schedule import CHOICE, DAY_AHEAD, INTRADAY, Due, due

PARIS = SiteCalendar("Europe/Paris")
HOUR_MS = 3_600_000


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def slots(now_ms: int, done: dict[str, int] | None = None, choice_days: int = 0, intraday_h: int = 6) -> dict[str, int]:
    found = due(PARIS, now_ms, done or {}, intraday_h=intraday_h, choice_days=choice_days)
    return {each.kind: each.slot_ms for each in found}


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        ("2026-03-28T23:00", "2026-03-28T23:00"),  # 00:00 on the day of 23 hours
        ("2026-03-29T21:59", "2026-03-28T23:00"),  # its last minute
        ("2026-03-29T22:00", "2026-03-29T22:00"),  # 00:00 in summer time
        ("2026-10-24T22:00", "2026-10-24T22:00"),  # 00:00 on the day of 25 hours
        ("2026-10-25T22:59", "2026-10-24T22:00"),
        ("2026-10-25T23:00", "2026-10-25T23:00"),
    ],
)
def test_a_day_begins_at_the_local_midnight_also_when_the_clock_changes(now: str, midnight: str) -> None:
    assert slots(at(now))[DAY_AHEAD] == at(midnight)
    assert DAY_AHEAD not in slots(at(now), {DAY_AHEAD: at(midnight)})


def test_hours_within_a_day_are_counted_from_its_midnight_and_stay_inside_it() -> None:
    midnight = at("2026-10-24T22:00")
    done = {DAY_AHEAD: midnight}
    assert slots(midnight + 6 * HOUR_MS - 1, done) == {}
    assert slots(midnight + 6 * HOUR_MS, done) == {INTRADAY: midnight + 6 * HOUR_MS}
    assert slots(midnight + 25 * HOUR_MS - 1, done) == {INTRADAY: midnight + 24 * HOUR_MS}, "the day has 25 hours"
    assert INTRADAY not in slots(midnight + 25 * HOUR_MS)
    assert slots(midnight + 12 * HOUR_MS, done, intraday_h=0) == {}


def test_what_was_missed_is_not_made_up_for() -> None:
    """Five days without a look leave one run of each kind to do, for the newest slot."""
    done = {DAY_AHEAD: at("2026-06-01T22:00"), INTRADAY: at("2026-06-02T04:00")}
    assert slots(at("2026-06-07T11:30"), done) == {DAY_AHEAD: at("2026-06-06T22:00"), INTRADAY: at("2026-06-07T10:00")}


def test_a_clock_that_was_ahead_holds_nothing_up() -> None:
    """A machine that woke in 2035 made forecasts of then; the clock was put right, and today's are due."""
    ahead = dict.fromkeys((DAY_AHEAD, INTRADAY, CHOICE), at("2035-06-01T22:00"))
    assert set(slots(at("2026-06-07T11:30"), ahead, choice_days=7)) == {DAY_AHEAD, INTRADAY, CHOICE}


def test_models_are_chosen_anew_every_few_days_before_they_serve() -> None:
    days = [date.fromordinal(date(2026, 6, 1).toordinal() + each) for each in range(21)]
    found = {slots(PARIS.start_ms(day) + HOUR_MS, choice_days=7)[CHOICE] for day in days}
    assert len(found) in (3, 4)
    assert {PARIS.day_of(slot).weekday() for slot in found} == {PARIS.day_of(min(found)).weekday()}
    first = due(PARIS, at("2026-06-07T11:30"), {}, intraday_h=6, choice_days=7)
    assert [each.kind for each in first] == [CHOICE, DAY_AHEAD, INTRADAY]
    assert isinstance(first[0], Due)
