"""The HTTP interface over a running replica and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from contracts.core.commands import Issue, RevokeParty, Transfer
from contracts.core.envelope import transaction_id
from contracts.core.facts import TransferPosted
from contracts.core.parties import Party, Role
from contracts.tokens import Account, party_account
from ledger.client import LedgerClient, Refused
from ledger.log.tiles import decode_bundle
from ledger.verify import parse_policy, verify_checkpoint, verify_proof
from ledger.verify.merkle import leaf_hash, node_hash
from tests.ledger.running import AGGREGATOR_ID, AUDITOR, UTILITY, UTILITY_ID, a_client, a_running_ledger

MAIN = "/v1/channels/main"


@pytest.fixture
def database(new_database: Callable[..., str]) -> str:
    """The URL of a migrated database."""
    return new_database("ledger")


@pytest.fixture
async def url(database: str, tmp_path: Path) -> AsyncIterator[str]:
    async with a_running_ledger(database, tmp_path / "ledger") as address:
        yield address


@pytest.fixture
async def utility(url: str) -> AsyncIterator[LedgerClient]:
    async with a_client(url) as client:
        yield client


@pytest.fixture
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url) as session:
        yield session


def an_issue(amount_minor: int = 100) -> Issue:
    return Issue(to=AGGREGATOR_ID, amount_minor=amount_minor, reference="start")


# ---- transactions and state


async def test_what_was_committed_can_be_read_and_proved_offline(utility: LedgerClient):
    result = await utility.submit(an_issue(100))
    assert (result.status, result.code) == ("committed", "ok")
    [fact] = result.facts
    assert isinstance(fact, TransferPosted)
    assert fact.amount_minor == 100
    account = await utility.record(Account, party_account(AGGREGATOR_ID))
    assert account is not None
    assert account.credits_posted == 100
    assert await utility.transaction(result.id) == result

    bundle = await utility.proof(result.id, 0)
    verified = verify_proof(
        bundle.proof, await utility.policy(), bundle.opening, strict=True, sender_key=UTILITY.public
    )
    assert verified.sender_verified
    assert verified.index == result.index
    assert verified.fact["amount_minor"] == 100


async def test_the_same_transaction_again_gives_the_first_result(utility: LedgerClient):
    transaction = utility.seal(an_issue(7))
    [first] = await utility.send([transaction])
    [again] = await utility.send([transaction])
    assert first == again
    account = await utility.record(Account, party_account(AGGREGATOR_ID))
    assert account is not None
    assert account.credits_posted == 7


async def test_a_batch_holds_good_and_bad_transactions_and_keeps_their_order(utility: LedgerClient):
    stranger = LedgerClient(utility.url, key=AUDITOR, party=UTILITY_ID, clock=utility._clock)
    batch = [
        utility.seal(an_issue(1)),
        stranger.seal(an_issue(1)),
        utility.seal(Transfer(to=AGGREGATOR_ID, amount_minor=1, reference="")),
        utility.seal(an_issue(2)),
    ]
    results = await utility.send(batch)
    assert [result.id for result in results] == [transaction_id(item.header) for item in batch]
    assert [result.code for result in results] == ["ok", "bad_signature", "funds_insufficient", "ok"]
    assert results[2].height is not None  # refused by a rule: it is in the log, with its code
    assert [item["code"] for item in await utility.refusals()] == ["bad_signature"]


async def test_a_refusal_names_its_code(utility: LedgerClient):
    with pytest.raises(Refused) as caught:
        await utility.submit(RevokeParty(party="nobody", reason=""))
    assert caught.value.code == "party_unknown"


async def test_records_come_in_pages_of_the_asked_size(utility: LedgerClient, http: aiohttp.ClientSession):
    parties = await utility.records(Party)
    assert [key for key, _ in parties] == sorted(key for key, _ in parties)
    assert {party.role for _, party in parties} == {Role.UTILITY, Role.AGGREGATOR, Role.AUDITOR}
    assert [key for key, _ in await utility.records(Party, "utl-")] == [UTILITY_ID]
    seen, after = [], ""
    for _ in range(4):
        page = await (await http.get(f"{MAIN}/records/party", params={"limit": 1, "after": after})).json()
        seen += [item["key"] for item in page["records"]]
        after = page["next_after"]
        if after is None:
            break
    assert seen == [key for key, _ in parties]


async def test_a_batch_of_the_wrong_size_or_type_is_refused(http: aiohttp.ClientSession):
    for body, status in [({"transactions": []}, 413), ({"transactions": [1] * 257}, 413), ([], 400), ({"x": 1}, 400)]:
        async with http.post(f"{MAIN}/transactions", json=body) as response:
            assert response.status == status
            assert response.content_type == "application/problem+json"
    async with http.post(f"{MAIN}/transactions", data=b"{}", headers={"Content-Type": "text/plain"}) as response:
        assert response.status == 415
    async with http.post(
        f"{MAIN}/transactions", data=io.BytesIO(b"x" * (5 << 20)), headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 413


# ---- facts


async def test_facts_are_served_by_party_by_contract_and_behind_a_cursor(utility: LedgerClient):
    for amount in (1, 2, 3):
        await utility.submit(an_issue(amount))
    mine = await utility.facts(party=AGGREGATOR_ID)
    assert [record.fact.amount_minor for record in mine if isinstance(record.fact, TransferPosted)] == [1, 2, 3]
    assert await utility.facts(mine[0].cursor, party=AGGREGATOR_ID, limit=1) == [mine[1]]
    assert await utility.facts(party="dev-other") == []
    assert await utility.facts(contract="sc1-none") == []


async def test_following_catches_up_and_goes_on(utility: LedgerClient):
    await utility.submit_many([an_issue(amount) for amount in range(1, 251)])
    amounts: list[int] = []
    async with contextlib.aclosing(utility.follow(parties=[AGGREGATOR_ID, "dev-none"])) as stream:
        async for record in stream:
            assert isinstance(record.fact, TransferPosted)
            amounts.append(record.fact.amount_minor)
            if len(amounts) == 250:
                await utility.submit(an_issue(1000))
            if len(amounts) == 251:
                break
    assert amounts == [*range(1, 251), 1000]


async def test_following_from_the_tip_gives_new_facts_only(utility: LedgerClient):
    await utility.submit(an_issue(1))
    async with contextlib.aclosing(utility.follow(await utility.tip())) as stream:
        following = asyncio.ensure_future(anext(stream))
        await utility.submit(an_issue(2))
        record = await asyncio.wait_for(following, 5)
    assert isinstance(record.fact, TransferPosted)
    assert record.fact.amount_minor == 2


async def test_a_quiet_stream_shows_signs_of_life_that_move_the_cursor(database: str, tmp_path: Path):
    async with (
        a_running_ledger(database, tmp_path, heartbeat_s=0.2) as url,
        a_client(url) as client,
        aiohttp.ClientSession(url) as http,
    ):
        result = await client.submit(an_issue())
        params = {"party": "dev-quiet"}
        async with http.get(f"{MAIN}/facts", params=params, headers={"Accept": "text/event-stream"}) as stream:
            assert stream.content_type == "text/event-stream"
            line = await asyncio.wait_for(stream.content.readline(), 5)
    assert line.startswith(f"id: {result.height}.".encode())


async def test_a_reader_that_takes_nothing_is_cut_off(database: str, tmp_path: Path):
    async with (
        a_running_ledger(database, tmp_path, slow_reader_s=0.3) as url,
        a_client(url) as client,
        aiohttp.ClientSession(url) as http,
        contextlib.AsyncExitStack() as stack,
    ):
        slow = stack.enter_context(socket.socket())
        for _ in range(20):
            await client.submit_many([Issue(to=AGGREGATOR_ID, amount_minor=1, reference="")] * 250)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        slow.sendall(f"GET {MAIN}/facts HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode())
        streams = []
        async with asyncio.timeout(20):
            while streams[-2:] != [1.0, 0.0]:
                streams.append(_value(await (await http.get("/metrics")).text(), "ledger_streams"))
                await asyncio.sleep(0.05)


def _value(metrics: str, name: str) -> float:
    [line] = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


async def test_streams_end_when_the_replica_stops(database: str, tmp_path: Path):
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        async with a_running_ledger(database, tmp_path) as url:
            stream = await http.get(f"{url}{MAIN}/facts", headers={"Accept": "text/event-stream"})
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 5
        with contextlib.suppress(aiohttp.ClientError):
            await asyncio.wait_for(stream.read(), 2)


# ---- the log


async def test_the_log_can_be_read_and_recomputed_from_its_tiles(utility: LedgerClient, http: aiohttp.ClientSession):
    await utility.submit_many([an_issue(amount) for amount in range(1, 301)])
    note = await utility.checkpoint()
    checkpoint = verify_checkpoint(note, parse_policy(await utility.policy(), strict=True), strict=True).checkpoint
    entries: list[bytes] = []
    for number in range(-(-checkpoint.size // 256)):
        width = min(256, checkpoint.size - 256 * number)
        suffix = "" if width == 256 else f".p/{width}"
        bundle = await http.get(f"{MAIN}/tile/entries/{number:03d}{suffix}")
        tile = await http.get(f"{MAIN}/tile/0/{number:03d}{suffix}")
        for response in (bundle, tile):
            assert response.status == 200
            assert response.content_type == "application/octet-stream"
            assert "immutable" in response.headers["Cache-Control"]
        found = decode_bundle(await bundle.read())
        assert await tile.read() == b"".join(leaf_hash(entry) for entry in found)
        entries += found
    assert len(entries) == checkpoint.size
    assert _root([leaf_hash(entry) for entry in entries]) == checkpoint.root


async def test_tiles_the_log_has_not_reached_are_not_found(utility: LedgerClient, http: aiohttp.ClientSession):
    await utility.submit(an_issue())
    for path in ("0/000", "0/001.p/1", "1/000.p/1", "entries/009", "0/0", "0/000.p/0", "64/000", "x/000", "0/x000"):
        async with http.get(f"{MAIN}/tile/{path}") as response:
            assert response.status == 404, path


def _root(hashes: list[bytes]) -> bytes:
    """RFC 6962 tree hash, as its definition says."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node_hash(_root(hashes[:split]), _root(hashes[split:]))


# ---- the process


async def test_readiness_names_each_dependency_and_metrics_count(utility: LedgerClient, http: aiohttp.ClientSession):
    await utility.submit(an_issue())
    ready = await (await http.get("/readyz")).json()
    assert ready["ready"]
    assert {"postgres", "orderer", "log", "members"} <= set(ready["dependencies"])
    metrics = await (await http.get("/metrics")).text()
    assert 'ledger_transactions_total{status="committed"} 1.0' in metrics
    assert "ledger_submit_seconds_count 1.0" in metrics
    status = await utility.status()
    assert f'ledger_height{{channel="main"}} {float(status["height"])}' in metrics
    assert {"height", "size", "time_ms", "members", "orderer", "proposer", "queue"} <= set(status)
