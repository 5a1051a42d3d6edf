"""What a need looks like from outside: dispatch and its reasons, contracts, delivery, statements."""

from __future__ import annotations

import msgspec

from contracts.core.commands import RequestReduction
from contracts.demand_response.contract import ContractRecord, Status, terms_end_ms
from contracts.demand_response.needs import NeedRecord
from contracts.tokens import Account, need_account
from vtn.aggregator.dispatch import Choice
from vtn.aggregator.records import AggregatorRecords, DevicePlan, GroupPlan, Round
from vtn.aggregator.statements import Statement, statements, telemetry_differences
from vtn.aggregator.virtual_nodes.escalation import Escalation, escalations
from vtn.aggregator.virtual_nodes.evidence.suspicion import DAY_MS, HISTORY_DAYS, suspicions
from vtn.aggregator.virtual_nodes.groups.records import NodeRecords
from vtn.aggregator.virtual_nodes.monitoring import IntervalDelivery
from vtn.auth.permissions import Role
from vtn.auth.series import Viewer
from vtn.context import Vtn
from vtn.errors import NotAllowed, NotFound

_ALL_TIME_MS = 2**53 - 1
_UNBOUND = (Status.PROPOSED, Status.REJECTED, Status.EXPIRED)


class NeedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A need and whether work on it is "open" or "closed"."""

    state: str
    request: RequestReduction


class ChoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate of one choice: `scope` is the need or the SC1 whose members were chosen."""

    scope: str
    round: int
    choice: Choice


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """One SC1: its plan, its choices of members, and what each closed interval delivered."""

    plan: GroupPlan
    rounds: list[Round]
    members: list[DevicePlan]
    intervals: list[IntervalDelivery]


class ContractLine(msgspec.Struct, frozen=True, kw_only=True):
    """A contract as the ledger holds it."""

    contract_id: str
    level: str
    parent: str | None
    payee: str
    status: str


class Suspicion(msgspec.Struct, frozen=True, kw_only=True):
    """A home whose readings under a contract look odd, and how. It decides nothing: see `suspicions`."""

    contract_id: str
    ven_id: str
    flags: tuple[str, ...]


class NeedView(msgspec.Struct, frozen=True, kw_only=True):
    """A need with all that was decided. escrow: the need's account; names: party or venID -> what people call it."""

    need: NeedRecord
    escrow: Account
    choices: list[ChoiceLine]
    groups: list[GroupView]
    contracts: list[ContractLine]
    escalations: list[Escalation]
    suspicions: list[Suspicion]
    names: dict[str, str]


async def needs(vtn: Vtn) -> list[NeedLine]:
    """All needs, newest first."""
    found = await AggregatorRecords(vtn.database).all_needs()
    return [NeedLine(state=state, request=request) for request, state in found]


async def need(vtn: Vtn, need_id: str) -> NeedView:
    """Everything about one need. Raises NotFound."""
    records = AggregatorRecords(vtn.database)
    record = await _need(vtn, need_id)
    plans = await records.group_plans(need_id)
    groups = [
        GroupView(
            plan=plan,
            rounds=await records.rounds(plan.contract_id),
            members=await records.device_plans(plan.contract_id),
            intervals=await records.deliveries(plan.contract_id),
        )
        for plan in plans
    ]
    contracts = await vtn.ledger.records(ContractRecord, f"sc1-{need_id}-")
    contracts += await vtn.ledger.records(ContractRecord, f"sc2-{need_id}-")
    return NeedView(
        need=record,
        escrow=await vtn.ledger.record(Account, need_account(need_id)) or Account(),
        choices=[
            ChoiceLine(scope=scope, round=number, choice=choice)
            for scope, number, choice in await records.choices(need_id)
        ],
        groups=groups,
        contracts=[
            ContractLine(contract_id=key, level=c.level, parent=c.parent, payee=c.payee, status=c.status)
            for key, c in contracts
        ],
        escalations=escalations(
            plans,
            {group.plan.contract_id: group.rounds for group in groups},
            await records.first_choices(need_id),
            dict(contracts),
        ),
        suspicions=await _suspicions(vtn, [plan for group in groups for plan in group.members], dict(contracts)),
        names=await _names(vtn, plans),
    )


async def need_statements(vtn: Vtn, need_id: str) -> list[Statement]:
    """Statements of a need, flagged where telemetry differs from signed readings. Raises NotFound."""
    await _need(vtn, need_id)
    names = await _names(vtn, await AggregatorRecords(vtn.database).group_plans(need_id))
    found = await statements(vtn.ledger, need_id, names)
    ven_ids = {ven.party: ven.ven_id for ven in await vtn.vens.list() if ven.party is not None}
    flagged = []
    for each in found:
        contract = await vtn.ledger.record(ContractRecord, each.contract_id) if each.payee in ven_ids else None
        if contract is not None and each.outcome:
            viewer, ven_id = Viewer(Role.AGGREGATOR), ven_ids[each.payee]
            try:
                from_ms = contract.terms.start_ms - HISTORY_DAYS * DAY_MS
                telemetry = await vtn.series.of_home(viewer, ven_id, from_ms, _ALL_TIME_MS)
            except NotAllowed:  # without a consent nobody is shown what the home reported
                flagged.append(each)
                continue
            flags = await telemetry_differences(vtn.ledger, each.payee, contract.terms, telemetry)
            flags += suspicions(contract.terms, telemetry)
            flagged.append(msgspec.structs.replace(each, flags=flags))
        else:
            flagged.append(each)
    return flagged


async def _suspicions(vtn: Vtn, plans: list[DevicePlan], contracts: dict[str, ContractRecord]) -> list[Suspicion]:
    """Of the homes that accepted. Their readings are looked at as performing a contract needs it; none is shown."""
    bound = [plan for plan in plans if (c := contracts.get(plan.contract_id)) is not None and c.status not in _UNBOUND]
    readings: dict[str, dict[int, int]] = {plan.ven_id: {} for plan in bound}
    if not bound:
        return []
    first_ms, last_ms = min(plan.terms.start_ms for plan in bound), max(terms_end_ms(plan.terms) for plan in bound)
    window_ms = min((b.adjustment_start_ms for plan in bound if (b := plan.terms.baseline)), default=first_ms)
    for days in range(HISTORY_DAYS + 1):
        from_ms = (first_ms if days else window_ms) - days * DAY_MS
        for ven_id, found in (await vtn.telemetry.histories(list(readings), from_ms, last_ms - days * DAY_MS)).items():
            readings[ven_id] |= found
    flagged = ((plan, suspicions(plan.terms, readings[plan.ven_id])) for plan in bound)
    return [
        Suspicion(contract_id=plan.contract_id, ven_id=plan.ven_id, flags=flags) for plan, flags in flagged if flags
    ]


async def _need(vtn: Vtn, need_id: str) -> NeedRecord:
    found = await vtn.ledger.record(NeedRecord, need_id)
    if found is None:
        raise NotFound("need_unknown", f"there is no need {need_id}: `dr-vtn needs list` shows those there are")
    return found


async def _names(vtn: Vtn, plans: list[GroupPlan]) -> dict[str, str]:
    names: dict[str, str] = {}
    for ven in await vtn.vens.list():
        names[ven.ven_id] = ven.ven_name
        if ven.party is not None:
            names[ven.party] = ven.ven_name
    nodes = {row.party: row.label for row in await NodeRecords(vtn.database, vtn.clock).nodes(ended=True)}
    for plan in plans:
        names[plan.virtual_node] = nodes.get(plan.virtual_node, plan.virtual_node)
    return names
