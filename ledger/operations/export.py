"""`dr-ledger export`: the facts of a contract or a period with everything that proves them, in one file for others.

    facts ─▶ final checkpoint that covers them ─▶ for each fact: entry, inclusion proof (by tiles), opening
                                                  for each block: its summary entry with its proof

Asked of a replica over HTTP, so an auditor without a replica can do it. The proofs are computed here from public tiles
under one checkpoint; the replica is asked for openings only. The bundle is verified before it is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeVar

from contracts.core.codec import encode
from ledger.client import FactRecord, LedgerClient, Refused
from ledger.client.answers import ORDINAL_MAX
from ledger.log import merkle
from ledger.log.entry import fact_part
from ledger.log.proof import write_opening, write_proof
from ledger.log.tiles import ENTRIES, TILE_WIDTH, TileId, decode_bundle, tile_path, tile_width
from ledger.operations.errors import ExportRefused
from ledger.verify import VerificationError, canonical, parse_policy, verify_checkpoint
from ledger.verify.bundle import (
    BLOCK_PATH,
    CHECKPOINT_PATH,
    FACT_PATH,
    MANIFEST_PATH,
    POLICY_PATH,
    README_PATH,
    README_TEXT,
    Manifest,
    Scope,
    VerifiedBundle,
    verify_bundle,
    write_container,
)
from ledger.verify.bundle.manifest import OPENING_ENDING, PROOF_ENDING
from ledger.verify.policy import Attestation

T = TypeVar("T")
R = TypeVar("R")

FACTS_MAX: Final = 10_000
_PAGE: Final = 500
_AT_ONCE: Final = 8
_SCAN_MAX: Final = 64  # bundles of entries looked through for the summary that ends a block


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that verifies under `policy`."""

    bundle: bytes
    policy: bytes
    verified: VerifiedBundle


async def export(client: LedgerClient, log: LogReader, scope: Scope, *, wait_s: float = 10.0) -> Exported:
    """The bundle of `scope`. Raises ExportRefused (nothing there, too much, not final in time), VerificationError."""
    records = [record async for record in _facts(client, scope)]
    if not records:
        raise ExportRefused("the ledger holds no facts of this: `dr-ledger facts` lists what happened so far")
    policy = await client.policy()
    note, attested = await _final(client, policy, max(record.index for record in records), wait_s)
    await log.pin(attested.checkpoint.size)
    files: dict[str, bytes] = {}
    openings = await _each(records, lambda record: _opening(client, log, record))
    places = []
    for record, opening in sorted(zip(records, openings, strict=True), key=lambda pair: _place(pair[0])):
        stem = FACT_PATH.format(index=record.index, ordinal=record.ordinal)
        files[stem + PROOF_ENDING] = await log.proof(record.index, note)
        files[stem + OPENING_ENDING] = opening
        places.append((record.index, record.ordinal, record.height))
    last_of = {record.height: record.index for record in records}
    for height in sorted(last_of):
        index, entry = await log.summary(last_of[height], height)
        stem = BLOCK_PATH.format(height=height)
        files[stem + PROOF_ENDING] = await log.proof(index, note)
        files[stem + OPENING_ENDING] = write_opening(entry)
    bundle = _assemble(attested.checkpoint.origin, scope, places, policy, note, files)
    return Exported(bundle, policy, verify_bundle(bundle, policy))


class LogReader:
    """Entries and inclusion proofs from the public tiles of one size of the log.

    `fetch` gives the body of a path below the channel (`tile/...`), as `ledger.client` does."""

    def __init__(self, fetch: Callable[[str], Awaitable[bytes | None]]) -> None:
        self._get = fetch
        self._size = 0
        self._tiles: dict[TileId, bytes] = {}
        self._bundles: dict[int, list[bytes]] = {}

    async def pin(self, size: int) -> None:
        """Reads are of the first `size` leaves from now on."""
        self._size, self._tiles, self._bundles = size, {}, {}

    async def entry(self, index: int) -> bytes:
        """The entry at a leaf below the size. Raises VerificationError(bundle_malformed)."""
        number, offset = divmod(index, TILE_WIDTH)
        if number not in self._bundles:
            tile = TileId(ENTRIES, number)
            self._bundles[number] = decode_bundle(await self._fetch(tile_path(tile, tile_width(tile, self._size))))
        try:
            return self._bundles[number][offset]
        except IndexError:
            raise VerificationError("bundle_malformed", f"the ledger gave too few entries for leaf {index}") from None

    async def summary(self, index: int, height: int) -> tuple[int, bytes]:
        """Leaf and entry of the summary that ends the block of leaf `index`."""
        for at in range(index, min(self._size, index + _SCAN_MAX * TILE_WIDTH)):
            entry = await self.entry(at)
            if canonical.decode_object(entry).get("kind") == "block":
                return at, entry
        raise ExportRefused(f"the summary of block {height} is not behind its entries: run `dr-ledger verify` there")

    async def _fetch(self, path: str) -> bytes:
        return await self._get(path) or b""

    async def proof(self, index: int, note: bytes) -> bytes:
        """The `.tlog-proof` of a leaf under the checkpoint of the pinned size."""
        ranges = merkle.inclusion_ranges(index, self._size)
        wanted = [tile for tile in merkle.range_tiles(ranges) if tile not in self._tiles]
        found = await _each(wanted, lambda tile: self._fetch(tile_path(tile, tile_width(tile, self._size))))
        self._tiles |= dict(zip(wanted, found, strict=True))
        try:
            return write_proof(index, merkle.prove(ranges, self._tiles), note)
        except ValueError as error:
            raise VerificationError("merkle_proof", f"the ledger gave a tile that is too short: {error}") from None


async def _facts(client: LedgerClient, scope: Scope) -> AsyncIterator[FactRecord]:
    after, count = await _start(client, scope), 0
    while page := await client.facts(after, party=scope.party, contract=scope.contract, limit=_PAGE):
        for record in page:
            if scope.to_ms is not None and record.time_ms >= scope.to_ms:
                return
            if scope.from_ms is None or record.time_ms >= scope.from_ms:
                yield record
                count += 1
        if count > FACTS_MAX:
            raise ExportRefused(f"more than {FACTS_MAX} facts: ask for a shorter period, or for one --party")
        after = page[-1].cursor


async def _start(client: LedgerClient, scope: Scope) -> str:
    """A cursor before the period: block times grow with the height, so a search by halves finds it."""
    if scope.from_ms is None:
        return "0.0.0"
    low, high = 0, int((await client.status())["height"])
    while low < high:
        middle = (low + high + 1) // 2
        page = await client.facts(f"{middle}.0.0", limit=1)
        if page and page[0].time_ms < scope.from_ms:
            low = middle
        else:
            high = middle - 1
    return f"{low}.0.0"


async def _final(client: LedgerClient, policy: bytes, index: int, wait_s: float) -> tuple[bytes, Attestation]:
    """The newest final checkpoint, once it covers a leaf."""
    end = asyncio.get_running_loop().time() + wait_s
    while True:
        note = await client.checkpoint()
        attested = verify_checkpoint(note, parse_policy(policy, strict=True), strict=True)
        if attested.checkpoint.size > index:
            return note, attested
        if asyncio.get_running_loop().time() > end:
            raise ExportRefused(
                f"entry {index} is not final yet (the quorum has cosigned {attested.checkpoint.size} entries): "
                "the ledger misses members; try again when `dr-ledger status` shows it final"
            )
        await asyncio.sleep(0.2)


async def _opening(client: LedgerClient, log: LogReader, record: FactRecord) -> bytes:
    if record.transaction_id is None:
        return await _tick_opening(client, log, record)
    try:
        return (await client.proof(record.transaction_id, record.ordinal)).opening
    except Refused as refused:
        raise ExportRefused(
            f"fact {record.cursor} cannot be opened ({refused}): its body was erased, or this replica does not hold it"
        ) from refused


async def _tick_opening(client: LedgerClient, log: LogReader, record: FactRecord) -> bytes:
    """The facts of a deadline are salted with the hash of the summary before it, so every reader can open them."""
    facts: list[bytes] = []
    after = f"{record.height}.{record.index - 1}.{ORDINAL_MAX}"  # a tick is never the first entry of the log
    while page := await client.facts(after, limit=_PAGE):
        facts += [encode(each.fact) for each in page if each.index == record.index]
        after = page[-1].cursor
        if page[-1].index != record.index:
            break
    salt = sha256(await log.entry(record.index - 1)).digest()
    return write_opening(await log.entry(record.index), fact=fact_part(facts, salt, record.ordinal))


def _assemble(
    origin: str,
    scope: Scope,
    places: Sequence[tuple[int, int, int]],
    policy: bytes,
    note: bytes,
    files: dict[str, bytes],
) -> bytes:
    listed = {README_PATH: README_TEXT.encode(), POLICY_PATH: policy, CHECKPOINT_PATH: note, **files}
    hashes = {name: sha256(data).hexdigest() for name, data in listed.items()}
    manifest = Manifest(origin, scope, tuple(places), hashes)
    held = listed | {MANIFEST_PATH: manifest.encode()}
    return write_container({name: held[name] for name in manifest.expected()})


def _place(record: FactRecord) -> tuple[int, int]:
    return record.index, record.ordinal


async def _each(items: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """`work` on each, a few at a time, results in order."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> R:
        async with free:
            return await work(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
