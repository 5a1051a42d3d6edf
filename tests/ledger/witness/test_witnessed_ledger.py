"""A running ledger whose policy names an external witness: what is final with it, without it, when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

import ledger.witness.feeding as module
from contracts.core.commands import Issue
from ledger.client import LedgerClient, Result
from ledger.config import LedgerSettings
from ledger.founding import Founded
from ledger.verify import parse_policy, verify_checkpoint, verify_proof
from ledger.witness.folder import create
from ledger.witness.trust import ExternalWitness
from tests.ledger.running import AGGREGATOR_ID, a_client, a_running_ledger
from tests.ledger.witness.founding import founded
from tests.ledger.witness.served import a_witness

NAME = "witness.example/w1"
MAIN = "/v1/channels/main"


@dataclass
class Place:
    """Where a ledger and its witness are, before either runs."""

    database: str
    folder: Path
    founded: Founded

    def witness(self, port: int = 0) -> AbstractAsyncContextManager[ExternalWitness]:
        return a_witness(self.folder / "w", parse_policy(self.founded.policy).logs, NAME, port)

    def ledger(self, url: str) -> AbstractAsyncContextManager[str]:
        key = (self.folder / "w" / "witness.vkey").read_text().strip()
        (self.folder / "witnesses").write_text(f"witness w1 {key} {url}\n")
        return a_running_ledger(
            self.database, self.folder / "l", witness_file=self.folder / "witnesses", witness_interval_s=0.05,
            answer_timeout_s=30.0,
        )  # fmt: skip


@pytest.fixture
def place(new_database: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Place]:
    monkeypatch.setattr(module, "_BACKOFF_S", (0.1,) * 6)
    database = new_database("ledger")

    def founding(required: int) -> Place:
        made = founded(LedgerSettings(data_dir=tmp_path / "l"), [create(tmp_path / "w", NAME)], required)
        return Place(database, tmp_path, made)

    return founding


async def issue(client: LedgerClient) -> Result:
    return await client.submit(Issue(to=AGGREGATOR_ID, amount_minor=1, reference="one"))


async def signers(http: aiohttp.ClientSession, place: Place) -> set[str]:
    """Who cosigned the checkpoint that is served; strictly by the policy that is served."""
    async with http.get(f"{MAIN}/policy") as response:
        policy = await response.read()
    assert policy == place.founded.policy
    async with http.get(f"{MAIN}/checkpoint") as response:
        note = await response.read()
    return set(verify_checkpoint(note, parse_policy(policy, strict=True), strict=True).cosigned_at_s)


async def sizes(http: aiohttp.ClientSession) -> tuple[int, int]:
    async with http.get(f"{MAIN}/status") as response:
        status = await response.json()
        assert status["members"] == ["member.example/1"]
        return status["size"], status["final_size"]


async def warnings(http: aiohttp.ClientSession) -> str:
    async with http.get("/readyz") as response:
        assert response.status == 200
        return str((await response.json())["dependencies"]["witnesses"].get("warning", ""))


async def eventually(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await happened():
            await asyncio.sleep(0.05)


async def test_what_the_policy_requires_a_witness_for_is_final_once_it_cosigned(place: Callable[[int], Place]):
    at = place(1)
    async with at.witness() as witness, at.ledger(witness.url) as url, a_client(url) as client:
        result = await issue(client)
        assert result.status == "committed"
        bundle = await client.proof(result.id, 0)
        verified = verify_proof(bundle.proof, at.founded.policy, bundle.opening, strict=True)
        assert verified.members == ("member.example/1", NAME)
        async with aiohttp.ClientSession(url) as http:
            assert await signers(http, at) == {"member.example/1", NAME}


async def test_a_required_witness_that_is_away_delays_finality_and_nothing_else(place: Callable[[int], Place]):
    at = place(1)
    async with at.witness() as witness:
        port = int(witness.url.rpartition(":")[2])
    async with at.ledger(witness.url) as url, a_client(url) as client, aiohttp.ClientSession(url) as http:
        assert (await issue(client)).status == "committed"

        async def told() -> bool:
            return "does not answer" in await warnings(http)

        await eventually(told)
        size, final = await sizes(http)
        assert size > 0
        assert final == 0
        async with at.witness(port):

            async def is_final() -> bool:
                return await sizes(http) == (size, size)

            await eventually(is_final)
            assert await signers(http, at) == {"member.example/1", NAME}


async def test_a_named_witness_that_is_not_required_delays_nothing_and_is_shown_when_it_cosigned(
    place: Callable[[int], Place],
):
    at = place(0)
    async with at.witness() as witness:
        port = int(witness.url.rpartition(":")[2])
    async with at.ledger(witness.url) as url, a_client(url) as client, aiohttp.ClientSession(url) as http:
        bundle = await client.proof((await issue(client)).id, 0)
        verified = verify_proof(bundle.proof, at.founded.policy, bundle.opening, strict=True)
        assert verified.members == ("member.example/1",)
        async with at.witness(port):

            async def is_shown() -> bool:
                return await signers(http, at) == {"member.example/1", NAME}

            await eventually(is_shown)
