"""Brings checkpoints and money from one channel to another: for each child of main, one crossing each way.

    child ── AnchorCheckpoint ──▶ main     whenever the child did something       then BridgeRelease for each burn
    main  ── AnchorCheckpoint ──▶ child    when money was locked for the child    then BridgeMint for each lock

The member whose replica proposes for the child does it, both ways: it holds the child and its parent, which whoever
proposes for the parent need not. Another goes on where it stopped. Nothing here is trusted: the contracts judge each
command, and one that was brought before is refused and does no harm. Anchors of anchors are not news (but for the first
of each channel, which makes the bridge ready), so two idle channels stay idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from contracts.channels.bridge import CrossedRecord, crossed_key
from contracts.channels.registry import ChannelRecord
from contracts.consortium import MemberRecord
from contracts.core.codec import encode, read
from contracts.core.commands import CONTRACT_OF, BridgeMint, BridgeRelease, ChannelMember, Command
from contracts.core.envelope import seal, transaction_id
from contracts.core.parties import Party, PartyKey, PartyStatus
from ledger.channels.proofs import Log, anchor_of, fact_proof, headers_between
from ledger.errors import NotFinalYet, ReplicaError
from ledger.ordering.pool import TransactionResult
from ledger.verify.note import parse_checkpoint
from runtime.clock import Clock
from runtime.keys import PrivateKey
from runtime.logs import get_logger

_log = get_logger("ledger.channels")

VALID_MS: Final = 3_600_000
MEMBERS_PAGE: Final = 200
_LOCKS: Final = {"BridgeLock": "BridgeLocked", "BridgeRelease": "BridgeLocked"}
_BURNS: Final = {"BridgeBurn": "BridgeBurned", "BridgeMint": "BridgeBurned"}
_NO_NEWS: Final = ("AnchorCheckpoint",)


class Side(Log, Protocol):
    """A channel as a crossing needs it: a replica of this process."""

    channel: str

    async def record(self, kind: str, key: str) -> tuple[bytes | None, int]: ...

    async def records(self, kind: str, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]: ...

    async def transaction(self, transaction_id: str) -> TransactionResult | None: ...

    async def proof(self, transaction_id: str, fact_index: int | None) -> tuple[bytes, bytes] | None: ...

    async def submit(self, transactions: Sequence[bytes]) -> list[TransactionResult]: ...

    def status(self) -> dict[str, Any]: ...


class Crossing:
    """One direction. key: of a party that is enrolled in the target channel; cursor: a file that remembers up to which
    leaf of the source everything was brought (lost, it begins anew). downward: from a parent to its child."""

    def __init__(
        self, source: Side, target: Side, key: PrivateKey, clock: Clock, cursor: Path, *, downward: bool
    ) -> None:
        self._source = source
        self._target = target
        self._child = target if downward else source
        self._key = key
        self._clock = clock
        self._cursor = cursor
        self._carried = _LOCKS if downward else _BURNS
        self._scanned = _read_cursor(cursor)
        self._waiting: dict[int, tuple[str, str]] = {}
        self._looked = 0
        self._active = False

    async def run(self, interval_s: float, stopping: asyncio.Event) -> None:
        """Until `stopping` is set, between two steps; what fails is tried again after the interval."""
        while not stopping.is_set():
            try:
                await self.step()
            except NotFinalYet:
                pass
            except ReplicaError as error:
                _log.warning(
                    "a crossing waits", source=self._source.channel, target=self._target.channel, error=str(error)
                )
            except Exception:  # nothing that one step meets may end the carrying of money for good
                _log.exception("a crossing failed", source=self._source.channel, target=self._target.channel)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await stopping.wait()

    async def step(self) -> int:
        """Anchors what is new and brings what waits; the number of commands that were executed. Raises ReplicaError."""
        status = self._child.status()
        if status["proposer"] != status["member"]:
            return 0
        known = await self._known()
        if known is None:
            return 0
        size = parse_checkpoint(await self._source.checkpoint()).size
        await self._scan(size, known.size)
        done = 0
        members = await self._members(known)
        # The first checkpoint is anchored whatever is in it: nothing can be locked for a channel that has none.
        if self._active or known.size == 0 or tuple(members) != known.members:
            done += await self._anchor(known, members)
            known = await self._known() or known
        for index in sorted(self._waiting):
            if index < known.size:
                done += await self._carry(known.size, index)
        _write_cursor(self._cursor, min([self._scanned, *self._waiting]))
        return done

    async def _known(self) -> ChannelRecord | None:
        body, _ = await self._target.record(ChannelRecord.KIND, self._source.channel)
        return None if body is None else read(body, ChannelRecord)

    async def _members(self, known: ChannelRecord) -> list[ChannelMember]:
        height = int(self._source.status()["final_height"])
        rows = await self._source.records(MemberRecord.KIND, "", "", MEMBERS_PAGE)
        records = [read(body, MemberRecord) for _, body in rows]
        named = [ChannelMember(name=each.name, key=each.key) for each in records if each.holds(height)]
        return named or list(known.members)  # a ledger founded by one member names none in its state

    async def _scan(self, size: int, anchored: int) -> None:
        """What happened in the source since the last look: what is to be carried, and beyond the `anchored` leaves that
        the target knows, what is worth an anchor. The cursor says nothing of that: it moves on if one is refused."""
        looked = max(self._looked, anchored)
        for index, header in await headers_between(self._source, min(self._scanned, looked), size):
            if index >= self._scanned and header.command in self._carried:
                self._waiting[index] = (transaction_id(header), self._carried[header.command])
            if index >= looked and not self._active:
                self._active = await self._is_news(transaction_id(header), header.command)
        self._scanned, self._looked = max(self._scanned, size), max(looked, size)

    async def _is_news(self, identity: str, command: str) -> bool:
        """Most releases pay somebody here, and are no news for the child; one that found nobody sends money back."""
        if self._carried is _BURNS:
            return command not in _NO_NEWS
        return command in _LOCKS and (
            command == "BridgeLock" or any(fact["fact"] == _LOCKS[command] for fact in await self._facts(identity))
        )

    async def _anchor(self, known: ChannelRecord, members: Sequence[ChannelMember]) -> int:
        command = await anchor_of(self._source, self._source.channel, known.size, known.members, members)
        if command is None:
            self._active = False
            return 0
        code = await self._submit(command)
        if code in ("ok", "anchor_stale"):
            self._active = False
            return int(code == "ok")
        _log.warning("an anchor was refused", source=self._source.channel, target=self._target.channel, code=code)
        return 0

    async def _carry(self, size: int, index: int) -> int:
        """Brings one lock or burn; it waits on where its recipient is not there yet."""
        identity, fact_name = self._waiting[index]
        facts = await self._facts(identity)
        position = next((at for at, fact in enumerate(facts) if fact["fact"] == fact_name), -1)
        # A parent locks for several children: what is meant for another is not brought here.
        if position < 0 or facts[position]["channel"] != self._target.channel or await self._crossed(identity):
            del self._waiting[index]
            return 0
        if not await self._welcome(facts[position]):
            return 0
        opened = await self._source.proof(identity, position)
        if opened is None:
            del self._waiting[index]
            return 0
        proof = await fact_proof(self._source, size, index, opened[1])
        command: Command = BridgeRelease(channel=self._source.channel, proof=proof)
        if self._carried is _LOCKS:
            command = BridgeMint(proof=proof)
        code = await self._submit(command)
        if code in ("ok", "bridge_spent"):
            del self._waiting[index]
        return int(code == "ok")

    async def _welcome(self, fact: Mapping[str, Any]) -> bool:
        """Would it be taken now? A refusal were an entry of the log for nothing."""
        body, _ = await self._target.record(Party.KIND, fact["recipient"])
        party = None if body is None else read(body, Party)
        if fact["party"] is None:  # on its way back: paid even if revoked
            return party is not None
        if self._carried is _BURNS:
            return party is not None or self._clock.now_ms() > int(fact["release_by_ms"])
        active = party is not None and party.status is PartyStatus.ACTIVE
        return active or self._clock.now_ms() > int(fact["mint_by_ms"])

    async def _facts(self, identity: str) -> list[dict[str, Any]]:
        result = await self._source.transaction(identity)
        return list(result.facts) if result is not None and result.code == "ok" else []

    async def _crossed(self, identity: str) -> bool:
        body, _ = await self._target.record(CrossedRecord.KIND, crossed_key(self._source.channel, identity))
        return body is not None

    async def _submit(self, command: Command) -> str:
        body, _ = await self._target.record(PartyKey.KIND, self._key.public)
        if body is None:
            raise CrossingRefused(
                f"the key that brings checkpoints belongs to no party of channel {self._target.channel}: enrol it there"
            )
        transaction = seal(
            command,
            channel=self._target.channel,
            contract=CONTRACT_OF[type(command)],
            sender=read(body, PartyKey).party,
            nonce=secrets.token_hex(16),
            not_after_ms=self._clock.now_ms() + VALID_MS,
            salt=secrets.token_bytes(32),
            sign=self._key.sign,
        )
        (result,) = await self._target.submit([encode(transaction)])
        return result.code


class CrossingRefused(ReplicaError):
    """Nothing can be brought to the target as things are; the message says what is missing."""


def _read_cursor(path: Path) -> int:
    try:
        return int(msgspec.json.decode(path.read_bytes(), type=dict[str, int])["scanned"])
    except (OSError, msgspec.MsgspecError, KeyError):
        return 0


def _write_cursor(path: Path, scanned: int) -> None:
    if scanned != _read_cursor(path):
        partial = path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode({"scanned": scanned}))
        partial.replace(path)
