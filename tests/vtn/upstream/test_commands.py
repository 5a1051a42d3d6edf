"""`dr-vtn upstream` on a real database."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from runtime.keys import PrivateKey
from tests.vtn.opened import opened
from tests.vtn.upstream.world import SETTINGS, US, an_event, listed
from vtn.cli import app
from vtn.upstream import records
from vtn.upstream.decisions import Decisions
from vtn.upstream.events import EventDesk


@pytest.fixture
def inside(vtn_url, clock, tmp_path):
    """Runs a coroutine on the open VTN."""

    def run_inside(work):
        async def opened_and_done():
            async with opened(vtn_url, clock, tmp_path, **SETTINGS) as found:
                return await work(found.vtn)

        return asyncio.run(opened_and_done())

    return run_inside


@pytest.fixture
def run(vtn_url, tmp_path, monkeypatch):
    """Runs a command; JSON comes back parsed."""
    folder = tmp_path / "commands"
    folder.mkdir()
    PrivateKey.create(folder / "aggregator.key")
    for name, value in SETTINGS.items():
        text = json.dumps(value) if isinstance(value, tuple) else str(value)
        monkeypatch.setenv(f"GRIDPACT_VTN_{name.upper()}", text)
    monkeypatch.setenv("GRIDPACT_VTN_DATABASE_URL", vtn_url)
    monkeypatch.setenv("GRIDPACT_VTN_DATA_DIR", str(folder))

    def command(*words):
        result = CliRunner().invoke(app, ["upstream", *words])
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout) if "--json" in words else result.stdout

    return command


async def an_event_is_held(vtn):
    await EventDesk(vtn.database, vtn.clock).receive(listed(an_event(kw="50")))
    async with vtn.database.reading() as connection:
        [event] = await records.list_events(connection)
    await Decisions(vtn, (await vtn.programs.list())[0], "utl").decide(event, US)


def test_an_operator_sees_what_waits_and_says_yes_or_no(inside, run):
    inside(an_event_is_held)
    [event] = run("events", "--json")
    assert (event["event_id"], event["state"], event["opt_type"]) == ("peak-1", "held", None)
    assert event["proposal"]["target_wh"] == [12_500] * 4
    status = run("status", "--json")
    assert (status["registered"], status["events"]) == (False, {"held": 1})
    assert "peak-1" in run("events")
    run("approve", "peak-1", "--kw", "8")
    [event] = run("events", "--json")
    assert (event["state"], event["proposal"]["target_wh"]) == ("approved", [2_000] * 4)
    run("reject", "peak-1", "--reason", "too hot")
    [event] = run("events", "--json")
    assert (event["state"], event["why"], event["opt_type"]) == ("refused", "too hot", "optOut")


def test_the_registration_is_asked_for_and_ended_by_the_running_vtn(inside, run):
    for wish in ("register", "cancel"):
        run(wish)
        assert run("status", "--json")["wish"] == wish
    assert run("reports", "--json") == []
    assert "address" in run("status")
