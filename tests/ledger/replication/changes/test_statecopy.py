"""Where every other member erased what would be executed, a member copies their state and believes a quorum of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from aiohttp import web

from contracts.consortium import MemberRecord
from contracts.core.codec import digest
from ledger import genesis
from ledger.audit import audit
from ledger.channels.erasure import erase_before
from ledger.cluster.certificates import Authority, Pair
from ledger.errors import PeerUnavailable
from ledger.marker import FileMarker, Marker, MemoryMarker
from ledger.ordering.signatures import CheckpointSigner
from ledger.replication.membership.shown import Shown
from ledger.replication.membership.succession import Succession, Term
from ledger.replication.network.listener import peer_app, reception_of
from ledger.replication.statecopy.asking import HttpStatePeers
from ledger.replication.statecopy.giving import TableGiving
from ledger.replication.statecopy.manifest import Manifest, SignedManifest, sign
from ledger.replication.statecopy.routes import add_state_routes
from ledger.replication.statecopy.rows import TRAVELLING, frames, read_frame
from ledger.replication.statecopy.taking import Copied, Copying, CopyRefused, quorum_of
from ledger.store.postgres import PostgresStore
from runtime.database import create_engine
from runtime.keys import PrivateKey
from runtime.tls import Certificate, client_context, server_context
from tests.builders import START_MS
from tests.ledger.replicas import a_transfer, an_issue, transfers
from tests.ledger.replication.consortium import Consortium, DirectPeers, Member, a_consortium

DAY_MS = 86_400_000
LATE_MS = START_MS + 20 * DAY_MS
Twist = Callable[[str, list[Any]], list[Any]]


def _digest(member: Member) -> str:
    return digest(member.founded.genesis)


def _signer(member: Member) -> CheckpointSigner:
    founded = member.founded
    return CheckpointSigner(founded.genesis.origin, founded.log_key, founded.member, founded.cosigner_key)


class _Peers(DirectPeers):
    """ledger.replication.statecopy.taking.StatePeers without a network. twist: what is made of rows on their way."""

    def __init__(self, members: Consortium, member: Member, twist: Twist | None) -> None:
        names = [each.name for each in members.members.values()]
        super().__init__(members.ways, member.name, names)
        self._givings = {each.name: _giving(each) for each in members.members.values() if each is not member}
        self._twist = twist
        self.deaf: set[str] = set()

    async def manifest(self, member: str, height: int) -> SignedManifest | None:
        if member in self.deaf:
            raise PeerUnavailable("away")
        return await self._givings[member].manifest(height)

    async def state(self, member: str, after: int) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(self._givings[member].state(after)) as given:
            async for frame in given:
                name, rows = read_frame(frame[4:])
                for each in frames(name, self._twist(name, [list(row) for row in rows]) if self._twist else rows):
                    yield each[4:]


def _giving(member: Member) -> TableGiving:
    return TableGiving(member.engine, member.founded, member.replica.check_log)


@pytest.fixture
def urls(new_database):
    return [new_database("ledger") for _ in range(4)]


@pytest.fixture
async def erased(tmp_path, urls, etcd_servers) -> AsyncIterator[Consortium]:
    """Two members that erased what is old, with an order that keeps nothing of it; the third lost its database."""
    async with a_consortium(urls[:3], tmp_path, etcd_servers) as members:
        await members.start()
        await members.proposer.submit(an_issue())
        for number in range(4):
            await members.proposer.submit(*transfers(3, first=3 * number))
        await members.agreed()
        for each in members.running:
            each.clock.advance(10 * DAY_MS)
        for number in range(3):
            (result,) = await members.proposer.submit(a_transfer(f"late {number}", not_after_ms=LATE_MS))
            assert result.code == "ok"
        lost = members[3]
        height = await members.agreed()
        await lost.stop()
        await members.proposer.orderer.trim(height)
        for each in members.running:
            gone = await erase_before(
                each.engine, "main", START_MS + DAY_MS, now_ms=START_MS + 10 * DAY_MS, wall_ms=7, dispute_days=1
            )
            assert gone.transactions == 13
        lost.url = urls[3]
        yield members


async def _copied(
    members: Consortium, twist: Twist | None = None, deaf: Sequence[str] = (), marker: Marker | None = None
) -> Copied:
    lost = members[3]
    engine = create_engine(lost.url)
    try:
        peers = _Peers(members, lost, twist)
        peers.deaf.update(deaf)
        marker = marker or FileMarker(lost.settings.data_dir / "signed", _digest(lost))
        store = PostgresStore(engine, "main")
        if await store.is_empty():
            await genesis.create(store, lost.founded, _signer(lost), 1, marker, alone=False)
        await store.close()
        return await Copying(engine, lost.founded, peers, marker, wall_ms=9).run()
    finally:
        await engine.dispose()


async def test_a_member_that_lost_its_database_rejoins_from_the_state_that_the_others_sign(erased):
    lost = erased[3]
    copied = await _copied(erased)
    assert copied.members == (erased[1].name, erased[2].name)
    assert copied.audited is not None
    assert copied.audited.hash_verified > 0
    assert copied.audited.erased == 13
    await lost.start()
    await lost.serving()
    assert lost.replica.head.root == erased[1].replica.head.root
    (paid,) = await lost.submit(a_transfer("later", not_after_ms=LATE_MS))
    assert paid.code == "ok"
    await erased.agreed()
    audited = await audit(lost.engine, lost.founded)
    assert (audited.erased, audited.state_root) == (13, (await audit(erased[1].engine, erased[1].founded)).state_root)
    again = transfers(1)[0]
    (known,) = await lost.submit(again)
    assert known.height == (await erased[1].replica.transaction(known.id or "")).height, "an id is taken for ever"


def _edit(table: str, place: int, value: Callable[[Any], Any]) -> Twist:
    def twist(name: str, rows: list[Any]) -> list[Any]:
        if name == table:
            rows[-1][place] = value(rows[-1][place])
        return rows

    return twist


def _changed(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def _more(table: str, **values: Any) -> Twist:
    """A row more, like the last one but for these values."""

    def twist(name: str, rows: list[Any]) -> list[Any]:
        if name != table:
            return rows
        more = dict(zip(TRAVELLING[table][1], rows[-1], strict=True)) | values
        return [*rows, list(more.values())]

    return twist


FAR = 1_000_000
EDITS: Mapping[str, tuple[Twist, str]] = {
    "a record": (_edit("records", 3, _changed), "is not the one it says it is"),
    "a record with its hash": (
        lambda name, rows: rows[:-1] if name == "records" else rows, "its rows ended early|state root"
    ),
    "an id that is free again": (_edit("transactions", 8, lambda taken: not taken), "table transactions"),
    "a result": (_edit("transactions", 7, lambda code: "ok" if code != "ok" else "limit_exceeded"), "transactions"),
    "an entry": (_edit("entries", 1, _changed), "another tree of"),
    "a block's revision": (_edit("blocks", 3, lambda revision: revision + 1), "table blocks"),
    "a body": (_edit("bodies", 2, _changed), "the chain does not verify"),
    "a fact": (_edit("facts", 7, _changed), "the chain does not verify"),
    "an id that is taken by a block to come": (
        _more("transactions", log_index=FAR, height=FAR, id="f" * 64), "row of transactions at 1000000"
    ),
    "a fact of a block to come": (_more("facts", height=FAR), "row of facts at 1000000"),
    "a body of a block to come": (_more("bodies", log_index=FAR), "row of bodies at 1000000"),
    "the last block": (lambda name, rows: rows[:-1] if name == "blocks" else rows, "entry|ended early|inside a block"),
}  # fmt: skip


async def test_rows_that_are_edited_on_their_way_are_refused_and_nothing_of_them_is_kept(erased):
    for what, (twist, why) in EDITS.items():
        with pytest.raises(CopyRefused, match=why):
            await _copied(erased, twist)
        engine = create_engine(erased[3].url)
        try:
            store = PostgresStore(engine, "main")
            assert (await genesis.load(store, erased[3].founded)).head.height == 0, what
            await store.close()
        finally:
            await engine.dispose()
    with pytest.raises(CopyRefused, match=r"no quorum of the members signs the manifest of block .*: away"):
        await _copied(erased, deaf=[erased[2].name])
    signed = MemoryMarker()
    signed.record(erased[1].replica.head.size - 1, b"\x01" * 32)
    with pytest.raises(CopyRefused, match="signed another tree"):  # at a size at which no block ends
        await _copied(erased, marker=signed)


async def test_over_mutual_tls_a_member_gives_rows_and_manifest_and_strangers_get_neither(erased, tmp_path):
    authority = Authority.create(tmp_path / "ca")
    certificates = []
    for subject, name in ((erased[1].name, "a"), (erased[3].name, "b"), ("stranger", "c")):
        pair = authority.issue(Pair(tmp_path / f"{name}.pem", tmp_path / f"{name}.key"), subject, ["127.0.0.1"])
        certificates.append(Certificate(pair.chain, pair.key))
    giver, giving = erased[1], _giving(erased[1])
    app = peer_app(lambda: {"main": (giver.replica, giver.replica.known_members)})
    add_state_routes(app, {"main": giving}, reception_of)
    async with _served(app, server_context([certificates[0]], authority.ca)) as address:
        for certificate, allowed in ((certificates[1], True), (certificates[2], False)):
            peers = HttpStatePeers("main", {giver.name: address}, client_context(authority.ca, certificate))
            with contextlib.nullcontext() if allowed else pytest.raises(PeerUnavailable):
                given = [frame async for frame in peers.state(giver.name, 3)]
                assert given == [frame[4:] async for frame in giving.state(3)]
                height = giver.replica.height
                assert await peers.manifest(giver.name, height) == await giving.manifest(height)
                assert await peers.manifest(giver.name, height + 1) is None
            await peers.close()


@contextlib.asynccontextmanager
async def _served(app: web.Application, tls: Any) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def test_bytes_that_are_no_rows_are_one_more_way_not_to_help():
    for data in (b"", b"\xc1", msgspec.msgpack.encode(("records", [(1, 2)])), msgspec.msgpack.encode(["head"])):
        with pytest.raises(PeerUnavailable, match="without form"):
            read_frame(data)


def test_a_founder_signs_no_state_of_a_height_at_which_others_are_members_too():
    keys = {name: PrivateKey.generate() for name in "ab"}
    founder, other = (
        MemberRecord(name=name, log_vkey="", cosigner_vkey="", peer_url="", key=key.public, from_height=0)
        for name, key in keys.items()
    )
    terms = (Term(1, 16, (founder,)), Term(16, None, (founder, other)))
    grown = Shown((Succession(terms, ()),), {})

    def signed_by(height: int, *names: str) -> tuple[str, ...]:
        manifest = Manifest(
            channel="main", genesis="", height=height, size=9, root="", summary="", state_root="", tables={}
        )
        return quorum_of(manifest, {name: sign(manifest, name, keys[name]) for name in names}, grown)

    assert signed_by(15, "a") == ("a",)
    assert signed_by(16, "a") == ()
    assert signed_by(16, "a", "b") == ("a", "b")
