"""What a replica answers its peers; see ledger.replication.peers for the promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from contracts.core.codec import encode
from contracts.core.envelope import Header, Transaction
from ledger.errors import NotProposer, OrderingUnavailable, StoreUnavailable
from ledger.log import merkle
from ledger.ordering.block import Block, read_header, render_block
from ledger.ordering.ingress import Ingress, Judged
from ledger.ordering.orderer import Orderer
from ledger.ordering.pool import Pool
from ledger.ordering.progress import Progress
from ledger.replication.alarm import own_receipts
from ledger.replication.attestation import Attestations
from ledger.replication.exchange import Exchange
from ledger.replication.membership.succession import CHANGES_MAX
from ledger.replication.peers import REASON_MAX, BlockReceipts, GivenBlock, GivenChange, PeerStatus
from ledger.store.store import OrderedRow, Store
from ledger.verify import canonical
from runtime.clock import Clock

BLOCKS_MAX: Final = 256
BLOCKS_BYTES_MAX: Final = 4 * 1024 * 1024


class ReplicaReception:
    """The half of a replica that answers its peers: ledger.replication.peers.Reception. refused: told of what was
    malformed or forged."""

    def __init__(
        self,
        *,
        member: str,
        progress: Progress,
        pool: Pool,
        ingress: Ingress,
        orderer: Orderer,
        store: Store,
        clock: Clock,
        attestations: Attestations,
        exchange: Exchange,
        refused: Callable[[Judged], None],
    ) -> None:
        self._member = member
        self._progress = progress
        self._pool = pool
        self._ingress = ingress
        self._orderer = orderer
        self._store = store
        self._clock = clock
        self._attestations = attestations
        self._exchange = exchange
        self._refused = refused

    async def take_transactions(self, contents: Sequence[bytes]) -> int:
        if not self._orderer.leads:
            raise NotProposer(self._orderer.proposer)
        self._progress.require_writable()
        try:
            judged = await self._ingress.judge(contents, self._progress.head.time_ms)
        except StoreUnavailable as error:
            raise OrderingUnavailable(str(error)) from error
        for each in judged:
            if each.code:
                self._refused(each)
        accepted = [each.parsed for each in judged if each.parsed is not None and not each.code]
        self._pool.add(accepted)
        return len(accepted)

    async def take_cosignatures(self, notes: Sequence[bytes]) -> None:
        self._exchange.hear(notes)

    async def give_blocks(self, from_height: int, limit: int, size: int) -> list[GivenBlock]:
        if size > self._progress.head.size:
            return []
        rows = await self._store.ordered(from_height, min(limit, BLOCKS_MAX), size)
        given: list[tuple[OrderedRow, bytes]] = []
        held = 0
        for row in rows:
            data = _as_ordered(row)
            if data is None or (given and held + len(data) > BLOCKS_BYTES_MAX):
                break
            held += len(data)
            given.append((row, data))
        ranges = {row.size: merkle.consistency_ranges(row.size, size) for row, _ in given}
        tiles = await self._store.tiles(sorted({tile for each in ranges.values() for tile in merkle.range_tiles(each)}))
        return [
            GivenBlock(row.height, row.order_revision, data, tuple(merkle.prove(ranges[row.size], tiles)))
            for row, data in given
        ]

    async def give_changes(self, from_height: int) -> list[GivenChange]:
        rows = await self._store.changes(from_height, CHANGES_MAX)
        return [GivenChange(row.height, _content(row.entry, (row.salt, row.body))) for row in rows]

    async def give_receipts(self, height: int) -> BlockReceipts | None:
        return await own_receipts(self._store, height)

    # ---- for external witnesses: ledger.witness.feeding.Fed

    def agreed_size(self) -> int:
        return self._attestations.agreed

    def agreed_note(self) -> bytes | None:
        return None if self._progress.fault is not None else self._attestations.agreed_note()

    async def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        ranges = merkle.consistency_ranges(old_size, new_size)
        return list(merkle.prove(ranges, await self._store.tiles(merkle.range_tiles(ranges))))

    def witnessed(self, note: bytes) -> None:
        self._exchange.share(note)

    # ---- for peers

    def peer_status(self) -> PeerStatus:
        head = self._progress.head
        note = self._attestations.note(head.size)  # ours is among its lines only once it was released
        fault = self._progress.fault
        return PeerStatus(
            member=self._member,
            height=head.height,
            size=head.size,
            note=(note or b"").decode(),
            final=self._attestations.final.note.decode(),
            wall_ms=self._clock.wall_ms(),
            time_ms=self._clock.now_ms(),
            fault="" if fault is None else str(fault)[:REASON_MAX],
        )


def _as_ordered(row: OrderedRow) -> bytes | None:
    """The block's bytes put together again, None where a body was erased."""
    contents = []
    for entry, body in row.transactions:
        if body is None:
            return None
        contents.append(_content(entry, body))
    header_of = read_header(row.header)
    block = Block(header=header_of, header_bytes=row.header, signature=row.signature, contents=tuple(contents))
    return render_block(block)


def _content(entry: bytes, body: tuple[bytes, bytes]) -> bytes:
    """A transaction's canonical bytes, from its entry and from its salt and command."""
    opened = canonical.decode_object(entry)
    header = msgspec.convert(opened["header"], Header)
    salt, command = body
    return encode(
        Transaction(header=header, signature=str(opened["signature"]), salt=salt.hex(), body=command.decode())
    )
