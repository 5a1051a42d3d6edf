"""Where an event is to absorb surplus, virtual nodes that have one of their own are asked before others."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from contracts.core.commands import RequestReduction
from tests.vtn.aggregator.groups.feeders import NOW_MS, Feeders
from vtn.aggregator.dispatch import Candidate, choose
from vtn.aggregator.virtual_nodes.groups.surplus import surplus_wh
from vtn.analytics.proposing.records import Proposal, Proposed, add
from vtn.analytics.runs import VIRTUAL_NODES, Run, Runs

HOUR_MS = 3_600_000
NEED = RequestReduction(
    need_id="need-2026-01-31-abc", aggregator="agg", area="F1", start_ms=NOW_MS + 17 * HOUR_MS, interval_s=3600,
    target_wh=(1_000,), energy_price_minor_per_mwh=1, budget_minor=1,
)  # fmt: skip


def a_candidate(name: str, price: int, surplus: int = 0) -> Candidate:
    return Candidate(
        candidate=name, available_wh=(1_000,), forecast_wh=5_000, price_minor_per_mwh=price, reliability_bp=10_000,
        surplus_wh=surplus,
    )  # fmt: skip


def test_a_surplus_of_its_own_comes_before_the_price_and_says_so() -> None:
    found = choose([1_500], [a_candidate("cheap", 10), a_candidate("sunny", 20, 4_000)])
    assert [each.candidate.candidate for each in found.chosen] == ["sunny", "cheap"]
    assert [sum(each.obligation_wh) for each in found.chosen] == [1_000, 500]
    assert "4000 Wh too much of its own" in found.chosen[0].reason


def a_run(issued_at_ms: int, sunny_wh: float) -> Run:
    return Run(
        run_id=f"fc-{issued_at_ms}", scope=VIRTUAL_NODES, program="evening", entry="ridge", model="ridge", version=1,
        issued_at_ms=issued_at_ms, known_until_ms=issued_at_ms, start_ms=NOW_MS, interval_s=3600, history_sha256="",
        history_readings=1, weather=None, series=("vn-F1", "vn-F1-2"),
        values=((500.0, 700.0), (sunny_wh, 900.0)), quantiles={}, basis=("", ""), reasons={}, refused={},
    )  # fmt: skip


@pytest.mark.parametrize(("policy", "found"), [("renewable", {"vn-F1-2": 1_300}), ("peak", {})])
async def test_it_is_the_surplus_of_the_newest_forecast_of_the_day_and_of_that_policy_alone(
    world: Feeders, policy: str, found: dict[str, int]
) -> None:
    database = world.opened.vtn.database
    await Runs(database).keep(a_run(NOW_MS - HOUR_MS, -1_300.0), NOW_MS)
    await Runs(database).keep(a_run(NOW_MS - 2 * HOUR_MS, -9_000.0), NOW_MS)
    proposed = Proposed(
        run_id="fc", model="ridge", issued_at_ms=NOW_MS, known_until_ms=NOW_MS, import_w=None, export_w=1_000,
        beyond=(), policy=policy, signals="", from_ms=NOW_MS, change_wh=(0.0,) * 24, figures={}, without={}, reason="",
        request=NEED,
    )  # fmt: skip
    proposal = Proposal(
        proposal_id="event-2026-01-31-abc", program="evening", area="F1", day="2026-01-31", state="submitted",
        expires_ms=0, made_ms=0, decided_ms=None, decided_by="", note="", proposal=proposed,
    )  # fmt: skip
    async with database.transaction() as connection:
        await add(connection, proposal)
    assert await surplus_wh(database, "evening", NEED) == found
    assert await surplus_wh(database, "evening", replace(NEED, need_id="of-a-utility")) == {}
