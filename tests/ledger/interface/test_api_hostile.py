"""Hostile input on every route of the HTTP interface: a clear refusal, never a server error, nothing done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from contracts.core.codec import encode
from contracts.core.commands import Issue
from contracts.tokens import Account, party_account
from ledger.client import LedgerClient
from tests.ledger.running import AGGREGATOR_ID, UTILITY_ID, a_client, a_running_ledger

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


HOSTILE_PATHS = [
    "/transactions/" + "0" * 64,
    "/transactions/zz",
    "/records/party/%00",
    "/records/party/%ff%fe",
    "/records/party/a%20b",
    "/records/party/" + "k" * 5000,
    "/records/party/../../x",
    "/records/PARTY/x",
    "/records/party?prefix=%00",
    "/records/party?after=%F0%9F%98%80",
    "/records/party?limit=-1",
    "/records/party?limit=99999999999999999999",
    "/records/party?limit=0",
    "/records/party?lmit=1",
    "/records/party?limit=1&limit=2",
    "/facts?after=1.2",
    "/facts?after=9999999999999999.9999999999999999.9999999999999999",
    "/facts?after=-1.0.0",
    "/facts?after=99999999999999999999.0.0",
    "/facts?party=%00",
    "/facts?party=",
    "/facts?" + "&".join(f"party=p{n}" for n in range(65)),
    "/facts?contract='%3B--",
    "/facts?limit=0",
    "/proofs/" + "0" * 64,
    "/proofs/" + "0" * 64 + "?fact=999999999",
    "/proofs/" + "0" * 64 + "?fact=x",
    "/proofs/at/999999999999999",
    "/proofs/at/9999999999999999999999",
    "/proofs/at/-1",
    "/proofs/at/0?fact=999999999",
    "/proofs/at/0?fact=x",
    "/proofs/records/party/%00",
    "/proofs/records/party/" + "k" * 5000,
    "/proofs/records/PARTY/x",
    "/proofs/records/party/x?read=x",
    "/proofs/records/party/x?fact=1",
    "/proofs/records/party/",
    "/tile/0/x999/x999/x999/x999/x999/x999/999",
    "/tile/entries/x999/x999/x999/x999/x999/x999/999.p/255",
    "/tile/63/000",
    "/refusals?limit=x",
    "/refusals?limit=0",
    "/nothing",
]


async def test_hostile_paths_are_answered_without_a_server_error(url: str, http: aiohttp.ClientSession):
    for path in HOSTILE_PATHS:
        target = URL(f"{url}{MAIN}{path}", encoded=True)
        async with http.get(target) as response:
            await response.read()
            assert response.status < 500, (path, response.status)
        async with http.get(target, headers={"Accept": "text/event-stream", "Last-Event-ID": "\u00ff"}) as response:
            assert response.status < 500, (path, response.status)
        async with http.post(target, json={}) as response:
            assert response.status in (400, 404, 405), (path, response.status)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
HEADERS = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(["main", "other", ""]),
        "contract": st.sampled_from(["tokens", "parties", "x"]),
        "command": st.sampled_from(["Issue", "EnrolParty", "x"]),
        "sender": st.sampled_from([UTILITY_ID, "nobody"]),
        "nonce": st.text(alphabet="0123456789abcdef", min_size=1, max_size=64),
        "not_after_ms": st.sampled_from([0, 2**53 - 1, 2**63, -1]),
        "commitment": st.text(alphabet="0123456789abcdef", min_size=64, max_size=64),
    }
)
HEX = st.text(alphabet="0123456789abcdef", min_size=64, max_size=128)
NEARLY = st.fixed_dictionaries({"header": HEADERS, "signature": HEX, "salt": HEX, "body": st.text(max_size=50)})


async def test_hostile_bodies_are_answered_without_a_server_error(utility: LedgerClient, http: aiohttp.ClientSession):
    loop = asyncio.get_running_loop()

    async def post(body: bytes) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        async with http.post(f"{MAIN}/transactions", data=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    bodies: list[bytes] = [
        b"",
        b"\xff",
        b"[" * 100_000,
        b'{"transactions":' + b"[" * 100_000,
        b'{"transactions":[1e999]}',
    ]
    bodies.append(b'{"transactions":[{"header":{"a":"\\u0000"}}]}')

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(JSON, st.fixed_dictionaries({"transactions": st.lists(JSON | NEARLY, min_size=1, max_size=4)})))
    def collect(value: Any) -> None:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        bodies.append(text.encode("utf-8", "surrogatepass"))

    await loop.run_in_executor(None, collect)
    for body in bodies:
        status, answer = await post(body)
        assert status < 500, (body[:300], answer)
        for item in answer.get("results", []):
            assert item["status"] == "refused", (body[:300], item)
    assert (await utility.submit(an_issue())).status == "committed"


@pytest.mark.parametrize("part", ["header", "signature", "salt", "body"])
async def test_a_changed_byte_in_any_part_of_a_transaction_is_refused(
    utility: LedgerClient, http: aiohttp.ClientSession, part: str
):
    sealed = json.loads(encode(utility.seal(an_issue())))
    if part == "header":
        sealed["header"]["not_after_ms"] += 1
    elif part == "body":
        sealed["body"] = sealed["body"].replace("100", "999")
    else:
        sealed[part] = ("0" if sealed[part][0] != "0" else "1") + sealed[part][1:]
    headers = {"Content-Type": "application/json"}
    body = encode({"transactions": [sealed]})
    async with http.post(f"{MAIN}/transactions", data=body, headers=headers) as response:
        [result] = (await response.json())["results"]
    assert result["status"] == "refused"
    assert await utility.record(Account, party_account(AGGREGATOR_ID)) is None
