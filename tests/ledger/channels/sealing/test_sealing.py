"""A restricted channel's blocks can be opened by its members alone, whoever stores them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.core.codec import encode
from ledger.channels.errors import ChannelKeyInvalid, ChannelKeyMissing, SealBroken
from ledger.channels.sealing.blocks import OVERHEAD_BYTES, seal, unseal
from ledger.channels.sealing.keys import ChannelKeys
from ledger.channels.sealing.orderer import SealedOrderer
from ledger.cluster.servers import EtcdServers
from ledger.errors import OrderingUnavailable
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.ordering.local import LocalOrderer
from ledger.ordering.orderer import Committed, Conflict, Fenced, Orderer, Proposed, Unknown
from runtime.database import create_engine
from runtime.keys import PrivateKey
from tests.builders import a_key
from tests.ledger.ordering.suite import OneMember, blocks, data, leading

A, B, OUTSIDER, NEW = (a_key(number) for number in (201, 202, 203, 204))
MEMBERS = {"a.example/1": A.public, "b.example/2": B.public}
KEYS = ChannelKeys.create("vn-1", MEMBERS, A)


def as_seen_by(keys: ChannelKeys, key: PrivateKey) -> ChannelKeys:
    return ChannelKeys(keys.file, key)


# ---- who can open what


@given(st.binary(max_size=300), st.integers(1, 2**40))
def test_every_member_opens_what_any_member_sealed(block: bytes, height: int) -> None:
    sealed = seal(KEYS, height, block)
    assert len(sealed) == len(block) + OVERHEAD_BYTES
    assert unseal(as_seen_by(KEYS, B), height, sealed) == block
    assert len(block) < 9 or block not in sealed


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_retry_proposes_the_same_bytes_and_another_block_others(one: bytes, other: bytes) -> None:
    assert seal(KEYS, 5, one) == seal(as_seen_by(KEYS, B), 5, one)
    assert (seal(KEYS, 5, one)[13:25] == seal(KEYS, 5, other)[13:25]) == (one == other), "a nonce is for one block"
    assert seal(KEYS, 5, one)[13:25] != seal(KEYS, 6, one)[13:25]


@settings(max_examples=60)
@given(st.data(), st.binary(min_size=1, max_size=60))
def test_no_byte_of_a_sealed_block_can_change(drawn: st.DataObject, block: bytes) -> None:
    sealed = seal(KEYS, 7, block)
    at, bit = drawn.draw(st.integers(0, len(sealed) - 1)), drawn.draw(st.integers(0, 7))
    edited = sealed[:at] + bytes((sealed[at] ^ 1 << bit,)) + sealed[at + 1 :]
    with pytest.raises((SealBroken, ChannelKeyMissing)):
        unseal(KEYS, 7, edited)


def test_a_block_is_for_one_height_and_channel() -> None:
    sealed = seal(KEYS, 7, b"block")
    with pytest.raises(SealBroken, match="block 8"):
        unseal(KEYS, 8, sealed)
    file = type(KEYS.file)(format=KEYS.file.format, channel="vn-2", epochs=KEYS.file.epochs)
    elsewhere = ChannelKeys(file, A)
    with pytest.raises(ChannelKeyInvalid):
        unseal(elsewhere, 7, sealed)


@pytest.mark.parametrize("bytes_", [b"", b"GPSB", b"plain block", b"GPSB\x01" + bytes(35), b"GPSB\x02" + bytes(60)])
def test_what_was_never_sealed_is_named(bytes_: bytes) -> None:
    with pytest.raises(SealBroken, match="is not sealed"):
        unseal(KEYS, 3, bytes_)


def test_an_outsider_cannot_open_and_is_told_why() -> None:
    outside = as_seen_by(KEYS, OUTSIDER)
    with pytest.raises(ChannelKeyMissing, match="not for this member"):
        unseal(outside, 1, seal(KEYS, 1, b"block"))
    with pytest.raises(ChannelKeyMissing):
        seal(outside, 1, b"block")
    other = ChannelKeys.create("vn-1", {"x.example/9": OUTSIDER.public}, OUTSIDER)
    with pytest.raises(ChannelKeyMissing, match="take the newest file"):
        unseal(other, 1, seal(KEYS, 1, b"block"))


def test_a_key_wrapped_for_another_is_of_no_use_under_ones_own_name() -> None:
    (epoch,) = KEYS.file.epochs
    stolen = type(epoch.wrapped[0])(member="x", key=OUTSIDER.public, wrapped=epoch.wrapped[0].wrapped)
    file = type(KEYS.file)(
        format=KEYS.file.format,
        channel="vn-1",
        epochs=(type(epoch)(from_height=0, key_id=epoch.key_id, wrapped=(stolen,)),),
    )
    with pytest.raises(ChannelKeyInvalid, match="does not open"):
        seal(ChannelKeys(file, OUTSIDER), 1, b"block")


# ---- members change


def test_who_leaves_opens_nothing_later_and_who_joins_opens_everything() -> None:
    early = seal(KEYS, 9, b"early")
    rotated = KEYS.rotated(10, {"a.example/1": A.public, "n.example/4": NEW.public})
    late = seal(rotated, 10, b"late")
    assert seal(rotated, 9, b"early") == early, "a retry over the change is still the same bytes"
    new = as_seen_by(rotated, NEW)
    assert (unseal(new, 9, early), unseal(new, 10, late)) == (b"early", b"late")
    gone = as_seen_by(rotated, B)
    assert unseal(gone, 9, early) == b"early"
    with pytest.raises(ChannelKeyMissing, match="not for this member"):
        unseal(gone, 10, late)
    with pytest.raises(ChannelKeyMissing, match="take the newest file"):
        unseal(as_seen_by(KEYS, B), 10, late)


def test_epochs_follow_each_other() -> None:
    rotated = KEYS.rotated(10, MEMBERS)
    for height in (10, 9, 0):
        with pytest.raises(ChannelKeyInvalid, match="begins at 10 already"):
            rotated.rotated(height, MEMBERS)
    with pytest.raises(ChannelKeyInvalid, match="no members"):
        rotated.rotated(20, {})
    with pytest.raises(ChannelKeyMissing):
        as_seen_by(KEYS, OUTSIDER).rotated(10, {**MEMBERS, "x": OUTSIDER.public})


def test_the_file_holds_no_secret_and_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "channel-keys.json"
    rotated = KEYS.rotated(10, MEMBERS)
    rotated.save(path)
    again = ChannelKeys.load(path, "vn-1", B)
    assert again.file == rotated.file
    for epoch in rotated.file.epochs:
        assert rotated.secret(epoch).hex() not in path.read_text()
        assert again.secret(epoch) == rotated.secret(epoch)


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    path = tmp_path / "channel-keys.json"
    with pytest.raises(ChannelKeyMissing, match="take the file from another member"):
        ChannelKeys.load(path, "vn-1", A)
    KEYS.save(path)
    with pytest.raises(ChannelKeyInvalid, match="not of vn-2"):
        ChannelKeys.load(path, "vn-2", A)
    path.write_bytes(encode(KEYS.file) + b" ")
    with pytest.raises(ChannelKeyInvalid, match="cannot be used"):
        ChannelKeys.load(path, "vn-1", A)
    with pytest.raises(ChannelKeyInvalid, match="cannot be encrypted to"):
        ChannelKeys.create("vn-1", {"a": "ed25519:" + "ff" * 32}, A)


# ---- as an order


class SealedOrders:
    def __init__(self, engine) -> None:
        self.made: list[SealedOrderer] = []
        self._engine = engine

    def new(self, member: str) -> SealedOrderer:
        self.made.append(SealedOrderer(LocalOrderer(self._engine, "vn-1", member), KEYS))
        return self.made[-1]


class TestSealedLocal(OneMember):
    """A sealed order keeps every promise of the order below it."""

    @pytest.fixture
    async def orders(self, database_url):
        engine = create_engine(database_url)
        orders = SealedOrders(engine)
        yield orders
        for orderer in orders.made:
            await orderer.stop()
        await engine.dispose()


async def test_a_further_epoch_is_found_in_the_file_without_a_restart(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "channel-keys.json"
    KEYS.save(path)
    engine = create_engine(database_url)
    orderer = SealedOrderer(LocalOrderer(engine, "vn-1", "a"), ChannelKeys.load(path, "vn-1", A))
    follower = SealedOrderer(orderer._orderer, ChannelKeys.load(path, "vn-1", B))
    try:
        await orderer.start(0)
        await orderer.propose(1, data(1))
        rotated = KEYS.rotated(2, MEMBERS)
        rotated.save(path)
        await orderer.propose(2, data(2))
        assert [each.data for each in await blocks(follower, 1, 2)] == [data(1), data(2)]
        (second,) = await blocks(orderer._orderer, 2, 2)
        assert second.data[5:13].hex() == rotated.at(2).key_id
        ChannelKeys.create("vn-1", MEMBERS, A).save(path)
        await orderer.propose(3, data(3))
        (third,) = await blocks(orderer._orderer, 3, 3)
        assert third.data[5:13].hex() == rotated.at(3).key_id, "a file that does not continue what is known is not used"
    finally:
        await orderer.stop()
        await engine.dispose()


class _Unsure:
    """An order that says these outcomes, in turn; None: unavailable."""

    def __init__(self, *outcomes: Proposed | None) -> None:
        self._outcomes = list(outcomes)
        self.asked: list[bytes] = []

    async def propose(self, height: int, data: bytes) -> Proposed:
        self.asked.append(data)
        outcome = self._outcomes.pop(0)
        if outcome is None:
            raise OrderingUnavailable("nobody")
        return outcome


@pytest.mark.parametrize("last", [Committed(7), Conflict(), Fenced(None), None])
async def test_a_further_epoch_changes_no_block_whose_outcome_is_unknown(tmp_path: Path, last: Proposed | None) -> None:
    path = tmp_path / "channel-keys.json"
    KEYS.save(path)
    order = _Unsure(Unknown("no answer"), last, Committed(9))
    orderer = SealedOrderer(cast("Orderer", order), ChannelKeys.load(path, "vn-1", A))
    await orderer.propose(2, b"block")
    rotated = KEYS.rotated(2, MEMBERS)
    rotated.save(path)
    with contextlib.suppress(OrderingUnavailable):
        assert await orderer.propose(2, b"block") == last
    assert order.asked[1] == order.asked[0], "an order knows its attempts by their bytes"
    await orderer.propose(2, b"block")
    assert order.asked[2][5:13].hex() == rotated.at(2).key_id, "once the outcome is known, the newest key"


def found_below(folder: Path, text: bytes) -> list[str]:
    """Files in which the bytes occur, those of a PostgreSQL that a system user runs elsewhere included."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for named in [path for path in files if path.name == "folder" and path.parent.name == "postgres"]:
        elsewhere = Path(named.read_text().strip())
        if not elsewhere.is_relative_to(folder.resolve()):
            files += [path for path in elsewhere.rglob("*") if path.is_file()]
    return sorted(str(path) for path in files if text in _content(path))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # a server that runs removes files of its own
        return b""


async def test_what_etcd_keeps_of_a_sealed_channel_holds_no_body(etcd_servers: EtcdServers, channel: str) -> None:
    """The same block goes into a plain channel, where it is found: so the search can find."""
    marker = secrets.token_hex(16).encode()
    sealed_marker, plain_marker = b"sealed-" + marker, b"plain-" + marker
    keys = ChannelKeys.create(channel, MEMBERS, A)

    def etcd(name: str) -> EtcdOrderer:
        return EtcdOrderer(EtcdSettings(endpoints=etcd_servers.endpoints, channel=name, member="a.example/1"))

    sealed, plain = SealedOrderer(etcd(channel), keys), etcd(f"{channel}-plain")
    try:
        for orderer, text in ((sealed, sealed_marker), (plain, plain_marker)):
            await orderer.start(0)
            await leading(orderer)
            for height in range(1, 21):
                assert isinstance(await orderer.propose(height, data(height) + text), Committed)
        assert [each.data for each in await blocks(sealed, 1, 20)] == [data(h) + sealed_marker for h in range(1, 21)]
        for server in etcd_servers.servers:
            assert found_below(server.data_dir, plain_marker), "each server stores what all channels order"
            assert found_below(server.data_dir, sealed_marker) == []
            assert found_below(server.data_dir, b"GPSB\x01"), "sealed blocks are there"
    finally:
        await sealed.stop()
        await plain.stop()


async def test_a_block_that_somebody_put_into_the_order_of_a_sealed_channel_stops_its_members(
    etcd_servers: EtcdServers, channel: str
) -> None:
    plain = EtcdOrderer(EtcdSettings(endpoints=etcd_servers.endpoints, channel=channel, member="a.example/1"))
    sealed = SealedOrderer(plain, ChannelKeys.create(channel, MEMBERS, A))
    try:
        await sealed.start(0)
        await leading(sealed)
        await sealed.propose(1, b"sound")
        await plain.propose(2, b"a block in clear")
        with pytest.raises(SealBroken, match="block 2"):
            await blocks(sealed, 1, 2)
    finally:
        await sealed.stop()


async def test_a_member_waits_for_the_file_with_the_new_key_and_needs_no_restart(
    etcd_servers: EtcdServers, channel: str, tmp_path: Path
) -> None:
    path = tmp_path / "channel-keys.json"
    ChannelKeys.create(channel, MEMBERS, A).save(path)
    early = ChannelKeys.load(path, channel, A)
    rotated = early.rotated(2, {"a.example/1": A.public, "b.example/2": B.public})
    settings = EtcdSettings(endpoints=etcd_servers.endpoints, channel=channel, member="a.example/1")
    first, second = SealedOrderer(EtcdOrderer(settings), rotated), SealedOrderer(EtcdOrderer(settings), early)
    try:
        await first.start(0)
        await leading(first)
        for height in (1, 2):
            await first.propose(height, b"block")
        reading = asyncio.create_task(blocks(second, 1, 2))
        async with asyncio.timeout(20):
            while (missing := await why_not(second)) is None or "take the newest file" not in missing:
                await asyncio.sleep(0.05)
        path.write_bytes(b"a file that is half")
        rotated.save(path)
        assert [each.data for each in await reading] == [b"block", b"block"]
        assert await why_not(second) is None
        outside = SealedOrderer(EtcdOrderer(settings), as_seen_by(rotated, OUTSIDER))
        with pytest.raises(OrderingUnavailable, match="not for this member"):
            await outside.propose(3, b"block")
    finally:
        await first.stop()
        await second.stop()


async def why_not(orderer: SealedOrderer) -> str | None:
    """What an order says that cannot go on."""
    try:
        await orderer.check()
    except OrderingUnavailable as error:
        return str(error)
    return None
