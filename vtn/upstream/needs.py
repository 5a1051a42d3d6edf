"""Needs of the utility on the ledger: put there, let go, closed. A look compares and does what is missing.

    requested ──ledger took it──▶ taken ── its homes are let go ──▶ withdrawn ── contracts ended ──▶ closed
        └──ledger refused──▶ refused       └────────── over, and the aggregator closed it ──────────▶┘

A contract cannot be taken back: letting go cancels the events of the homes, so that they stop, and keeps the aggregator
from calling others; contracts that run are settled when they end, as they were delivered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Sequence

import msgspec
from sqlalchemy.dialects.postgresql import insert

from contracts.core.errors import CODES
from contracts.core.units import MS_PER_S
from contracts.demand_response.contract import ContractRecord
from contracts.demand_response.needs import NeedRecord
from ledger.client import COMMITTED, REFUSED, LedgerError, LedgerUnavailable
from runtime.logs import get_logger
from vtn.aggregator.closing import close
from vtn.aggregator.records import AggregatorRecords
from vtn.aggregator.records import needs as aggregator_needs
from vtn.aggregator.terms import request_end_ms
from vtn.auth.permissions import AGGREGATED_HOMES_MIN
from vtn.context import Vtn
from vtn.errors import NotFound
from vtn.services.ledger_outbox import OutboxEntry
from vtn.upstream import records
from vtn.upstream.decisions import outbox_key
from vtn.upstream.events import OPT_IN, OPT_OUT
from vtn.upstream.records import UpstreamNeed

_log = get_logger("vtn.upstream.needs")


class NeedDesk:
    """Needs of one utility."""

    def __init__(self, vtn: Vtn) -> None:
        self._vtn = vtn
        self._aggregator = AggregatorRecords(vtn.database)

    async def submit(self) -> int:
        """Bring requests to the ledger and take its answers: optIn where it took them, optOut with its reason where
        not. Returns how many were answered. Raises LedgerUnavailable; they stay requested then."""
        async with self._vtn.database.reading() as connection:
            waiting = await records.list_needs(connection, records.REQUESTED)
        if not waiting:
            return 0
        keys = {outbox_key(need.need_id): need for need in waiting}
        entries = await self._vtn.ledger_outbox.deliver(list(keys))
        answered = [entry for entry in entries if entry.status in (COMMITTED, REFUSED)]
        for entry in answered:
            await self._answered(keys[entry.key], entry)
        return len(answered)

    async def let_go(self) -> None:
        """Withdraw the needs that are due to be."""
        now_ms = self._vtn.clock.now_ms()
        async with self._vtn.database.reading() as connection:
            taken = await records.list_needs(connection, records.TAKEN)
        for need in taken:
            if need.withdraw_ms is not None and need.withdraw_ms <= now_ms:
                await self._withdraw(need)

    async def look(self) -> None:
        """One step toward the end of needs that are withdrawn or over; what fails for one holds up no other. Raises
        LedgerUnavailable."""
        now_ms = self._vtn.clock.now_ms()
        async with self._vtn.database.reading() as connection:
            found = await records.list_needs(connection, records.TAKEN, records.WITHDRAWN)
        for need in found:
            if need.state == records.WITHDRAWN:
                await _guarded(self._end(need), need.need_id)
            elif request_end_ms(need.request) <= now_ms:
                await _guarded(self._follow(need), need.need_id)

    async def _answered(self, need: UpstreamNeed, entry: OutboxEntry) -> None:
        taken = entry.status == COMMITTED
        why = "" if taken else f"the ledger refused it: {CODES.get(entry.code or '', entry.code)}"
        state, opt_type = (records.TAKEN, OPT_IN) if taken else (records.REFUSED, OPT_OUT)
        now_ms = self._vtn.clock.now_ms()
        async with self._vtn.database.transaction() as connection:
            event = await records.find_event(connection, need.event_id, lock=True)
            await records.change_need(connection, need.need_id, state=state)
            current = (
                event is not None
                and event.state == records.REQUESTED
                and event.modification_number == need.modification_number
            )
            if current:
                await records.change_event(
                    connection, need.event_id, state=state, opt_type=opt_type, note=why, changed_ms=now_ms
                )
            if current and not taken:  # what was agreed before goes with it: the utility hears optOut
                others = await records.list_needs(connection, records.TAKEN, event_id=need.event_id)
                await records.withdraw_needs(connection, [each.need_id for each in others], now_ms)
        _log.info("need answered", need=need.need_id, dr_event_id=need.event_id, state=state, code=entry.code)

    async def _withdraw(self, need: UpstreamNeed) -> None:
        """No more homes are called for it. The row is written even where the aggregator has not seen the need yet: it
        keeps the first one."""
        values = {
            "need_id": need.need_id,
            "request": msgspec.json.encode(need.request),
            "state": records.WITHDRAWN,
            "seen_ms": self._vtn.clock.now_ms(),
        }
        statement = insert(aggregator_needs).values(**values)
        fresh = {"state": statement.excluded.state}
        async with self._vtn.database.transaction() as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["need_id"], set_=fresh))
            await records.change_need(connection, need.need_id, state=records.WITHDRAWN)
        _log.info("need withdrawn", need=need.need_id, dr_event_id=need.event_id)
        await _guarded(self._end(need), need.need_id)

    async def _end(self, need: UpstreamNeed) -> None:
        """Cancel the events of its homes (a turn of the aggregator that was under way may have added some), and close
        it when its contracts have ended."""
        for event_id in await self._events_of(need.need_id):
            with contextlib.suppress(NotFound):
                await self._vtn.dr_events.cancel(event_id)
        record = await self._vtn.ledger.record(NeedRecord, need.need_id)
        if record is None:
            return
        contracts = await self._contracts(need.need_id)
        if await close(self._vtn.ledger, self._vtn.clock, record, contracts):
            await self._closed(need, await self._contracts(need.need_id))

    async def _follow(self, need: UpstreamNeed) -> None:
        record = await self._vtn.ledger.record(NeedRecord, need.need_id)
        if record is not None and record.closed:
            await self._closed(need, await self._contracts(need.need_id))

    async def _closed(self, need: UpstreamNeed, contracts: Sequence[ContractRecord]) -> None:
        found, now_ms = delivered(need, contracts), self._vtn.clock.now_ms()
        async with self._vtn.database.transaction() as connection:
            await records.change_need(
                connection, need.need_id, state=records.CLOSED, delivered_wh=found, settled_ms=now_ms
            )
        await self._aggregator.close_need(need.need_id)
        _log.info("need closed", need=need.need_id, dr_event_id=need.event_id)

    async def _events_of(self, need_id: str) -> list[str]:
        found: dict[str, None] = {}
        for plan in await self._aggregator.group_plans(need_id):
            found[plan.terms.dr_event_id] = None
            for planned in await self._aggregator.device_plans(plan.contract_id):
                found[planned.terms.dr_event_id] = None
        return list(found)

    async def _contracts(self, need_id: str) -> list[ContractRecord]:
        found = await self._vtn.ledger.records(ContractRecord, f"sc1-{need_id}-")
        return [
            contract for _, contract in found if contract.terms.need_id == need_id and contract.payer == self._vtn.party
        ]


def delivered(need: UpstreamNeed, contracts: Sequence[ContractRecord]) -> tuple[int, ...] | None:
    """What homes delivered per interval of the need, as settled; None where fewer than five took part: a sum of so few
    says too much about one."""
    if sum(contract.accepted for contract in contracts) < AGGREGATED_HOMES_MIN:
        return None
    step_ms, request = need.request.interval_s * MS_PER_S, need.request
    total = [0] * len(request.target_wh)
    for contract in contracts:
        offset = (contract.terms.start_ms - request.start_ms) // step_ms
        for n, wh in enumerate(contract.delivered_wh):
            total[offset + n] += wh
    return tuple(total)


async def _guarded(work: Awaitable[None], need_id: str) -> None:
    try:
        await work
    except LedgerUnavailable:
        raise
    except LedgerError as error:
        _log.warning("need not ended", need=need_id, error=str(error))
    except Exception:
        _log.exception("need not ended", need=need_id)
