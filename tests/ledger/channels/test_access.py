"""A restricted channel is read by its parties and members alone, whichever way; the first channel by everybody."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from contracts.core import commands as c
from contracts.core.parties import Role
from ledger.api import PLAIN, REPLICAS, add_routes
from ledger.client import LedgerClient, Refused, party_id
from ledger.client.signing import KEY_HEADER, SIGNATURE_HEADER, TIME_HEADER, read_bytes
from ledger.operations import proxy
from runtime.keys import PrivateKey
from runtime.service import new_app
from tests.builders import a_key
from tests.ledger.channels.hosted import AUDITOR_ID, CHILD, Hosted, enrolment, hosting
from tests.ledger.replicas import DEVICE, DEVICE_ID, VIRTUAL_NODE
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, AUDITOR, UTILITY, UTILITY_ID

#: every route below a channel that is read, with a path of it; `tx` is a transaction of the test
PATHS = {
    "/transactions/{transaction_id}": "/transactions/{tx}",
    "/records/{kind}/{key}": f"/records/party/{UTILITY_ID}",
    "/records/{kind}": "/records/party",
    "/facts": "/facts?limit=5",
    "/proofs/{transaction_id}": "/proofs/{tx}",
    "/proofs/at/{index}": "/proofs/at/1",
    "/proofs/records/{kind}/{key}": f"/proofs/records/party/{UTILITY_ID}",
    "/policy": "/policy",
    "/status": "/status",
    "/refusals": "/refusals",
    "/checkpoint": "/checkpoint",
    "/tile/{path}": "/tile/entries/000.p/1",
}
P256 = PrivateKey.from_seed(bytes(31) + b"\x07", "p256")
MINUTE_MS = 60_000


@pytest.fixture
def url(new_database: Callable[..., str]) -> str:
    """A migrated database."""
    return new_database("ledger")


@pytest.fixture
async def hosted(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hosted]:
    """main and vn-1, with a virtual node and two homes in vn-1."""
    async with hosting(url, tmp_path, monkeypatch) as running:
        joining = [(Role.VIRTUAL_NODE, VIRTUAL_NODE), (Role.DEVICE, DEVICE), (Role.DEVICE, P256)]
        await running.run(AGGREGATOR_ID, *(enrolment(role, key) for role, key in joining))
        yield running


def signed(
    key: PrivateKey, target: str, *, method: str = "GET", channel: str = CHILD, late_ms: int = 0
) -> dict[str, str]:
    at_ms = time.time_ns() // 1_000_000 - late_ms
    signature = key.sign(read_bytes(method, channel, target, at_ms)).hex()
    return {KEY_HEADER: key.public, TIME_HEADER: str(at_ms), SIGNATURE_HEADER: signature}


async def asked(url: str, target: str, headers: dict[str, str], method: str = "GET") -> tuple[int, str, Any]:
    """Status, type of the problem and headers."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, URL(url + target, encoded=True), headers=headers) as answer,
    ):
        problem = answer.content_type == "application/problem+json" and method == "GET"
        return answer.status, (await answer.json())["type"] if problem else "", answer.headers


def targets(tx: str, channel: str = CHILD) -> list[str]:
    return [f"/v1/channels/{channel}{path.format(tx=tx)}" for path in PATHS.values()]


def test_the_table_has_every_route_below_a_channel() -> None:
    app = new_app()
    app[REPLICAS] = {}
    add_routes(app)
    assert {path for path, methods in routes_below_a_channel(app).items() if methods != {"POST"}} == PATHS.keys()


async def test_a_running_ledger_has_no_other_route_that_tells_of_a_channel(hosted: Hosted) -> None:
    below = routes_below_a_channel(hosted.app)
    assert {path for path, methods in below.items() if "GET" in methods} == PATHS.keys()
    assert [path for path, methods in below.items() if methods == {"POST"}] == ["/transactions"]


def routes_below_a_channel(app: web.Application) -> dict[str, set[str]]:
    """Path below the channel -> methods."""
    found: dict[str, set[str]] = {}
    for route in app.router.routes():
        canonical = "" if route.resource is None else route.resource.canonical
        if "channels" in canonical:
            assert canonical.startswith("/v1/channels/{channel}/"), "else nobody guards it"
            found.setdefault(canonical.removeprefix("/v1/channels/{channel}"), set()).add(route.method)
    return found


async def test_no_route_of_a_restricted_channel_answers_without_the_key_of_a_party_in_time(hosted: Hosted) -> None:
    (tx,) = await hosted.run(AGGREGATOR_ID, enrolment(Role.DEVICE, a_key(801)))
    outsider = a_key(900)
    for target in targets(tx):
        further = target + ("&" if "?" in target else "?") + "read=local"
        other = target.replace(CHILD, "main")
        half = {KEY_HEADER: AGGREGATOR.public}
        for why, headers, expected in (
            ("unsigned", {}, (401, "channel-restricted")),
            ("half signed", half, (401, "signature-invalid")),
            ("by nobody here", signed(outsider, target), (403, "not-enrolled")),
            ("too old", signed(AGGREGATOR, target, late_ms=MINUTE_MS + 5_000), (401, "signature-stale")),
            ("from the future", signed(AGGREGATOR, target, late_ms=-MINUTE_MS - 5_000), (401, "signature-stale")),
            ("another query", signed(AGGREGATOR, further), (401, "signature-invalid")),
            ("another channel", signed(AGGREGATOR, other, channel="main"), (401, "signature-invalid")),
            ("another method", signed(AGGREGATOR, target, method="HEAD"), (401, "signature-invalid")),
            ("another's key", signed(outsider, target) | half, (401, "signature-invalid")),
        ):
            status, problem, shown = await asked(hosted.url, target, headers)
            assert (status, problem) == expected, (target, why)
            assert "Ledger-Height" not in shown, (target, why)
            assert shown["Cache-Control"] == "no-store", (target, why)
            assert ("WWW-Authenticate" in shown) == (status == 401)
        assert (await asked(hosted.url, target, {}, "HEAD"))[0] == 401
        for key in (AGGREGATOR, UTILITY, AUDITOR, VIRTUAL_NODE, PrivateKey.load(hosted.settings.cosigner_key_file)):
            status, problem, shown = await asked(hosted.url, target, signed(key, target))
            assert status == 200, (target, key, problem)
            assert shown["Cache-Control"] == "no-store", "tiles are for ever, but not for everybody on the way"
            assert "Ledger-Height" in shown
            assert "Access-Control-Allow-Origin" not in shown


async def test_the_first_channel_is_read_by_everybody(hosted: Hosted) -> None:
    (tx,) = await hosted.run(UTILITY_ID, c.Issue(to=UTILITY_ID, amount_minor=5, reference=""), channel="main")
    for target in targets(tx, "main"):
        status, problem, shown = await asked(hosted.url, target, {})
        assert status == 200, (target, problem)
        assert "Ledger-Height" in shown


async def test_a_home_reads_what_names_it_and_nothing_else(hosted: Hosted) -> None:
    (own,) = await hosted.run(AGGREGATOR_ID, enrolment(Role.DEVICE, a_key(802)))
    home, home_id = a_key(802), party_id(Role.DEVICE, a_key(802).public)
    (of_other,) = await hosted.run(AGGREGATOR_ID, enrolment(Role.DEVICE, a_key(803)))
    other_id = party_id(Role.DEVICE, a_key(803).public)
    [mine] = await hosted.as_(AUDITOR_ID).facts(party=home_id)
    [theirs] = await hosted.as_(AUDITOR_ID).facts(party=other_id)
    may = [
        f"/facts?party={home_id}", f"/transactions/{own}", f"/records/party/{home_id}",
        f"/records/party_key/{home.public}", f"/proofs/{own}?fact=0", f"/proofs/at/{mine.index}?fact=0",
        f"/proofs/records/account/party/{home_id}", "/policy", "/status", "/checkpoint", "/tile/0/000.p/1",
        f"/transactions/{'0' * 64}",
    ]  # fmt: skip
    may_not = [
        "/facts", f"/facts?party={other_id}", f"/facts?party={home_id}&party={other_id}", f"/transactions/{of_other}",
        f"/records/party/{other_id}", "/records/party", f"/records/party?prefix={home_id}", "/records/party/nobody",
        f"/proofs/{of_other}", f"/proofs/{of_other}?fact=0", f"/proofs/{own}?fact=1",
        f"/proofs/at/{theirs.index}?fact=0", f"/proofs/at/{mine.index}", f"/proofs/records/party/{other_id}",
        "/refusals", "/tile/entries/000.p/1",
    ]  # fmt: skip
    for path in may:
        target = f"/v1/channels/{CHILD}{path}"
        status, problem, _ = await asked(hosted.url, target, signed(home, target))
        assert status == 200 or (status, problem) == (404, "not-found"), (path, status, problem)
    for path in may_not:
        target = f"/v1/channels/{CHILD}{path}"
        assert (await asked(hosted.url, target, signed(home, target)))[:2] == (403, "not-yours"), path


async def test_who_was_revoked_reads_its_own_past_and_no_more(hosted: Hosted) -> None:
    await hosted.run(AUDITOR_ID, c.RevokeParty(party=AUDITOR_ID, reason="left"))
    own, all_of_it = f"/v1/channels/{CHILD}/facts?party={AUDITOR_ID}", f"/v1/channels/{CHILD}/facts"
    assert (await asked(hosted.url, own, signed(AUDITOR, own)))[0] == 200
    assert (await asked(hosted.url, all_of_it, signed(AUDITOR, all_of_it)))[:2] == (403, "not-yours")


async def test_a_client_signs_by_itself_where_the_channel_asks_for_it(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, party in ((DEVICE, DEVICE_ID), (P256, party_id(Role.DEVICE, P256.public))):
        async with LedgerClient(hosted.url, channel=CHILD, key=key, party=party, clock=hosted.clock) as client:
            async for record in client.follow(parties=[party]):
                assert party in record.parties
                break
            assert (await client.status())["height"] > 0
    monkeypatch.setattr("ledger.client.transport._FIRST", CHILD)  # a name that it takes for public
    async with LedgerClient(hosted.url, channel=CHILD, key=DEVICE, clock=hosted.clock) as client:
        assert len(await asyncio.gather(*(client.status() for _ in range(10)))) == 10, "all learn it at once"
    async with LedgerClient(hosted.url, channel=CHILD, key=DEVICE, clock=hosted.clock) as client:
        assert DEVICE_ID in (await anext(client.follow(parties=[DEVICE_ID]))).parties, "a stream learns it too"
    async with LedgerClient(hosted.url, channel=CHILD, clock=hosted.clock) as reader:
        with pytest.raises(Refused, match="sign the request with the key of one"):
            await reader.status()
        with pytest.raises(Refused, match="channel-restricted"):
            await anext(reader.follow())
    async with LedgerClient(hosted.url, channel=CHILD, key=a_key(900), clock=hosted.clock) as stranger:
        with pytest.raises(Refused, match="not-enrolled"):
            await anext(stranger.follow())


async def test_a_proxy_hands_the_signature_on(hosted: Hosted) -> None:
    async with serving(proxy.build([hosted.url])) as url:
        async with LedgerClient(url, channel=CHILD, key=DEVICE, clock=hosted.clock) as client:
            found = await client.facts(party=DEVICE_ID)
            assert all(DEVICE_ID in record.parties for record in found)
            assert found
        status, problem, shown = await asked(url, f"/v1/channels/{CHILD}/facts", {})
        assert (status, problem) == (401, "channel-restricted")
        assert shown["WWW-Authenticate"]


async def test_a_stream_of_a_restricted_channel_ends_and_is_signed_for_anew(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.api.facts._SIGNED_STREAM_S", 0.0)
    target = f"/v1/channels/{CHILD}/facts?party={DEVICE_ID}"
    async with (
        aiohttp.ClientSession() as session,
        session.get(hosted.url + target, headers=signed(DEVICE, target) | {"Accept": "text/event-stream"}) as answer,
    ):
        assert (answer.status, await answer.read()) == (200, b"")


async def test_a_route_that_is_added_is_closed_and_a_channel_in_clear_is_open() -> None:
    """A route nobody thought of, and channels of which one was founded in clear."""
    app = new_app()
    heights = cast("Any", SimpleNamespace(height=1, final_height=1, status=dict))
    app[REPLICAS] = dict.fromkeys(("main", "plain", "sealed"), heights)
    add_routes(app)
    app[PLAIN].add("plain")

    async def novel(_: web.Request) -> web.Response:
        return web.Response(text="all of it")

    app.router.add_route("*", "/v1/channels/{channel}/novel", novel)
    async with TestClient(TestServer(app)) as client:
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            for channel, expected in (("main", 200), ("plain", 200), ("sealed", 401)):
                async with client.request(method, f"/v1/channels/{channel}/novel") as answer:
                    assert answer.status == expected, (method, channel)
        async with client.get("/v1/channels/none/novel") as answer:
            assert answer.status == 200, "what is not here has nothing to hide"


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
