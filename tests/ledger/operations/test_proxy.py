"""The proxy in front of replicas: it forwards, it cannot alter, and what it cannot forward is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from contracts.core.commands import Enrolment, EnrolParty, Issue, RecordMeasurements, enrolment_bytes
from contracts.core.parties import Role
from contracts.core.state import Record
from contracts.tokens import Account, party_account
from ledger.client import AnswerInvalid, LedgerClient, LedgerUnavailable, Refused
from ledger.operations.proxy import Proxy, build
from runtime.clock import SystemClock
from runtime.ports import free_ports
from tests.ledger.operations.commands import refused
from tests.ledger.replicas import DEVICE, DEVICE_ID
from tests.ledger.running import AGGREGATOR_ID, UTILITY_ID, a_client, a_running_ledger
from tests.ven.homes import UTC, a_store
from ven.account.courier import Courier
from ven.account.desk import Desk
from ven.account.wallet import Wallet
from ven.metrics import Metrics

NewDatabase = Callable[..., str]
DAMAGED = ("bad_signature", "body_invalid", "commitment_mismatch", "form_invalid", "invalid-request")
CLOSED = "http://127.0.0.1:9"


class Flipping(Proxy):
    """Changes one bit of each transaction that passes, while `flips` lasts."""

    flips = 1_000_000
    at = 0.5

    async def body(self, request: web.Request) -> bytes | None:
        body = await super().body(request)
        if body is None or Flipping.flips <= 0:
            return body
        Flipping.flips -= 1
        place = int(len(body) * Flipping.at)
        return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


@contextlib.asynccontextmanager
async def a_proxy(*upstreams: str, port: int = 0, **options: Any) -> AsyncIterator[str]:
    runner = web.AppRunner(build(upstreams, **options), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


@pytest.fixture
async def ledger(database: str, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a replica at which the device is enrolled."""
    async with a_running_ledger(database, tmp_path / "member", heartbeat_s=0.2) as url:
        enrolment = Enrolment(party=DEVICE_ID, role=Role.DEVICE, key=DEVICE.public, sponsor=AGGREGATOR_ID, area="F1")
        async with a_client(url, Role.AGGREGATOR) as client:
            await client.submit(EnrolParty(enrolment=enrolment, proof=DEVICE.sign(enrolment_bytes(enrolment)).hex()))
        yield url


class Home:
    """A device's store, desk and courier, whose ledger is the proxy."""

    def __init__(self, folder: Path, client: LedgerClient) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = a_store(folder)
        self.wallet = Wallet(DEVICE)
        desk = Desk(self.store, self.wallet, UTC, home="H1", interval_s=900, max_shed_w=1500)
        assert desk.party == DEVICE_ID
        self.courier = Courier(
            client, self.store, desk, folder, home="H1", backoff_max_s=0.1,
            metrics=Metrics(CollectorRegistry()), changed=lambda: None, clock=SystemClock(),
        )  # fmt: skip

    def seals(self, energy_wh: int) -> None:
        """Readings of a quarter of an hour go into the outbox; each quarter is another one."""
        now_ms = SystemClock().now_ms()
        start_ms = now_ms // 900_000 * 900_000 - 900_000 * (energy_wh + 2)
        command = RecordMeasurements(device=DEVICE_ID, start_ms=start_ms, interval_s=900, energy_wh=(energy_wh,))
        transaction = self.wallet.seal(command, now_ms + 3_600_000)
        with self.store.transaction():
            self.store.outbox.add(transaction, str(start_ms))


async def readings_on(url: str) -> list[int]:
    """What the ledger recorded, in order."""
    async with a_client(url) as client:
        facts = [record.fact for record in await client.facts(party=DEVICE_ID)]
    return [fact.energy_wh[0] for fact in facts if type(fact).__name__ == "MeasurementsRecorded"]


async def balance(url: str, party: str) -> int:
    async with a_client(url) as client:
        account: Record | None = await client.record(Account, party_account(party))
    return account.credits_posted if isinstance(account, Account) else 0


async def test_transactions_reads_and_proofs_pass_through(ledger: str) -> None:
    async with a_proxy(ledger) as url, a_client(url) as client:
        result = await client.submit(Issue(to=UTILITY_ID, amount_minor=5, reference="a"))
        assert (await client.transaction(result.id)).index == result.index  # type: ignore[union-attr]
        assert await client.proof(result.id)
        assert (await client.status())["height"] == result.height
        with pytest.raises(Refused, match="not-found"):
            await client.proof("0" * 64)
    assert await balance(ledger, UTILITY_ID) == 5


async def test_facts_stream_through(ledger: str) -> None:
    async with a_proxy(ledger) as url, a_client(url) as client:
        seen = []
        async with contextlib.aclosing(client.follow(await client.tip())) as facts:
            first = asyncio.ensure_future(anext(facts))
            await asyncio.sleep(0.2)
            assert not first.done()
            await client.submit(Issue(to=UTILITY_ID, amount_minor=6, reference="b"))
            seen.append((await asyncio.wait_for(first, 5)).fact.amount_minor)  # type: ignore[union-attr]
        assert seen == [6]


async def test_another_replica_takes_over_where_one_is_down(ledger: str) -> None:
    async with a_proxy(CLOSED, ledger) as url, a_client(url) as client:
        for number in range(3):
            await client.submit(Issue(to=UTILITY_ID, amount_minor=1, reference=str(number)))
    assert await balance(ledger, UTILITY_ID) == 3


async def test_a_replica_that_cannot_order_is_passed_over(ledger: str) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response(
            {"type": "ordering-unavailable", "title": "x"}, status=503, headers={"Retry-After": "2"}
        )

    stalled = web.Application()
    stalled.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(stalled)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    away = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with a_proxy(away, ledger) as url, a_client(url) as client:
            await client.submit(Issue(to=UTILITY_ID, amount_minor=1, reference="a"))
        async with a_proxy(away) as url, aiohttp.request("GET", f"{url}/v1/channels/main/status") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "2")
            assert (await response.json())["type"] == "ordering-unavailable"
    finally:
        await runner.cleanup()
    assert await balance(ledger, UTILITY_ID) == 1


async def test_a_replica_that_hangs_is_waited_for_once(ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process accepts connections and says nothing."""
    monkeypatch.setattr("ledger.operations.proxy._ANSWER_S", {"GET": 0.3, "POST": 0.3})
    with socket.create_server(("127.0.0.1", 0)) as hung:
        async with a_proxy(f"http://127.0.0.1:{hung.getsockname()[1]}", ledger) as url, a_client(url) as client:
            started = asyncio.get_running_loop().time()
            for number in range(5):
                await client.submit(Issue(to=UTILITY_ID, amount_minor=1, reference=str(number)))
            assert asyncio.get_running_loop().time() - started < 1.4, "five times 0.3 s would be more"
    assert await balance(ledger, UTILITY_ID) == 5


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.95])
async def test_one_altered_byte_is_refused_and_changes_nothing(ledger: str, at: float) -> None:
    Flipping.flips, Flipping.at = 1, at
    async with a_proxy(ledger, forwarding=Flipping) as url, a_client(url, deadline_s=2) as client:
        before = await client.status()
        with pytest.raises((Refused, AnswerInvalid)) as caught:
            await client.submit(Issue(to=UTILITY_ID, amount_minor=5, reference="a"))
        assert Flipping.flips == 0
        about_another = isinstance(caught.value, AnswerInvalid)  # a changed header is another transaction
        assert about_another or getattr(caught.value, "code", "") in DAMAGED, caught.value
        assert (await client.status())["size"] == before["size"]
    assert await balance(ledger, UTILITY_ID) == 0


@pytest.mark.parametrize("at", [0.1, 0.35, 0.6, 0.9])
async def test_a_home_behind_an_altering_proxy_sends_until_it_arrives_whole(
    ledger: str, tmp_path: Path, at: float
) -> None:
    Flipping.flips, Flipping.at = 3, at
    async with a_proxy(ledger, forwarding=Flipping) as url, a_client(url, deadline_s=1) as client:
        home = Home(tmp_path / "home", client)
        home.seals(1)
        for _ in range(3):
            with contextlib.suppress(AnswerInvalid, Refused):
                assert not await home.courier.carry()
            assert home.store.outbox.count() == 1
        assert await home.courier.carry()
    assert home.store.outbox.count() == 0
    assert await readings_on(ledger) == [1]


async def test_while_the_proxy_is_down_the_home_queues_and_nothing_is_lost(ledger: str, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    async with LedgerClient(f"http://127.0.0.1:{port}", clock=SystemClock(), deadline_s=0.2) as client:
        home = Home(tmp_path / "home", client)
        async with a_proxy(ledger, port=port):
            home.seals(1)
            assert await home.courier.carry()
        for number in (2, 3, 4):
            home.seals(number)
            with pytest.raises(LedgerUnavailable):
                await home.courier.carry()
        assert home.store.outbox.count() == 3
        async with a_proxy(CLOSED, port=port):  # back, but the replicas are away
            with pytest.raises(LedgerUnavailable):
                await home.courier.carry()
        async with a_proxy(ledger, port=port):
            assert await home.courier.carry()
    assert home.store.outbox.count() == 0
    assert await readings_on(ledger) == [1, 2, 3, 4]


async def test_a_transaction_that_reached_two_replicas_counts_once(ledger: str, tmp_path: Path) -> None:
    """The answer is lost after the replica committed; the proxy asks the next one, here the same ledger again."""

    async def swallow(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with aiohttp.ClientSession() as session:
            path = ledger + request.path_qs
            async with session.request(request.method, path, data=body, headers={"Content-Type": "application/json"}):
                pass
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    losing = web.Application()
    losing.router.add_route("*", "/{path:.*}", swallow)
    runner = web.AppRunner(losing)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with a_proxy(f"http://127.0.0.1:{runner.addresses[0][1]}", ledger) as url, a_client(url) as client:
            result = await client.submit(Issue(to=UTILITY_ID, amount_minor=5, reference="a"))
            assert result.status == "committed"
    finally:
        await runner.cleanup()
    assert await balance(ledger, UTILITY_ID) == 5


async def test_open_requests_are_bounded_and_an_absent_ledger_is_named(ledger: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with a_proxy(ledger, requests_max=1) as url:
            stream = await session.get(f"{url}/v1/channels/main/facts", headers={"Accept": "text/event-stream"})
            async with session.get(f"{url}/v1/channels/main/status") as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
                assert (await response.json())["type"] == "proxy-busy"
            stream.close()
        async with a_proxy(CLOSED) as url:
            async with session.get(f"{url}/v1/channels/main/status") as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "2")
                assert (await response.json())["type"] == "no-replica"
            async with session.get(f"{url}/readyz") as response:
                ready = await response.json()
                assert response.status == 503
                assert "devices keep what they send" in ready["dependencies"]["replicas"]["reason"]
            for path in ("/v1/peers/main/status", "/v1/channels/main/../../../metrics2", "/v2/x"):
                async with session.get(url + path) as response:
                    assert response.status == 404
            async with session.put(f"{url}/v1/channels/main/transactions") as response:
                assert response.status == 405


def test_a_proxy_refuses_addresses_that_it_must_not_use() -> None:
    upstream = ("--upstream", "http://127.0.0.1:1")
    assert "HOST:PORT" in refused(2, "proxy", *upstream, "--listen", "here")
    assert "loopback only" in refused(2, "proxy", *upstream, "--listen", "0.0.0.0:0")
    assert "loopback only" in refused(2, "proxy", "--upstream", "http://ledger.example:8440")
    assert "https://HOST:PORT" in refused(2, "proxy", "--upstream", "ledger.example")
    assert "belong together" in refused(2, "proxy", *upstream, "--certificate", "a.pem")
