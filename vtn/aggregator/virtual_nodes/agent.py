"""A virtual node: a group of homes on one feeder that contracts as one party.

It holds its own key, answers its aggregator through `VirtualNodePort`, and otherwise acts on the ledger: it accepts the
contract it offered, calls its members, watches what they deliver and calls others where it is too little. Its logic is
level-triggered: `advance` looks at the contract, the plans and the clock, and does what is missing, so that a restart
or a lost answer needs no special care.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from contracts.core.commands import (
    AcceptReduction,
    Offer,
    RejectReduction,
    RequestReduction,
    SetupDR,
    offer_bytes,
)
from contracts.core.units import MS_PER_S
from contracts.demand_response.contract import ContractRecord, Status, terms_end_ms
from contracts.demand_response.needs import NeedRecord
from contracts.tokens import Account, contract_account, party_account
from ledger.client import LedgerClient
from runtime.clock import Clock
from runtime.keys import PrivateKey
from runtime.logs import get_logger
from vtn.aggregator.ports import Events, HomeForecasts, Members, Rejection, SignedOffer
from vtn.aggregator.records import AggregatorRecords
from vtn.aggregator.terms import dr_event, earliest_start_ms
from vtn.aggregator.virtual_nodes import monitoring
from vtn.aggregator.virtual_nodes.calling.offering import group_offer
from vtn.aggregator.virtual_nodes.calling.rounds import plan_round
from vtn.aggregator.virtual_nodes.choosing import LIMIT_S, Method, Policy, policy_of
from vtn.aggregator.virtual_nodes.members.candidacy import Evaluation
from vtn.aggregator.virtual_nodes.members.forecasts import NaiveForecasts
from vtn.aggregator.virtual_nodes.members.group import evaluate_group
from vtn.aggregator.virtual_nodes.members.track import TrackRecord
from vtn.aggregator.virtual_nodes.view import View, Watch
from vtn.aggregator.virtual_nodes.withdrawal import Withdrawals
from vtn.services.programs import Program

FIRST_ROUND = "first dispatch"

_log = get_logger("vtn.virtual_node")


@dataclass(frozen=True)
class Surroundings:
    """What a virtual node works with."""

    members: Members
    events: Events
    records: AggregatorRecords
    program: Program
    clock: Clock
    track: TrackRecord
    method: Method = "auto"
    forecasts: HomeForecasts = field(default_factory=NaiveForecasts)

    limit_s: float = LIMIT_S
    executor: Executor | None = None

    @property
    def policy(self) -> Policy:
        """How members are chosen."""
        return policy_of(self.program, self.method, self.limit_s)


class VirtualNode:
    """One virtual node; see the module. `name` is its group id on the wire, `area` its feeder."""

    def __init__(
        self, name: str, area: str, party: str, key: PrivateKey, ledger: LedgerClient, around: Surroundings
    ) -> None:
        self.name = name
        self.area = area
        self.party = party
        self._key = key
        self._ledger = ledger
        self._around = around
        self._refused: set[str] = set()
        self._withdrawals = Withdrawals(around.events)
        self._watch = Watch(around.members, around.events, around.records, around.program.terms, around.clock)

    # ---- what its aggregator asks

    async def offer(self, request: RequestReduction) -> SignedOffer | Rejection:
        """Offers what its members can shed, less the reserve; all of it for the window of the request."""
        program, now_ms = self._around.program.terms, self._around.clock.now_ms()
        if request.interval_s != program.interval_s or request.start_ms % (program.interval_s * MS_PER_S):
            reason = f"the need is not on the programme's grid of {program.interval_s} s"
            return Rejection(virtual_node=self.party, reason=reason)
        start_ms = max(request.start_ms, earliest_start_ms(self._around.program, now_ms))
        skipped = (start_ms - request.start_ms) // (request.interval_s * MS_PER_S)
        count = len(request.target_wh) - skipped
        if count <= 0:
            return Rejection(virtual_node=self.party, reason="no interval left that could still be called")
        evaluations = await self._evaluate(request, start_ms, count, exclude=())
        around = self._around
        found = await asyncio.to_thread(
            group_offer,
            request.target_wh[skipped:],
            [each.candidate for each in evaluations],
            program,
            around.policy,
            around.executor,
        )
        if isinstance(found, str):
            return Rejection(virtual_node=self.party, reason=found)
        offer = Offer(
            need_id=request.need_id,
            aggregator=request.aggregator,
            virtual_node=self.party,
            start_ms=start_ms,
            interval_s=request.interval_s,
            profile_wh=found.profile_wh,
            energy_price_minor_per_mwh=found.price_minor_per_mwh,
            valid_until_ms=start_ms,
        )
        signature = self._key.sign(offer_bytes(offer)).hex()
        return SignedOffer(
            offer=offer, signature=signature, reliability_bp=found.reliability_bp, forecast_wh=found.forecast_wh
        )

    async def shortfall_wh(self, contract: ContractRecord) -> tuple[int, ...]:
        """What the last choice of members left uncovered and still is."""
        rounds = await self._around.records.rounds(contract.contract_id)
        none = (0,) * len(contract.terms.obligation_wh)
        if not rounds or not any(rounds[-1].lacking_wh) or contract.status is not Status.ACTIVE:
            return none
        view = await self._view(contract)
        uncovered = self._uncovered(contract, view)
        return tuple(min(a, b) for a, b in zip(uncovered, rounds[-1].lacking_wh, strict=True))

    async def advance(self, contract: ContractRecord) -> None:
        """The next steps of an SC1 with this virtual node as payee.

        Members are chosen at once after it is accepted: until then they would be offered to the next need as well."""
        if contract.status is Status.PROPOSED:
            await self._answer(contract)
            contract = await self._ledger.record(ContractRecord, contract.contract_id) or contract
        match contract.status:
            case Status.ACCEPTED | Status.ACTIVE:
                await self._call_members(contract)
                await self._propose_missing(contract)
            case Status.REJECTED | Status.EXPIRED:
                plans = await self._around.records.device_plans(contract.contract_id)
                await self._withdrawals.of_contract(contract, plans)
            case _:
                pass

    # ---- the handshake

    async def _answer(self, contract: ContractRecord) -> None:
        """Accepts a contract inside its deadline (that the terms are what it offered, the rules made sure)."""
        terms = contract.terms
        if self._around.clock.now_ms() > terms.accept_by_ms:
            return
        if terms.deposit_minor > (await self._free_minor(party_account(self.party)) or 0):
            await self._ledger.submit(RejectReduction(contract_id=contract.contract_id, reason="no funds for deposit"))
            return
        await self._ledger.submit(AcceptReduction(contract_id=contract.contract_id, terms_digest=contract.terms_digest))
        _log.info("reduction accepted", contract=contract.contract_id, virtual_node=self.name)

    async def _call_members(self, contract: ContractRecord) -> None:
        rounds = await self._around.records.rounds(contract.contract_id)
        if not rounds:
            await self._plan_round(contract, 0, FIRST_ROUND, contract.terms.obligation_wh, contract.terms.start_ms, ())
            return
        now_ms = self._around.clock.now_ms()
        view = await self._view(contract)
        if now_ms - rounds[-1].planned_ms < contract.terms.interval_s * MS_PER_S:
            return
        uncovered = self._uncovered(contract, view)
        if not any(uncovered):
            await self._release_spare(contract, view)
            return
        start_ms = max(contract.terms.start_ms, earliest_start_ms(self._around.program, now_ms))
        taken = tuple(plan.device for plan in view.plans)
        await self._plan_round(contract, len(rounds), view.reason, uncovered, start_ms, taken)

    async def _plan_round(
        self,
        contract: ContractRecord,
        number: int,
        reason: str,
        target_wh: Sequence[int],
        start_ms: int,
        taken: Sequence[str],
    ) -> None:
        """Chooses members for what `target_wh` (contract's grid) asks from `start_ms` on, and stores the plan."""
        terms, around = contract.terms, self._around
        count = len(terms.obligation_wh) - (start_ms - terms.start_ms) // (terms.interval_s * MS_PER_S)
        need = await self._ledger.record(NeedRecord, terms.need_id)
        if count <= 0 or need is None:
            return
        evaluations = await self._evaluate(need.request, start_ms, count, exclude=taken)
        planned = await plan_round(
            around, self.name, contract, need.request, evaluations,
            number=number, reason=reason, target_wh=target_wh, start_ms=start_ms,
            free_minor=await self._free_minor(contract_account(contract.contract_id)),
        )  # fmt: skip
        # Events are stored after the plans: one stored before them would keep its id from the next attempt.
        await around.records.add_round(planned.round, planned.plans, planned.dispatch.choices, terms.need_id)
        solved = planned.dispatch.solved
        _log.info("members chosen", contract=contract.contract_id, round=number, chosen=len(planned.plans),
                  reason=reason, method=solved.method, probability_bp=solved.probability_bp,
                  limits=[str(each) for each in solved.limits])  # fmt: skip

    async def _propose_missing(self, contract: ContractRecord) -> None:
        """Publishes the events of all rounds and sets up the contracts that are not on the ledger yet."""
        now_ms = self._around.clock.now_ms()
        plans = await self._around.records.device_plans(contract.contract_id)
        known = await self._contracts_below(contract)
        await self._withdrawals.of_members(plans, known, self._refused)
        missing = [
            plan
            for plan in plans
            if plan.contract_id not in known
            and plan.contract_id not in self._refused
            and plan.terms.accept_by_ms > now_ms
        ]
        windows = {plan.terms.dr_event_id: (plan.terms.start_ms, terms_end_ms(plan.terms)) for plan in missing}
        for event_id, window in windows.items():
            await self._around.events.plan(dr_event(self._around.program, event_id, self.name, *window))
            await self._around.events.publish(
                event_id, [plan.ven_id for plan in plans if plan.terms.dr_event_id == event_id]
            )
        if not missing:
            return
        results = await self._ledger.submit_many(
            [
                SetupDR(
                    contract_id=plan.contract_id,
                    parent=contract.contract_id,
                    payee=plan.device,
                    terms=plan.terms,
                    offer=None,
                    offer_signature=None,
                )
                for plan in missing
            ]
        )
        for plan, result in zip(missing, results, strict=True):
            if result.status == "refused" and result.code != "contract_exists":
                self._refused.add(plan.contract_id)
                _log.warning("contract refused", contract=plan.contract_id, code=result.code)

    # ---- watching

    async def _view(self, contract: ContractRecord) -> View:
        plans = await self._around.records.device_plans(contract.contract_id)
        contracts = await self._contracts_below(contract)
        return await self._watch.look(contract, plans, contracts, frozenset(self._refused))

    async def _release_spare(self, contract: ContractRecord, view: View) -> None:
        if free := await self._withdrawals.of_spare(contract, view):
            self._around.track.release(free)

    def _uncovered(self, contract: ContractRecord, view: View) -> tuple[int, ...]:
        from_ms = earliest_start_ms(self._around.program, self._around.clock.now_ms())
        uncovered = monitoring.uncovered_wh(contract.terms, view.live, from_ms)
        # Less than one call is worth is left to the tolerance of the contract.
        return uncovered if sum(uncovered) >= self._around.program.terms.call_wh_min else (0,) * len(uncovered)

    async def _contracts_below(self, contract: ContractRecord) -> dict[str, ContractRecord]:
        prefix = f"sc2-{contract.contract_id.removeprefix('sc1-')}-"
        found = await self._ledger.records(ContractRecord, prefix)
        # need "a", plan 1 and need "a-1" share this prefix
        return {key: below for key, below in found if below.parent == contract.contract_id}

    # ---- members and money

    async def _evaluate(
        self, request: RequestReduction, start_ms: int, count: int, exclude: Sequence[str]
    ) -> list[Evaluation]:
        return await evaluate_group(self._around, self._ledger, self.name, request, start_ms, count, exclude)

    async def _free_minor(self, name: str) -> int | None:
        """Money of an account that nothing is held of; None where there is no such account."""
        account = await self._ledger.record(Account, name)
        return None if account is None else account.credits_posted - account.debits_posted - account.debits_pending
