"""Events whose contract came to nothing: a home must not act on a call that nobody pays for.

A contract with a home that was rejected or expired, or that the ledger refused, withdraws the event from that home
alone; one of the virtual node itself cancels all its events. A home that opted out is left in peace.

What a group delivers beyond its contract's cap earns nobody anything, so some of its homes are let go: they keep what
they delivered. Only homes whose contract does not charge them for that are released.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from contracts.demand_response.contract import ContractRecord, Status
from runtime.logs import get_logger
from vtn.aggregator.ports import Events
from vtn.aggregator.records import DevicePlan
from vtn.aggregator.virtual_nodes.monitoring import RELEASED, IntervalDelivery, Live, spare_wh, uncovered_wh
from vtn.aggregator.virtual_nodes.view import View, accepted_of
from vtn.services.programs import ProgramTerms

#: with this tolerance a device that delivers nothing any more owes nothing
_FREE_TO_GO_PERCENT = 100
ENDED = (Status.REJECTED, Status.EXPIRED)

_log = get_logger("vtn.withdrawal")


class Withdrawals:
    """What was withdrawn is remembered by this process only: to do it again is no change."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._done: set[str] = set()

    async def of_members(
        self, plans: Sequence[DevicePlan], contracts: Mapping[str, ContractRecord], refused: Collection[str]
    ) -> None:
        """Withdraw the events of homes whose contract has ended before it began."""
        ended = [plan for plan in plans if plan.contract_id not in self._done and _is_void(plan, contracts, refused)]
        for event_id in dict.fromkeys(plan.terms.dr_event_id for plan in ended):
            ven_ids = [plan.ven_id for plan in ended if plan.terms.dr_event_id == event_id]
            await self._events.withdraw(event_id, ven_ids)
            _log.info("event withdrawn", dr_event_id=event_id, homes=len(ven_ids))
        self._done.update(plan.contract_id for plan in ended)

    async def of_spare(
        self,
        contract: ContractRecord,
        view: View,
        intervals: Sequence[IntervalDelivery],
        from_ms: int,
        program: ProgramTerms,
    ) -> list[str]:
        """Release homes of what the group delivers beyond its cap, once that is no noise: those called last first, as
        long as the others still cover the obligation. Returns their contracts."""
        released = [plan.terms for plan in view.plans if view.lost.get(plan.contract_id) == RELEASED]
        tolerance, noise = program.monitor_tolerance_percent, program.baseline_noise_percent
        spare = spare_wh(contract.terms, intervals, released, tolerance, noise)
        kept = [plan for plan in accepted_of(view.plans, view.contracts) if plan.contract_id not in view.lost]
        free: list[DevicePlan] = []
        for plan in sorted(kept, key=lambda each: (-each.round, each.reliability_bp, each.contract_id)):
            worth = max(plan.terms.obligation_wh)
            rest = [each for each in kept if each is not plan]
            live = [Live(terms=each.terms, reliability_bp=each.reliability_bp) for each in rest]
            if plan.terms.tolerance_percent < _FREE_TO_GO_PERCENT or worth > spare:
                continue
            if not any(uncovered_wh(contract.terms, live, from_ms)):
                kept, spare = rest, spare - worth
                free.append(plan)
        for event_id in dict.fromkeys(plan.terms.dr_event_id for plan in free):
            ven_ids = [plan.ven_id for plan in free if plan.terms.dr_event_id == event_id]
            await self._events.withdraw(event_id, ven_ids)
            _log.info("homes released", dr_event_id=event_id, homes=len(ven_ids))
        return [plan.contract_id for plan in free]

    async def of_contract(self, contract: ContractRecord, plans: Sequence[DevicePlan]) -> None:
        """Cancel every event of a virtual node's contract that has ended before it began."""
        if contract.contract_id in self._done:
            return
        for event_id in dict.fromkeys([contract.terms.dr_event_id, *(plan.terms.dr_event_id for plan in plans)]):
            await self._events.cancel(event_id)
        _log.info("events cancelled", contract=contract.contract_id)
        self._done.add(contract.contract_id)


def _is_void(plan: DevicePlan, contracts: Mapping[str, ContractRecord], refused: Collection[str]) -> bool:
    found = contracts.get(plan.contract_id)
    return plan.contract_id in refused if found is None else found.status in ENDED
