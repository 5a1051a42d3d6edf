"""What a virtual node knows of the members it called for one contract, at one moment; and on whom it still counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.demand_response.contract import ContractRecord, Status
from vtn.aggregator.records import DevicePlan
from vtn.aggregator.virtual_nodes.monitoring import Live, Watched

LIVE = (Status.PROPOSED, Status.ACCEPTED)


@dataclass(frozen=True)
class View:
    """What is known of a contract's members at one moment."""

    plans: Sequence[DevicePlan]
    contracts: dict[str, ContractRecord]
    lost: dict[str, str]
    short_wh: int
    now_ms: int
    #: plans the ledger did not take
    refused: frozenset[str]
    #: where the intervals begin in which `short_wh` was measured
    measured_from_ms: int = 0

    @property
    def live(self) -> list[Live]:
        """Contracts still counted on. A plan that is not on the ledger counts while it can still be proposed."""
        return [
            Live(terms=plan.terms, reliability_bp=plan.reliability_bp)
            for plan in self.plans
            if plan.contract_id not in self.lost and self._counts(plan)
        ]

    def _counts(self, plan: DevicePlan) -> bool:
        found = self.contracts.get(plan.contract_id)
        if found is not None:
            return found.status in LIVE
        return plan.terms.accept_by_ms > self.now_ms and plan.contract_id not in self.refused


def accepted_of(plans: Sequence[DevicePlan], contracts: Mapping[str, ContractRecord]) -> list[DevicePlan]:
    """Those whose contract their device accepted."""
    return [
        plan
        for plan in plans
        if (found := contracts.get(plan.contract_id)) is not None and found.status is Status.ACCEPTED
    ]


def watched_of(
    accepted: Sequence[DevicePlan], readings: Mapping[str, Mapping[int, int]], opts: Mapping[tuple[str, str], str]
) -> list[Watched]:
    """What monitoring looks at. `opts`: (event, VEN) -> optIn, optOut, or withdrawn."""
    return [
        Watched(
            contract_id=plan.contract_id,
            device=plan.device,
            terms=plan.terms,
            readings_wh=readings[plan.ven_id],
            opted_out=opts.get((plan.terms.dr_event_id, plan.ven_id)) == "optOut",
            released=opts.get((plan.terms.dr_event_id, plan.ven_id)) == "withdrawn",
        )
        for plan in accepted
    ]
