"""Readings and weather from files, the VTN and services."""

import json
import tracemalloc
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
import pandas as pd
import pytest

from forecasting.clustering.traits import Site
from forecasting.errors import BadReadings, WeatherUnavailable
from openadr.model import Reading
from runtime.errors import SettingsError
from tests.forecasting.synthetic import LOS_ANGELES, some_homes
from tests.vtn.opened import PROGRAM
from vtn.analytics.sources import from_file, from_telemetry, sites_of
from vtn.analytics.weather import provider
from vtn.services.vens import change_ven

PANEL = some_homes(3, 4)
STAMPS = [datetime.fromtimestamp(at / 1000, UTC) for at in PANEL.starts_ms]


def wide():
    return pd.DataFrame({"ts": STAMPS, **{home: PANEL.values[row] / 1000 for row, home in enumerate(PANEL.ids)}})


@pytest.mark.parametrize("name", ["load.csv", "load.parquet"])
def test_a_wide_table_of_kwh_is_read_as_it_is(tmp_path, name):
    (wide().to_parquet if name.endswith("parquet") else wide().to_csv)(tmp_path / name, index=False)
    loaded = from_file(tmp_path / name)
    assert loaded.panel.ids == PANEL.ids
    assert (loaded.panel.start_ms, loaded.panel.interval_s) == (PANEL.start_ms, 3600)
    assert loaded.panel.values == pytest.approx(PANEL.values, rel=1e-4)
    assert not loaded.findings


def test_a_long_table_with_epoch_stamps_is_the_same(tmp_path):
    long = wide().melt("ts", var_name="home_id", value_name="value")
    long["ts"] = [int(at.timestamp()) for at in long["ts"]]
    long.to_csv(tmp_path / "long.csv", index=False)
    assert from_file(tmp_path / "long.csv").panel.values == pytest.approx(PANEL.values, rel=1e-4)


def test_stamps_without_an_offset_need_their_zone(tmp_path):
    frame = wide()
    frame["ts"] = frame["ts"].dt.tz_convert("America/Los_Angeles").dt.tz_localize(None)
    frame.to_csv(tmp_path / "local.csv", index=False)
    with pytest.raises(BadReadings, match="--naive-zone"):
        from_file(tmp_path / "local.csv")
    loaded = from_file(tmp_path / "local.csv", naive_zone="America/Los_Angeles")
    assert loaded.panel.start_ms == PANEL.start_ms


def test_one_bad_meter_spoils_no_other_and_says_what_is_wrong(tmp_path):
    frame = wide()
    frame["home-00001"] *= 1000
    frame.loc[5, "home-00002"] = -0.1
    frame.to_csv(tmp_path / "load.csv", index=False)
    loaded = from_file(tmp_path / "load.csv")
    assert loaded.panel.ids == ("home-00000", "home-00002")
    assert "a thousand times larger" in loaded.refused["home-00001"]
    assert [each.fault for each in loaded.findings["home-00002"]] == ["negative"]


@pytest.mark.parametrize(("separator", "decimal"), [(";", ","), (";", "."), ("\t", ","), ("\t", ".")])
def test_a_table_of_another_country_is_the_same(tmp_path, separator, decimal):
    wide().to_csv(tmp_path / "load.csv", sep=separator, decimal=decimal, index=False)
    wide().to_csv(tmp_path / "commas.csv", index=False)
    np.testing.assert_array_equal(
        from_file(tmp_path / "load.csv").panel.values, from_file(tmp_path / "commas.csv").panel.values
    )


def test_a_parquet_file_may_have_its_stamps_in_an_index_without_a_name(tmp_path):
    frame = wide()
    frame.set_index(pd.DatetimeIndex(frame.pop("ts"), name=None)).to_parquet(tmp_path / "load.parquet")
    assert from_file(tmp_path / "load.parquet").panel.ids == ("home-00000", "home-00001", "home-00002")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "no column ts"),
        ("ts,h\nyesterday,2\n", "cannot be read"),
        ("ts,h\n2026-01-01T00:00Z,2\n", "name the interval"),
        ("ts,h\n2026-01-01T00:00Z,x\n2026-01-01T01:00Z,2\n", "which is no number"),
        ("", "no table"),
    ],
)
def test_a_file_that_is_no_table_of_readings_is_refused_with_the_reason(tmp_path, text, reason):
    (tmp_path / "load.csv").write_text(text)
    with pytest.raises(BadReadings, match=reason):
        from_file(tmp_path / "load.csv")


def test_sites_name_feeder_programme_and_pv(tmp_path):
    (tmp_path / "homes.csv").write_text("home_id,feeder_id,programme,pv_kwp\na,F1,evening,4\nb,F2,evening,\n")
    assert sites_of(tmp_path / "homes.csv") == {"a": Site("F1", "evening", 4.0), "b": Site("F2", "evening", None)}


def test_weather_of_a_file_comes_under_our_names(tmp_path):
    frame = pd.DataFrame({"time": STAMPS, "temperature_2m": np.arange(len(STAMPS), dtype=float)}).drop(index=3)
    frame.to_csv(tmp_path / "weather.csv", index=False)
    found = provider(str(tmp_path / "weather.csv"), {"temp_c": "temperature_2m"}).weather(0, 0, 0, 0)
    values = found.on_grid("temp_c", PANEL.start_ms, 3600, 6)
    assert np.array_equal(values, [0, 1, 2, np.nan, 4, 5], equal_nan=True)
    assert (found.source, found.kind) == ("file weather.csv", "observed")
    with pytest.raises(WeatherUnavailable, match="name its columns"):
        provider(str(tmp_path / "weather.csv")).weather(0, 0, 0, 0)
    with pytest.raises(WeatherUnavailable, match=r"missing\.csv"):
        provider(str(tmp_path / "missing.csv")).weather(0, 0, 0, 0)


@pytest.fixture
def service():
    """A weather service on loopback: answers what is put into `answers`, notes what was asked."""
    asked, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = json.dumps(answers[0]).encode() if answers else b"no"
            self.send_response(200 if answers else 503)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1?at={{latitude}},{{longitude}}&from={{first}}&to={{end}}"
    yield url, asked, answers
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("form", ["arrays", "records"])
def test_weather_of_a_service_is_asked_for_a_place_and_days(service, form):
    url, asked, answers = service
    stamps = [f"2026-07-01T0{hour}:00" for hour in range(4)]
    if form == "arrays":
        answers.append({"latitude": 48.1, "hourly": {"time": stamps, "temperature_2m": [10, 11, None, 13]}})
    else:
        temperatures = (10, 11, None, 13)
        records = [{"time": at, "temperature_2m": t} for at, t in zip(stamps, temperatures, strict=True)]
        answers.append({"data": records})
    first_ms = LOS_ANGELES.start_ms(date(2026, 7, 1))
    found = provider(url, {"temp_c": "temperature_2m"}, "forecast").weather(48.137, 11.575, first_ms, first_ms)
    assert asked == ["/v1?at=48.1370,11.5750&from=2026-07-01&to=2026-07-01"]
    start_ms = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp() * 1000)
    assert np.array_equal(found.on_grid("temp_c", start_ms, 3600, 4), [10, 11, np.nan, 13], equal_nan=True)
    assert found.kind == "forecast"
    assert found.issued_at_ms is not None


def test_a_service_that_fails_is_named_and_plain_http_is_for_this_machine_alone(service):
    url, _, answers = service
    with pytest.raises(WeatherUnavailable, match=r"127\.0\.0\.1 observed"):
        provider(url).weather(0, 0, 0, 0)
    answers.append({"nothing": 1})
    with pytest.raises(WeatherUnavailable, match="neither arrays"):
        provider(url).weather(0, 0, 0, 0)
    with pytest.raises(SettingsError, match="https is needed"):
        provider("http://weather.example/{latitude}")
    with pytest.raises(SettingsError, match="moon"):
        provider("w.csv", {"moon": "x"})


async def test_the_histories_of_many_homes_are_kept_as_rows_of_numbers(opened_vtn):
    """As readings in Python each home took 1.5 MB for 120 days: ten thousand of them would end the process."""
    vtn, days = opened_vtn.vtn, 10
    now_ms = vtn.clock.now_ms() // 900_000 * 900_000
    history = [Reading("energy", now_ms - 900_000 * n, 900, 100 + n % 7, "ok") for n in range(1, days * 96)]
    for number in range(61):
        ven = await vtn.vens.add(f"home-{number}", "F1", PROGRAM)
        async with vtn.database.transaction() as connection:
            await change_ven(connection, ven.ven_id, meter_r_id="energy")
        await vtn.telemetry.store(ven.ven_id, history)
    tracemalloc.start()
    try:
        loaded, _, _ = await from_telemetry(vtn, PROGRAM, days)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert loaded.panel.values.shape == (61, days * 96 - 1)
    assert not np.isnan(loaded.panel.values).any()
    readings = loaded.panel.values.size
    assert peak < 60 * readings, f"{peak / readings:.0f} bytes a reading"
