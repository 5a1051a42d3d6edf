"""What the aggregator decided, in PostgreSQL: enough to explain each choice and to go on after a restart.

    needs ── sc1_plans ── dispatch_rounds ── sc2_plans          what was asked of whom
      │          ├── delivery_intervals                         what each closed interval delivered
      └── dispatch_choices                                      every candidate of every choice, with its reason

What happened on the ledger is not copied here: the ledger is asked for it. JSON columns hold msgspec JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    and_,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from contracts.core.commands import Offer, RequestReduction, Terms
from vtn.aggregator.dispatch import Choice, Solved
from vtn.aggregator.virtual_nodes.monitoring import IntervalDelivery
from vtn.records.database import Database
from vtn.records.tables import event_deliveries, metadata, opts
from vtn.services.deliveries import OPTED_OUT

needs = Table(
    "needs",
    metadata,
    Column("need_id", Text, primary_key=True),
    Column("request", LargeBinary, nullable=False, comment="RequestReduction as JSON"),
    Column("state", Text, nullable=False, comment="open, closed"),
    Column("seen_ms", BigInteger, nullable=False),
)

sc1_plans = Table(
    "sc1_plans",
    metadata,
    Column("contract_id", Text, primary_key=True),
    Column("need_id", Text, ForeignKey("needs.need_id"), nullable=False, index=True),
    Column("virtual_node", Text, nullable=False, comment="ledger party"),
    Column("kind", Text, nullable=False, comment="initial, assist, refused"),
    Column("terms", LargeBinary, nullable=False),
    Column("offer", LargeBinary, nullable=False),
    Column("offer_signature", Text, nullable=False),
    Column("planned_ms", BigInteger, nullable=False),
)

dispatch_rounds = Table(
    "dispatch_rounds",
    metadata,
    Column("sc1", Text, ForeignKey("sc1_plans.contract_id"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("dr_event_id", Text, nullable=False, comment="empty: nobody could be called"),
    Column("target_wh", LargeBinary, nullable=False),
    Column("lacking_wh", LargeBinary, nullable=False),
    Column("planned_ms", BigInteger, nullable=False),
    Column("solved", LargeBinary, comment="Solved as JSON; null: of a choice before this was kept"),
    PrimaryKeyConstraint("sc1", "round"),
)

sc2_plans = Table(
    "sc2_plans",
    metadata,
    Column("contract_id", Text, primary_key=True),
    Column("sc1", Text, nullable=False, index=True),
    Column("round", Integer, nullable=False),
    Column("device", Text, nullable=False, index=True),
    Column("ven_id", Text, nullable=False),
    Column("terms", LargeBinary, nullable=False),
    Column("reliability_bp", Integer, nullable=False),
    Column("dr_event_id", Text, comment="null: that of its round"),
)

dispatch_choices = Table(
    "dispatch_choices",
    metadata,
    Column("need_id", Text, ForeignKey("needs.need_id"), nullable=False),
    Column("scope", Text, nullable=False, comment="the need, or the SC1 whose members were chosen"),
    Column("round", Integer, nullable=False),
    Column("candidate", Text, nullable=False),
    Column("choice", LargeBinary, nullable=False, comment="Choice as JSON"),
    Column("target_wh", LargeBinary, nullable=False),
    Column("chosen_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope", "round", "candidate"),
)

delivery_intervals = Table(
    "delivery_intervals",
    metadata,
    Column("sc1", Text, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("delivery", LargeBinary, nullable=False, comment="IntervalDelivery as JSON"),
    PrimaryKeyConstraint("sc1", "start_ms"),
)


REFUSED = "refused"


class GroupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """An SC1 as planned. kind: initial, assist, or refused (the ledger did not take it)."""

    contract_id: str
    need_id: str
    virtual_node: str
    kind: str
    terms: Terms
    offer: Offer
    offer_signature: str
    planned_ms: int


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One time a virtual node chose members: the first dispatch is round 0, later ones are re-dispatches. dr_event_id:
    the event of who is called for all of it; who has a window of its own has an event of its own, see its terms."""

    sc1: str
    round: int
    reason: str
    dr_event_id: str
    target_wh: tuple[int, ...]
    lacking_wh: tuple[int, ...]
    planned_ms: int
    solved: Solved = Solved()


class DevicePlan(msgspec.Struct, frozen=True, kw_only=True):
    """An SC2 as planned."""

    contract_id: str
    sc1: str
    round: int
    device: str
    ven_id: str
    terms: Terms
    reliability_bp: int


class FirstChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One choice among virtual nodes: what was looked for, and what of it they were asked for, over all intervals."""

    round: int
    chosen_ms: int
    target_wh: int
    asked_wh: int


T = TypeVar("T", bound=msgspec.Struct)


class AggregatorRecords:
    """Reads and writes of the tables above; every write is idempotent by its key: the first one stands."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_need(self, request: RequestReduction, seen_ms: int) -> None:
        """Remembers a need; again changes nothing."""
        row = {"need_id": request.need_id, "request": _json(request), "state": "open", "seen_ms": seen_ms}
        await self._insert(needs, [row])

    async def open_needs(self) -> list[RequestReduction]:
        """Needs not yet closed, oldest first."""
        query = select(needs.c.request).where(needs.c.state == "open").order_by(needs.c.seen_ms, needs.c.need_id)
        async with self._database.reading() as connection:
            return [_struct(data, RequestReduction) for (data,) in await connection.execute(query)]

    async def close_need(self, need_id: str) -> None:
        """No more work on it."""
        async with self._database.transaction() as connection:
            await connection.execute(needs.update().where(needs.c.need_id == need_id).values(state="closed"))

    async def all_needs(self) -> list[tuple[RequestReduction, str]]:
        """Every need with its state, newest first."""
        query = select(needs.c.request, needs.c.state).order_by(needs.c.seen_ms.desc(), needs.c.need_id)
        async with self._database.reading() as connection:
            return [(_struct(data, RequestReduction), state) for data, state in await connection.execute(query)]

    async def add_group_plans(self, plans: Sequence[GroupPlan], choices: Sequence[Choice], target_wh: Sequence[int],
                              need_id: str, now_ms: int) -> None:  # fmt: skip
        """One dispatch over virtual nodes: its plans and why, in one transaction; a round of its own, also where it
        chose nobody."""
        last = select(func.max(dispatch_choices.c.round)).where(dispatch_choices.c.scope == need_id)
        async with self._database.transaction() as connection:
            found = await connection.scalar(last)
            round_number = 0 if found is None else found + 1
            for table, rows in (
                (sc1_plans, [_row(plan, "terms", "offer") for plan in plans]),
                (dispatch_choices, _choice_rows(need_id, need_id, round_number, choices, target_wh, now_ms)),
            ):
                if rows:
                    await connection.execute(insert(table).values(rows).on_conflict_do_nothing())

    async def refuse_group_plan(self, contract_id: str) -> None:
        """The ledger does not take this plan; it stays as history and another may be made."""
        async with self._database.transaction() as connection:
            await connection.execute(
                sc1_plans.update().where(sc1_plans.c.contract_id == contract_id).values(kind=REFUSED)
            )

    async def group_plans(self, need_id: str) -> list[GroupPlan]:
        """SC1s planned for a need, in order of their ids."""
        query = select(sc1_plans).where(sc1_plans.c.need_id == need_id).order_by(sc1_plans.c.contract_id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [
            GroupPlan(**{**row, "terms": _struct(row["terms"], Terms), "offer": _struct(row["offer"], Offer)})
            for row in rows
        ]

    async def add_round(self, planned: Round, plans: Sequence[DevicePlan], choices: Sequence[Choice],
                        need_id: str) -> None:  # fmt: skip
        """One choice of members: its contracts and why, in one transaction."""
        async with self._database.transaction() as connection:
            rows_of = (
                (dispatch_rounds, [_row(planned, "target_wh", "lacking_wh", "solved")]),
                (sc2_plans, [_row(plan, "terms") | {"dr_event_id": plan.terms.dr_event_id} for plan in plans]),
                (
                    dispatch_choices,
                    _choice_rows(need_id, planned.sc1, planned.round, choices, planned.target_wh, planned.planned_ms),
                ),
            )
            for table, rows in rows_of:
                if rows:
                    await connection.execute(insert(table).values(rows).on_conflict_do_nothing())

    async def rounds(self, sc1: str) -> list[Round]:
        """Rounds of an SC1, first to last."""
        query = select(dispatch_rounds).where(dispatch_rounds.c.sc1 == sc1).order_by(dispatch_rounds.c.round)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        profile = tuple[int, ...]
        return [
            Round(
                **{
                    **row,
                    "target_wh": msgspec.json.decode(row["target_wh"], type=profile),
                    "lacking_wh": msgspec.json.decode(row["lacking_wh"], type=profile),
                    "solved": Solved() if row["solved"] is None else _struct(row["solved"], Solved),
                }
            )
            for row in rows
        ]

    async def device_plans(self, sc1: str) -> list[DevicePlan]:
        """SC2s planned under an SC1."""
        return await self._device_plans(sc2_plans.c.sc1 == sc1)

    async def opted_out(self, sc1: str | None = None) -> dict[str, str]:
        """SC2s (under an SC1) whose homes opted out of their event, with the reason of an oadrCreateOpt, "" without."""
        e = event_deliveries.c
        said = and_(opts.c.ven_id == e.ven_id, opts.c.opt_id == e.opt_id)
        query = _delivered(sc2_plans.c.contract_id, func.coalesce(opts.c.opt_reason, "").label("reason"))
        query = query.join(opts, said, isouter=True).where(e.state == OPTED_OUT)
        if sc1 is not None:
            query = query.where(sc2_plans.c.sc1 == sc1)
        async with self._database.reading() as connection:
            return {row.contract_id: row.reason for row in await connection.execute(query)}

    async def released(self) -> list[str]:
        """SC2s whose homes had their event taken back."""
        query = _delivered(sc2_plans.c.contract_id).where(event_deliveries.c.withdrawn)
        async with self._database.reading() as connection:
            return list(await connection.scalars(query))

    async def asked(self, now_ms: int) -> list[DevicePlan]:
        """SC2s of open needs whose devices still have time to answer: those are not to be asked for another one."""
        open_needs = select(needs.c.need_id).where(needs.c.state == "open")
        sc1s = select(sc1_plans.c.contract_id).where(sc1_plans.c.need_id.in_(open_needs))
        found = await self._device_plans(sc2_plans.c.sc1.in_(sc1s))
        return [plan for plan in found if plan.terms.accept_by_ms > now_ms]

    async def choices(self, need_id: str) -> list[tuple[str, int, Choice]]:
        """(scope, round, choice) of every candidate of a need, in merit order within a round."""
        query = select(dispatch_choices).where(dispatch_choices.c.need_id == need_id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found = [(row["scope"], row["round"], _struct(row["choice"], Choice)) for row in rows]
        return sorted(
            found, key=lambda item: (item[0], item[1], item[2].rank or 1_000_000, item[2].candidate.candidate)
        )

    async def first_choices(self, need_id: str) -> list[FirstChoice]:
        """The choices among virtual nodes for a need, first to last."""
        d = dispatch_choices.c
        query = select(d.round, d.chosen_ms, d.target_wh, d.choice).where(d.scope == need_id).order_by(d.round)
        found: dict[int, FirstChoice] = {}
        async with self._database.reading() as connection:
            for number, chosen_ms, target, choice in await connection.execute(query):
                wanted = sum(msgspec.json.decode(target, type=tuple[int, ...]))
                asked = sum(_struct(choice, Choice).obligation_wh)
                before = found[number].asked_wh if number in found else 0
                found[number] = FirstChoice(
                    round=number, chosen_ms=chosen_ms, target_wh=wanted, asked_wh=before + asked
                )
        return list(found.values())

    async def put_deliveries(self, sc1: str, intervals: Sequence[IntervalDelivery]) -> None:
        """Stores what closed intervals delivered; a late reading replaces the row."""
        if not intervals:
            return
        rows = [{"sc1": sc1, "start_ms": each.start_ms, "delivery": _json(each)} for each in intervals]
        statement = insert(delivery_intervals).values(rows)
        async with self._database.transaction() as connection:
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["sc1", "start_ms"], set_={"delivery": statement.excluded.delivery}
                )
            )

    async def deliveries(self, sc1: str) -> list[IntervalDelivery]:
        """Closed intervals of an SC1 in time order."""
        query = (
            select(delivery_intervals.c.delivery)
            .where(delivery_intervals.c.sc1 == sc1)
            .order_by(delivery_intervals.c.start_ms)
        )
        async with self._database.reading() as connection:
            return [_struct(data, IntervalDelivery) for (data,) in await connection.execute(query)]

    async def _device_plans(self, condition: Any) -> list[DevicePlan]:
        columns = [sc2_plans.c[name] for name in DevicePlan.__struct_fields__]
        query = select(*columns).where(condition).order_by(sc2_plans.c.contract_id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [DevicePlan(**{**row, "terms": _struct(row["terms"], Terms)}) for row in rows]

    async def _insert(self, table: Table, rows: list[dict[str, Any]]) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(insert(table).values(rows).on_conflict_do_nothing())


def _delivered(*columns: Any) -> Select[Any]:
    """Columns of SC2s whose event went out to their homes, and of how far it got there."""
    event_id = func.coalesce(sc2_plans.c.dr_event_id, dispatch_rounds.c.dr_event_id)
    same = and_(dispatch_rounds.c.sc1 == sc2_plans.c.sc1, dispatch_rounds.c.round == sc2_plans.c.round)
    to_it = and_(event_deliveries.c.event_id == event_id, event_deliveries.c.ven_id == sc2_plans.c.ven_id)
    return select(*columns).select_from(sc2_plans).join(dispatch_rounds, same).join(event_deliveries, to_it)


def _row(record: msgspec.Struct, *as_json: str) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in record.__struct_fields__}
    row.update({name: _json(row[name]) for name in as_json})
    return row


def _choice_rows(
    need_id: str, scope: str, round_number: int, choices: Sequence[Choice], target_wh: Sequence[int], now_ms: int
) -> list[dict[str, Any]]:
    return [
        {
            "need_id": need_id,
            "scope": scope,
            "round": round_number,
            "candidate": choice.candidate.candidate,
            "choice": _json(choice),
            "target_wh": _json(tuple(target_wh)),
            "chosen_ms": now_ms,
        }
        for choice in choices
    ]


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _struct(data: bytes, kind: type[T]) -> T:
    return msgspec.json.decode(data, type=kind)
