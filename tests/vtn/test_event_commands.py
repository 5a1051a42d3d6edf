"""`dr-vtn events`, `reports` and `registrations` on a real database."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from openadr.model import Unit
from runtime.keys import PrivateKey
from tests.vtn.opened import PROGRAM, opened
from vtn.cli import app
from vtn.cli.signals import parse_signal, parse_unit
from vtn.errors import InvalidInput
from vtn.records.messages import open_messages
from vtn.services.registrations import RegistrationRequest
from vtn.services.reports import MeteringPoint, Specifier

START = "2030-07-01T17:00+02:00"
START_MS = int(datetime(2030, 7, 1, 15, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def inside(vtn_url, clock, tmp_path):
    """Runs a coroutine on an open VTN of the same database."""

    def run_inside(work):
        async def opened_and_done():
            async with opened(vtn_url, clock, tmp_path) as found:
                return await work(found.vtn)

        return asyncio.run(opened_and_done())

    return run_inside


@pytest.fixture
def run(vtn_url, tmp_path, monkeypatch):
    """Runs a command on that database; JSON comes back parsed."""
    folder = tmp_path / "commands"
    folder.mkdir()
    PrivateKey.create(folder / "aggregator.key")
    monkeypatch.setenv("GRIDPACT_VTN_DATABASE_URL", vtn_url)
    monkeypatch.setenv("GRIDPACT_VTN_DATA_DIR", str(folder))

    def command(*words):
        result = CliRunner().invoke(app, [*words])
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout) if "--json" in words else result.stdout

    return command


async def a_home(vtn):
    return (await vtn.vens.add("home-1", "F1", PROGRAM)).ven_id


def test_an_operator_creates_modifies_shows_and_cancels_an_event(inside, run):
    ven_id = inside(a_home)
    created = run(
        "events", "create", "--start", START, "--minutes", "120", "--ven", ven_id, "--event-id", "evt-1",
        "--signal", "ELECTRICITY_PRICE price EUR/kWh 0.45@60,0.3@60", "--signal", "SIMPLE level 2",
        "--ramp-up", "10", "--recovery", "15", "--notification", "60", "--start-after", "5", "--priority", "1",
        "--comment", "evening", "--json",
    )  # fmt: skip
    assert (created["event"]["status"], created["sent_to"]) == ("published", [ven_id])
    event = created["event"]["event"]
    assert (event["start_ms"], event["duration_s"], event["start_after_s"]) == (START_MS, 7200, 300)
    assert (event["ramp_up_s"], event["recovery_s"], event["notification_s"]) == (600, 900, 3600)
    assert [signal["name"] for signal in event["signals"]] == ["ELECTRICITY_PRICE", "SIMPLE"]
    assert [each["payload"] for each in event["signals"][0]["intervals"]] == ["0.45", "0.3"]
    assert event["targets"] == [{"kind": "ven", "value": ven_id}]

    changed = run("events", "modify", "evt-1", "--priority", "3", "--json")
    assert (changed["modification_number"], changed["event"]["priority"]) == (1, 3)
    open_ended = run("events", "modify", "evt-1", "--minutes", "0", "--level", "1", "--json")
    assert (open_ended["modification_number"], open_ended["event"]["duration_s"]) == (2, 0)
    stretched = run("events", "modify", "evt-1", "--minutes", "90", "--json")
    assert stretched["event"]["signals"][0]["intervals"] == [{"duration_s": 5400, "payload": "1"}]

    assert run("events", "publish", "evt-1", "--json") == {"sent_to": []}
    [delivery] = run("events", "show", "evt-1", "--json")["deliveries"]
    assert (delivery["ven_id"], delivery["state"], delivery["late"]) == (ven_id, "queued", False)
    assert "modification 3" in run("events", "show", "evt-1")
    assert run("events", "cancel", "evt-1", "--json")["status"] == "cancelled"
    assert run("events", "opts", ven_id, "--json") == []


def test_an_operator_asks_for_reports_and_ends_registrations(inside, run):
    async def a_registered_home(vtn):
        ven_id = await a_home(vtn)
        await vtn.registrations.register(RegistrationRequest(ven_id=ven_id, ven_name=None))
        points = (MeteringPoint("meter", "usage", "Net", Unit("energy_real", "Wh")),)
        await vtn.reports.register(ven_id, [Specifier("past", "METADATA_HISTORY_USAGE", points)])
        return ven_id

    async def told(vtn):
        async with vtn.database.reading() as connection:
            return {each.kind for each in await open_messages(connection, ven_id)}

    ven_id = inside(a_registered_home)
    asked = run("reports", "request", ven_id, "past", "--every", "0", "--start", START, "--minutes", "60", "--json")
    assert (asked["status"], asked["report_back_s"], asked["duration_s"]) == ("requested", 0, 3600)
    shown = run("reports", "show", ven_id, "--json")
    assert [each["report_request_id"] for each in shown["requests"]] == [asked["report_request_id"]]
    assert "past" in run("reports", "show", ven_id)
    run("reports", "cancel", ven_id, asked["report_request_id"])
    run("reports", "metadata", ven_id)
    [registration] = run("registrations", "list", "--json")
    assert registration["ven_id"] == ven_id
    run("registrations", "renew", ven_id)
    run("registrations", "cancel", ven_id)
    assert inside(told) == {"cancel_report", "request_metadata", "request_reregistration", "cancel_registration"}


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("kW", ("power_real", "W", "k")),
        ("Wh", ("energy_real", "Wh", "none")),
        ("MWh", ("energy_real", "Wh", "M")),
        ("EUR/kWh", ("currency_per_kwh", "EUR", "none")),
        ("USD/kW", ("currency_per_kw", "USD", "none")),
        ("EUR", ("currency", "EUR", "none")),
        ("celsius", ("temperature", "celsius", "none")),
    ],
)
def test_units_are_written_as_people_write_them(text, unit):
    found = parse_unit(text)
    assert (found.kind, found.symbol, found.scale) == unit


def test_a_signal_of_one_value_lasts_the_whole_event():
    signal = parse_signal("LOAD_DISPATCH setpoint kW 2.5", 3, 5400)
    assert [(each.duration_s, each.payload) for each in signal.intervals] == [(5400, "2.5")]
    assert signal.signal_id == "signal-3"


@pytest.mark.parametrize(
    "text",
    ["SIMPLE", "SIMPLE level one", "SIMPLE level 1,2", "SIMPLE level 1@x", "BID_LOAD setpoint furlong 3", "a b c d e"],
)
def test_what_is_no_signal_is_refused_with_how_it_is_written(text):
    with pytest.raises(InvalidInput, match=r"NAME TYPE|is no unit"):
        parse_signal(text, 0, 3600)
