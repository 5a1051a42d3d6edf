"""What meters send that is no reading: each fault is mended, left out or refused, and named."""

import math
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.calendar import SiteCalendar
from forecasting.errors import BadReadings
from forecasting.panels.cleaning import cleaned

HOUR_MS = 3_600_000
RANDOM = np.random.default_rng(3)
ORDINARY = [(hour * HOUR_MS, float(RANDOM.uniform(200, 900))) for hour in range(24 * 20)]


def faults(result):
    return {finding.fault: finding.count for finding in result.findings}


def test_ordinary_readings_are_left_as_they_are():
    result = cleaned(ORDINARY, 3600)
    assert list(result.series.readings.items()) == ORDINARY
    assert result.findings == ()


@pytest.mark.parametrize(("unit", "factor"), [("kWh", 1e3), ("Wh", 1), ("kW", 500), ("W", 0.5), ("MWh", 1e6)])
def test_units_become_wh(unit, factor):
    readings = [(at // 2, value * (500 if unit in ("W", "kW", "Wh") else 1) / factor) for at, value in ORDINARY]
    wanted = [value * (500 if unit in ("W", "kW", "Wh") else 1) for _, value in ORDINARY]
    result = cleaned(readings, 1800, unit=unit, mean_w=(3, 1e9))
    assert list(result.series.readings.values()) == pytest.approx(wanted)


def test_readings_in_another_unit_than_said_are_refused_with_the_likely_one():
    with pytest.raises(BadReadings, match="a thousand times smaller"):
        cleaned([(at, value / 1000) for at, value in ORDINARY], 3600)
    with pytest.raises(BadReadings, match="a thousand times larger"):
        cleaned(ORDINARY, 3600, unit="kWh")
    with pytest.raises(ValueError, match="furlong"):
        cleaned(ORDINARY, 3600, unit="furlong")


def test_a_unit_that_changes_for_some_days_leaves_a_gap_there():
    wrong = [(at, value * 1000 if 48 <= at // HOUR_MS < 96 else value) for at, value in ORDINARY]
    result = cleaned(wrong, 3600)
    assert faults(result) == {"unit changed": 48}
    assert len(result.series.readings) == len(ORDINARY) - 48


def test_a_reading_given_twice_counts_once_and_a_contradiction_is_a_gap():
    result = cleaned([*ORDINARY, ORDINARY[5], (ORDINARY[9][0], 1.0)], 3600)
    assert faults(result) == {"out of order": 1, "given twice": 1, "given twice with different values": 1}
    assert ORDINARY[5][0] in result.series.readings
    assert ORDINARY[9][0] not in result.series.readings


def test_a_clock_that_jumps_is_noticed():
    shifted = [(at + 40_000, value) for at, value in ORDINARY]
    assert faults(cleaned(shifted, 3600)) == {"near the grid": len(ORDINARY)}
    assert list(cleaned(shifted, 3600).series.readings) == [at for at, _ in ORDINARY]
    with pytest.raises(BadReadings, match=r"1200 s off the grid.*multiples of their length in UTC"):
        cleaned([(at + 1_200_000, value) for at, value in ORDINARY], 3600)
    few = [(at + 1_200_000 if at == 7 * HOUR_MS else at, value) for at, value in ORDINARY]
    assert faults(cleaned(few, 3600)) == {"off the grid": 1}


def test_readings_of_the_future_are_left_out():
    now_ms = ORDINARY[-3][0] + HOUR_MS
    assert faults(cleaned(ORDINARY, 3600, now_ms=now_ms)) == {"in the future": 2}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Sydney", "America/New_York"])
def test_local_time_said_to_be_utc_is_refused(zone):
    calendar = SiteCalendar(zone)
    first_ms, end_ms = calendar.start_ms(date(2025, 12, 1)), calendar.start_ms(date(2026, 12, 1))
    utc = [(at, float(RANDOM.uniform(200, 900))) for at in range(first_ms, end_ms, HOUR_MS)]
    assert faults(cleaned(utc, 3600, zone=zone)) == {}
    local = [(at + _offset_ms(calendar, at), value) for at, value in utc]
    with pytest.raises(BadReadings, match=r"2026-(03|04|10|11)"):
        cleaned(local, 3600, zone=zone)


def _offset_ms(calendar, at_ms):
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(calendar.zone))
    return int(local.utcoffset().total_seconds() * 1000)


def test_a_load_is_never_negative_but_net_energy_may_be():
    few = [(at, -value if at == HOUR_MS else value) for at, value in ORDINARY]
    assert faults(cleaned(few, 3600)) == {"negative": 1}
    assert faults(cleaned(few, 3600, kind="net")) == {}
    with pytest.raises(BadReadings, match="give kind net"):
        cleaned([(at, -value) for at, value in ORDINARY], 3600)


def test_spikes_no_numbers_and_what_no_connection_carries_are_gaps():
    spoiled = [*ORDINARY[:-3], (ORDINARY[-3][0], math.nan), (ORDINARY[-2][0], math.inf), (ORDINARY[-1][0], 60_000.0)]
    assert faults(cleaned(spoiled, 3600)) == {"no number": 2, "spike": 1}
    assert faults(cleaned(spoiled, 3600, power_w_max=20_000)) == {"no number": 2, "beyond the connection": 1}


def test_a_frozen_meter_is_a_gap_and_a_constant_series_is_kept():
    frozen = [(at, 500.0 if 100 <= at // HOUR_MS < 140 else value) for at, value in ORDINARY]
    assert faults(cleaned(frozen, 3600)) == {"frozen": 40}
    constant = cleaned([(at, 500.0) for at, _ in ORDINARY], 3600)
    assert faults(constant) == {"constant": len(ORDINARY)}
    assert len(constant.series.readings) == len(ORDINARY)


@pytest.mark.parametrize("stamped", ["start", "end"])
def test_a_register_that_only_grows_is_made_into_energy_by_interval(stamped):
    """Whatever stamps of energy mean, a register is read at its stamp: the first interval begins there."""
    total = np.cumsum([0.0, *(value for _, value in ORDINARY)]) + 52_000_000
    register = [(hour * HOUR_MS, float(value)) for hour, value in enumerate(total)]
    made = cleaned(register, 3600, stamped=stamped)
    assert faults(made) == {"a register": len(register)}
    assert list(made.series.readings) == [at for at, _ in ORDINARY]
    assert list(made.series.readings.values()) == pytest.approx([value for _, value in ORDINARY])


def test_a_register_with_a_gap_and_a_new_meter_keeps_what_is_sure():
    total = np.cumsum([0.0, *(value for _, value in ORDINARY)]) + 9_000_000
    register = [(hour * HOUR_MS, float(value)) for hour, value in enumerate(total)]
    register = [(at, value - 9_100_000 if hour >= 300 else value) for hour, (at, value) in enumerate(register)]
    register = [*register[:100], *register[104:]]
    made = cleaned(register, 3600)
    assert faults(made) == {"a register": len(register), "register began again": 1, "register after a gap": 1}
    assert {hour for hour in range(480) if hour * HOUR_MS not in made.series.readings} == {99, 100, 101, 102, 103, 299}
    kept = dict(ORDINARY)
    assert all(made.series.readings[at] == pytest.approx(kept[at]) for at in made.series.readings)


def test_stamps_of_the_end_are_moved_to_the_start_if_that_is_said():
    assert list(cleaned([(at + HOUR_MS, value) for at, value in ORDINARY], 3600, stamped="end").series.readings) == [
        at for at, _ in ORDINARY
    ]


def test_a_house_nobody_is_in_is_no_change_of_unit_and_no_frozen_meter():
    """Weeks in which it draws a thousandth of what it does else: its standby, or a count of the meter now and then."""
    for empty in (0.5, 0.0, None):
        values = [
            (at, (float(at // HOUR_MS % 5 == 0) if empty is None else empty) if at // HOUR_MS < 24 * 12 else value)
            for at, value in ORDINARY
        ]
        made = cleaned(values, 3600)
        assert made.findings == ()
        assert list(made.series.readings.items()) == values


def test_a_week_in_a_holiday_home_is_no_spike_and_no_other_unit():
    values = [(hour * HOUR_MS, 400.0 + hour % 24 if 24 * 200 <= hour < 24 * 201 else 1.0) for hour in range(24 * 365)]
    made = cleaned(values, 3600, mean_w=(0.1, 50_000))
    assert made.findings == ()
    assert len(made.series.readings) == len(values)


def test_a_change_of_unit_midway_leaves_one_of_both():
    for first, second in ((1.0, 1e-3), (1e-3, 1.0)):
        values = [(at, value * (first if at < 24 * 8 * HOUR_MS else second)) for at, value in ORDINARY]
        made = cleaned(values, 3600)
        assert set(faults(made)) == {"unit changed"}
        kept = dict(values)
        assert all(kept[at] > 1 for at in made.series.readings)
        assert len(made.series.readings) in (24 * 8, 24 * 12)


def test_hours_among_quarters_are_left_out_and_a_series_of_them_is_refused():
    quarters = [(hour * HOUR_MS + part * HOUR_MS // 4, value / 4) for hour, (_, value) in enumerate(ORDINARY)
                for part in range(4)]  # fmt: skip
    mixed = [*quarters[: 4 * 300], *((at, value) for at, value in ORDINARY[300:])]
    made = cleaned(mixed, 900)
    assert faults(made) == {"of longer intervals": 180}
    assert len(made.series.readings) == 4 * 300
    with pytest.raises(BadReadings, match="3600 s apart"):
        cleaned(ORDINARY, 900)


def test_a_clock_that_goes_back_leaves_a_gap_where_two_tell_of_the_same_hour():
    back = [(at - 2 * HOUR_MS if hour >= 200 else at, value) for hour, (at, value) in enumerate(ORDINARY)]
    assert faults(cleaned(back, 3600)) == {"out of order": 1, "given twice with different values": 2}
    forward = [(at + 2 * HOUR_MS if hour >= 200 else at, value) for hour, (at, value) in enumerate(ORDINARY)]
    assert len(cleaned(forward, 3600).series.readings) == len(ORDINARY)
    with pytest.raises(BadReadings, match="420 s off the grid"):
        cleaned([(at + 420_000 if hour >= 200 else at, value) for hour, (at, value) in enumerate(ORDINARY)], 3600)


def test_values_no_site_can_have_are_refused_and_single_ones_left_out():
    with pytest.raises(BadReadings, match="more than any site uses"):
        cleaned([(at, value * 1e30) for at, value in ORDINARY], 3600)
    short = [*ORDINARY[:47], (ORDINARY[47][0], 1e300)]
    assert faults(cleaned(short, 3600)) == {"spike": 1}


def test_what_an_inverter_draws_at_night_is_no_generation_and_a_turned_sign_is_refused():
    lit = [(at, 900.0 if 8 <= at // HOUR_MS % 24 < 17 else -2.0) for at, _ in ORDINARY]
    made = cleaned(lit, 3600, kind="generation")
    assert set(faults(made)) == {"a roof's draw at night"}
    assert min(made.series.readings.values()) == 0
    with pytest.raises(BadReadings, match="the sign is turned"):
        cleaned([(at, -value) for at, value in lit], 3600, kind="generation")


def test_nothing_is_nothing():
    assert cleaned([], 3600).series.readings == {}
