"""`dr-vtn nodes` on a real database: what is printed, for people and for programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runtime.clock import ManualClock
from runtime.keys import PrivateKey
from tests.vtn.aggregator.groups.feeders import feeders
from vtn.cli import app
from vtn.errors import InvalidInput

Run = Callable[..., Any]


@pytest.fixture
def run(vtn_url: str, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command where 20 homes of F1 are a virtual node and 3 of F2 wait; JSON comes back parsed."""

    async def a_world() -> None:
        async with feeders(vtn_url, clock, tmp_path / "serve") as world:
            await world.homes("e", 20, peak=None)
            await world.homes("w", 3, area="F2", peak=None)
            await world.formation().form()
            await world.reviews().review()

    asyncio.run(a_world())
    folder = tmp_path / "commands"
    folder.mkdir()
    PrivateKey.create(folder / "aggregator.key")
    monkeypatch.setenv("GRIDPACT_VTN_DATABASE_URL", vtn_url)
    monkeypatch.setenv("GRIDPACT_VTN_DATA_DIR", str(folder))
    monkeypatch.setenv("COLUMNS", "200")

    def command(*words: str) -> Any:
        result = CliRunner().invoke(app, ["nodes", *words])
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout) if "--json" in words else result.stdout

    return command


def test_nodes_are_shown_with_their_reasons_and_who_waits(run: Run) -> None:
    found = run("query", "--moves", "1", "--json")
    [node] = found["DERGroups"]
    assert (node["name"], node["area"], node["state"], node["homes"]) == ("vn-F1", "F1", "active", 20)
    assert node["EndDeviceGroup"]["mRID"] == "vn-F1"
    assert node["quality"]["reason"].startswith("20 homes of the feeder together")
    assert found["waiting"] == [{"area": "F2", "homes": 3, "reason": "20 make a virtual node"}]
    text = run("query", "vn-F1")
    assert "e-19" in text
    assert len(run("moves", "--limit", "100", "--json")) == 20
    [review] = run("reviews", "--json")
    assert review["areas"]["F1"]["outcome"] == "20 homes: too few for two groups of 20"
    assert run("capability", "vn-F1", "--json")["down_w"] == 30_000
    for table in (("moves",), ("reviews",), ("capability", "vn-F1"), ("query",)):
        assert "F1" in run(*table)


def test_a_start_that_is_no_moment_is_refused_with_an_example() -> None:
    result = CliRunner().invoke(app, ["nodes", "dispatch", "vn-F1", "--start", "soon", "--kwh", "1"])
    assert isinstance(result.exception, InvalidInput)
    assert "2026-03-19T17:00+01:00" in str(result.exception)
