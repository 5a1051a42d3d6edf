"""What was decided is kept, each decision as its own round."""

from __future__ import annotations

from contracts.core.commands import Offer, RequestReduction
from tests.builders import START_MS, device_terms
from tests.vtn.opened import Opened
from vtn.aggregator.dispatch import Candidate, Limit, Solved, choose
from vtn.aggregator.records import AggregatorRecords, DevicePlan, GroupPlan, Round
from vtn.aggregator.virtual_nodes.escalation import LIMITS, escalations

REQUEST = RequestReduction(
    need_id="need-1", aggregator="agg-1", area="portfolio", start_ms=START_MS, interval_s=900, target_wh=(100,),
    energy_price_minor_per_mwh=1, budget_minor=1,
)  # fmt: skip
TERMS = device_terms(accept_by_ms=START_MS - 60_000)
OFFER = Offer(
    need_id="need-1", aggregator="agg-1", virtual_node="vn-1", start_ms=START_MS, interval_s=900, profile_wh=(100,),
    energy_price_minor_per_mwh=1, valid_until_ms=START_MS,
)  # fmt: skip
PLAN = GroupPlan(
    contract_id="sc1-need-1-0", need_id="need-1", virtual_node="vn-1", kind="initial", terms=TERMS, offer=OFFER,
    offer_signature="0" * 128, planned_ms=START_MS,
)  # fmt: skip


def a_candidate(excluded: str) -> Candidate:
    return Candidate(
        candidate="vn-1", available_wh=(100,), forecast_wh=500, price_minor_per_mwh=1, reliability_bp=9_000,
        excluded=excluded,
    )  # fmt: skip


async def test_a_dispatch_that_chose_nobody_does_not_hide_the_reasons_of_the_next(opened_vtn: Opened) -> None:
    records = AggregatorRecords(opened_vtn.vtn.database)
    await records.add_need(REQUEST, START_MS)
    for excluded in ("no telemetry yet", ""):
        dispatch = choose([100], [a_candidate(excluded)])
        await records.add_group_plans([], dispatch.choices, [100], "need-1", START_MS)
    kept = [(number, choice.chosen) for _, number, choice in await records.choices("need-1")]
    assert kept == [(0, False), (1, True)]


async def test_a_round_is_kept_with_how_its_members_were_found(opened_vtn: Opened) -> None:
    records = AggregatorRecords(opened_vtn.vtn.database)
    await records.add_need(REQUEST, START_MS)
    await records.add_group_plans([PLAN], [], [100], "need-1", START_MS)
    solved = Solved(
        method="optimal", mode="joint", asked_bp=9_000, probability_bp=7_500, gap_percent=0.5,
        limits=(Limit(limit="the probability", frees_wh=40, lacking_wh=10),),
    )  # fmt: skip
    planned = Round(
        sc1=PLAN.contract_id, round=0, reason="first", dr_event_id="evt", target_wh=(100,), lacking_wh=(50,),
        planned_ms=START_MS, solved=solved,
    )  # fmt: skip
    await records.add_round(planned, [], [], "need-1")
    assert await records.rounds(PLAN.contract_id) == [planned]
    [step] = escalations([PLAN], {PLAN.contract_id: [planned]}, [], {})
    assert (step.step, step.missing_wh, step.found_wh) == (LIMITS, 100, 50)
    assert "without the probability 40 Wh less would be lacking, 10 Wh left" in step.reason


async def test_a_device_is_asked_until_its_deadline_or_the_need_s_end(opened_vtn: Opened) -> None:
    records = AggregatorRecords(opened_vtn.vtn.database)
    await records.add_need(REQUEST, START_MS)
    await records.add_group_plans([PLAN], [], [100], "need-1", START_MS)
    planned = Round(
        sc1=PLAN.contract_id, round=0, reason="first", dr_event_id="evt", target_wh=(100,), lacking_wh=(0,),
        planned_ms=START_MS,
    )  # fmt: skip
    device = DevicePlan(
        contract_id="sc2-need-1-0-0-000", sc1=PLAN.contract_id, round=0, device="dev-1", ven_id="ven-1", terms=TERMS,
        reliability_bp=9_000,
    )  # fmt: skip
    await records.add_round(planned, [device], [], "need-1")
    before = TERMS.accept_by_ms - 1
    assert [plan.device for plan in await records.asked(before)] == ["dev-1"]
    assert await records.asked(TERMS.accept_by_ms) == []
    await records.close_need("need-1")
    assert await records.asked(before) == []
