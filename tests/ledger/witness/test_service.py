"""The witness over HTTP: statuses, types and bodies as c2sp.org/tlog-witness has them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from ledger.log.checkpoint import log_key
from ledger.verify.note import parse_checkpoint
from ledger.witness import record
from ledger.witness.cosigner import REQUEST_BYTES_MAX
from ledger.witness.trust import ExternalWitness
from tests.ledger.witness.growing import ORIGIN, GrowingLog, raw
from tests.ledger.witness.served import TIME_S, a_witness

LOG = GrowingLog()
KEY = log_key(ORIGIN, raw(LOG.keys[0]))


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[ExternalWitness]:
    async with a_witness(tmp_path / "w", [KEY]) as served:
        yield served


@pytest.fixture
async def http(witness: ExternalWitness) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(witness.url) as session:
        yield session


async def test_the_answer_is_the_cosignature_line_and_nothing_else(
    witness: ExternalWitness, http: aiohttp.ClientSession
):
    async with http.post("/add-checkpoint", data=LOG.request(0, 7)) as response:
        answer = await response.read()
        assert (response.status, response.content_type) == (200, "text/plain")
    assert answer.startswith("— witness.example/w1 ".encode())
    assert answer.count(b"\n") == 1
    [line] = parse_checkpoint(LOG.text(7).encode() + b"\n" + answer).signatures
    assert witness.key.verify(LOG.text(7), line.signature) == TIME_S


async def test_a_conflict_tells_the_size_in_a_type_of_its_own(http: aiohttp.ClientSession):
    async with http.post("/add-checkpoint", data=LOG.request(0, 7)) as response:
        assert response.status == 200
    async with http.post("/add-checkpoint", data=LOG.request(0, 9)) as response:
        assert (response.status, response.headers["Content-Type"]) == (409, "text/x.tlog.size")
        assert await response.read() == b"7\n"


async def test_each_refusal_has_its_status(http: aiohttp.ClientSession):
    unknown = GrowingLog(origin="ledger.example/unknown")
    requests = {
        400: b"old x\n\n",
        403: LOG.request(0, 7)[:-20] + b"A" * 17 + b"==\n",
        404: unknown.request(0, 1),
        413: b"old 0\n\n" + bytes(REQUEST_BYTES_MAX),
        422: b"old 0\n" + b"A" * 43 + b"=\n\n" + LOG.note(7),
    }
    for status, body in requests.items():
        async with http.post("/add-checkpoint", data=body) as response:
            assert (response.status, status) == (status, response.status)
    async with http.get("/add-checkpoint") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_requests_at_once_have_one_winner_and_the_others_learn_its_size(http: aiohttp.ClientSession):
    async def send(size: int) -> tuple[int, bytes]:
        async with http.post("/add-checkpoint", data=LOG.request(0, size)) as response:
            return response.status, await response.read() if response.status == 409 else f"{size}\n".encode()

    answers = await asyncio.gather(*(send(size) for size in range(1, 40)))
    assert sorted(status for status, _ in answers) == [200, *[409] * 38]
    assert len({size for _, size in answers}) == 1


async def test_where_nothing_can_be_kept_nothing_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Somebody holds the record's write lock, as a full disk would refuse the write."""
    monkeypatch.setattr(record, "_BUSY_S", 0.1)
    async with a_witness(tmp_path / "w", [KEY]) as witness, aiohttp.ClientSession(witness.url) as http:
        other = sqlite3.connect(tmp_path / "w" / "cosigned.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with http.post("/add-checkpoint", data=LOG.request(0, 7)) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "5")
        other.execute("ROLLBACK")
        other.close()
        async with http.post("/add-checkpoint", data=LOG.request(0, 7)) as response:
            assert response.status == 200


async def test_the_status_shows_what_was_cosigned(witness: ExternalWitness, http: aiohttp.ClientSession):
    async with http.get("/status") as response:
        shown = await response.json()
    assert shown["vkey"] == witness.key.encode()
    assert shown["logs"] == [{"origin": ORIGIN, "size": 0, "root": None, "cosigned_at": None}]
    async with http.post("/add-checkpoint", data=LOG.request(0, 7)):
        pass
    async with http.get("/status") as response:
        [row] = (await response.json())["logs"]
    assert (row["size"], row["root"]) == (7, LOG.root(7).hex())
    async with http.get("/metrics") as response:
        assert 'witness_requests_total{status="200"} 1.0' in await response.text()
