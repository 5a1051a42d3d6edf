"""Two replicas that differ: the first block, the transaction and the kind are named, in lists and in real tables."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json as msgspec_json
from sqlalchemy import make_url

from contracts import tokens
from ledger.errors import PeerUnavailable
from ledger.replication.divergence import Kind, block_receipts, compare, first_difference, first_divergence
from ledger.replication.network.sides import HttpSide, StoredSide
from ledger.replication.peers import BlockReceipts, PeerStatus, TransactionReceipt
from ledger.store import tables
from ledger.store.history import History
from runtime.database import create_engine
from tests.builders import a_clock
from tests.ledger.replicas import ACCEPT_BY_MS, a_proposal, a_replica, a_transfer, an_issue, execute, transfers


class Blocks:
    """A side made of a list; counts how often it is asked."""

    def __init__(self, made: list[BlockReceipts]) -> None:
        self.made = made
        self.asked = 0

    async def height(self) -> int:
        return len(self.made)

    async def receipts(self, height: int) -> BlockReceipts | None:
        self.asked += 1
        return self.made[height - 1] if 0 < height <= len(self.made) else None


def chain(height: int, changed: int = 0, **change: Any) -> Blocks:
    """Blocks of three transactions; from block `changed` on the chain is another one."""
    made: list[BlockReceipts] = []
    previous = "genesis"
    for number in range(1, height + 1):
        items = tuple(item(f"{number}-{place}") for place in range(3))
        block = BlockReceipts(height=number, state_root=f"state {number}", transactions=items)
        if number == changed:
            block = BlockReceipts(**{"height": number, "state_root": block.state_root, "transactions": items} | change)
        previous = sha256(f"{previous} {block}".encode()).hexdigest()
        made.append(BlockReceipts(height=number, state_root=block.state_root, summary=previous,
                                  transactions=block.transactions))  # fmt: skip
    return Blocks(made)


def item(name: str, **change: str) -> TransactionReceipt:
    return TransactionReceipt(**{"id": name, "code": "ok", "writes": f"w {name}", "receipt": f"r {name}"} | change)


async def test_equal_replicas_and_one_that_is_behind_do_not_diverge() -> None:
    assert await first_divergence(chain(50), chain(50)) is None
    assert await first_divergence(chain(50), chain(7)) is None
    assert await first_divergence(chain(0), chain(50)) is None


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
async def test_the_first_block_is_found_whatever_the_heights(ours: int, theirs: int, changed: int) -> None:
    one, other = chain(ours), chain(theirs, changed, state_root="edited")
    found = await first_divergence(one, other)
    if changed > min(ours, theirs):
        assert found is None
    else:
        assert found is not None
        assert (found.block, found.kind) == (changed, Kind.STATE)
    assert max(one.asked, other.asked) <= 11


async def test_what_is_known_to_be_equal_is_not_asked_again() -> None:
    one, other = chain(1000), chain(1000, 998, state_root="edited")
    found = await first_divergence(one, other, agreed=995)
    assert found is not None
    assert found.block == 998
    assert one.asked <= 4


@pytest.mark.parametrize(
    ("kind", "transaction", "change"),
    [
        (Kind.ORDER, "5-0", {"transactions": tuple(item(f"5-{place}") for place in (1, 0, 2))}),
        (Kind.ORDER, "5-2", {"transactions": (item("5-0"), item("5-1"))}),
        (Kind.ORDER, "5-3", {"transactions": tuple(item(f"5-{place}") for place in range(4))}),
        (Kind.RESULT, "5-1", {"transactions": (item("5-0"), item("5-1", code="late"), item("5-2"))}),
        (Kind.RESULT, "5-0", {"transactions": (item("5-0", writes="x"), item("5-1", code="late"), item("5-2"))}),
        (Kind.RESULT, "5-2", {"transactions": (item("5-0"), item("5-1"), item("5-2", receipt="x"))}),
        (Kind.STATE, None, {"state_root": "edited"}),
    ],
)
async def test_the_kind_of_difference_and_its_transaction_are_named(
    kind: Kind, transaction: str | None, change: dict[str, Any]
) -> None:
    found = await first_divergence(chain(9), chain(9, 5, **change))
    assert found is not None
    assert (found.block, found.kind, found.transaction) == (5, kind, transaction)
    assert found.ours != found.theirs
    assert f"block {found.block}" in str(found)
    if transaction:
        assert transaction in str(found)


def test_equal_items_and_state_under_another_summary_are_a_difference_of_the_block() -> None:
    blocks = [BlockReceipts(height=1, state_root="s", summary=name, transactions=()) for name in "ab"]
    found = compare(*blocks)
    assert found is not None
    assert (found.kind, found.ours, found.theirs) == (Kind.BLOCK, "a", "b")


@given(st.lists(st.binary(max_size=40), max_size=4), st.lists(st.binary(max_size=40), max_size=4))
def test_edited_entries_of_any_bytes_can_be_shown(entries: list[bytes], receipts: list[bytes]) -> None:
    made = block_receipts(7, entries, receipts)
    assert made.height == 7
    assert len(made.transactions) == max(0, len(entries) - 1)


# ------------------------------------------------------------------------------------------------ in real tables


async def live(url: str, folder: Path) -> None:
    clock = a_clock()
    async with a_replica(url, folder, clock) as ledger:
        await ledger.submit(an_issue())
        await ledger.submit(*a_proposal())
        await ledger.submit(*transfers(5))
        await ledger.submit(a_transfer("at last"))
        clock.advance(ACCEPT_BY_MS - clock.now_ms())
        await ledger.submit(a_transfer("after the deadline"))


def without_marker(folder: str, names: list[str]) -> list[str]:
    """A member that never signed: or the copy would refuse to begin the log anew."""
    return [name for name in names if name not in ("log.key", "cosigner.key", "policy.txt", "genesis.json")]


@pytest.fixture(scope="module")
def lived(databases: Any, tmp_path_factory: Any) -> Any:
    """One ledger in two databases: the same keys, clock and transactions give the same chain."""
    folder = tmp_path_factory.mktemp("ledger")
    urls = [databases.new("ledger"), databases.new("ledger")]
    asyncio.run(live(urls[0], folder))
    again = folder.with_name("again")
    shutil.copytree(
        folder, again, ignore=lambda at, names: [name for name in names if "marker" in name or "signed" in name]
    )
    asyncio.run(live(urls[1], again))
    yield urls, folder
    for url in urls:
        databases.drop(url)


@pytest.fixture
async def edited(lived: Any, databases: Any) -> AsyncIterator[Any]:
    """A copy of the second database, to be spoilt."""
    source = make_url(lived[0][1])
    url = source.set(database=f"{source.database}_edited")
    with psycopg.connect(
        url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False), autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {url.database} TEMPLATE {source.database} STRATEGY file_copy")
    text = url.render_as_string(hide_password=False)
    engine = create_engine(text)
    yield engine
    await engine.dispose()
    databases.drop(text)


async def edit(engine: Any, table: str, column: str, old: str, new: str, where: str) -> None:
    """Replaces text inside canonical bytes, behind the ledger's back."""
    replaced = f"replace(convert_from({column}, 'UTF8'), :old, :new)"
    await execute(
        engine, f"UPDATE {table} SET {column} = convert_to({replaced}, 'UTF8') WHERE {where}", old=old, new=new
    )


@pytest.fixture
async def ours(lived: Any) -> AsyncIterator[Any]:
    engine = create_engine(lived[0][0])
    async with History.open(engine, "main") as history:
        yield StoredSide(history)
    await engine.dispose()


async def test_the_same_transactions_at_the_same_times_make_the_same_chain(ours: StoredSide, edited: Any) -> None:
    async with History.open(edited, "main") as history:
        theirs = StoredSide(history)
        assert await theirs.height() == 5
        assert await first_divergence(ours, theirs) is None
        assert await first_difference(ours, theirs) is None
        assert await theirs.edited_state() is None
        last = await theirs.receipts(5)
        assert last is not None
        assert [row.id == "" for row in last.transactions] == [True, False], "a deadline stands before the transfer"


async def test_an_edited_row_is_named_with_the_block_that_wrote_it(edited: Any) -> None:
    key, height = (
        await execute(edited, "SELECT key, height FROM records WHERE kind = 'account' ORDER BY key LIMIT 1")
    )[0]
    await edit(
        edited, "records", "body", '"credits_posted":', '"credits_posted":9', f"kind = 'account' AND key = '{key}'"
    )
    async with History.open(edited, "main") as history:
        found = await StoredSide(history).edited_state()
    assert found is not None
    assert (found.block, found.kind) == (height, Kind.STATE)
    assert f"account/{key}" in found.ours


async def test_an_edited_row_whose_hashes_were_edited_too_still_gives_another_root(edited: Any) -> None:
    await execute(edited, "UPDATE records SET body = '{}', value_hash = sha256('{}') WHERE kind = 'account' "
                  "AND key = (SELECT min(key) FROM records WHERE kind = 'account')")  # fmt: skip
    async with History.open(edited, "main") as history:
        found = await StoredSide(history).edited_state()
    assert found is not None
    assert found.kind is Kind.STATE


FIRST_OF_BLOCK_3 = "log_index = (SELECT min(log_index) FROM transactions WHERE height = 3)"


@pytest.mark.parametrize(
    ("kind", "table", "column", "old", "new"),
    [
        (Kind.ORDER, "entries", "data", '"nonce":"', '"nonce":"0'),
        (Kind.ORDER, "entries", "data", '"kind"', '"kinds"'),
        (Kind.ORDER, "entries", "data", '{"', ""),
        (Kind.RESULT, "transactions", "receipt", '"ok"', '"no"'),
        (Kind.RESULT, "transactions", "receipt", '"facts_root":"', '"facts_root":"0'),
    ],
)
async def test_an_edited_block_behind_an_unchanged_chain_is_found_in_full_comparison(
    ours: StoredSide, edited: Any, kind: Kind, table: str, column: str, old: str, new: str
) -> None:
    (row,) = await execute(edited, f"SELECT id FROM transactions WHERE {FIRST_OF_BLOCK_3}")
    await edit(edited, table, column, old, new, FIRST_OF_BLOCK_3)
    async with History.open(edited, "main") as history:
        assert await first_divergence(ours, StoredSide(history)) is None
        found = await first_difference(ours, StoredSide(history))
    assert found is not None
    assert (found.block, found.transaction, found.kind) == (3, row.id, kind)


async def test_an_entry_that_is_missing_shows_as_another_order(ours: StoredSide, edited: Any) -> None:
    (row,) = await execute(edited, f"SELECT id FROM transactions WHERE {FIRST_OF_BLOCK_3}")
    await execute(edited, f"DELETE FROM entries WHERE {FIRST_OF_BLOCK_3}")
    async with History.open(edited, "main") as history:
        found = await first_difference(ours, StoredSide(history))
    assert found is not None
    assert (found.block, found.transaction, found.kind) == (3, row.id, Kind.ORDER)


async def test_a_changed_contract_is_named_by_the_transaction_it_judged_otherwise(
    lived: Any, databases: Any, ours: StoredSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member whose rule refuses one transfer goes on alone from that block on."""
    real = tokens.post

    def changed(state: Any, transfer_id: str, debit: str, credit: str, amount_minor: int) -> Any:
        changed_amount = amount_minor + (amount_minor == 1 and state.find(tokens.TransferRecord, transfer_id) is None)
        return real(state, transfer_id, debit, credit, changed_amount)

    folder = tmp_path / "ledger"
    shutil.copytree(
        lived[1], folder, ignore=lambda at, names: [name for name in names if "marker" in name or "signed" in name]
    )
    url = databases.new("ledger")
    monkeypatch.setattr(tokens, "post", changed)
    await live(url, folder)
    engine = create_engine(url)
    async with History.open(engine, "main") as history:
        theirs = StoredSide(history)
        found = await first_divergence(ours, theirs)
        assert await theirs.edited_state() is None, "it is a sound ledger of another rule"
        assert found is not None
        (first, *_) = await history.rows(
            _transactions(), _transactions().c.height == 3, order=[_transactions().c.log_index]
        )
    await engine.dispose()
    databases.drop(url)
    assert (found.block, found.kind, found.transaction) == (3, Kind.RESULT, first["id"])


def _transactions() -> Any:
    return tables.transactions


# --------------------------------------------------------------------------------------------------- over the wire


class Listener:
    """The two questions of a peer's listener that a comparison asks, over any side."""

    def __init__(self, side: Any) -> None:
        self.side = side
        self.spoil = lambda body: body

    async def status(self, request: web.Request) -> web.Response:
        shown = PeerStatus(member="m", height=await self.side.height(), size=0, note="", final="")
        return web.Response(body=self.spoil(msgspec_json.encode(shown)))

    async def receipts(self, request: web.Request) -> web.Response:
        found = await self.side.receipts(int(request.match_info["height"]))
        return web.Response(status=404) if found is None else web.Response(body=self.spoil(msgspec_json.encode(found)))

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/peers/main/status", self.status)
        app.router.add_get("/v1/peers/main/blocks/{height}/receipts", self.receipts)
        return app


async def test_the_command_names_the_first_difference_from_a_peer(lived: Any, ours: StoredSide, edited: Any) -> None:
    database = edited.url.render_as_string(hide_password=False)
    async with TestServer(Listener(ours).app()) as server:
        command = [sys.executable, "-c", "from ledger.cli import main; main()", "diverge", "--json", "--full"]
        command += ["--with", str(server.make_url("/")), "--data-dir", str(lived[1]), "--database-url", database]
        code, output, _ = await run(command)
        assert (code, json.loads(output)) == (0, {"equal_up_to": 5, "compared": True})
        await execute(edited, "UPDATE transactions SET receipt = '{}' WHERE height = 2")
        code, _, error = await run(command)
        assert code == 8
        assert "block 2, transaction" in error


async def run(command: list[str]) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, error = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode(), error.decode()


@pytest.mark.parametrize("spoil", [lambda body: body[:-1], lambda body: b"[]", lambda body: b"x" * (9 << 20)])
async def test_a_peer_that_answers_nonsense_is_a_peer_away(spoil: Any) -> None:
    listener = Listener(chain(5))
    listener.spoil = spoil
    async with TestServer(listener.app()) as server, aiohttp.ClientSession() as session:
        with pytest.raises(PeerUnavailable):
            await first_divergence(chain(5), HttpSide(session, str(server.make_url("/")), "main", None))
