"""What is checked before a transaction may cost a leaf: form, commitment, sender and signature.

The contracts check all of it again, because a block may come from another member. Here it keeps forged and malformed
transactions out of the log; they are remembered in a bounded table for the operator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from contracts.core.codec import read
from contracts.core.commands import COMMANDS
from contracts.core.errors import CodecError
from contracts.core.parties import Party, PartyStatus
from ledger.ordering.signatures import Verdicts
from ledger.ordering.transactions import Parsed, parse
from ledger.replication.offload import Offload, in_thread
from ledger.store.store import RefusalRow

FORM_INVALID: Final = "form_invalid"
"""The bytes are not the canonical form of a transaction (the one code that is not the contracts')."""

MAY_HAVE_RESULT: Final = ("transaction_expired", "party_revoked")
"""Refusals of authentic transactions: one that was executed in its time still has its first result, and one that has
none never will: no later block is earlier than the newest one, and a party that was revoked stays so."""

_IN_THREAD_MIN: Final = 512
"""Signatures that may hold the loop for too long (25 ms). For fewer a thread costs more than it gives: it waits for the
interpreter's lock after each one."""
_DETAIL_MAX: Final = 300

FindParty = Callable[[str], Awaitable[bytes | None]]


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A transaction that may be ordered (`code` ""), or why not. `parsed` None: it has no form."""

    parsed: Parsed | None
    code: str = ""
    detail: str = ""

    def refusal(self, received_ms: int) -> RefusalRow:
        """The row for the operator."""
        detail = self.detail.replace("\0", "")[:_DETAIL_MAX]
        if self.parsed is None:
            return RefusalRow(received_ms, None, None, None, self.code, detail)
        header = self.parsed.header
        return RefusalRow(received_ms, self.parsed.id, header.sender, header.command, self.code, detail)


class Ingress:
    """The checks of one channel. `find_party` gives the canonical record of a party as committed. `settled` returns
    when all is committed here that was ordered before: no party is called unknown by a replica that is behind."""

    def __init__(
        self,
        channel: str,
        verdicts: Verdicts,
        find_party: FindParty,
        offload: Offload = in_thread,
        settled: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._channel = channel
        self._verdicts = verdicts
        self._find_party = find_party
        self._offload = offload
        self._settled = settled

    async def judge(self, contents: Sequence[bytes], block_ms: int) -> list[Judged]:
        """One verdict each, in order; nothing that is sent raises. block_ms: time of the newest committed block.

        Not the clock's: what is over by the clock may stand in a block that was cut in time and is not here yet. Told
        "expired" on the clock's word, its sender would send the same command anew, and both would be executed."""
        judged = [self._form(content) for content in contents]
        parties = {sender: await self._party(sender) for sender in _senders(judged)}
        unknown = [sender for sender, party in parties.items() if party is None]
        if unknown and self._settled is not None:
            await self._settled()
            parties |= {sender: await self._party(sender) for sender in unknown}
        triples = []
        for each in judged:
            if each.parsed is None or each.code:
                continue
            if (party := parties[each.parsed.header.sender]) is not None:
                triples.append((party.key, each.parsed.signed, each.parsed.signature))
        if len(triples) >= _IN_THREAD_MIN:
            await self._offload(self._verdicts.ahead, triples)
        return [self._sender(each, parties, block_ms) for each in judged]

    async def _party(self, party: str) -> Party | None:
        body = await self._find_party(party)
        return None if body is None else read(body, Party)

    def _form(self, content: bytes) -> Judged:
        try:
            parsed = parse(content)
        except CodecError as error:
            return Judged(None, FORM_INVALID, str(error))
        header = parsed.header
        if header.channel != self._channel:
            return Judged(parsed, "wrong_channel", header.channel)
        if (header.contract, header.command) not in COMMANDS:
            return Judged(parsed, "command_unknown", f"{header.contract}.{header.command}")
        if not parsed.committed:
            return Judged(parsed, "commitment_mismatch")
        if parsed.command is None:
            return Judged(parsed, "body_invalid")
        return Judged(parsed)

    def _sender(self, judged: Judged, parties: dict[str, Party | None], block_ms: int) -> Judged:
        parsed = judged.parsed
        if parsed is None or judged.code:
            return judged
        header = parsed.header
        party = parties[header.sender]
        if party is None:
            return Judged(parsed, "party_unknown", header.sender)
        if not self._verdicts.verify(party.key, parsed.signed, parsed.signature):
            return Judged(parsed, "bad_signature", header.sender)
        if party.status is not PartyStatus.ACTIVE:
            return Judged(parsed, "party_revoked", header.sender)
        if block_ms > header.not_after_ms:
            return Judged(parsed, "transaction_expired", str(header.not_after_ms))
        return judged


def _senders(judged: Sequence[Judged]) -> dict[str, None]:
    """Of those with a form, each once, in order."""
    return dict.fromkeys(each.parsed.header.sender for each in judged if each.parsed is not None and not each.code)
