"""A log of many entries without sending them: what a replica alone does with ordered blocks, one after the other.

    signed requests ─▶ blocks of BLOCK ─▶ Machine (signatures, contracts) ─▶ PostgresStore ─▶ the member's database

Everything is what a replica would have written, checkpoints and all: it loads and verifies it at its start. Left out
are HTTP, queue and order. What PostgreSQL tidies up later anyway is done at the end, or it would be measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final
from unittest import mock

import msgspec
from sqlalchemy import text

from contracts import rules
from contracts.core.codec import digest
from contracts.core.state import Writes
from ledger import genesis
from ledger.api.transactions import Batch
from ledger.cluster import preparation
from ledger.cluster.layout import Member
from ledger.founding import load
from ledger.machine import Executed, Machine
from ledger.marker import FileMarker
from ledger.ordering.block import make_block
from ledger.ordering.signatures import CheckpointSigner, Verdicts
from ledger.store.postgres import PostgresStore
from ledger.store.source import Source
from runtime.database import create_engine
from runtime.postgres import postgres
from tests.bench.consortium.clock import SharedClock
from tests.bench.consortium.preparing import Supply

BLOCK: Final = 512
_AHEAD: Final = 20_000


async def lengthen(member: Member, supply: Supply, clock: SharedClock, population: Writes, entries: int) -> None:
    """Give a member of a ledger of one, founded and not yet started, a log of at least so many entries. What was
    executed is taken from `supply`, and the clock stands where it ended."""
    settings = preparation.settings_of(member)
    founded = load(settings)
    signer = CheckpointSigner(founded.genesis.origin, founded.log_key, founded.member, founded.cosigner_key)
    marker = FileMarker(settings.data_dir / "signed", digest(founded.genesis))
    original = rules.genesis
    with mock.patch.object(rules, "genesis", lambda founding: {**original(founding), **population}):
        async with postgres(settings.database_url, settings.postgres_dir, "ledger") as url:
            engine = create_engine(url)
            store = PostgresStore(engine, founded.genesis.channel)
            try:
                await genesis.create(store, founded, signer, clock.wall_ms() // 1000, marker, alone=True)
                loaded = await genesis.load(store, founded)
                machine = Machine(
                    channel=founded.genesis.channel, members=genesis.members(founded.policy),
                    contracts_root=founded.genesis.contracts_root, head=loaded.head, cache=loaded.cache,
                    verdicts=Verdicts(), roster=loaded.roster,
                )  # fmt: skip
                while machine.head.size < entries:
                    await asyncio.to_thread(supply.prepare, min(_AHEAD, entries - machine.head.size))
                    for contents in _blocks(supply, clock):
                        await _commit(machine, store, signer, clock, contents)
                        if machine.head.size >= entries:
                            break
                marker.record(machine.head.size, machine.head.root)
                async with engine.connect() as connection:
                    await connection.execution_options(isolation_level="AUTOCOMMIT")
                    for command in ("VACUUM (ANALYZE)", "CHECKPOINT"):
                        await connection.execute(text(command))
            finally:
                await store.close()
                await engine.dispose()


def _blocks(supply: Supply, clock: SharedClock) -> Iterator[list[bytes]]:
    """All that is signed, in order; what a block holds is taken."""
    while supply.ready:
        contents: list[bytes] = []
        while supply.ready and len(contents) < BLOCK:
            request = supply.ready[0]
            contents += [bytes(raw) for raw in msgspec.json.decode(request.body, type=Batch).transactions]
            clock.move(request.clock_ms)
            supply.take(1)
        yield contents


async def _commit(
    machine: Machine, store: PostgresStore, signer: CheckpointSigner, clock: SharedClock, contents: list[bytes]
) -> None:
    head = machine.head
    block = make_block(
        channel=machine.channel, height=head.height + 1, previous=head.previous,
        time_ms=max(clock.now_ms(), head.time_ms + 1), proposer=signer.member, contents=contents,
        sign=signer.sign_block,
    )  # fmt: skip
    machine.check(block)
    transactions = machine.read(block)

    def work(source: Source) -> tuple[Executed, bytes]:
        executed = machine.execute(block, block.header.height, transactions, source)
        made = executed.head
        return executed, signer.note(made.size, made.root, clock.wall_ms() // 1000)

    machine.accept(await store.apply(work))
