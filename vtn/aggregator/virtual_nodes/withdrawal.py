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
from vtn.aggregator.virtual_nodes.monitoring import is_spare
from vtn.aggregator.virtual_nodes.view import View, accepted_of

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

    async def of_spare(self, contract: ContractRecord, view: View) -> list[str]:
        """Release homes that the group turned out not to need (`is_spare`): those called last first. Returns their
        contracts."""
        free: list[DevicePlan] = []
        if contract.status is Status.ACTIVE and view.now_ms >= contract.terms.start_ms:
            plans = [plan for plan in accepted_of(view.plans, view.contracts) if plan.contract_id not in view.lost]
            kept = {plan.contract_id: view.expected_of(plan) for plan in plans}
            for plan in sorted(plans, key=lambda each: (-each.round, each.reliability_bp, each.contract_id)):
                part, now_ms, weight = kept[plan.contract_id], view.now_ms, view.performance.weight
                if plan.terms.tolerance_percent < _FREE_TO_GO_PERCENT:
                    continue
                if is_spare(contract.terms, list(kept.values()), part, now_ms, weight):
                    free.append(plan)
                    del kept[plan.contract_id]
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
