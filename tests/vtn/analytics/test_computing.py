"""Analytics in this process and on Dask: the same parts, the same numbers."""

import contextlib
from datetime import date

import numpy as np
import pytest

from forecasting.errors import ForecastError, NoHistory
from forecasting.evaluation.rolling import day_ahead, rolling
from forecasting.panels.panel import Panel
from runtime.errors import SettingsError
from tests.forecasting.synthetic import LOS_ANGELES, some_homes
from vtn.analytics import computing as module
from vtn.analytics import studies
from vtn.analytics.computing import WorkersLost, computing, forecasts
from vtn.analytics.studies import compared

HOMES = some_homes(6, 60)
START_MS = LOS_ANGELES.start_ms(date(2026, 2, 20))
ISSUE = {"start_ms": START_MS, "count": 24, "issued_at_ms": START_MS, "levels": (0.1, 0.9)}


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "_PART_VALUES", 2 * 24)


def test_parts_come_back_together_in_their_order(small_parts):
    done = []
    with computing(workers=2) as where:
        forecast = forecasts(where, "blend", HOMES, LOS_ANGELES, progress=done.append, **ISSUE)
        alone = forecasts(where, "blend", HOMES.rows(slice(4, 6)), LOS_ANGELES, **ISSUE)
    assert forecast.ids == HOMES.ids
    assert done == [2, 2, 2]
    assert np.array_equal(forecast.values[4:], alone.values)
    assert np.array_equal(forecast.quantiles[0.9][4:], alone.quantiles[0.9])


@pytest.mark.parametrize("name", ["ridge", "blend"])
def test_how_far_back_readings_were_looked_for_changes_no_forecast(name):
    """Homes that joined three weeks ago, asked for the readings of sixty days before that."""
    young = HOMES.between(START_MS - 21 * 86_400_000, START_MS)
    nothing = np.full((len(HOMES.ids), 60 * 24), np.nan, dtype=np.float32)
    padded = Panel(young.ids, young.start_ms - 60 * 86_400_000, 3600, np.concatenate([nothing, young.values], axis=1))
    with computing(workers=2) as where:
        plain, long = (forecasts(where, name, panel, LOS_ANGELES, **ISSUE) for panel in (young, padded))
    assert np.array_equal(plain.values, long.values)
    assert np.array_equal(plain.quantiles[0.1], long.quantiles[0.1])


def test_a_part_without_readings_is_refused_and_the_others_are_not(small_parts):
    values = HOMES.values.copy()
    values[2:4] = np.nan
    with computing(workers=2) as where:
        forecast = forecasts(where, "blend", Panel(HOMES.ids, HOMES.start_ms, 3600, values), LOS_ANGELES, **ISSUE)
        assert sorted(forecast.refused) == ["home-00002", "home-00003"]
        assert np.isnan(forecast.values).any(axis=1).sum() == 2
        with pytest.raises(NoHistory):
            forecasts(where, "blend", Panel(HOMES.ids, HOMES.start_ms, 3600, values * np.nan), LOS_ANGELES, **ISSUE)


ISSUES = day_ahead(LOS_ANGELES, [date(2026, 2, 10), date(2026, 2, 11)], 3600)


def everything(where):
    """A forecast in three parts, and a test of models side by side, with all their numbers."""
    forecast = forecasts(where, "blend", HOMES, LOS_ANGELES, **ISSUE)
    study = compared(where, ["similar-days", "ridge"], HOMES, LOS_ANGELES, ISSUES)
    tested = [array for each in study.made.values() for array in (each.forecast, each.quantiles)]
    return [forecast.values, forecast.quantiles[0.1], forecast.quantiles[0.9], *tested], study.choice


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_gives_the_same_numbers_on_a_cluster_of_its_own_and_on_a_scheduler_elsewhere(small_parts):
    distributed = pytest.importorskip("distributed")
    with computing(workers=1) as where:
        here, chosen = everything(where)
    with computing("local", workers=1) as where:
        there, chosen_there = everything(where)
    assert all(np.array_equal(one, other) for one, other in zip(here, there, strict=True))
    assert chosen_there == chosen
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0",
                                 protocol="tcp") as cluster,
        computing(cluster.scheduler_address) as where,
    ):  # fmt: skip
        there, chosen_there = everything(where)
    assert all(np.array_equal(one, other) for one, other in zip(here, there, strict=True))
    assert chosen_there == chosen


@pytest.mark.parametrize("scheduler", [None, pytest.param("inproc", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")
def test_no_more_parts_are_under_way_than_will_soon_be_asked_for(scheduler):
    """A million homes are more parts than fit into memory at once."""
    begun = []

    def parts():
        for part in range(40):
            begun.append(part)
            yield part

    with contextlib.ExitStack() as stack:
        if scheduler is not None:
            distributed = pytest.importorskip("distributed")
            cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False,
                                               dashboard_address="127.0.0.1:0", protocol="tcp")  # fmt: skip
            scheduler = stack.enter_context(cluster).scheduler_address
        results = stack.enter_context(computing(scheduler, workers=1)).map(double, parts())
        assert [next(results) for _ in range(5)] == [0, 2, 4, 6, 8]
        assert len(begun) <= 8
        assert list(results) == [2 * part for part in range(5, 40)]


def double(part):
    return 2 * part


def test_a_model_that_fails_is_left_out_of_the_comparison_with_its_reason(monkeypatch):
    def tested(of, *rest, **options):
        if of.name.startswith("ridge"):
            raise ForecastError("the matrix is singular")
        return rolling(of, *rest, **options)

    with computing(workers=1) as where:
        whole = compared(where, ["similar-days", "ridge"], HOMES, LOS_ANGELES, ISSUES)
        monkeypatch.setattr(studies, "rolling", tested)
        found = compared(where, ["similar-days", "ridge"], HOMES, LOS_ANGELES, ISSUES)
    assert found.left_out == {"ridge": "the matrix is singular"}
    assert found.made.keys() == {"last-week", "similar-days"}
    assert found.table()["similar-days"]["nrmse"] == whole.table()["similar-days"]["nrmse"]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://127.0.0.1:1", "here"])
def test_a_scheduler_that_is_not_there_is_named(address):
    with pytest.raises(SettingsError, match=f"scheduler {address} cannot be used"), computing(address):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_workers_that_never_answer_are_given_up():
    """A worker that hangs, or was the last one, held up whoever asked for ever: a need was never called."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp"
        ) as cluster,
        computing(cluster.scheduler_address, patience_s=0.5) as where,
        pytest.raises(WorkersLost),
    ):
        list(where.map(double, [1, 2, 3, 4]))
