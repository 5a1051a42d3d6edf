"""What is kept of forecasts: as issued, with what was known, once."""

from datetime import date

import numpy as np
import pytest
from msgspec.structs import replace

from forecasting.panels.panel import Panel
from forecasting.panels.weather import Weather
from forecasting.serving.catalogue import model
from tests.forecasting.synthetic import LOS_ANGELES, some_homes
from vtn.analytics.runs import HOMES, VIRTUAL_NODES, Chosen, Moved, Review, Runs, run_of
from vtn.analytics.studies import day_errors
from vtn.errors import NotFound

PANEL = some_homes(3, 50)
START_MS = LOS_ANGELES.start_ms(date(2026, 2, 10))


def a_run(panel=PANEL, start_ms=START_MS, weather=None):
    forecast = model("similar-days").fit(panel, LOS_ANGELES).forecast(start_ms, 24, start_ms, (0.1, 0.9))
    return run_of(forecast, panel, entry="similar-days", scope=HOMES, program="evening", weather=weather)


def test_a_run_says_what_was_known_when():
    weather = Weather("file w.csv", "forecast", PANEL.start_ms, 3600, {"temp_c": np.zeros(5)}, issued_at_ms=START_MS)
    run = a_run(weather=weather)
    assert (run.issued_at_ms, run.known_until_ms, run.interval_s) == (START_MS, START_MS, 3600)
    assert run.history_readings == 3 * 40 * 24
    assert run.weather == ("file w.csv", "forecast", START_MS)
    assert run.model.startswith("similar-days-10")
    assert len(run.quantiles["0.9"][2]) == 24


def test_what_came_later_does_not_change_a_run_and_what_was_known_does():
    later = PANEL.values.copy()
    later[:, 45 * 24 :] = 7
    assert a_run(Panel(PANEL.ids, PANEL.start_ms, 3600, later)) == a_run()
    earlier = PANEL.values.copy()
    earlier[0, 0] += 1
    assert a_run(Panel(PANEL.ids, PANEL.start_ms, 3600, earlier)).run_id != a_run().run_id


def test_a_refused_series_is_kept_as_such():
    values = PANEL.values.copy()
    values[1] = np.nan
    run = a_run(Panel(PANEL.ids, PANEL.start_ms, 3600, values))
    assert run.values[1] == (None,) * 24
    assert run.refused == {"home-00001": "no reading had ended at the issue"}


def test_what_is_sure_of_a_roof_at_night_is_no_success_of_its_band():
    """Else the watch over coverage of a group of roofs would raise an alarm for ever: half of its hours are sure."""
    roof = Panel(("roof",), START_MS, 3600, np.where(np.arange(24) % 24 < 12, 0.0, 100.0)[None])
    nothing, row = (0.0,) * 12, (90.0,) * 12
    run = replace(a_run(), series=("roof",), values=(nothing + row,),
                  quantiles={"0.1": (nothing + row,), "0.9": (nothing + (110.0,) * 6 + (95.0,) * 6,)})  # fmt: skip
    (day,) = day_errors([run], roof, LOS_ANGELES)
    assert day.coverage == 0.5


async def test_runs_choices_and_reviews_are_found_again(opened_vtn):
    runs = Runs(opened_vtn.vtn.database)
    day_ms = 24 * 3_600_000
    for start_ms in (START_MS + day_ms, START_MS, START_MS):
        await runs.keep(a_run(start_ms=start_ms), made_ms=START_MS)
    found = await runs.runs("evening", HOMES, START_MS, START_MS + 2 * day_ms)
    assert [run.start_ms for run in found] == [START_MS, START_MS + day_ms]
    assert await runs.run(found[0].run_id) == found[0] == a_run()
    assert await runs.runs("evening", VIRTUAL_NODES, START_MS, START_MS + day_ms) == []
    with pytest.raises(NotFound):
        await runs.run("fc-unknown")
    assert await runs.forget(START_MS + day_ms) == 1

    assert await runs.chosen("evening", HOMES) is None
    for at, name in ((1, "blend"), (9, "prophet"), (2, "ridge")):  # 9: of a clock that was ahead
        await runs.choose(
            Chosen(
                program="evening", scope=HOMES, chosen_ms=at, model=name, skill=0.2, reason="", table={"a": {"b": None}}
            )
        )
    assert (await runs.chosen("evening", HOMES)).model == "ridge"

    move = Moved("2026-02-10", "h", "F1/1", "F1/2", "2 reviews nearer")
    review = Review(
        program="evening", reviewed_ms=5, assignment={"h": "F1/2"}, leaning={"k": ("F1/1", 1)}, moves=(move,)
    )
    await runs.review(review)
    assert await runs.reviews("evening") == [review]
