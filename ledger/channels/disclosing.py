"""Making a disclosure (ledger.verify.disclosure): a member of a channel shows some of it to somebody outside.

the channel's facts or transactions ─ openings, inclusion at the anchored size ─┐
main: the first anchor that covers them ─ proof under main's checkpoint ────────┴─▶ one file, verified when it is made
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.core.facts import CheckpointAnchored
from ledger.client import START, FactRecord, LedgerClient
from ledger.errors import ReplicaError
from ledger.operations.export import LogReader
from ledger.verify import parse_policy
from ledger.verify.disclosure import Disclosed, verify_disclosure, write_disclosure
from ledger.verify.note import parse_checkpoint
from ledger.verify.proof import parse_proof

PAGE = 500
FACTS_MAX = 1_000


class DisclosureRefused(ReplicaError):
    """There is nothing to show, or main has not anchored it yet."""


@dataclass(frozen=True, slots=True)
class Made:
    """A disclosure that verifies under main's policy, which is the file to check it with."""

    disclosure: bytes
    policy: bytes
    disclosed: Disclosed


async def disclose(
    main: LedgerClient,
    channel: LedgerClient,
    log: LogReader,
    *,
    contract: str | None = None,
    transactions: Sequence[str] = (),
) -> Made:
    """Shows the facts of a contract in `channel`, or these transactions with their commands. `log` reads the channel's
    public tiles. Raises DisclosureRefused, VerificationError, and what the clients raise."""
    facts = [] if contract is None else await _facts(channel, contract)
    if contract is not None and not facts:
        raise DisclosureRefused(f"channel {channel.channel} holds no facts of {contract}")
    shown: list[tuple[str, int | None]] = [(identity, None) for identity in transactions]
    shown += [(fact.transaction_id, fact.ordinal) for fact in facts if fact.transaction_id is not None]
    items = []
    for identity, ordinal in shown:
        bundle = await channel.proof(identity, ordinal)
        items.append((parse_proof(bundle.proof).index, bundle.opening))
    anchor = await _anchor(main, channel.channel, max(index for index, _ in items))
    await log.pin(anchor.size)
    note = await channel.checkpoint()
    paths = [parse_proof(await log.proof(index, note)).hashes for index, _ in items]
    proved = await main.proof(anchor.transaction_id, anchor.ordinal)
    disclosure = write_disclosure(
        anchor_proof=proved.proof,
        anchor_opening=proved.opening,
        origin=parse_checkpoint(note).origin,
        items=[(index, path, opening) for (index, opening), path in zip(items, paths, strict=True)],
    )
    policy = await main.policy()
    parse_policy(policy, strict=True)
    return Made(disclosure, policy, verify_disclosure(disclosure, policy))


async def _facts(client: LedgerClient, contract: str) -> list[FactRecord]:
    found: list[FactRecord] = []
    after = START
    while page := await client.facts(after, contract=contract, limit=PAGE):
        found += page
        after = page[-1].cursor
        if len(found) > FACTS_MAX:
            raise DisclosureRefused(f"more than {FACTS_MAX} facts of {contract}: name transactions instead")
    return found


@dataclass(frozen=True, slots=True)
class _Anchor:
    transaction_id: str
    ordinal: int
    size: int


async def _anchor(main: LedgerClient, channel: str, index: int) -> _Anchor:
    """The first anchored checkpoint of the channel that covers the entry."""
    after = START
    while page := await main.facts(after, contract=channel, limit=PAGE):
        for record in page:
            fact = record.fact
            if isinstance(fact, CheckpointAnchored) and fact.size > index and record.transaction_id is not None:
                return _Anchor(record.transaction_id, record.ordinal, fact.size)
        after = page[-1].cursor
    raise DisclosureRefused(
        f"main has anchored no checkpoint of channel {channel} that covers entry {index} yet: ask again later"
    )
