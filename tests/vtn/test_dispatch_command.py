"""`dr-vtn dispatch` refuses what is no question before it opens anything."""

from __future__ import annotations

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
