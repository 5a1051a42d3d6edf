"""Analytics in this process and on Dask: the same parts, the same numbers."""

from datetime import date

import numpy as np
import pytest

from forecasting.errors import NoHistory
from forecasting.panels.panel import Panel
from runtime.errors import SettingsError
from tests.forecasting.synthetic import LOS_ANGELES, some_homes
from vtn.analytics import computing as module
from vtn.analytics.computing import computing, forecasts

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


def test_a_part_without_readings_is_refused_and_the_others_are_not(small_parts):
    values = HOMES.values.copy()
    values[2:4] = np.nan
    with computing(workers=2) as where:
        forecast = forecasts(where, "blend", Panel(HOMES.ids, HOMES.start_ms, 3600, values), LOS_ANGELES, **ISSUE)
        assert sorted(forecast.refused) == ["home-00002", "home-00003"]
        assert np.isnan(forecast.values).any(axis=1).sum() == 2
        with pytest.raises(NoHistory):
            forecasts(where, "blend", Panel(HOMES.ids, HOMES.start_ms, 3600, values * np.nan), LOS_ANGELES, **ISSUE)


@pytest.mark.filterwarnings("ignore")
def test_dask_gives_the_same_numbers_on_a_cluster_of_its_own_and_on_a_scheduler_elsewhere():
    distributed = pytest.importorskip("distributed")
    with computing(workers=1) as where:
        here = forecasts(where, "blend", HOMES, LOS_ANGELES, **ISSUE)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        computing(cluster.scheduler_address) as where,
    ):
        there = forecasts(where, "blend", HOMES, LOS_ANGELES, **ISSUE)
    assert np.array_equal(here.values, there.values)
    assert np.array_equal(here.quantiles[0.1], there.quantiles[0.1])


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://127.0.0.1:1", "here"])
def test_a_scheduler_that_is_not_there_is_named(address):
    with pytest.raises(SettingsError, match=f"scheduler {address} cannot be used"), computing(address):
        pass
