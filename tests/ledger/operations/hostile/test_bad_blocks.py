"""Blocks that a member made by hand: refused or halted with their proposer named, and nothing written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from contracts.core.envelope import BODY_BYTES_MAX
from ledger.log.checkpoint import checkpoint_text
from ledger.ordering.block import make_block, render_block
from tests.builders import START_MS, a_clock, a_key
from tests.ledger.operations.hostile.unchanged import unchanged
from tests.ledger.replicas import HOUR_MS, Ledger, a_replica, a_transfer, an_issue

NewDatabase = Callable[..., str]


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


NESTED = b"[" * 100_000 + b"]" * 100_000


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


OVERSIZED = canonical(json.loads(a_transfer("large")) | {"body": "x" * (BODY_BYTES_MAX + 1)})


async def propose(
    ledger: Ledger, contents: Sequence[bytes] = (), *, edit: Callable[[bytes], bytes] = bytes, **given: Any
):
    """Puts a block into the order as a member would that does not keep to its own program; waits for what comes."""
    replica = ledger.replica
    defaults: dict[str, Any] = {
        "channel": "main", "height": replica.head.height + 1, "previous": replica.head.previous,
        "time_ms": replica.head.time_ms + 1, "proposer": "member.example/1",
        "sign": ledger.founded.cosigner_key.sign,
    }  # fmt: skip
    block = make_block(contents=contents, **{**defaults, **given})
    height = replica.head.height
    await replica._orderer.propose(height + 1, edit(render_block(block)))
    async with asyncio.timeout(10), replica.subscribe() as changed:
        while replica.head.height == height and replica._progress.fault is None:
            changed.clear()
            await changed.wait()
    return replica._progress.fault


def reheaded(data: bytes, old: bytes, new: bytes) -> bytes:
    """The block with another header of the right length."""
    end = 4 + int.from_bytes(data[:4], "big")
    header = data[4:end].replace(old, new)
    assert header != data[4:end]
    return len(header).to_bytes(4, "big") + header + data[end:]


BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "of the same time as the one before": ({"time_ms": START_MS + 1}, "is not later than the one before"),
    "of the past": ({"time_ms": START_MS - HOUR_MS}, "is not later than the one before"),
    "of another height": ({"height": 9}, "block main/9 after main/1"),
    "of another channel": ({"channel": "other"}, "block other/2 after main/1"),
    "that follows another block": ({"previous": b"\1" * 32}, "follows another block 1 than ours"),
    "by nobody": ({"proposer": "stranger.example/1"}, "is not signed by a member"),
    "by a stranger's key": ({"sign": a_key(999).sign}, "is not signed by a member"),
    "of other transactions": ({"edit": lambda data: data[:-1] + b"x"}, "does not hold the transactions"),
    "with a transaction that is not canonical": ({"contents": [b'{"b":1, "a":2}']}, "holds a transaction without form"),
    "with a NUL byte": ({"contents": [b"\0"]}, "holds a transaction without form"),
    "with deep nesting": ({"contents": [NESTED]}, "holds a transaction without form"),
    "that is cut off": ({"edit": lambda data: data[:-3]}, "ends inside a part"),
    "of nothing": ({"edit": lambda data: b""}, "ends inside a part"),
    "of a huge height": ({"edit": lambda data: reheaded(data, b'"height":2', b'"height":%d' % 9**99)}, "not canonical"),
    "of a height of 2^53 - 1": (
        {"edit": lambda data: reheaded(data, b'"height":2', b'"height":9007199254740991')},
        "block main/9007199254740991 after main/1",
    ),
    "larger than a block may be": ({"edit": lambda data: data + bytes(1_500_000)}, "at most 1400000 are ordered"),
}  # fmt: skip


@pytest.mark.parametrize("what", BLOCKS)
async def test_a_bad_block_halts_names_its_proposer_and_changes_nothing(
    database: str, tmp_path: Path, what: str
) -> None:
    given, says = BLOCKS[what]
    contents = given.get("contents", [a_transfer("ordered")])
    given = {name: value for name, value in given.items() if name != "contents"}
    async with a_replica(database, tmp_path / "m", a_clock()) as ledger:
        await ledger.run(an_issue())
        async with unchanged(database):
            fault = await propose(ledger, contents, **given)
        assert says in str(fault), fault
        assert str(fault).startswith("block "), fault
        if "edit" not in given:
            assert given.get("proposer", "member.example/1") in str(fault), fault
        assert ledger.replica.status()["state"] == "diverged"


async def test_a_block_of_the_future_is_executed_and_not_vouched_for(database: str, tmp_path: Path) -> None:
    async with a_replica(database, tmp_path / "m", a_clock()) as ledger:
        await ledger.run(an_issue())
        signed = ledger.replica.final_size
        assert await propose(ledger, [a_transfer("early")], time_ms=START_MS + HOUR_MS) is None
        assert ledger.replica.head.height == 2
        assert ledger.replica.final_size == signed, "nobody cosigned it"
        [[note]] = await ledger.sql("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
        head = ledger.replica.head
        assert bytes(note).startswith(checkpoint_text("ledger.example/main", head.size, head.root).encode())
        assert b"member.example/1" not in bytes(note)


async def test_what_a_proposer_orders_without_right_is_a_leaf_and_nothing_more(database: str, tmp_path: Path) -> None:
    """Forged, replayed, over-limit and late transactions that a member ordered all the same: refused by everybody who
    executes them."""
    async with a_replica(database, tmp_path / "m", a_clock()) as ledger:
        await ledger.run(an_issue(reference="once"))
        before = await ledger.sql("SELECT kind, key, body FROM records ORDER BY 1, 2")
        ordered = [
            canonical(json.loads(a_transfer("forged")) | {"signature": "0" * 128}), an_issue(reference="once"),
            OVERSIZED, an_issue(not_after_ms=START_MS - 1),
        ]  # fmt: skip
        assert await propose(ledger, ordered) is None
        rows = await ledger.sql("SELECT code, registered FROM transactions WHERE height = 2 ORDER BY log_index")
        assert [tuple(row) for row in rows] == [
            ("bad_signature", False), ("duplicate", False), ("limit_exceeded", False), ("transaction_expired", False),
        ]  # fmt: skip
        assert await ledger.sql("SELECT kind, key, body FROM records ORDER BY 1, 2") == before
