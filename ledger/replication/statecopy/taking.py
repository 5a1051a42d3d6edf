"""Copying the state of another member into this one's database: all of it in one transaction, believed by a quorum.

    own head (verified) ─▶ rows after it, and all records ─▶ tree and checkpoints made from the entries
          ─▶ records give the state root ─▶ this database's manifest ═ what a quorum of the members signs of that height
          ─▶ the whole chain audited ─▶ COMMIT          anything else: nothing was changed, another member is asked

Who the members are follows from this member's own records and the changes since that any peer shows, each approved by
those before; who is none any more at that height counts for nothing (ledger.replication.membership.shown).

Nothing is signed of what was copied: the next block is the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol

from sqlalchemy import delete, insert, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger import genesis
from ledger.audit import Audited, LedgerDiffers, audit_history
from ledger.errors import PeerUnavailable
from ledger.founding import Founded
from ledger.log import merkle
from ledger.log.checkpoint import checkpoint_text
from ledger.log.statetree import StateTree, buckets_from_records
from ledger.log.tiles import TileId
from ledger.machine import Head
from ledger.marker import Marker
from ledger.replication.membership.shown import Shown, shown_by
from ledger.replication.membership.succession import own_records
from ledger.replication.peers import Peers
from ledger.replication.statecopy import rows
from ledger.replication.statecopy.giving import manifest_of
from ledger.replication.statecopy.manifest import Manifest, SignedManifest, differences, signers
from ledger.store import tables
from ledger.store.history import History
from ledger.store.postgres import PostgresStore
from ledger.store.reading import reached
from ledger.verify.merkle import leaf_hash
from ledger.verify.state import bucket_of, key_hash
from runtime.logs import get_logger

_log = get_logger("ledger.statecopy")

_TILES_AT_ONCE: Final = 2_000
_MANIFEST_TRIES: Final = 20
_PAUSE_S: Final = 0.5


class StatePeers(Peers, Protocol):
    """The other members, as far as a copy asks them. Every question may raise PeerUnavailable."""

    async def manifest(self, member: str, height: int) -> SignedManifest | None:
        """Giving.manifest of that member."""

    def state(self, member: str, after: int) -> AsyncGenerator[bytes, None]:
        """Giving.state of that member: frames without their lengths."""


class CopyRefused(PeerUnavailable):
    """What was copied is not what a quorum of the members signs; nothing of it was kept."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What is there now. first: the first block that was copied; members: who signed the manifest; audited None: to be
    verified later."""

    source: str
    first: int
    height: int
    members: tuple[str, ...]
    records: int
    audited: Audited | None


class Copying:
    """Into one channel's database, whose replica does not run. verify: audit the whole chain before it is kept.
    addresses: URLs by name of the peers, to be asked on beside the members that they show."""

    def __init__(
        self,
        engine: AsyncEngine,
        founded: Founded,
        peers: StatePeers,
        marker: Marker,
        *,
        verify: bool = True,
        wall_ms: int = 0,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        self._engine = engine
        self._founded = founded
        self._channel = founded.genesis.channel
        self._peers = peers
        self._marker = marker
        self._verify = verify
        self._wall_ms = wall_ms
        self._addresses = dict(addresses or {})

    async def run(self) -> Copied:
        """From the first member that gives what a quorum signs. Raises CopyRefused naming what each one lacked,
        GenesisInvalid, Diverged, StoreUnavailable."""
        store = PostgresStore(self._engine, self._channel)
        try:
            head = (await genesis.load(store, self._founded)).head
            known = await own_records(store)
        finally:
            await store.close()
        shown = await shown_by(self._peers, known, self._channel, head.height, self._know)
        reasons = []
        for source in list(self._peers.names):
            try:
                return await self._copy(source, head, shown)
            except PeerUnavailable as error:
                reasons.append(f"{source}: {error}")
                _log.warning("the state of a member was not taken", member=source, error=str(error))
        reasons += [f"{name}: {why}" for name, why in shown.refused.items()]
        raise CopyRefused("no member gave a state that could be taken: " + ("; ".join(reasons) or "none is known"))

    def _know(self, addresses: Mapping[str, str]) -> None:
        """Ask these, too."""
        self._addresses |= {name: url for name, url in addresses.items() if name != self._founded.member}
        self._peers.use(self._addresses)

    async def _copy(self, source: str, head: Head, shown: Shown) -> Copied:
        async with reached(self._engine, begin=True) as connection:
            try:
                height = await self._fill(connection, source, head)
            except IntegrityError as error:
                raise CopyRefused(f"it gave rows that cannot be: {str(error.orig)[:200]}") from None
            records = await self._check_records(connection, height)
            manifest = await manifest_of(connection, self._founded, height)
            if manifest is None:
                raise CopyRefused(f"it gave no block {height}")
            signed = await self._signed(manifest, shown)
            audited = await self._audit(connection) if self._verify else None
        _log.info("the state was copied", source=source, height=height, signed_by=list(signed))
        return Copied(source, head.height + 1, height, signed, records, audited)

    async def _fill(self, connection: AsyncConnection, source: str, head: Head) -> int:
        """All rows, and what follows from them; the height they are of."""
        await connection.execute(text("LOCK TABLE blocks, records IN EXCLUSIVE MODE"))
        of = tables.records
        await connection.execute(delete(of).where(of.c.channel == self._channel))
        log, height, count, ended = _Log(self._founded, head, self._marker), 0, 0, False
        async with aclosing(self._peers.state(source, head.height)) as frames:
            async for frame in frames:
                name, part = rows.read_frame(frame)
                if name == rows.HEAD and not height:
                    height = part[0][0] if part else 0
                    if height <= head.height:
                        raise CopyRefused(
                            f"it is at block {height}, this member is at {head.height}: there is nothing to copy"
                        )
                elif name == rows.END:
                    ended = part == [(count,)]
                elif name not in rows.TRAVELLING or not height or ended:
                    raise CopyRefused(f"it gave {name[:40]!r} out of turn")
                elif part:
                    count += len(part)
                    log.require_place(name, part, head, height)
                    await self._insert(connection, name, part)
                    await log.follow(connection, name, part)
        if not ended:
            raise CopyRefused("its rows ended early")
        await log.close(connection, height)
        values = {"channel": self._channel, "after": head.height, "wall_ms": self._wall_ms}
        for statement in (_PARTIES, _ERASED):
            await connection.execute(statement, values)
        return height

    async def _insert(self, connection: AsyncConnection, name: str, part: Sequence[rows.Row]) -> None:
        table, columns, _ = rows.TRAVELLING[name]
        values = [{"channel": self._channel, **dict(zip(columns, row, strict=True))} for row in part]
        await connection.execute(insert(table), values)

    async def _check_records(self, connection: AsyncConnection, height: int) -> int:
        """They give the state root of the block, each under its own hashes; how many there are."""
        found: list[tuple[str, str, bytes]] = []
        async for row in History(connection, self._channel).records():
            hashed = key_hash(row["kind"], row["key"])
            expected = (bucket_of(hashed), hashed, sha256(row["body"]).digest())
            if (row["bucket"], row["key_hash"], row["value_hash"]) != expected or not 0 <= row["height"] <= height:
                raise CopyRefused(f"record {row['kind']}/{row['key']} is not the one it says it is")
            found.append((row["kind"], row["key"], row["body"]))
        of = tables.blocks.c
        blocks = await History(connection, self._channel).rows(tables.blocks, of.height == height)
        if not blocks or StateTree(buckets_from_records(found).items()).root != blocks[0]["state_root"]:
            raise CopyRefused(f"its records do not give the state root of block {height}")
        return len(found)

    async def _signed(self, manifest: Manifest, shown: Shown) -> tuple[str, ...]:
        """Who signed it, where that is a quorum of members who count at its height. Raises CopyRefused."""
        given: dict[str, SignedManifest] = {}
        missing: dict[str, str] = {}
        for _ in range(_MANIFEST_TRIES):
            missing = {}
            for name in [name for name in self._peers.names if name not in given]:
                try:
                    signed = await self._peers.manifest(name, manifest.height)
                except PeerUnavailable as error:
                    missing[name] = str(error)
                    continue
                if signed is None:
                    missing[name] = f"it has no block {manifest.height} yet"
                else:
                    given[name] = signed
            quorum = quorum_of(manifest, given, shown)
            if quorum or not any(reason.startswith("it has no block") for reason in missing.values()):
                break
            await asyncio.sleep(_PAUSE_S)
        if quorum:
            return quorum
        said = {name: differences(manifest, each.manifest) for name, each in given.items()}
        reasons = [f"{name} signs another one ({what})" for name, what in said.items() if what]
        reasons += [f"{name}: {why}" for name, why in missing.items()]
        raise CopyRefused(
            f"no quorum of the members signs the manifest of block {manifest.height}: "
            + ("; ".join(reasons) or "too few")
        )

    async def _audit(self, connection: AsyncConnection) -> Audited:
        try:
            return await audit_history(History(connection, self._channel), self._founded)
        except LedgerDiffers as error:
            raise CopyRefused(f"the chain does not verify: {error}") from None


def quorum_of(manifest: Manifest, given: Mapping[str, SignedManifest], shown: Shown) -> tuple[str, ...]:
    """Who signed it of the newest members of whom a quorum did; nobody where these count no more at its height."""
    found = shown.believed(lambda members: signers(manifest, given, members) or None)
    if found is None or (found[1] is not None and manifest.height >= found[1]):
        return ()
    return found[0]


class _Log:
    """Tiles and checkpoints of the blocks, made from their entries as these come."""

    def __init__(self, founded: Founded, head: Head, marker: Marker) -> None:
        self._channel = founded.genesis.channel
        self._origin = founded.genesis.origin
        self._marker = marker
        self._size, self._edge, self._root = head.size, dict(head.edge), head.root
        self._blocks: list[tuple[int, int]] = []
        self._at = 0
        self._leaves: list[bytes] = []
        self._tiles: dict[TileId, bytes] = {}
        self._notes: list[dict[str, Any]] = []

    def require_place(self, name: str, part: Sequence[rows.Row], head: Head, height: int) -> None:
        """Rows of no block that is copied would lie in wait for a later one: no manifest covers them. Raises
        CopyRefused."""
        columns, first, end = rows.TRAVELLING[name][1], head.height + 1, height + 1
        if name == "bodies":
            first, end = head.size, self._blocks[-1][1] if self._blocks else 0
        elif name == "records" or "height" not in columns:
            return
        at = columns.index("log_index" if name == "bodies" else "height")
        strange = next((row[at] for row in part if not first <= row[at] < end), None)
        if strange is not None:
            raise CopyRefused(f"it gave a row of {name} at {strange}, which is none of {first} to {end - 1}")

    async def follow(self, connection: AsyncConnection, name: str, part: Sequence[rows.Row]) -> None:
        """The next rows. Raises CopyRefused for entries that make no such blocks."""
        if name == "blocks":
            self._blocks += [(row[0], row[7]) for row in part]
        elif name == "entries":
            for index, data in part:
                if index != self._size + len(self._leaves) or self._at >= len(self._blocks):
                    raise CopyRefused(f"it gave entry {index} after {self._size + len(self._leaves) - 1}")
                self._leaves.append(leaf_hash(data))
                if index + 1 == self._blocks[self._at][1]:
                    self._end_block()
            if len(self._tiles) > _TILES_AT_ONCE:
                await self._write(connection)

    async def close(self, connection: AsyncConnection, height: int) -> None:
        """All rows came."""
        if self._leaves or self._at != len(self._blocks) or not self._blocks or self._blocks[-1][0] != height:
            raise CopyRefused("its entries end inside a block, or before the last")
        await self._write(connection)

    def _end_block(self) -> None:
        height, size = self._blocks[self._at]
        passes = self._size < self._marker.size <= size
        grown = merkle.append(self._size, self._leaves, self._edge)
        self._size, self._edge, self._root, self._leaves = grown.size, grown.edge, grown.root, []
        signed = (self._marker.size, self._marker.root)
        if passes and self._marker.root and (size, grown.root) != signed:
            raise CopyRefused(
                f"this member signed another tree of {self._marker.size} leaves before: block {height} is of another "
                "log"
            )
        self._tiles |= grown.tiles
        note = checkpoint_text(self._origin, size, grown.root).encode()
        self._notes.append({"channel": self._channel, "size": size, "height": height, "note": note})
        self._at += 1

    async def _write(self, connection: AsyncConnection) -> None:
        if self._notes:
            await connection.execute(insert(tables.checkpoints), self._notes)
        if self._tiles:
            values = [
                {"channel": self._channel, "level": tile.level, "number": tile.number, "data": data}
                for tile, data in self._tiles.items()
            ]
            statement = upsert(tables.tiles)
            taken = {"data": statement.excluded.data}
            await connection.execute(
                statement.on_conflict_do_update(constraint=tables.tiles.primary_key, set_=taken), values
            )
        self._tiles, self._notes = {}, []


_PARTIES: Final = text(
    "INSERT INTO fact_parties (channel, party, height, log_index, ordinal) "
    "SELECT channel, unnest(parties), height, log_index, ordinal FROM facts "
    "WHERE channel = :channel AND height > :after AND :wall_ms >= 0"
)
_ERASED: Final = text(
    "INSERT INTO erasures (channel, log_index, erased_ms) SELECT t.channel, t.log_index, :wall_ms "
    "FROM transactions AS t LEFT JOIN bodies AS b USING (channel, log_index) "
    "WHERE t.channel = :channel AND t.height > :after AND b.salt IS NULL"
)
