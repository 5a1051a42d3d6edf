"""Figures can be read: what is written below their axes does not overlap, and says whose time it is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.forecasting.synthetic import LOS_ANGELES, some_homes
from vtn.analytics import figures
from vtn.analytics.computing import computing, forecasts
from vtn.analytics.figures import NetCurves, of_forecast, of_schedules

HOMES = some_homes(2, 30)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    write = figures._write

    def kept(path: Path, figure: Any, *rest: Any) -> None:
        found.append(figure)
        write(path, figure, *rest)

    monkeypatch.setattr(figures, "_write", kept)
    return found


def readable(figure: Any) -> None:
    for plot in figure.axes:
        labels = [each.get_window_extent() for each in plot.get_xticklabels() if each.get_visible() and each.get_text()]
        for left, right in pairwise(sorted(labels, key=lambda box: float(box.x0))):
            assert left.x1 < right.x0


def test_days_below_a_forecast_can_be_read(tmp_path: Path, drawn: list[Any]) -> None:
    with computing(workers=1) as where:
        made = forecasts(
            where, "similar-days", HOMES, LOS_ANGELES, start_ms=HOMES.end_ms, count=24, issued_at_ms=HOMES.end_ms,
            levels=(0.1, 0.9),
        )  # fmt: skip
    of_forecast(tmp_path / "f.png", made, HOMES, LOS_ANGELES.zone, ("series",), [("a",)])
    readable(drawn[0])
    assert drawn[0].axes[0].get_xlabel() == LOS_ANGELES.zone


@pytest.mark.parametrize("days", [1, 7])
def test_hours_below_a_schedule_can_be_read(tmp_path: Path, drawn: list[Any], days: int) -> None:
    slots = 96 * days
    starts = [HOMES.end_ms + n * 900_000 for n in range(slots)]
    curves = [NetCurves(name, [1000.0] * slots, [900.0] * slots, [30.0] * slots, 8000.0) for name in ("F1", "H001")]
    of_schedules(tmp_path / "s.png", starts, LOS_ANGELES.zone, curves, ("home",), [("a",)])
    readable(drawn[0])
