"""Real processes die, sleep and lose their network; what was acknowledged stays, everywhere."""

from __future__ import annotations

import pytest

from tests.simulation.real.run import strike_all
from tests.simulation.real.strikes import cut_from_order, kill_etcd_leader, kill_postgres, kill_proposer, stop_proposer


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_while_processes_die_sleep_and_are_cut_off(tmp_path):
    strikes = (kill_proposer, kill_etcd_leader, stop_proposer, kill_postgres, cut_from_order)
    outcome = await strike_all(tmp_path, strikes, rest_s=0.5)
    assert outcome.acknowledged > 100
    assert sum(outcome.faults.values()) == len(strikes)
    assert (outcome.lost, outcome.diverged, outcome.unproved) == ([], [], [])
