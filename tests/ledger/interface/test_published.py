"""How the log is served, for every C2SP client (c2sp.org/tlog-tiles) and for scripts of other sites."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from contracts.core.commands import Issue
from ledger.log.tiles import decode_bundle
from ledger.operations.proxy import build
from ledger.verify.merkle import leaf_hash
from tests.ledger.running import AGGREGATOR_ID, a_client, a_running_ledger
from tests.ledger.witness.served import serving

MAIN = "/v1/channels/main"


@pytest.fixture
def database(new_database: Callable[..., str]) -> str:
    return new_database("ledger")


@pytest.fixture
async def http(database: str, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A ledger with ten entries and more; what it answers is shown as it came."""
    async with a_running_ledger(database, tmp_path / "ledger") as url, a_client(url) as client:
        await client.submit_many([Issue(to=AGGREGATOR_ID, amount_minor=1, reference=str(n)) for n in range(10)])
        async with aiohttp.ClientSession(url, auto_decompress=False) as session:
            yield session


async def test_scripts_of_other_sites_may_read_it_and_a_head_request_tells_the_same(http: aiohttp.ClientSession):
    for path in ("checkpoint", "policy", "tile/0/000.p/3", "tile/entries/000.p/3"):
        await _read_by_a_script(http, path)


async def _read_by_a_script(http: aiohttp.ClientSession, path: str) -> None:
    headers = {"Origin": "https://elsewhere.example", "Accept-Encoding": "identity"}
    async with http.get(f"{MAIN}/{path}", headers=headers) as response:
        body = await response.read()
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, "*")
        assert "Ledger-Height" in response.headers["Access-Control-Expose-Headers"]
        told = {name: response.headers[name] for name in ("Content-Type", "Content-Length")}
    async with http.head(f"{MAIN}/{path}", headers=headers) as response:
        assert (response.status, await response.read()) == (200, b"")
        assert {name: response.headers[name] for name in told} == told
        assert int(told["Content-Length"]) == len(body)


async def test_a_proxy_passes_on_how_the_log_is_served(http: aiohttp.ClientSession):
    assert http._base_url is not None
    async with (
        serving(build([str(http._base_url)])) as url,
        aiohttp.ClientSession(url, auto_decompress=False) as session,
    ):
        await _read_by_a_script(session, "tile/entries/000.p/10")
        await _taken_compressed(session, "gzip")


async def test_a_script_learns_why_a_tile_is_not_there(http: aiohttp.ClientSession):
    async with http.get(f"{MAIN}/tile/0/000") as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (404, "*")
        assert "immutable" not in response.headers.get("Cache-Control", "")


async def test_the_rest_is_not_for_scripts_of_other_sites(http: aiohttp.ClientSession):
    for path in ("status", "facts", "records/party", "refusals", f"proofs/{'0' * 64}"):
        async with http.get(f"{MAIN}/{path}") as response:
            assert (path, response.headers.get("Access-Control-Allow-Origin")) == (path, None)


async def test_bundles_are_compressed_for_who_takes_gzip(http: aiohttp.ClientSession):
    for accepted in ("gzip", "gzip, deflate, br", "identity;q=0.5, GZIP;q=0.8", "*"):
        await _taken_compressed(http, accepted)


async def _taken_compressed(http: aiohttp.ClientSession, accepted: str) -> None:
    async with http.get(f"{MAIN}/tile/entries/000.p/10", headers={"Accept-Encoding": accepted}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Vary"] == "Accept-Encoding"
        assert "immutable" in response.headers["Cache-Control"]
        sent = await response.read()
    bundle = gzip.decompress(sent)
    assert len(sent) < len(bundle) / 2
    async with http.get(f"{MAIN}/tile/0/000.p/10", headers={"Accept-Encoding": accepted}) as response:
        assert "Content-Encoding" not in response.headers
        assert await response.read() == b"".join(leaf_hash(entry) for entry in decode_bundle(bundle))


async def test_and_for_nobody_else(http: aiohttp.ClientSession):
    for accepted in ("identity", "br", "gzip;q=0", "gzip; q=0.000, identity", "*;q=0", "xgzip", ""):
        async with http.get(f"{MAIN}/tile/entries/000.p/10", headers={"Accept-Encoding": accepted}) as response:
            assert (accepted, response.headers.get("Content-Encoding")) == (accepted, None)
            assert response.headers["Vary"] == "Accept-Encoding"
            assert len(decode_bundle(await response.read())) == 10
