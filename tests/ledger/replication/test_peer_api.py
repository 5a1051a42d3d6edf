"""The peer API over real sockets: the same answers as in the process, and nothing that is sent does harm."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from ledger.cluster.certificates import Authority, Pair
from ledger.errors import NotProposer, PeerUnavailable, QueueFull
from ledger.ordering.signatures import CheckpointSigner
from ledger.replication.network.client import HttpPeers
from ledger.replication.network.framing import (
    FrameInvalid,
    frame_blocks,
    frame_notes,
    frame_transactions,
    read_blocks,
    read_notes,
    read_transactions,
)
from ledger.replication.network.listener import ABREAST, ABREAST_EACH, BODY_BYTES_MAX, peer_app
from ledger.replication.peers import GivenBlock, Reception
from runtime.tls import Certificate, client_context, server_context
from tests.builders import a_key
from tests.ledger.replicas import Ledger, a_replica, an_issue, transfers

MEMBER = "member.example/1"


@pytest.fixture
def url(new_database):
    return new_database("ledger")


@contextlib.asynccontextmanager
async def _listening(reception: Reception, tls=None) -> AsyncIterator[str]:
    app = peer_app(lambda: {"main": (reception, [MEMBER])})
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _asked(address: str, tls=None, channel: str = "main") -> AsyncIterator[HttpPeers]:
    peers = HttpPeers(channel, {MEMBER: address}, tls)
    try:
        yield peers
    finally:
        await peers.close()


async def test_over_http_a_member_answers_as_it_does_in_the_process(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger, _listening(ledger.replica) as address, _asked(address) as peers:
        assert await peers.forward(MEMBER, [an_issue(), *transfers(2), b"{}"]) == 3
        await ledger.replica._progress.reached(1)
        size = ledger.replica.head.size
        assert await peers.status(MEMBER) == ledger.replica.peer_status()
        (block,) = await peers.blocks(MEMBER, 1, 10, size)
        assert [block] == await ledger.replica.give_blocks(1, 10, size)
        assert await peers.receipts(MEMBER, 1) == await ledger.replica.give_receipts(1)
        assert await peers.receipts(MEMBER, 2) is None
        assert await peers.blocks(MEMBER, 1, 10, size + 1) == [], "a tree it has not got"
        refused = await ledger.replica.refusals(10)
        assert [row["code"] for row in refused] == ["form_invalid"]


_REQUESTS = [
    ("POST", "main/transactions", b"\0\0\0\5abc", 400),
    ("POST", "main/transactions", b"\0\0\0\0", 400),
    ("POST", "main/transactions", b"\xff\xff\xff\xff" + b"x" * 100, 400),
    ("POST", "main/transactions", b"\0\0\0\1x" * 9_000, 400),
    ("POST", "main/transactions", b"x" * (BODY_BYTES_MAX + 1), 413),
    ("POST", "main/transactions", b"", 202),
    ("POST", "main/cosignatures", b"[" * 100_000, 400),
    ("POST", "main/cosignatures", b'[{"note": 7}]', 400),
    ("POST", "main/cosignatures", b'[{"note": "x", "more": 1}]', 400),
    ("POST", "main/cosignatures", b'[{"note": "\xff"}]', 400),
    ("POST", "main/cosignatures", b'[{"note":"no checkpoint"}]', 204),
    ("POST", "main/cosignatures", b"[" + b'{"note":"x"},' * 300 + b'{"note":"x"}]', 400),
    ("GET", "main/blocks", b"", 400),
    ("GET", "main/blocks?from=1&limit=1&size=-1", b"", 400),
    ("GET", "main/blocks?from=1&limit=1&size=99999999999999999999", b"", 400),
    ("GET", "main/blocks?from=1&limit=1e3&size=1", b"", 400),
    ("GET", "main/blocks?from=0&limit=9223372036854775807&size=3", b"", 200),
    ("GET", "main/blocks/9999999999999999/receipts", b"", 404),
    ("GET", "main/blocks/-1/receipts", b"", 404),
    ("GET", "other/status", b"", 404),
    ("POST", "other/transactions", b"", 404),
    ("DELETE", "main/status", b"", 405),
]


async def test_nothing_that_a_peer_sends_does_harm(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger, _listening(ledger.replica) as address:
        await ledger.run(an_issue())
        async with aiohttp.ClientSession() as session:
            for method, path, body, status in _REQUESTS:
                async with session.request(method, f"{address}/v1/peers/{path}", data=io.BytesIO(body)) as answer:
                    assert (path, body[:40], answer.status) == (path, body[:40], status)
        await _unharmed(ledger)


async def test_notes_that_are_forged_or_of_another_log_are_dropped(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger, _listening(ledger.replica) as address, _asked(address) as peers:
        await ledger.run(an_issue())
        size, root, founded = ledger.replica.head.size, ledger.replica.head.root, ledger.founded
        genuine = CheckpointSigner("ledger.example/main", founded.log_key, founded.member, founded.cosigner_key)
        stranger = CheckpointSigner("ledger.example/main", a_key(1), founded.member, a_key(2))
        elsewhere = CheckpointSigner("other.example/main", founded.log_key, founded.member, founded.cosigner_key)
        forged = genuine.note(size, root, 1).replace(b"\n%d\n" % size, b"\n%d\n" % (size + 1))
        await peers.cosign(MEMBER, [stranger.note(size, b"\1" * 32, 1), elsewhere.note(size, root, 1), forged])
        assert ledger.replica.status()["alarms"] == []
        assert ledger.replica.attested(0) == 1
        await _unharmed(ledger)


async def _unharmed(ledger: Ledger) -> None:
    (result,) = await ledger.run(*transfers(1, first=77))
    assert (result.height, ledger.replica.final_height) == (2, 2)


class _Away:
    """A member that orders nothing, or whose queue is full."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def take_transactions(self, contents: list[bytes]) -> int:
        raise self._error


async def test_who_does_not_propose_names_the_one_who_does_and_a_full_queue_says_when_to_come_back():
    for error in (NotProposer("member.example/3"), NotProposer(None), QueueFull("full", 7)):
        async with _listening(_Away(error)) as address, _asked(address) as peers:  # type: ignore[arg-type]
            with pytest.raises(type(error)) as found:
                await peers.forward(MEMBER, [b"x"])
            assert getattr(found.value, "proposer", None) == getattr(error, "proposer", None)
            assert getattr(found.value, "retry_after_s", None) == getattr(error, "retry_after_s", None)


_ODD = [
    (429, b'{"type": "busy", "detail": "x"}'),
    (503, b'{"type": "not-proposer", "proposer": 5}'),
    (503, b"[" * 100_000),
    (307, b""),
    (200, b'{"member": "x", "height": %s, "size": 1, "note": "", "final": ""}' % (b"9" * 400)),
    (200, b'{"member": "x", "height": -1, "size": 1, "note": "", "final": ""}'),
    (200, b'{"height": 1, "state_root": "%s", "transactions": []}' % (b"x" * 1_000)),
]


@pytest.mark.parametrize(("status", "body"), _ODD)
async def test_whatever_a_member_answers_is_one_more_way_not_to_help(status, body):
    """Each question of a replica's own jobs expects PeerUnavailable alone: anything else would stop the replica."""

    async def odd(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", odd)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with _asked(f"http://127.0.0.1:{runner.addresses[0][1]}") as peers:
            for question in (peers.status(MEMBER), peers.receipts(MEMBER, 1), peers.blocks(MEMBER, 1, 1, 1)):
                with pytest.raises(PeerUnavailable):
                    await question
            if status != 200:
                with pytest.raises(PeerUnavailable):
                    await peers.cosign(MEMBER, [])
    finally:
        await runner.cleanup()


def _pairs(folder: Path) -> tuple[Path, Certificate, Certificate, Certificate]:
    """Of this consortium's authority: a member and a stranger; and a member's name by another authority."""
    ours, others = Authority.create(folder / "ca"), Authority.create(folder / "other-ca")
    made = []
    for authority, subject, name in ((ours, MEMBER, "a"), (ours, "stranger", "b"), (others, MEMBER, "c")):
        pair = authority.issue(Pair(folder / f"{name}.pem", folder / f"{name}.key"), subject, ["127.0.0.1"])
        made.append(Certificate(pair.chain, pair.key))
    return ours.ca, made[0], made[1], made[2]


async def test_only_a_member_with_a_certificate_of_the_consortium_is_answered(url, tmp_path):
    ca, member, stranger, foreign = _pairs(tmp_path)
    async with a_replica(url, tmp_path / "ledger") as ledger:
        async with _listening(ledger.replica, server_context([member], ca)) as address:
            async with _asked(address, client_context(ca, member)) as peers:
                assert (await peers.status(MEMBER)).member == MEMBER
            for certificate, says in ((stranger, "has it not"), (foreign, "not answer"), (None, "not answer")):
                async with _asked(address, client_context(ca, certificate)) as peers:
                    with pytest.raises(PeerUnavailable, match=says):
                        await peers.status(MEMBER)
        foreign_server = server_context([foreign], ca)
        async with (
            _listening(ledger.replica, foreign_server) as address,
            _asked(address, client_context(ca, member)) as peers,
        ):
            with pytest.raises(PeerUnavailable, match="not answer"):
                await peers.status(MEMBER)


def test_frames_are_read_back_and_nothing_else_is():
    contents = [b"a", b"b" * 70_000, b"c"]
    assert read_transactions(frame_transactions(contents)) == contents
    blocks = [GivenBlock(1, 7, b"block", (b"\1" * 32, b"\2" * 32)), GivenBlock(2, 8, b"", ())]
    assert read_blocks(frame_blocks(blocks)) == blocks
    assert read_notes(frame_notes([b"one\n", "— zwei".encode()])) == [b"one\n", "— zwei".encode()]
    whole = frame_blocks(blocks)
    for end in range(1, len(whole)):
        with contextlib.suppress(FrameInvalid):
            assert read_blocks(whole[:end]) == blocks[:1], "a cut between two blocks gives the first"


async def test_one_member_that_holds_all_it_is_given_keeps_no_other_out(url, tmp_path):
    """Bodies that never end: what one member may hold at once is its own."""
    authority = Authority.create(tmp_path / "ca")
    certificates = {}
    for name in (MEMBER, "member.example/2", "member.example/3"):
        stem = name.rpartition("/")[2]
        pair = authority.issue(Pair(tmp_path / f"{stem}.pem", tmp_path / f"{stem}.key"), name, ["127.0.0.1"])
        certificates[name] = Certificate(pair.chain, pair.key)

    async def endless():
        yield b"["
        await asyncio.Event().wait()

    async with a_replica(url, tmp_path / "ledger") as ledger:
        app = peer_app(lambda: {"main": (ledger.replica, list(certificates))})
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(
            runner, "127.0.0.1", 0, ssl_context=server_context([certificates[MEMBER]], authority.ca)
        ).start()
        address = f"https://127.0.0.1:{runner.addresses[0][1]}"
        holding = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=client_context(authority.ca, certificates["member.example/2"]))
        )
        held = [
            asyncio.create_task(holding.post(f"{address}/v1/peers/main/cosignatures", data=endless()))
            for _ in range(ABREAST_EACH)
        ]
        try:
            async with asyncio.timeout(60):
                while (slots := app[ABREAST].get("member.example/2")) is None or not slots.locked():
                    await asyncio.sleep(0.02)
            async with holding.get(f"{address}/v1/peers/main/status") as answer:
                assert answer.status == 429
            async with _asked(address, client_context(authority.ca, certificates["member.example/3"])) as peers:
                assert (await peers.status(MEMBER)).member == MEMBER
        finally:
            for task in held:
                task.cancel()
            await asyncio.gather(*held, return_exceptions=True)
            await holding.close()
            await runner.cleanup()
