"""Nobody seals a block with a key that a former member knows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contracts.consortium import MemberRecord
from contracts.consortium.membership import FormerMemberRecord
from contracts.core.codec import encode
from ledger.channels.sealing.audience import BLOCKS, Audience
from ledger.channels.sealing.keys import ChannelKeys
from ledger.channels.sealing.orderer import SealedOrderer
from ledger.cluster.servers import EtcdServers
from ledger.errors import OrderingUnavailable, StoreUnavailable
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.ordering.orderer import Committed, Fenced
from runtime.keys import PrivateKey
from tests.builders import a_key
from tests.contracts.channels.logs import a_member
from tests.ledger.ordering.suite import blocks, leading

A, B, LATER = (a_key(number) for number in (211, 212, 213))
KEYS_OF = {"a.example/1": A, "b.example/2": B, "later.example/3": LATER}
BOTH = {"a.example/1": A.public, "b.example/2": B.public}
ALL = {name: key.public for name, key in KEYS_OF.items()}
FIRST = ChannelKeys.create("vn-1", BOTH, A)


class State:
    """The members' records of a channel, as its replica shows them."""

    def __init__(self) -> None:
        self.height = 0
        self.asked = 0
        self.away = False
        self._rows: dict[str, dict[str, bytes]] = {"member": {}, "former_member": {}}
        for name in BOTH:
            self.put(name)

    def put(self, name: str, from_height: int = 0, until_height: int | None = None, *, former: bool = False) -> None:
        kind = FormerMemberRecord if former else MemberRecord
        given = a_member(name)
        record = kind(
            name=name, log_vkey=given.log_vkey, cosigner_vkey=given.cosigner_vkey, peer_url=given.peer_url,
            key=KEYS_OF[name].public, from_height=from_height, until_height=until_height,
        )  # fmt: skip
        self._rows["member"].pop(name, None)
        self._rows[kind.KIND][name] = encode(record)

    def members(self) -> list[str]:
        return sorted(self._rows["member"])

    async def records(self, kind: str, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")
        return [(key, body) for key, body in sorted(self._rows[kind].items()) if key > after][:limit]


async def outsiders(state: State, keys: ChannelKeys, height: int) -> list[str]:
    state.height = height - 1
    return await Audience(state).outsiders(keys.file, height)


async def test_a_key_is_stale_from_the_height_at_which_one_who_has_it_left() -> None:
    state = State()
    state.put("b.example/2", until_height=20)
    assert await outsiders(state, FIRST, 19) == []
    assert await outsiders(state, FIRST, 20) == ["b.example/2"]
    rotated = FIRST.rotated(20, {"a.example/1": A.public})
    assert await outsiders(state, rotated, 20) == []
    assert await outsiders(state, rotated, 19) == []
    state.put("b.example/2", until_height=20, former=True)
    assert await outsiders(state, FIRST, 20) == ["b.example/2"], "it stays a former member"


async def test_who_joined_later_knows_earlier_keys_although_an_old_file_does_not_say_so() -> None:
    """The same two are members as at the beginning, and the file of the beginning names nobody else."""
    state = State()
    state.put("later.example/3", 10, 30)
    joined = FIRST.rotated(10, ALL)
    left = joined.rotated(30, BOTH)
    assert await outsiders(state, FIRST, 30) == await outsiders(state, joined, 30) == ["later.example/3"]
    assert await outsiders(state, left, 30) == []


async def test_a_member_that_joins_holds_up_nobody() -> None:
    """It is given the earlier keys."""
    state = State()
    state.put("later.example/3", 10)
    assert await outsiders(state, FIRST, 10) == []


async def test_the_records_are_read_again_before_anybody_can_have_come_and_gone() -> None:
    state = State()
    audience = Audience(state)
    for state.height in range(BLOCKS + 1):
        assert await audience.outsiders(FIRST.file, state.height + 1) == []
    assert state.asked == 3, "once: two pages of members, the second empty, and one of former ones"
    state.height += 1
    await audience.outsiders(FIRST.file, state.height + 1)
    assert state.asked == 6
    state.put("b.example/2", 0, state.height + 1, former=True)
    assert await audience.outsiders(FIRST.file, state.height + 1) == ["b.example/2"], "a member was put out"


async def test_a_proposer_without_the_newest_key_gives_the_lease_to_one_that_has_it_until_the_file_comes(
    etcd_servers: EtcdServers, channel: str, tmp_path: Path
) -> None:
    old = ChannelKeys.create(channel, ALL, A)
    new = old.rotated(3, BOTH)
    path, state = tmp_path / "channel-keys.json", State()
    old.save(path)
    state.put("later.example/3", until_height=3)
    late = a_member_of(etcd_servers, channel, "a.example/1", ChannelKeys.load(path, channel, A), state)
    timely = a_member_of(etcd_servers, channel, "b.example/2", as_seen_by(new, B), state)
    try:
        await late.start(0)
        await leading(late)
        await timely.start(0)
        assert [isinstance(await late.propose(height, b"early"), Committed) for height in (1, 2)] == [True, True]
        assert isinstance(await late.propose(3, b"late"), Fenced)
        await leading(timely)
        assert not late.leads
        async with asyncio.timeout(30):
            while late.proposer != "b.example/2":  # it hears of it by its watch
                await asyncio.sleep(0.02)
        await late.check()  # another orders, so nothing is in the way of those who ask this one
        assert "later.example/3, no member any more" in late.state()["held"]
        assert isinstance(await timely.propose(3, b"late"), Committed)
        await timely.stop()
        await until_said(late, "nobody orders blocks at the moment, and this member does not order")
        await late.start(3, runs=True)  # what its replica asks for meanwhile
        assert not late.leads
        new.save(path)
        await leading(late)
        assert isinstance(await late.propose(4, b"later"), Committed)
        assert late.state()["held"] is None
        seen = {each.height: each.data[5:13].hex() for each in await blocks(late._orderer, 1, 4)}
        assert seen == {height: new.at(height).key_id for height in range(1, 5)}
        assert new.at(2).key_id != new.at(3).key_id
    finally:
        await late.stop()
        await timely.stop()


async def test_while_the_members_records_cannot_be_read_nothing_is_sealed(
    etcd_servers: EtcdServers, channel: str
) -> None:
    state = State()
    orderer = a_member_of(etcd_servers, channel, "a.example/1", ChannelKeys.create(channel, BOTH, A), state)
    try:
        await orderer.start(0)
        await leading(orderer)
        state.away = True
        with pytest.raises(OrderingUnavailable, match="away"):
            await orderer.propose(1, b"block")
        state.away = False
        assert isinstance(await orderer.propose(1, b"block"), Committed)
    finally:
        await orderer.stop()


def a_member_of(servers: EtcdServers, channel: str, member: str, keys: ChannelKeys, state: State) -> SealedOrderer:
    orderer = SealedOrderer(
        EtcdOrderer(EtcdSettings(endpoints=servers.endpoints, channel=channel, member=member)), keys
    )
    orderer.audience = Audience(state)
    return orderer


def as_seen_by(keys: ChannelKeys, key: PrivateKey) -> ChannelKeys:
    return ChannelKeys(keys.file, key)


async def until_said(orderer: SealedOrderer, text: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await orderer.check()
            except OrderingUnavailable as error:
                if text in str(error):
                    return
            await asyncio.sleep(0.05)
