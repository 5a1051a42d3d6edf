"""The demo's extract is complete, adds up to the documented figures, and splits hours without losing a watt-hour."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.data import series
from demo.data.series import DEMO_DAY, EVENT_END_MS, EVENT_START_MS, HomeSeries, load_home, load_homes, split_hour
from ven.devices.profile import read_profile

FIRST_START_MS = 1_470_639_600_000  # 2016-08-08T07:00Z = local midnight (UTC-7); `date -u -d 2016-08-08T07:00Z +%s`
DAY_MS = 86_400_000


def local_ms(day: date, hour: int) -> int:
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(series.ZONE)).timestamp()) * 1000


def total_wh(homes: list[HomeSeries], net: bool, start_ms: int, end_ms: int) -> int:
    by_home = (home.net_by_start if net else home.gross_by_start for home in homes)
    return sum(wh for readings in by_home for start, wh in readings.items() if start_ms <= start < end_ms)


def test_the_extract_has_52_homes_on_two_feeders_of_26() -> None:
    homes = series.list_homes()
    assert [home.home_id for home in homes] == [f"H{number:03d}" for number in range(1, 53)]
    assert sorted(home.feeder_id for home in homes) == ["F1"] * 26 + ["F2"] * 26
    assert sum(home.kind == "real" for home in homes) == 17


def test_every_home_has_25_whole_days_of_quarter_hours_from_local_midnight() -> None:
    for home in load_homes():
        assert home.start_ms == FIRST_START_MS == local_ms(date(2016, 8, 8), 0)
        assert len(home.load_wh) == len(home.pv_wh) == 25 * 96
        assert min(home.load_wh) >= 0
        assert min(home.pv_wh) >= 0


def test_the_demo_day_is_a_weekday_with_17_eligible_weekdays_before_it_and_no_change_of_the_clock() -> None:
    assert (local_ms(DEMO_DAY, 17), local_ms(DEMO_DAY, 20)) == (EVENT_START_MS, EVENT_END_MS)
    days = [date(2016, 8, 8) + timedelta(days=number) for number in range(25)]
    assert DEMO_DAY.weekday() < 5
    assert sum(day.weekday() < 5 and day < DEMO_DAY and day not in series.HOLIDAYS for day in days) == 17
    assert not series.HOLIDAYS.intersection(days)
    assert all(local_ms(day, 0) == FIRST_START_MS + number * DAY_MS for number, day in enumerate(days))


@pytest.mark.parametrize(("column", "feeders"), [(1, {"F1"}), (2, {"F2"}), (3, {"F1", "F2"})])
def test_the_check_figures_of_the_readme_follow_from_the_files(column: int, feeders: set[str]) -> None:
    homes = [home for home in load_homes() if home.home.feeder_id in feeders]
    day_ms = local_ms(DEMO_DAY, 0)
    assert [
        total_wh(homes, False, day_ms, day_ms + DAY_MS),
        total_wh(homes, True, day_ms, day_ms + DAY_MS),
        total_wh(homes, False, EVENT_START_MS, EVENT_END_MS),
        total_wh(homes, True, EVENT_START_MS, EVENT_END_MS),
        sum(sum(home.load_wh) for home in homes),
        sum(sum(home.pv_wh) for home in homes),
    ] == readme_column(column)


def readme_column(column: int) -> list[int]:
    rows = re.findall(r"^\| (?:load|net|PV)[ ,].*$", (series.FOLDER / "README.md").read_text(), re.MULTILINE)
    cells = [row.split("|")[column + 1].strip().replace(",", "") for row in rows]
    return [int(cell) for cell in cells]


def test_an_hour_of_7_wh_splits_into_1_2_2_2() -> None:
    """Cumulated floors of 7k/4: 0, 1, 3, 5, 7; their differences are 1, 2, 2, 2."""
    assert split_hour(7) == (1, 2, 2, 2)


@given(st.integers(min_value=0, max_value=10**9))
def test_the_quarters_of_an_hour_sum_to_it_exactly_and_differ_by_one_at_most(energy_wh: int) -> None:
    quarters = split_hour(energy_wh)
    assert sum(quarters) == energy_wh
    assert max(quarters) - min(quarters) <= 1


def test_a_quarter_is_found_under_its_own_start() -> None:
    """H001, 2016-08-08T07:00Z: 2015 Wh; the floors of 2015k/4 are 503, 1007, 1511, 2015: 503 + 504 + 504 + 504."""
    gross = load_home("H001").gross_by_start
    assert [gross[FIRST_START_MS + quarter * 900_000] for quarter in range(4)] == [503, 504, 504, 504]


def test_net_is_load_minus_pv_and_may_be_an_export() -> None:
    home = load_home("H012")
    start_ms = max(home.net_by_start, key=lambda start: -home.net_by_start[start])
    position = (start_ms - home.start_ms) // 900_000
    assert home.net_by_start[start_ms] == home.load_wh[position] - home.pv_wh[position] < 0


def test_a_written_profile_is_read_back_the_same(tmp_path: Path) -> None:
    home = load_home("H002")
    home.write_profile(tmp_path / "H002.json")
    assert read_profile(tmp_path / "H002.json") == home.profile()


def test_an_unknown_home_is_named() -> None:
    with pytest.raises(KeyError, match="H053"):
        load_home("H053")


def test_a_missing_hour_in_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gap.csv").write_text("start,H001\n2016-08-08T07:00:00Z,1\n2016-08-08T09:00:00Z,1\n")
    monkeypatch.setattr(series, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="row 3"):
        series._table("gap.csv")
