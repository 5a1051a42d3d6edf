"""`dr-vtn dispatch` refuses what is no question before it opens anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vtn.cli import app
from vtn.errors import InvalidInput


@pytest.mark.parametrize(("start", "reason"), [("soon", "is no time"), ("2026-03-19T17:00", "names no zone")])
def test_a_start_that_is_no_moment_is_refused_with_an_example(start: str, reason: str) -> None:
    result = CliRunner().invoke(app, ["dispatch", "--start", start, "--kwh", "1.5"])
    assert isinstance(result.exception, InvalidInput)
    assert reason in str(result.exception)
    assert "2026-03-19T17:00+01:00" in str(result.exception)


def test_a_probability_below_a_half_is_no_aim() -> None:
    result = CliRunner().invoke(
        app, ["dispatch", "--start", "2026-03-19T17:00+01:00", "--kwh", "1", "--probability", "20"]
    )
    assert result.exit_code == 2


CANDIDATES = """home,available_wh,energy_wh,reliability_percent,spread_percent,rebound_percent,excluded
a,200,,90,20,0,
b,300,600,95,10,30,
c,300,600,95,10,30,
d,250 250 200 200,,90,10,0,
e,250,500,80,10,30,opted out
"""
ASKED = ["dispatch", "--start", "2026-03-19T17:00+01:00", *["--kw", "2.0"] * 4, "--mode", "each"]


def seen(*options: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*ASKED, *options, "--json"], catch_exceptions=False)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_candidates_of_a_file_are_chosen_without_a_vtn(tmp_path: Path) -> None:
    """2 kW are 500 Wh a quarter-hour. Homes b and c hold out for half of the hour; e has opted out."""
    path = tmp_path / "homes.csv"
    path.write_text(CANDIDATES)
    view = seen("--input", str(path))
    assert view["target_wh"] == [500] * 4
    assert view["mode"] == "each"
    chosen = {each["candidate"]["candidate"]: each for each in view["choices"] if each["chosen"]}
    assert chosen
    assert "e" not in chosen
    for each in chosen.values():
        assert len([wh for wh in each["obligation_wh"] if wh]) == (each.get("count") or 4)


def test_a_home_that_is_not_worth_a_call_is_told_how_much_would_be(tmp_path: Path) -> None:
    path = tmp_path / "homes.csv"
    path.write_text("home,available_wh\nsmall,40\nlarge,300\n")
    view = seen("--input", str(path))
    reasons = {each["candidate"]["candidate"]: each["reason"] for each in view["choices"]}
    assert "200 Wh in these intervals" in reasons["small"]
    assert "200 Wh" not in reasons["large"]


@pytest.mark.parametrize("option", [("--area", "F9"), ("--program", "evening"), ("--price", "100")])
def test_what_a_file_cannot_answer_is_not_passed_over_in_silence(tmp_path: Path, option: tuple[str, str]) -> None:
    path = tmp_path / "homes.csv"
    path.write_text(CANDIDATES)
    result = CliRunner().invoke(app, [*ASKED, "--input", str(path), *option])
    assert isinstance(result.exception, InvalidInput)
    assert "leave them out with --input" in str(result.exception)


def test_a_dispatch_that_was_printed_is_chosen_again_from_its_candidates(tmp_path: Path) -> None:
    path, printed = tmp_path / "homes.csv", tmp_path / "seen.json"
    path.write_text(CANDIDATES)
    first = seen("--input", str(path))
    printed.write_text(json.dumps([each["candidate"] for each in first["choices"]]))
    assert seen("--input", str(printed))["choices"] == first["choices"]


def test_a_figure_shows_what_is_asked_for_and_expected(tmp_path: Path) -> None:
    path, figure = tmp_path / "homes.csv", tmp_path / "dispatch.html"
    path.write_text(CANDIDATES)
    seen("--input", str(path), "--figure", str(figure))
    assert "data:image/png" in figure.read_text()
    assert "of 5 homes" in figure.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("home,available_wh\na,-5\n", "home 1: energy is not negative"),
        ("home,available_wh\na,5\na,6\n", "names twice: a"),
        ("home,available_wh\na,5 5\n", "2 intervals, the target has 4"),
        ("home,power\na,5\n", "no field is called power"),
        ("home,available_wh\n", "names no home"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_home(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "homes.csv"
    path.write_text(text)
    result = CliRunner().invoke(app, [*ASKED, "--input", str(path)])
    assert isinstance(result.exception, InvalidInput)
    assert reason in str(result.exception)
