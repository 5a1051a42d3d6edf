"""What becomes of proposals: people decide, the utility's key signs, the ledger answers, time runs out.

A decision is one database transaction: the new state, who decided (also in the audit), and, where the utility's key is
here, the sealed need in the outbox under a key that names it. So a process that dies in between neither forgets it nor
submits it twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.errors import CODES
from contracts.core.parties import Role
from contracts.demand_response.needs import NeedRecord
from ledger.client import COMMITTED, REFUSED, LedgerClient, party_id
from runtime.keys import PrivateKey
from runtime.logs import get_logger
from vtn.analytics.proposing import records
from vtn.analytics.proposing.records import Proposal
from vtn.auth import audit
from vtn.context import Vtn
from vtn.errors import Conflict

_log = get_logger("vtn.proposals")


@contextlib.asynccontextmanager
async def utility(vtn: Vtn) -> AsyncIterator[str | None]:
    """The utility's party, whose needs this process may sign and send meanwhile; None where its key is not here.

    Raises KeyFileError."""
    settings = vtn.settings
    if settings.proposal_utility_key is None:
        yield None
        return
    key = PrivateKey.load(settings.proposal_utility_key)
    party = party_id(Role.UTILITY, key.public)
    async with LedgerClient(
        settings.ledger_url, channel=settings.channel, key=key, party=party, clock=vtn.clock
    ) as client:
        vtn.ledger_outbox.add_sender(client)
        yield party


def outbox_key(proposal: Proposal) -> str:
    """The key under which its need is sent: its effect."""
    return f"need-{proposal.proposal.request.need_id}"


class ProposalDesk:
    """Decisions on one VTN. `party`: the utility whose key is here, None without."""

    def __init__(self, vtn: Vtn, party: str | None) -> None:
        self._vtn = vtn
        self._party = party

    async def approve(self, proposal_id: str) -> Proposal:
        """The event is wanted: its need goes to the ledger, or waits for the utility to sign it.

        Raises NotFound, Conflict where it was decided or its time is over."""
        async with self._vtn.database.transaction() as connection:
            found = await self._open(connection, proposal_id)
            state = records.APPROVED if self._party is None else records.REQUESTED
            await self._decide(connection, found, state, "", "proposal_approved")
            if self._party is not None:
                await self._vtn.ledger_outbox.put(connection, outbox_key(found), self._party, found.proposal.request)
            return await records.find(connection, proposal_id)

    async def reject(self, proposal_id: str, reason: str) -> Proposal:
        """The event is not wanted; one that waits for the utility to sign it may still be rejected. Raises NotFound,
        Conflict."""
        async with self._vtn.database.transaction() as connection:
            found = await self._open(connection, proposal_id, records.OPEN, records.APPROVED)
            await self._decide(connection, found, records.REJECTED, reason, "proposal_rejected")
            return await records.find(connection, proposal_id)

    async def look(self) -> None:
        """Brings what the ledger said to the proposals, closes those whose time is over, and approves the others where
        the setting is `auto`. Raises LedgerError."""
        now_ms, auto = self._vtn.clock.now_ms(), self._vtn.settings.proposals == "auto"
        async with self._vtn.database.reading() as connection:
            waiting = await records.found(connection, records.OPEN, records.APPROVED, records.REQUESTED)
        for each in waiting:
            if each.state == records.REQUESTED:
                await self._answered(each)
            elif each.state == records.APPROVED and await self._signed(each):
                await self._move(each, records.SUBMITTED, "the utility signed it")
            elif each.expires_ms <= now_ms:
                late = "nobody decided" if each.state == records.OPEN else "the utility did not sign it"
                await self._move(each, records.EXPIRED, f"{late} in time")
            elif auto and each.state == records.OPEN and self._party is not None:
                await self.approve(each.proposal_id)

    async def found(self, *states: str) -> Sequence[Proposal]:
        """Proposals in these states, or all, newest first."""
        async with self._vtn.database.reading() as connection:
            return await records.found(connection, *states)

    async def _signed(self, proposal: Proposal) -> bool:
        return await self._vtn.ledger.record(NeedRecord, proposal.proposal.request.need_id) is not None

    async def _answered(self, proposal: Proposal) -> None:
        for entry in await self._vtn.ledger_outbox.entries([outbox_key(proposal)]):
            if entry.status == COMMITTED:
                await self._move(proposal, records.SUBMITTED, "")
            elif entry.status == REFUSED:
                why = CODES.get(entry.code or "", entry.code or "")
                await self._move(proposal, records.REFUSED, f"the ledger refused it: {why}")

    async def _move(self, proposal: Proposal, state: str, note: str) -> None:
        async with self._vtn.database.transaction() as connection:
            found = await records.find(connection, proposal.proposal_id, lock=True)
            if found.state != proposal.state:
                return
            await records.change(connection, proposal.proposal_id, state=state, note=note)
            await audit.record(connection, f"proposal_{state}", proposal.proposal_id, note=note)
        _log.info("proposal moved on", proposal=proposal.proposal_id, state=state, note=note)

    async def _open(self, connection: AsyncConnection, proposal_id: str, *states: str) -> Proposal:
        found = await records.find(connection, proposal_id, lock=True)
        if found.state not in (states or (records.OPEN,)):
            raise Conflict("proposal_decided", f"{proposal_id} is {found.state} already")
        if found.expires_ms <= self._vtn.clock.now_ms():
            raise Conflict("proposal_expired", f"the time to decide about {proposal_id} is over")
        return found

    async def _decide(self, connection: AsyncConnection, proposal: Proposal, state: str, note: str, act: str) -> None:
        await records.change(
            connection,
            proposal.proposal_id,
            state=state,
            note=note,
            decided_ms=self._vtn.clock.now_ms(),
            decided_by=audit.actor(),
        )
        need_id = proposal.proposal.request.need_id
        await audit.record(connection, act, proposal.proposal_id, need=need_id, area=proposal.area, note=note)
