"""How far a need had to be escalated, told from what was stored: who was short, who was asked, and who was left.

limits       members could not give all of a contract     and what stood in the way, by how much
members      a virtual node called others of its own       round 1, 2, ...
assistance   another virtual node was given a contract      kind "assist"
exhausted    nobody was left to ask: what lacks stays lacking
outcome      a contract ended in partial failure or failure
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from contracts.demand_response.contract import ContractRecord
from vtn.aggregator.records import FirstChoice, GroupPlan, Round

LIMITS, MEMBERS, ASSISTANCE, EXHAUSTED, OUTCOME = "limits", "members", "assistance", "exhausted", "outcome"
_FAILED = ("partial", "failure")


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """One step. at_ms: 0 for an outcome; virtual_node: ledger party, or "" where none was found; missing_wh: what was
    looked for, found_wh: what of it somebody was asked for."""

    at_ms: int
    step: str
    virtual_node: str
    contract_id: str
    missing_wh: int
    found_wh: int
    reason: str


def escalations(
    plans: Sequence[GroupPlan],
    rounds: Mapping[str, Sequence[Round]],
    choices: Sequence[FirstChoice],
    contracts: Mapping[str, ContractRecord],
) -> list[Escalation]:
    """The steps of one need in order of time, outcomes last. `rounds` by SC1; `choices` among virtual nodes."""
    found = []
    for plan in plans:
        for each in rounds.get(plan.contract_id, ()):
            missing, limits = sum(each.target_wh), [str(limit) for limit in each.solved.limits]
            if not each.round and not any(each.lacking_wh):
                continue
            found.append(
                Escalation(
                    at_ms=each.planned_ms,
                    step=MEMBERS if each.round else LIMITS,
                    virtual_node=plan.virtual_node,
                    contract_id=plan.contract_id,
                    missing_wh=missing,
                    found_wh=max(0, missing - sum(each.lacking_wh)),
                    reason="; ".join([each.reason, *(limits if any(each.lacking_wh) else ())]),
                )
            )
        if plan.kind == "assist":
            asked = sum(plan.terms.obligation_wh)
            found.append(
                Escalation(
                    at_ms=plan.planned_ms,
                    step=ASSISTANCE,
                    virtual_node=plan.virtual_node,
                    contract_id=plan.contract_id,
                    missing_wh=asked,
                    found_wh=asked,
                    reason="others could not cover it with their own members",
                )
            )
    for choice in choices:
        if choice.asked_wh < choice.target_wh:
            found.append(
                Escalation(
                    at_ms=choice.chosen_ms,
                    step=EXHAUSTED,
                    virtual_node="",
                    contract_id="",
                    missing_wh=choice.target_wh,
                    found_wh=choice.asked_wh,
                    reason="no virtual node has more to offer",
                )
            )
    outcomes = [
        Escalation(
            at_ms=0,
            step=OUTCOME,
            virtual_node=contract.payee,
            contract_id=contract.contract_id,
            missing_wh=sum(contract.terms.obligation_wh),
            found_wh=contract.total_wh,
            reason=contract.outcome,
        )
        for contract in contracts.values()
        if contract.parent is None and any(contract.outcome.startswith(word) for word in _FAILED)
    ]
    return sorted(found, key=lambda each: (each.at_ms, each.step, each.contract_id)) + outcomes
