"""The client against a ledger that is late, busy, broken or lies."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from contracts.core.codec import decode, encode
from contracts.core.commands import Issue
from contracts.core.envelope import Transaction, transaction_id
from contracts.core.errors import CodecError
from contracts.core.parties import Party, PartyKey
from contracts.tokens import Account, party_account
from ledger.client import (
    AnswerInvalid,
    FactRecord,
    LedgerClient,
    LedgerUnavailable,
    OutcomeUnknown,
    Refused,
    Result,
)
from ledger.client.events import BUFFER_BYTES_MAX, EventParser
from runtime.errors import InsecureAddress, KeyFileError
from tests.builders import a_clock, a_key
from tests.ledger.running import AGGREGATOR_ID, a_client, a_served_ledger

AN_ISSUE = Issue(to="agg-1", amount_minor=5, reference="start")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def a_ledger(handler: Handler, **options: Any) -> AsyncIterator[LedgerClient]:
    """A client of a server on loopback that answers everything with `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    defaults = {"key": a_key(), "party": "utl-1", "clock": a_clock(), "deadline_s": 2.0}
    try:
        async with LedgerClient(url, **(defaults | options)) as client:
            yield client
    finally:
        await runner.cleanup()


async def sent(request: web.Request) -> list[Transaction]:
    return [decode(encode(item), Transaction) for item in (await request.json())["transactions"]]


def committed(transaction: Transaction, index: int = 0) -> dict[str, Any]:
    key = transaction_id(transaction.header)
    return {"id": key, "status": "committed", "code": "ok", "height": 1, "index": index, "facts": []}


# ---- sending


async def test_a_busy_ledger_gets_the_same_transaction_again():
    seen: list[list[Transaction]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(await sent(request))
        if len(seen) == 1:
            return web.json_response({"type": "queue-full"}, status=429)
        if len(seen) == 2:
            item = {**committed(seen[-1][0]), "status": "unknown", "height": None, "index": None}
            return web.json_response({"results": [item]}, status=202)
        return web.json_response({"results": [committed(item) for item in seen[-1]]})

    async with a_ledger(handler) as client:
        result = await client.submit(AN_ISSUE)
    assert result.status == "committed"
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]


async def test_a_broken_connection_is_tried_again_with_the_same_transaction():
    seen: list[list[Transaction]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(await sent(request))
        if len(seen) == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"results": [committed(item) for item in seen[-1]]})

    async with a_ledger(handler) as client:
        await client.submit(AN_ISSUE)
    assert len(seen) == 2
    assert seen[0] == seen[1]


async def test_an_outcome_that_stays_unknown_is_told_with_the_transaction():
    async def handler(request: web.Request) -> web.Response:
        [transaction] = await sent(request)
        item = {"id": transaction_id(transaction.header), "status": "unknown", "code": "", "facts": []}
        return web.json_response({"results": [item]}, status=202)

    async with a_ledger(handler, deadline_s=0.3) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.submit(AN_ISSUE, nonce="n-1")
    assert caught.value.transaction.header.nonce == "n-1"
    assert caught.value.transaction_id == transaction_id(caught.value.transaction.header)


async def test_a_ledger_that_is_away_is_unavailable_after_the_deadline():
    async with LedgerClient(
        "http://127.0.0.1:9", key=a_key(), party="utl-1", clock=a_clock(), deadline_s=0.2
    ) as client:
        with pytest.raises(LedgerUnavailable, match="does not answer"):
            await client.submit(AN_ISSUE)


async def test_one_refused_transaction_does_not_sink_its_batch():
    async def handler(request: web.Request) -> web.Response:
        first, second, _ = await sent(request)
        refused = {**committed(second), "status": "refused", "code": "funds_insufficient"}
        formless = {"id": None, "status": "refused", "code": "body_invalid", "height": None, "index": None, "facts": []}
        return web.json_response({"results": [committed(first), refused, formless]})

    async with a_ledger(handler) as client:
        results = await client.submit_many([AN_ISSUE] * 3)
    assert [result.status for result in results] == ["committed", "refused", "refused"]
    with pytest.raises(Refused, match="funds_insufficient"):
        results[1].check()


async def test_large_batches_travel_in_several_requests_and_keep_their_order():
    sizes: list[int] = []

    async def handler(request: web.Request) -> web.Response:
        items = await sent(request)
        sizes.append(len(items))
        return web.json_response({"results": [committed(item) for item in items]})

    async with a_ledger(handler) as client:
        transactions = [client.seal(AN_ISSUE) for _ in range(300)]
        results = await client.send(transactions)
    assert sizes == [128, 128, 44]
    assert [result.id for result in results] == [transaction_id(item.header) for item in transactions]


async def test_results_before_the_ledger_went_away_are_kept():
    count = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if count > 1:
            return web.json_response({}, status=503)
        return web.json_response({"results": [committed(item) for item in await sent(request)]})

    async with a_ledger(handler, deadline_s=0.3) as client:
        results = await client.submit_many([AN_ISSUE] * 130)
    assert [result.status for result in results] == ["committed"] * 128 + ["unknown"] * 2


@pytest.mark.parametrize(
    "answer",
    [
        {"results": [{"id": "0" * 64, "status": "committed", "code": "ok", "facts": []}]},
        {"results": []},
        {"results": [{"id": None, "status": "committed"}]},
        {"results": [7]},
        ["results"],
        {"results": [{"id": "ID", "status": "perhaps"}]},
        {"results": [{"id": "ID", "status": "committed", "facts": [{"fact": "Nonsense"}]}]},
    ],
)
async def test_an_answer_that_does_not_fit_is_refused(answer: Any):
    async def handler(request: web.Request) -> web.Response:
        [transaction] = await sent(request)
        text = json.dumps(answer).replace('"ID"', json.dumps(transaction_id(transaction.header)))
        return web.Response(text=text, content_type="application/json")

    async with a_ledger(handler) as client:
        with pytest.raises(AnswerInvalid):
            await client.submit(AN_ISSUE)


async def test_a_problem_of_the_interface_is_a_refusal_and_not_tried_again():
    count = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.json_response({"type": "invalid-request", "detail": "no"}, status=400)

    async with a_ledger(handler) as client:
        with pytest.raises(Refused) as caught:
            await client.status()
    assert (caught.value.code, caught.value.detail, count) == ("invalid-request", "no", 1)


def test_a_client_without_a_key_seals_nothing():
    with pytest.raises(KeyFileError, match="only reads"):
        LedgerClient("http://127.0.0.1:1", clock=a_clock()).seal(AN_ISSUE)


def test_a_command_without_a_canonical_form_is_not_sealed():
    client = LedgerClient("http://127.0.0.1:1", clock=a_clock(), key=a_key(), party="utl-1")
    with pytest.raises(CodecError):
        client.seal(Issue(to="agg-1", amount_minor=2**60, reference=""))


@pytest.mark.parametrize("url", ["http://ledger.example:80", "http://10.0.0.1", "ftp://127.0.0.1", "127.0.0.1:8440"])
def test_plain_http_off_loopback_is_refused(url: str):
    with pytest.raises(InsecureAddress):
        LedgerClient(url, clock=a_clock())


# ---- reading


async def test_a_record_of_another_key_is_refused():
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"kind": "party_key", "key": "other", "value": {"party": "utl-1"}})

    async with a_ledger(handler) as client:
        with pytest.raises(AnswerInvalid, match="party_key/other"):
            await client.record(PartyKey, a_key().public)


async def test_an_absent_record_is_none_but_an_unknown_channel_is_an_error():
    async def handler(request: web.Request) -> web.Response:
        kind = "not-found" if "main" in request.path else "about:blank"
        return web.json_response({"type": kind}, status=404)

    async with a_ledger(handler) as client:
        assert await client.record(Party, "utl-1") is None
    async with a_ledger(handler, channel="other") as client:
        with pytest.raises(Refused, match="http-404"):
            await client.record(Party, "utl-1")


async def test_pages_that_do_not_advance_are_refused():
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"records": [], "next_after": "a"})

    async with a_ledger(handler) as client:
        with pytest.raises(AnswerInvalid, match="do not advance"):
            await client.records(Party)


def a_fact_event(height: int, party: str = "dev-1") -> bytes:
    record = {
        "cursor": f"{height}.{height}.0",
        "height": height,
        "index": height,
        "ordinal": 0,
        "time_ms": 1,
        "transaction_id": None,
        "contract": None,
        "parties": [party],
        "fact": {"fact": "PartyRevoked", "party": party, "reason": ""},
    }
    return f"id: {record['cursor']}\ndata: {json.dumps(record)}\n\n".encode()


async def test_following_goes_on_after_a_break_without_gap_or_repeat():
    resumed: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        resumed.append(request.headers["Last-Event-ID"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if len(resumed) == 1:
            await response.write(a_fact_event(1) + b": alive\n\n" + a_fact_event(2) + a_fact_event(3)[:20])
            assert request.transport is not None
            request.transport.abort()
        elif len(resumed) == 2:
            await response.write(a_fact_event(1) + a_fact_event(2) + a_fact_event(3) + b"id: 7.0.0\n: alive\n\n")
        else:
            await response.write(a_fact_event(8))
            await asyncio.sleep(60)
        return response

    heights: list[int] = []
    async with a_ledger(handler) as client, contextlib.aclosing(client.follow("0.0.0")) as stream:
        async for record in stream:
            heights.append(record.height)
            if record.height == 8:
                break
    assert heights == [1, 2, 3, 8]
    assert resumed == ["0.0.0", "2.2.0", "7.0.0"]


async def test_many_parties_are_filtered_by_the_client():
    asked: list[list[str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.getall("party", []))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(a_fact_event(1, "dev-other") + a_fact_event(2, "dev-7"))
        await asyncio.sleep(60)
        return response

    async with a_ledger(handler) as client:
        for parties in (["dev-7", "dev-8"], [f"dev-{n}" for n in range(100)]):
            async with contextlib.aclosing(client.follow(parties=parties)) as stream:
                assert (await anext(stream)).height == 2
    assert asked == [["dev-7", "dev-8"], []]


# ---- a ledger that is killed


@pytest.fixture
def database(new_database: Callable[..., str]) -> str:
    """The URL of a migrated database."""
    return new_database("ledger")


@pytest.mark.slow
async def test_kill_9_in_the_middle_loses_nothing_and_does_nothing_twice(database: str, tmp_path: Path):
    with a_served_ledger(tmp_path, database_url=database) as served:
        async with a_client(served.url, deadline_s=40) as client:
            followed: list[FactRecord] = []

            async def follow() -> None:
                async for record in client.follow(parties=[AGGREGATOR_ID]):
                    followed.append(record)

            async def submit(first: int) -> list[Result]:
                commands = [Issue(to=AGGREGATOR_ID, amount_minor=first + n, reference="") for n in range(40)]
                return [await client.submit(command) for command in commands]

            following = asyncio.ensure_future(follow())
            submitting = asyncio.gather(submit(1_000), submit(2_000), submit(3_000))
            for _ in range(2):
                await asyncio.sleep(0.3)
                served.kill()
                await asyncio.to_thread(served.start)
            results = [result for part in await submitting for result in part]
            account = await client.record(Account, party_account(AGGREGATOR_ID))
            async with asyncio.timeout(20):
                while len(followed) < len(results):
                    await asyncio.sleep(0.05)
            following.cancel()
    assert {result.status for result in results} == {"committed"}
    assert account is not None
    assert account.credits_posted == sum(first + n for first in (1_000, 2_000, 3_000) for n in range(40))
    assert [record.transaction_id for record in followed] == [
        result.id for result in sorted(results, key=lambda result: result.index or 0)
    ]


# ---- events


@given(st.lists(st.integers(1, 200), max_size=30))
def test_events_do_not_depend_on_how_the_bytes_arrive(cuts: list[int]):
    stream = b": hi\r\n\r\nid: 1.1.0\ndata: {}\n\nid: 2.0.0\n: alive\n\ndata: a\ndata:b\nretry: 5\n\n"
    parser, at, events = EventParser(), 0, []
    for cut in [*cuts, len(stream)]:
        events += parser.feed(stream[at : at + cut])
        at += cut
    assert [(event.id, event.data) for event in events] == [("1.1.0", b"{}"), ("2.0.0", b""), ("2.0.0", b"a\nb")]


def test_an_endless_event_is_cut_off():
    parser = EventParser()
    line = b"data: " + b"x" * 1000 + b"\n"
    parser.feed(line * (BUFFER_BYTES_MAX // 1001))
    with pytest.raises(AnswerInvalid, match="1 MiB"):
        parser.feed(line * 2)
