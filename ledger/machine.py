"""Executes one block: the same bytes on the same state give the same entries, facts, records and roots, everywhere.

    block ─▶ checks ─▶ tick, if a deadline fell due ─▶ each transaction in order ─▶ summary ─▶ Executed
             (halt)         ledger.store.state under contracts.rules.apply

    entries of a block:   [tick]  transaction*  summary        one leaf of the log each

Nothing here writes: `execute` returns what the store commits, `accept` follows the commit. A block that does not fit
raises BlockRefused, and the replica halts: it never skips one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import msgspec

from contracts import rules
from contracts.consortium import Roster, roster
from contracts.core.codec import encode
from contracts.core.context import Context
from contracts.core.errors import CodecError
from contracts.core.facts import Fact, parties, subject
from contracts.core.parties import Party, PartyStatus
from contracts.core.state import Records, Writes
from contracts.demand_response.ahead import READING_AHEAD, rounds
from contracts.rules import Outcome, Tick
from ledger.log import merkle
from ledger.log.entry import block_entry, tree_root
from ledger.log.statetree import Plan
from ledger.log.tiles import MAX_ENTRY_BYTES, TileId
from ledger.ordering.block import BLOCK_CONTEXT, Block, content_root
from ledger.ordering.signatures import Verdicts
from ledger.ordering.transactions import Parsed, parse
from ledger.store.source import Key, Source, Taken
from ledger.store.state import BlockState, Leaf, StateCache
from ledger.verify import canonical
from ledger.verify.merkle import EMPTY_ROOT, leaf_hash
from ledger.verify.opening import FACT_SALT_PREFIX
from runtime.keys import verify

DUPLICATE: Final = "duplicate"
NONCE_REUSED: Final = "nonce_reused"

_HMAC_BLOCK: Final = 64
_IPAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OPAD: Final = bytes(byte ^ 0x5C for byte in range(256))


class BlockRefused(Exception):
    """The block cannot follow this replica's last one: height, hash, proposer, signature, time or form."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log stands after a block. `previous`: hash of the last summary entry (of the genesis at height 0);
    `edge`: what the next append to the tree reads; `next_due_ms`: the earliest deadline."""

    height: int
    time_ms: int
    previous: bytes
    size: int
    root: bytes
    edge: Mapping[TileId, bytes]
    next_due_ms: int | None


class FactRow(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One fact with its place."""

    log_index: int
    ordinal: int
    transaction_id: str | None
    subject: str | None
    parties: tuple[str, ...]
    body: bytes
    fact: Fact


class TransactionRow(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One transaction with its result. `registered`: its id is taken from now on."""

    log_index: int
    parsed: Parsed
    code: str
    detail: str
    registered: bool
    receipt: bytes
    facts: tuple[FactRow, ...]


@dataclass(frozen=True, slots=True)
class Executed:
    """All that a block makes: to be committed as one, or dropped. `leaves`: the hashes of the writes; `records`: they
    decoded; `roster`: the members of the next block, None if they are those of this one."""

    block: Block
    order_revision: int
    head: Head
    first_index: int
    entries: tuple[bytes, ...]
    transactions: tuple[TransactionRow, ...]
    facts: tuple[FactRow, ...]
    writes: Writes
    leaves: Mapping[Key, Leaf]
    records: Records
    written_by: Mapping[Key, int]
    plan: Plan
    tiles: Mapping[TileId, bytes]
    ticked: bool
    roster: Roster | None = None


@dataclass(slots=True)
class _Run:
    """A block in the making."""

    block: Block
    state: BlockState
    taken: Taken
    first_index: int
    ids: set[str] = field(default_factory=set)
    nonces: set[tuple[str, str]] = field(default_factory=set)
    entries: list[bytes] = field(default_factory=list)
    receipts: list[bytes] = field(default_factory=list)
    transactions: list[TransactionRow] = field(default_factory=list)
    facts: list[FactRow] = field(default_factory=list)
    written_by: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def log_index(self) -> int:
        return self.first_index + len(self.entries)


class Machine:
    """The execution of one channel, from the genesis or from any committed block on.

    members: name -> public key text of those who may propose the next block; roster: they by the state, where it names
    any. contracts_root: names the contracts executed here."""

    def __init__(
        self,
        *,
        channel: str,
        members: Mapping[str, str],
        contracts_root: str,
        head: Head,
        cache: StateCache,
        verdicts: Verdicts,
        roster: Roster | None = None,
    ) -> None:
        self.channel = channel
        self.head = head
        self.cache, self.verdicts = cache, verdicts
        self.members, self._until_height = dict(members), roster and roster.until_height
        self._contracts_root = bytes.fromhex(contracts_root)
        self.validator_set = validator_set(members)
        self._follow(roster)

    def check(self, block: Block) -> None:
        """Fault rule 1, as far as it needs no contract. Raises BlockRefused."""
        header = block.header
        proposer = self.members.get(header.proposer)
        if (header.channel, header.height) != (self.channel, self.head.height + 1):
            raise BlockRefused(f"block {header.channel}/{header.height} after {self.channel}/{self.head.height}")
        if header.previous != self.head.previous.hex():
            raise BlockRefused(f"block {header.height} follows another block {header.height - 1} than ours")
        if header.time_ms <= self.head.time_ms:
            raise BlockRefused(f"block {header.height} is not later than the one before")
        if proposer is None or not verify(proposer, BLOCK_CONTEXT + block.header_bytes, block.signature):
            raise BlockRefused(f"block {header.height} is not signed by a member")
        hashes = [sha256(content).digest() for content in block.contents]
        if content_root(hashes).hex() != header.content_root:
            raise BlockRefused(f"block {header.height} does not hold the transactions its header stands for")

    def read(self, block: Block, known: Mapping[bytes, Parsed] | None = None) -> list[Parsed]:
        """The block's transactions; `known` are some by content that need not be parsed again. Raises BlockRefused."""
        known = known or {}
        try:
            return [known.get(content) or parse(content) for content in block.contents]
        except CodecError as error:
            raise BlockRefused(f"block {block.header.height} holds a transaction without form: {error}") from None

    def signatures(self, transactions: Sequence[Parsed]) -> list[tuple[str, bytes, bytes]]:
        """The signatures that will be asked about, as far as the keys are in the cache: to be verified ahead."""
        triples: list[tuple[str, bytes, bytes]] = []
        for parsed in transactions:
            sender = self._peek_party(parsed.header.sender)
            if sender is not None:
                payee = self._peek_party(getattr(parsed.command, "payee", ""))
                triples += parsed.signatures(sender.key, payee.key if payee else None)
        return triples

    def execute(self, block: Block, order_revision: int, transactions: Sequence[Parsed], source: Source) -> Executed:
        """What a checked block makes of the state. Raises StateTampered."""
        header = block.header
        state = BlockState(self.cache, source)
        self._load(state, transactions)
        senders = [(parsed.header.sender, parsed.header.nonce) for parsed in transactions]
        taken = source.taken([parsed.id for parsed in transactions], senders) if transactions else _NONE_TAKEN
        run = _Run(block, state, taken, self.head.size)
        ticked = self._tick(run)
        for parsed in transactions:
            self._transaction(run, parsed)
        plan = self.cache.plan_leaves(run.state.leaves, source)
        summary = block_entry(
            channel=self.channel,
            height=header.height,
            previous=self.head.previous,
            time_ms=header.time_ms,
            tx_count=len(transactions),
            first_index=run.first_index,
            state_root=plan.root,
            receipts_root=tree_root(run.receipts),
            contracts_root=self._contracts_root,
            validator_set=self.validator_set,
            order_revision=order_revision,
        )
        entries = (*run.entries, summary)
        appended = merkle.append(self.head.size, [leaf_hash(entry) for entry in entries], self.head.edge)
        head = Head(
            height=header.height,
            time_ms=header.time_ms,
            previous=sha256(summary).digest(),
            size=appended.size,
            root=appended.root,
            edge=appended.edge,
            next_due_ms=rules.next_due_ms(run.state) if run.state.wrote("expiry") else self.head.next_due_ms,
        )
        return Executed(
            block=block,
            order_revision=order_revision,
            head=head,
            first_index=run.first_index,
            entries=entries,
            transactions=tuple(run.transactions),
            facts=tuple(run.facts),
            writes=run.state.writes,
            leaves=run.state.leaves,
            records=run.state.records,
            written_by=run.written_by,
            plan=plan,
            tiles=appended.tiles,
            ticked=ticked,
            roster=self._next_roster(run),
        )

    def accept(self, executed: Executed) -> None:
        """Follow the commit of what `execute` returned."""
        self.cache.accept(executed.writes, executed.plan, executed.records)
        self.head = executed.head
        self._follow(executed.roster)

    def _next_roster(self, run: _Run) -> Roster | None:
        """Who orders and cosigns the next block, where that may differ from this one."""
        height = run.block.header.height + 1
        changed = run.state.wrote("member") or height == self._until_height
        return roster(run.state, height) if changed else None

    def _follow(self, following: Roster | None) -> None:
        if following is not None and following.members:
            self.members = {each.name: each.key for each in following.members}
            self._until_height = following.until_height
            self.validator_set = validator_set(self.members)

    def _load(self, state: BlockState, transactions: Sequence[Parsed]) -> None:
        """Most of what the block will read, in few queries; the contracts ask for the rest one by one."""
        state.load(dict.fromkeys([key for parsed in transactions for key in parsed.touched()]))
        commands = [parsed.command for parsed in transactions if parsed.command is not None]
        waiting = [rounds(command, state.find) for command in commands if isinstance(command, READING_AHEAD)]
        while waiting:
            asked = [(each, keys) for each in waiting if (keys := next(each, None)) is not None]
            state.load(dict.fromkeys([key for _, keys in asked for key in keys]))
            waiting = [each for each, _ in asked]

    def _tick(self, run: _Run) -> bool:
        """Deadlines before transactions: a leaf of its own, if anything came of it."""
        time_ms = run.block.header.time_ms
        if self.head.next_due_ms is None or self.head.next_due_ms > time_ms:
            return False
        outcome = rules.apply(run.state, Tick(), self._context(run, ""))
        if not outcome.facts and not outcome.writes:
            return False
        index = run.log_index
        facts = _fact_rows(index, None, outcome)
        result = _receipt(run, outcome, self.head.previous, facts)
        entry = canonical.encode(
            {
                "kind": "tick",
                "channel": self.channel,
                "height": run.block.header.height,
                "time_ms": time_ms,
                "receipt": canonical.decode(result),  # whole: a deadline has no row of its own to keep it
            }
        )
        _take(run, outcome, index, entry, result, facts)
        return True

    def _transaction(self, run: _Run, parsed: Parsed) -> None:
        at = (parsed.header.sender, parsed.header.nonce)
        known = parsed.id in run.taken.ids or parsed.id in run.ids
        if (known or at in run.taken.nonces or at in run.nonces) and self._authentic(run, parsed):
            outcome, registered = _refused(DUPLICATE if known else NONCE_REUSED), not known
        else:
            outcome = rules.apply(run.state, parsed, self._context(run, parsed.id))
            registered = outcome.code == rules.OK or self._authentic(run, parsed)  # the contracts ask the same and more
        if registered:
            run.ids.add(parsed.id)
            run.nonces.add(at)
        index = run.log_index
        facts = _fact_rows(index, parsed.id, outcome)
        result = _receipt(run, outcome, parsed.salt, facts)
        run.transactions.append(TransactionRow(index, parsed, outcome.code, outcome.detail, registered, result, facts))
        _take(run, outcome, index, parsed.entry(sha256(result).digest()), result, facts)

    def _authentic(self, run: _Run, parsed: Parsed) -> bool:
        """Did an active party of this channel send it in time, with this body? Only then may it take an id: else a
        forger who saw a header could use it up before its owner."""
        header = parsed.header
        in_time = run.block.header.time_ms <= header.not_after_ms
        if not (parsed.committed and in_time and header.channel == self.channel):
            return False
        sender = run.state.find(Party, header.sender)
        return (
            sender is not None
            and sender.status is PartyStatus.ACTIVE
            and self.verdicts.verify(sender.key, parsed.signed, parsed.signature)
        )

    def _peek_party(self, party: str) -> Party | None:
        known = self.cache.known("party", party)
        return None if known is None else known.decoded(Party)

    def _context(self, run: _Run, transaction_id: str) -> Context:
        header = run.block.header
        return Context(
            channel=self.channel,
            height=header.height,
            time_ms=header.time_ms,
            transaction_id=transaction_id,
            verify=self.verdicts.verify,
        )


def validator_set(members: Mapping[str, str]) -> str:
    """SHA-256 over the members' names and keys, in order of the name."""
    return sha256("".join(f"{name} {members[name]}\n" for name in sorted(members)).encode()).hexdigest()


def fact_json(fact: Fact) -> dict[str, Any]:
    """A fact as the tagged object that clients read."""
    plain: dict[str, Any] = msgspec.to_builtins(fact)
    return plain


_NONE_TAKEN: Final = Taken(frozenset(), frozenset())


def _refused(code: str) -> Outcome:
    return Outcome(code=code, facts=(), writes={})


def _fact_rows(log_index: int, transaction_id: str | None, outcome: Outcome) -> tuple[FactRow, ...]:
    if not outcome.facts:
        return ()
    return tuple(
        [
            FactRow(log_index, ordinal, transaction_id, subject(fact), parties(fact), encode(fact), fact)
            for ordinal, fact in enumerate(outcome.facts)
        ]
    )


def _receipt(run: _Run, outcome: Outcome, salt: bytes, facts: Sequence[FactRow]) -> bytes:
    """The canonical receipt (ledger.log.entry.receipt) of an outcome, whose writes the state takes."""
    written = run.state.merge(outcome.writes, outcome.records)
    root = tree_root(_salted(salt, facts)) if facts else EMPTY_ROOT
    text = f'{{"code":"{outcome.code}","facts":{len(facts)},"facts_root":"{root.hex()}","writes":"{written.hex()}"}}'
    return text.encode()


def _salted(salt: bytes, facts: Sequence[FactRow]) -> list[bytes]:
    """The leaves of the facts: `ledger.verify.opening.fact_salt`, HMAC-SHA-256 by the salt, before each."""
    key = salt.ljust(_HMAC_BLOCK, b"\0")
    inner, outer = key.translate(_IPAD) + FACT_SALT_PREFIX, key.translate(_OPAD)
    return [
        sha256(outer + sha256(inner + row.ordinal.to_bytes(4, "big")).digest()).digest() + row.body for row in facts
    ]


def _take(run: _Run, outcome: Outcome, index: int, entry: bytes, result: bytes, facts: tuple[FactRow, ...]) -> None:
    if len(entry) > MAX_ENTRY_BYTES:
        raise BlockRefused(f"an entry of {len(entry)} bytes")
    run.written_by.update(dict.fromkeys(outcome.writes, index))
    run.entries.append(entry)
    run.receipts.append(result)
    run.facts += facts
