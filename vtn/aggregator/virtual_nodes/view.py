"""What a virtual node knows of the members it called for one contract, at one moment; and on whom it still counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contracts.core.units import MS_PER_S
from contracts.demand_response.contract import ContractRecord, Status, terms_end_ms
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.aggregator.ports import Events, Members
from vtn.aggregator.records import AggregatorRecords, DevicePlan
from vtn.aggregator.virtual_nodes.evidence.performance import Performance
from vtn.aggregator.virtual_nodes.evidence.silence import RELEASED
from vtn.aggregator.virtual_nodes.monitoring import Live, Watched, assess
from vtn.services.programs import ProgramTerms

#: telemetry of a closed interval may take this part of an interval to arrive
_REPORT_LAG_PARTS = 3

_log = get_logger("vtn.monitoring")


@dataclass(frozen=True)
class View:
    """What is known of a contract's members at one moment."""

    plans: Sequence[DevicePlan]
    contracts: dict[str, ContractRecord]
    lost: dict[str, str]
    now_ms: int
    #: plans the ledger did not take
    refused: frozenset[str]
    performance: Performance = field(default_factory=Performance)

    @property
    def live(self) -> list[Live]:
        """Contracts still counted on. One that is not on the ledger, or not accepted, counts while it still can be."""
        return [
            self.expected_of(plan) for plan in self.plans if plan.contract_id not in self.lost and self._counts(plan)
        ]

    def expected_of(self, plan: DevicePlan) -> Live:
        """A contract with what is expected of its device now: what the group turned out to deliver is expected of those
        who were measured, and nothing else of those who were not."""
        factor = self.performance.factor if plan.contract_id in self.performance.of else 1.0
        return Live(terms=plan.terms, reliability_bp=round(plan.reliability_bp * factor))

    @property
    def reason(self) -> str:
        """Why others are called, in words."""
        reasons = sorted({*self.lost.values()} - {RELEASED})
        if not all(self._counts(plan) for plan in self.plans):
            reasons.append("not accepted by all who were asked")
        if self.performance.factor < 1 or not reasons:
            reasons.append(f"the group delivers {self.performance.factor:.0%} of what was expected")
        return "; ".join(reasons)

    def _counts(self, plan: DevicePlan) -> bool:
        found = self.contracts.get(plan.contract_id)
        if found is not None and found.status is not Status.PROPOSED:
            return found.status is Status.ACCEPTED
        # A quiet ledger may not have said yet that a proposal has expired.
        return plan.terms.accept_by_ms > self.now_ms and plan.contract_id not in self.refused


class Watch:
    """Looks at the members of a virtual node's running contracts. Remembers readings until the next interval closes."""

    def __init__(
        self, members: Members, events: Events, records: AggregatorRecords, program: ProgramTerms, clock: Clock
    ) -> None:
        self._members = members
        self._events = events
        self._records = records
        self._program = program
        self._clock = clock
        self._known: dict[str, tuple[int, Mapping[str, Mapping[int, int]], Mapping[str, int]]] = {}
        self._lost: dict[str, dict[str, str]] = {}

    async def look(
        self,
        contract: ContractRecord,
        plans: Sequence[DevicePlan],
        contracts: dict[str, ContractRecord],
        refused: frozenset[str],
    ) -> View:
        """The members of a contract now: who opted out and who polls at this moment, readings as of the last interval
        that should have been reported."""
        now_ms = self._clock.now_ms()
        if contract.status is not Status.ACTIVE:
            return View(plans, contracts, {}, now_ms, refused)
        accepted = accepted_of(plans, contracts)
        step_ms = contract.terms.interval_s * MS_PER_S
        closed_until_ms = (now_ms - step_ms // _REPORT_LAG_PARTS) // step_ms * step_ms
        closed_ms, readings, delays = self._known.get(contract.contract_id, (0, {}, {}))
        fresh = closed_ms != closed_until_ms or any(plan.ven_id not in readings for plan in accepted)
        if fresh:
            readings, delays = await self._telemetry(contract, accepted)
            self._known[contract.contract_id] = (closed_until_ms, readings, delays)
        opts = {
            (event_id, ven_id): opt
            for event_id in dict.fromkeys(plan.terms.dr_event_id for plan in accepted)
            for ven_id, opt in (await self._events.opts(event_id)).items()
        }
        unheard = await self._members.unheard([plan.ven_id for plan in accepted])
        watched = watched_of(accepted, readings, opts, unheard, delays)
        found = assess(contract.terms, watched, closed_until_ms, now_ms, self._program.baseline_noise_percent)
        if fresh:
            await self._records.put_deliveries(contract.contract_id, found.intervals)
        self._tell(contract.contract_id, found.lost)
        return View(plans, contracts, found.lost, now_ms, refused, found.performance)

    async def _telemetry(
        self, contract: ContractRecord, accepted: Sequence[DevicePlan]
    ) -> tuple[Mapping[str, Mapping[int, int]], Mapping[str, int]]:
        ven_ids = [plan.ven_id for plan in accepted]
        from_ms = min((plan.terms.baseline.adjustment_start_ms for plan in accepted if plan.terms.baseline), default=0)
        readings = await self._members.readings(ven_ids, from_ms, terms_end_ms(contract.terms))
        return readings, await self._members.delays_ms(ven_ids, from_ms, contract.terms.start_ms)

    def _tell(self, contract_id: str, lost: dict[str, str]) -> None:
        before = self._lost.get(contract_id, {})
        if new := {key: reason for key, reason in lost.items() if key not in before and reason != RELEASED}:
            _log.warning("devices lost", contract=contract_id, lost=new)
        if back := [key for key in before if key not in lost]:
            _log.info("devices heard again", contract=contract_id, back=back)
        self._lost[contract_id] = lost


def accepted_of(plans: Sequence[DevicePlan], contracts: Mapping[str, ContractRecord]) -> list[DevicePlan]:
    """Those whose contract their device accepted."""
    return [
        plan
        for plan in plans
        if (found := contracts.get(plan.contract_id)) is not None and found.status is Status.ACCEPTED
    ]


def watched_of(
    accepted: Sequence[DevicePlan],
    readings: Mapping[str, Mapping[int, int]],
    opts: Mapping[tuple[str, str], str],
    unheard: Mapping[str, bool],
    delays_ms: Mapping[str, int],
) -> list[Watched]:
    """What monitoring looks at. `opts`: (event, VEN) -> optIn, optOut, or withdrawn; the others by VEN."""
    return [
        Watched(
            contract_id=plan.contract_id,
            device=plan.device,
            terms=plan.terms,
            readings_wh=readings.get(plan.ven_id, {}),
            opted_out=opts.get((plan.terms.dr_event_id, plan.ven_id)) == "optOut",
            released=opts.get((plan.terms.dr_event_id, plan.ven_id)) == "withdrawn",
            unheard=unheard.get(plan.ven_id),
            delay_ms=delays_ms.get(plan.ven_id, 0),
            reliability_bp=plan.reliability_bp,
        )
        for plan in accepted
    ]
