"""Homes that accept a contract and opt out of its event later are known for it, before and after a restart."""

from __future__ import annotations

from contracts.core import facts
from contracts.core.codec import digest
from ledger.client import FactRecord
from runtime.clock import ManualClock
from tests.builders import START_MS, a_dr_event, device_terms
from tests.vtn.aggregator.test_cycle import Ledger, a_cycle, surroundings
from tests.vtn.aggregator.test_records import PLAN, REQUEST
from tests.vtn.opened import PROGRAM, Opened
from vtn.aggregator.records import AggregatorRecords, DevicePlan, Round
from vtn.services.opts import Opt

EVENT = "evt-need-1-0"
TERMS = device_terms(dr_event_id=EVENT)


async def called(opened: Opened, records: AggregatorRecords) -> dict[str, str]:
    """Three homes under contract for one event: one opted out by EiOpt, one in its answer, one stays. Name -> venID."""
    vtn = opened.vtn
    program = await vtn.programs.get(PROGRAM)
    event = a_dr_event(EVENT, program=program.market_context, targets=(), start_ms=START_MS + 6 * 3_600_000)
    await vtn.dr_events.create(event, PROGRAM)
    homes = {name: (await vtn.vens.add(name, "F1", PROGRAM)).ven_id for name in ("tired", "brusque", "willing")}
    await vtn.dr_events.publish(EVENT, list(homes.values()))
    for name, opt in (("tired", "optIn"), ("brusque", "optOut"), ("willing", "optIn")):
        await vtn.dr_events.record_opt(homes[name], EVENT, 0, opt)
    await vtn.opts.create(
        Opt(ven_id=homes["tired"], opt_id="o-1", opt_type="optOut", opt_reason="economic", event_id=EVENT,
            modification_number=0)
    )  # fmt: skip
    await records.add_need(REQUEST, START_MS)
    await records.add_group_plans([PLAN], [], [100], "need-1", START_MS)
    planned = Round(sc1=PLAN.contract_id, round=0, reason="first", dr_event_id=EVENT, target_wh=(100,),
                    lacking_wh=(0,), planned_ms=START_MS)  # fmt: skip
    plans = [
        DevicePlan(contract_id=f"sc2-{name}", sc1=PLAN.contract_id, round=0, device=f"dev-{name}", ven_id=ven_id,
                   terms=TERMS, reliability_bp=9_000)
        for name, ven_id in homes.items()
    ]  # fmt: skip
    await records.add_round(planned, plans, [], "need-1")
    return homes


def happened(name: str) -> list[facts.Fact]:
    names = {"contract_id": f"sc2-{name}", "parent": PLAN.contract_id, "payer": "vn-1", "payee": f"dev-{name}"}
    return [
        facts.DRSetUp(**names, terms=TERMS),
        facts.ReductionAccepted(**names, terms_digest=digest(TERMS)),
        facts.DRSettled(**names, outcome="failure", obligation_wh=400, delivered_wh=20, shortfall_wh=380, missing=0,
                        adjustment_wh=0),
    ]  # fmt: skip


async def test_an_opt_out_is_read_with_its_reason(opened_vtn: Opened) -> None:
    records = AggregatorRecords(opened_vtn.vtn.database)
    await called(opened_vtn, records)
    assert await records.opted_out(PLAN.contract_id) == {"sc2-tired": "economic", "sc2-brusque": ""}
    assert await records.opted_out() == await records.opted_out(PLAN.contract_id)
    assert await records.opted_out("sc1-another") == {}
    assert await records.released() == []


async def test_who_opted_out_after_accepting_is_expected_less_and_not_held_for_weak(
    opened_vtn: Opened, clock: ManualClock
) -> None:
    """As the facts of the ledger come in; the same after a restart, which reads them again."""
    records = AggregatorRecords(opened_vtn.vtn.database)
    await called(opened_vtn, records)
    for _ in range(2):
        around = await surroundings(opened_vtn, clock, records)
        cycle = a_cycle(Ledger(REQUEST), records, around)
        for number, fact in enumerate(each for name in ("tired", "brusque", "willing") for each in happened(name)):
            record = FactRecord(
                cursor=f"{number}.0.0", height=number, index=number, ordinal=0, time_ms=START_MS, transaction_id=None,
                contract=facts.subject(fact), parties=facts.parties(fact), fact=fact,
            )  # fmt: skip
            await cycle._observe(record)
        track = around.track
        call = track.call("dev-tired", START_MS, START_MS)
        assert track.answers("dev-tired", call) == track.answers("dev-brusque", call)
        assert track.answers("dev-tired", call) < track.answers("dev-willing", call)
        assert track.refusals("dev-tired") == {"economic": 1}
        assert track.learnt("dev-tired").part == 1.0
        assert track.learnt("dev-willing").part < 1.0
