"""What a restored member may sign."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.errors import Diverged
from tests.ledger.operations.copies import a_filled_ledger, backed_up, restored
from tests.ledger.replicas import a_replica, an_issue, transfers

NewDatabase = Callable[..., str]


@pytest.fixture(autouse=True)
def tables_url(new_database: NewDatabase) -> str:
    """The template is made outside of a test's event loop."""
    return new_database("ledger")


async def test_a_restored_member_signs_nothing_below_its_last_signature_and_no_second_tree(
    tables_url: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    """Alone, it lost what came after the backup: it goes on unsigned, and stops where it would contradict itself."""
    folder = tmp_path / "member"
    await a_filled_ledger(tables_url, folder)
    await backed_up(tables_url, folder, tmp_path / "b")
    async with a_replica(tables_url, folder) as ledger:
        old = ledger.replica.head.size
        for number in range(4):
            await ledger.run(*transfers(1, first=100 + number))
        signed = ledger.replica.head.size

    url = new_database()
    await restored(url, folder, tmp_path / "b")
    async with a_replica(url, folder) as ledger:
        assert ledger.replica.head.size == old
        await ledger.run(*transfers(1, first=500))
        notes = await ledger.sql("SELECT size, note FROM checkpoints WHERE size > :old", old=old)
        assert [(size < signed, b"member.example" in bytes(note)) for size, note in notes] == [(True, False)]
        assert ledger.replica.final_size == old
        with contextlib.suppress(Diverged):
            for number in range(10):
                await ledger.submit(*transfers(1, first=600 + number))
        with pytest.raises(Diverged, match=rf"signed another tree of {signed} leaves before"):
            await ledger.replica.check_log()
        assert await ledger.sql("SELECT 1 FROM checkpoints WHERE size >= :signed", signed=signed) == []


async def test_a_restored_member_that_executes_the_same_blocks_again_signs_where_it_left_off(
    tables_url: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    """As with a cluster, whose order gives it the blocks after the backup."""
    folder = tmp_path / "member"
    async with a_replica(tables_url, folder) as ledger:
        await ledger.run(an_issue())
        await backed_up(tables_url, folder, tmp_path / "b")
        for number in range(3):
            await ledger.run(*transfers(1, first=number))
        given = await ledger.replica.give_blocks(2, 10, ledger.replica.head.size)
        final = ledger.replica.final_size

    url = new_database()
    await restored(url, folder, tmp_path / "b")
    async with a_replica(url, folder) as ledger:
        sizes = []
        for block in given:
            assert await ledger.replica._orderer.propose(block.height, block.data)
            async with asyncio.timeout(10):
                await ledger.replica._progress.reached(block.height)
            sizes.append(ledger.replica.final_size)
        assert sizes[-1] == final
        assert sizes[0] < final
        await ledger.run(*transfers(1, first=9))
        assert ledger.replica.final_size > final
