"""The aggregator's cycle: from a need on the ledger to its last payment.

    follow facts --> remember needs
    every turn, for each open need:
        offers of the virtual nodes --> merit order --> SetupDR        nothing planned yet
        virtual nodes advance their contracts                          theirs to decide, on the ledger
        what they cannot cover --> SetupDR with assisting ones         rejected, expired, or short in the event
        SettleDR, DRCompletion, CloseRequest                           after the metering deadline

A turn looks at ledger, plans and clock and does what is missing; it may be repeated or interrupted anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from contracts.core.commands import RequestReduction, SetupDR
from contracts.core.facts import DRSettled, ReductionRequested
from contracts.core.units import MS_PER_S, WH_PER_MWH
from contracts.demand_response.contract import ContractRecord, Status, terms_end_ms
from contracts.demand_response.needs import PORTFOLIO, NeedRecord
from contracts.tokens import Account, need_account
from ledger.client import START, FactRecord, LedgerClient, LedgerError, LedgerUnavailable
from openadr.model import digest
from runtime.clock import happened
from runtime.logs import get_logger
from vtn.aggregator.closing import close
from vtn.aggregator.dispatch import Candidate, Choice, choose
from vtn.aggregator.ports import Rejection, SignedOffer, VirtualNodePort
from vtn.aggregator.records import REFUSED, AggregatorRecords, GroupPlan
from vtn.aggregator.terms import dr_event, earliest_start_ms, request_end_ms, virtual_node_terms
from vtn.aggregator.virtual_nodes.agent import Surroundings
from vtn.aggregator.virtual_nodes.formation import Formation

_RUNNING = (Status.PROPOSED, Status.ACCEPTED, Status.ACTIVE)
#: what is too little to be worth another contract, in percent of the need
_WORTH_PERCENT = 2
_SHORT = "short of what it is bound to already"

_log = get_logger("vtn.cycle")


class Cycle:
    """One aggregator at work. `turn_s`: wall seconds between turns when nothing wakes it; `surplus_of`: what virtual
    nodes (by name) have too much of on the day of a need that is to absorb surplus."""

    def __init__(
        self,
        ledger: LedgerClient,
        records: AggregatorRecords,
        formation: Formation,
        around: Surroundings,
        *,
        turn_s: float = 1.0,
        surplus_of: Callable[[RequestReduction], Awaitable[Mapping[str, int]]] | None = None,
    ) -> None:
        self._surplus_of = surplus_of
        self._ledger = ledger
        self._records = records
        self._formation = formation
        self._around = around
        self._turn_s = turn_s
        self._wake = asyncio.Event()
        self._cursor = START
        self._opts_known: set[str] = set()
        self._asked_ms: dict[str, int] = {}

    async def run(self) -> None:
        """Works until cancelled; an error of one turn is logged and the next turn tries again.

        What is already on the ledger is read first, so that no decision is taken without its members' history."""
        while not await self._catch_up():
            await asyncio.sleep(self._turn_s)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._turns())

    async def turn(self) -> None:
        """One look at everything that is open. What fails for one need or virtual node holds up no other."""
        await _guarded("virtual nodes not formed", self._formation.form())
        await _guarded("virtual nodes not funded", self._formation.keep_funded())
        for request in await self._records.open_needs():
            await _guarded("need not advanced", self._advance(request), need=request.need_id)

    async def _turns(self) -> None:
        while True:
            try:
                await self.turn()
            except LedgerError as error:
                _log.warning("turn interrupted", error=str(error))
            except Exception:
                _log.exception("turn failed")
            await happened(self._wake, self._turn_s)
            self._wake.clear()

    async def _follow(self) -> None:
        while True:
            try:
                async for record in self._ledger.follow(self._cursor):
                    await self._observe(record)
                    self._wake.set()
            except LedgerError as error:
                _log.warning("facts interrupted", error=str(error))
                await asyncio.sleep(self._turn_s)

    async def _catch_up(self) -> bool:
        self._around.track.release(await self._records.released())
        try:
            while page := await self._ledger.facts(self._cursor):
                for record in page:
                    await self._observe(record)
        except LedgerError as error:
            _log.warning("the ledger is not there yet", error=str(error))
            return False
        return True

    async def _observe(self, record: FactRecord) -> None:
        """Needs of this aggregator, and the track record of its virtual nodes' members."""
        fact = record.fact
        if isinstance(fact, ReductionRequested) and fact.aggregator == self._ledger.party:
            fields = {name: getattr(fact, name) for name in RequestReduction.__struct_fields__}
            await self._records.add_need(RequestReduction(**fields), self._around.clock.now_ms())
        if isinstance(fact, DRSettled) and fact.parent is not None and fact.parent not in self._opts_known:
            # one question for all homes of a contract: when the first is settled, nobody opts out any more
            self._opts_known.add(fact.parent)
            self._around.track.opted_out(await self._records.opted_out(fact.parent))
        self._around.track.observe(fact)
        self._cursor = record.cursor

    # ---- one need

    async def _advance(self, request: RequestReduction) -> None:
        need = await self._ledger.record(NeedRecord, request.need_id)
        if need is None:
            return
        contracts = await self._contracts(request)
        await _guarded("need not dispatched", self._dispatch(request, contracts), need=request.need_id)
        for contract in contracts.values():
            node = self._formation.nodes.get(contract.payee)
            if node is not None:
                await _guarded("contract not advanced", node.advance(contract), contract=contract.contract_id)
        plans = await self._records.group_plans(request.need_id)
        over = self._around.clock.now_ms() >= request_end_ms(request)
        waiting = any(
            plan.contract_id not in contracts and plan.kind != REFUSED and self._in_time(plan) for plan in plans
        )
        if over and not waiting and await close(self._ledger, self._around.clock, need, list(contracts.values())):
            await self._records.close_need(request.need_id)
            _log.info("need closed", need=request.need_id)

    async def _contracts(self, request: RequestReduction) -> dict[str, ContractRecord]:
        """This aggregator's SC1s of a need. (The ids of need "a-1" begin like those of "a".)"""
        found = await self._ledger.records(ContractRecord, f"sc1-{request.need_id}-")
        return {
            key: contract
            for key, contract in found
            if contract.terms.need_id == request.need_id and contract.payer == self._ledger.party
        }

    async def _dispatch(self, request: RequestReduction, contracts: dict[str, ContractRecord]) -> None:
        """Plans what nobody is bound to deliver and proposes what is planned; adds to `contracts` what it set up."""
        plans = await self._records.group_plans(request.need_id)
        if not any(plan.kind != REFUSED for plan in plans) or await self._uncovered(request, plans, contracts):
            plans = await self._plan(request, plans, contracts) or plans
        await self._propose_missing(plans, contracts)

    async def _plan(
        self, request: RequestReduction, plans: Sequence[GroupPlan], contracts: dict[str, ContractRecord]
    ) -> list[GroupPlan]:
        """Asks the virtual nodes that are not short themselves, chooses by merit order, stores plans and reasons; at
        most once an interval."""
        now_ms = self._around.clock.now_ms()
        target = await self._affordable(request, await self._uncovered(request, plans, contracts))
        if not any(target) or earliest_start_ms(self._around.program, now_ms) >= request_end_ms(request):
            return []
        if now_ms - self._asked_ms.get(request.need_id, 0) < request.interval_s * MS_PER_S:
            return []
        self._asked_ms[request.need_id] = now_ms
        nodes = [node for node in self._formation.nodes.values() if request.area in (PORTFOLIO, node.area)]
        offers = {
            # It is a candidate all the same: that nobody is left is kept, with why.
            node.party: Rejection(virtual_node=node.party, reason=_SHORT)
            if await self._is_short(node, contracts)
            else await node.offer(request)
            for node in nodes
        }
        surplus = {} if self._surplus_of is None else await self._surplus_of(request)
        candidates = [_candidate(node, offers[node.party], request, surplus.get(node.name, 0)) for node in nodes]
        dispatch = choose(target, candidates)
        left = [choice.candidate for choice in dispatch.choices if not choice.chosen]
        assisting = tuple(each.candidate for each in left if each.excluded != _SHORT)
        made: list[GroupPlan] = []
        for choice in dispatch.chosen:
            offer = offers[choice.candidate.candidate]
            if isinstance(offer, SignedOffer):
                kind = "assist" if any(plan.kind != REFUSED for plan in plans) else "initial"
                number = len(plans) + len(made)
                made.append(self._group_plan(request, choice, offer, number, kind, assisting))
        await self._records.add_group_plans(made, dispatch.choices, target, request.need_id, now_ms)
        _log.info("virtual nodes chosen", need=request.need_id, chosen=len(made), lacking_wh=sum(dispatch.lacking_wh))
        if any(dispatch.lacking_wh):
            _log.warning("nobody left to ask", need=request.need_id, lacking_wh=sum(dispatch.lacking_wh))
        return await self._records.group_plans(request.need_id)

    def _group_plan(
        self,
        request: RequestReduction,
        choice: Choice,
        signed: SignedOffer,
        number: int,
        kind: str,
        assisting: tuple[str, ...],
    ) -> GroupPlan:
        now_ms = self._around.clock.now_ms()
        offer = signed.offer
        node = self._formation.nodes[offer.virtual_node]
        skipped = (offer.start_ms - request.start_ms) // (request.interval_s * MS_PER_S)
        contract_id = f"sc1-{request.need_id}-{number}"
        event = dr_event(
            self._around.program,
            f"evt-{request.need_id}-{number}",
            node.name,
            offer.start_ms,
            request_end_ms(request),
        )
        terms = virtual_node_terms(
            self._around.program,
            request,
            event,
            choice.obligation_wh[skipped:],
            now_ms,
            offer.energy_price_minor_per_mwh,
            assisting,
        )
        return GroupPlan(
            contract_id=contract_id,
            need_id=request.need_id,
            virtual_node=offer.virtual_node,
            kind=kind,
            terms=terms,
            offer=offer,
            offer_signature=signed.signature,
            planned_ms=now_ms,
        )

    async def _propose_missing(self, plans: Sequence[GroupPlan], contracts: dict[str, ContractRecord]) -> None:
        for plan in plans:
            if plan.contract_id in contracts or plan.kind == REFUSED or not self._in_time(plan):
                continue
            if not await self._store_event(plan):
                continue
            command = SetupDR(
                contract_id=plan.contract_id,
                parent=None,
                payee=plan.virtual_node,
                terms=plan.terms,
                offer=plan.offer,
                offer_signature=plan.offer_signature,
            )
            [result] = await self._ledger.submit_many([command])
            if result.status == "refused" and result.code != "contract_exists":
                _log.error("contract refused", contract=plan.contract_id, code=result.code)
                await self._records.refuse_group_plan(plan.contract_id)
            found = await self._ledger.record(ContractRecord, plan.contract_id)
            if found is not None and found.payer == self._ledger.party:
                contracts[plan.contract_id] = found

    async def _store_event(self, plan: GroupPlan) -> bool:
        """Stores the event of a plan that is stored: an event stored before it would keep its id from the next attempt.
        False, and the plan is given up, where the programme's terms changed in between."""
        node = self._formation.nodes.get(plan.virtual_node)
        if node is None:
            return False
        terms = plan.terms
        event = dr_event(self._around.program, terms.dr_event_id, node.name, terms.start_ms, terms_end_ms(terms))
        if digest(event) != terms.dr_event_digest:
            await self._records.refuse_group_plan(plan.contract_id)
            return False
        await self._around.events.plan(event)
        return True

    async def _uncovered(
        self, request: RequestReduction, plans: Sequence[GroupPlan], contracts: dict[str, ContractRecord]
    ) -> list[int]:
        """Wh per interval of the need that nobody is bound to deliver any more; empty if it is not worth a contract."""
        now_ms = self._around.clock.now_ms()
        step_ms = request.interval_s * MS_PER_S
        from_ms = earliest_start_ms(self._around.program, now_ms)
        covered = [0] * len(request.target_wh)
        for plan in plans:
            found = contracts.get(plan.contract_id)
            if plan.kind == REFUSED:
                continue
            if found.status not in _RUNNING if found is not None else not self._in_time(plan):
                continue
            node = self._formation.nodes.get(plan.virtual_node)
            short = await node.shortfall_wh(found) if node is not None and found is not None else None
            offset = (plan.terms.start_ms - request.start_ms) // step_ms
            for n, obliged in enumerate(plan.terms.obligation_wh):
                covered[offset + n] += obliged - (short[n] if short else 0)
        uncovered = [
            max(0, wanted - found) if request.start_ms + n * step_ms >= from_ms else 0
            for n, (wanted, found) in enumerate(zip(request.target_wh, covered, strict=True))
        ]
        worth = sum(uncovered) * 100 > sum(request.target_wh) * _WORTH_PERCENT
        return uncovered if worth else []

    async def _affordable(self, request: RequestReduction, target_wh: Sequence[int]) -> list[int]:
        """What of a target the need's escrow can still hold: contracts hold their cap at the need's price."""
        cost = request.energy_price_minor_per_mwh * self._around.program.terms.cap_percent
        if not cost or not any(target_wh):
            return list(target_wh)
        account = await self._ledger.record(Account, need_account(request.need_id)) or Account()
        free = account.credits_posted - account.debits_posted - account.debits_pending
        most_wh = free * 100 * WH_PER_MWH // cost
        wanted_wh = sum(target_wh)
        if wanted_wh <= most_wh:
            return list(target_wh)
        _log.warning("budget short", need=request.need_id, wanted_wh=wanted_wh, affordable_wh=most_wh)
        return [wh * most_wh // wanted_wh for wh in target_wh]

    async def _is_short(self, node: VirtualNodePort, contracts: dict[str, ContractRecord]) -> bool:
        """Does the node fail to cover a contract of its own already?"""
        for contract in contracts.values():
            if contract.payee == node.party and any(await node.shortfall_wh(contract)):
                return True
        return False

    def _in_time(self, plan: GroupPlan) -> bool:
        return self._around.clock.now_ms() < plan.terms.accept_by_ms


async def _guarded(failure: str, work: Awaitable[object], **ids: str) -> None:
    """Does a part of a turn; what goes wrong is logged and the next turn tries again. Raises LedgerUnavailable: without
    a ledger no other part can work."""
    try:
        await work
    except LedgerUnavailable:
        raise
    except LedgerError as error:
        _log.warning(failure, error=str(error), **ids)
    except Exception:
        _log.exception(failure, **ids)


def _candidate(
    node: VirtualNodePort, offer: SignedOffer | Rejection, request: RequestReduction, surplus_wh: int
) -> Candidate:
    none = (0,) * len(request.target_wh)
    if isinstance(offer, Rejection):
        return Candidate(
            candidate=node.party,
            available_wh=none,
            forecast_wh=0,
            price_minor_per_mwh=0,
            reliability_bp=0,
            excluded=offer.reason,
        )
    skipped = (offer.offer.start_ms - request.start_ms) // (request.interval_s * MS_PER_S)
    return Candidate(
        candidate=node.party,
        available_wh=(0,) * skipped + offer.offer.profile_wh,
        forecast_wh=offer.forecast_wh,
        price_minor_per_mwh=offer.offer.energy_price_minor_per_mwh,
        reliability_bp=offer.reliability_bp,
        surplus_wh=surplus_wh,
    )
