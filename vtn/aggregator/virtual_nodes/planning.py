"""The contracts with homes that follow from a choice of members."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.demand_response.contract import ContractRecord
from openadr.model import DrEvent
from vtn.aggregator.dispatch import Choice
from vtn.aggregator.records import DevicePlan
from vtn.aggregator.terms import device_terms
from vtn.aggregator.virtual_nodes.members.candidacy import Evaluation
from vtn.services.programs import Program


def device_plans(
    program: Program,
    contract: ContractRecord,
    number: int,
    event: DrEvent,
    chosen: Sequence[Choice],
    evaluations: Sequence[Evaluation],
    accept_by_ms: int,
) -> list[DevicePlan]:
    """SC2s under `contract` for the members chosen in round `number`, each on its own committed baseline."""
    by_id = {each.candidate.candidate: each for each in evaluations}
    plans = []
    for position, choice in enumerate(chosen):
        member = by_id[choice.candidate.candidate]
        if member.baseline is None:
            continue
        terms = device_terms(program, contract.terms, event, choice.obligation_wh, member.baseline, accept_by_ms)
        plans.append(
            DevicePlan(
                contract_id=f"sc2-{contract.contract_id.removeprefix('sc1-')}-{number}-{position:03d}",
                sc1=contract.contract_id,
                round=number,
                device=member.member.party,
                ven_id=member.member.ven_id,
                terms=terms,
                reliability_bp=member.candidate.reliability_bp,
            )
        )
    return plans
