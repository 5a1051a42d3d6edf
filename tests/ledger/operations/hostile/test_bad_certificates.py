"""Peers and clients without a valid certificate, and what they cannot send: refused by name, nothing written."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from ledger.cluster.certificates import Authority, Pair
from ledger.config import LedgerSettings
from ledger.replication.network.listener import peer_app
from runtime.connections import BoundedSite
from runtime.service import new_app
from runtime.tls import Certificate, client_context, server_context
from tests.ledger.operations.hostile.unchanged import unchanged
from tests.ledger.replicas import a_replica, an_issue

NewDatabase = Callable[..., str]


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


NESTED = b"[" * 100_000 + b"]" * 100_000


@contextlib.asynccontextmanager
async def a_peer_listener(folder: Path, authority: Authority, **receptions: Any) -> AsyncIterator[int]:
    served = authority.issue(Pair(folder / "m.pem", folder / "m.key"), "member.example/1", ["127.0.0.1"])
    tls = server_context([Certificate(served.chain, served.key)], authority.ca)
    runner = web.AppRunner(peer_app(lambda: receptions), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await BoundedSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def asked(port: int, ca: Path, shown: Pair | None, path: str, data: bytes | None = None) -> str:
    """What a peer with this certificate hears: status and type of the problem, or why there is no connection."""
    tls = client_context(ca, None if shown is None else Certificate(shown.chain, shown.key))
    try:
        async with aiohttp.ClientSession() as session:
            method = "GET" if data is None else "POST"
            sent = None if data is None else BytesIO(data)
            async with session.request(method, f"https://127.0.0.1:{port}{path}", data=sent, ssl=tls) as response:
                answer = await response.json(content_type=None) if response.content_length else {}
                return f"{response.status} {answer.get('type', '')}".strip()
    except (aiohttp.ClientError, OSError) as error:
        return f"refused: {error}"


async def test_peers_without_a_valid_certificate_of_a_member_get_nothing(database: str, tmp_path: Path) -> None:
    authority, foreign = Authority.create(tmp_path / "ca"), Authority.create(tmp_path / "foreign")

    def pair(name: str, subject: str, of: Authority = authority, days: int = 30) -> Pair:
        return of.issue(Pair(tmp_path / f"{name}.pem", tmp_path / f"{name}.key"), subject, ["127.0.0.1"], days=days)

    member, stranger = pair("member", "member.example/2"), pair("stranger", "member.example/9")
    over, forged = pair("over", "member.example/2", days=-1), pair("forged", "member.example/2", foreign)
    async with a_replica(database, tmp_path / "m") as ledger:
        main = (ledger.replica, ["member.example/1", "member.example/2"])
        async with a_peer_listener(tmp_path, authority, main=main) as port, unchanged(database):
            status, transactions = "/v1/peers/main/status", "/v1/peers/main/transactions"
            frame = len(an_issue()).to_bytes(4, "big") + an_issue()
            assert await asked(port, authority.ca, member, status) == "200"
            assert await asked(port, authority.ca, stranger, status) == "404 not-found"
            assert await asked(port, authority.ca, stranger, transactions, frame) == "404 not-found"
            for unknown, why in (
                (over, "certificate has expired"),
                (forged, "unable to get local issuer certificate"),
                (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
            ):
                with capture_logs() as logged:
                    said = await asked(port, authority.ca, unknown, transactions, frame)
                assert said.startswith("refused: "), said
                assert {entry["reason"] for entry in logged if "reason" in entry} == {why}
            assert await asked(port, authority.ca, member, "/v1/peers/other/status") == "404 not-found"
            for path, body in (
                (transactions, b"\xff\xff\xff\xff"), (transactions, b"\0\0\0\5abc"),
                ("/v1/peers/main/cosignatures", b'[{"note":"\\u0000"'), ("/v1/peers/main/cosignatures", NESTED),
                ("/v1/peers/main/blocks?from=-1&limit=1&size=1", None),
                ("/v1/peers/main/blocks?from=" + "9" * 99 + "&limit=1&size=1", None),
            ):  # fmt: skip
                assert await asked(port, authority.ca, member, path, body) == "400 invalid-request", (path, body)
            assert await asked(port, authority.ca, member, transactions, bytes(5 << 20)) == "413 request-too-large"
            garbage = b"\0\0\0\4null"
            assert await asked(port, authority.ca, member, transactions, garbage) == "202", "taken: none of one"


async def test_clients_must_show_a_valid_certificate_where_one_is_asked_for(database: str, tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")

    def pair(name: str, days: int) -> Pair:
        return authority.issue(Pair(tmp_path / f"{name}.pem", tmp_path / f"{name}.key"), name, ["127.0.0.1"], days=days)

    served, client, over = pair("server", 30), pair("client", 30), pair("over", -1)
    settings = LedgerSettings(
        data_dir=tmp_path / "m", certificate=served.chain, certificate_key=served.key, client_ca=authority.ca
    )
    async with a_replica(database, tmp_path / "m"):
        runner = web.AppRunner(new_app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await BoundedSite(runner, "127.0.0.1", 0, ssl_context=settings.tls()).start()
            port = runner.addresses[0][1]
            assert await asked(port, authority.ca, client, "/healthz") == "200"
            for unknown, why in ((over, "certificate has expired"), (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE")):
                with capture_logs() as logged:
                    assert (await asked(port, authority.ca, unknown, "/healthz")).startswith("refused: ")
                assert {entry["reason"] for entry in logged if "reason" in entry} == {why}
        finally:
            await runner.cleanup()
