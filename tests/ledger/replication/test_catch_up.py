"""A member that comes late takes what the order has dropped from the others, and believes none of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from ledger.errors import CatchingUp, OrderingUnavailable
from ledger.ordering.block import make_block, parse_block, render_block
from ledger.ordering.etcd.client import EtcdClient, delete, put
from ledger.ordering.etcd.window import Keys
from tests.ledger.replicas import an_issue, transfers
from tests.ledger.replication.consortium import Consortium, Member, a_consortium, until


@pytest.fixture
def three(tmp_path, new_database, etcd_servers):
    urls = [new_database("ledger") for _ in range(3)]
    return lambda **settings: a_consortium(urls, tmp_path, etcd_servers, **settings)


async def _blocks(members: Consortium, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        await members.proposer.submit(*transfers(3, first=3 * number))


async def _trimmed(members: Consortium) -> int:
    """The order keeps nothing but its last block."""
    height = await members.agreed()
    await members.proposer.orderer.trim(height)
    return height


async def test_a_late_and_a_new_member_catch_up_after_the_order_was_trimmed(three):
    async with three() as members:
        await members.start(1, 2)  # the third has never run
        await members.proposer.submit(an_issue())
        await _blocks(members, 90)  # more than a page
        height = await _trimmed(members)
        await members[3].start()
        await members[3].serving()
        assert members[3].replica.height >= height
        await members.agreed()
        late = next(each for each in members.running if not each.orderer.leads)
        await late.stop()
        await _blocks(members, 5, first=90)
        height = await _trimmed(members)
        await late.start()
        await late.serving()
        assert late.replica.height >= height
        await members.agreed()
        await until(lambda: all(each.replica.attested(0) == 3 for each in members.running))


async def test_a_member_that_lost_its_database_begins_anew_and_signs_nothing_twice(three, new_database_url):
    async with three() as members:
        await members.start()
        await members.proposer.submit(an_issue())
        await _blocks(members, 4)
        lost = next(each for each in members.running if not each.orderer.leads)
        height = await members.agreed()
        await until(lambda: lost.replica._marker.size == lost.replica.head.size)
        await lost.stop()
        lost.url = new_database_url
        await lost.start()
        await lost.serving()
        await until(lambda: lost.replica.height >= height)
        rows = await lost.sql("SELECT size, note FROM checkpoints ORDER BY size")
        signed = [row.size for row in rows if "—" in row.note.decode()]
        assert signed == [rows[-1].size], "the newest tree alone is one it had signed, with this root"
        await members.proposer.submit(*transfers(1, first=100))
        await members.agreed()
        await until(lambda: lost.replica.attested(lost.replica.head.size - 1) == 3)


class _Lying:
    """A member's answers with blocks of its own making."""

    def __init__(self, honest: Any, twist: Any) -> None:
        self._honest = honest
        self._twist = twist
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    async def give_blocks(self, from_height: int, limit: int, size: int) -> Any:
        self.asked += 1
        return self._twist(await self._honest.give_blocks(from_height, limit, size))


def _without_a_transaction(liar: Member) -> Any:
    """Blocks that the liar signs itself, as if it had proposed them, and that leave something out."""

    def twist(given: list[Any]) -> list[Any]:
        block = parse_block(given[0].data)
        header = block.header
        forged = make_block(
            channel=header.channel, height=header.height, previous=bytes.fromhex(header.previous),
            time_ms=header.time_ms, proposer=liar.name, contents=block.contents[1:],
            sign=liar.founded.cosigner_key.sign,
        )  # fmt: skip
        return [replace(given[0], data=render_block(forged)), *given[1:]]

    return twist


@pytest.mark.parametrize(
    "twist",
    [
        _without_a_transaction,
        lambda liar: lambda given: [replace(given[0], proof=given[0].proof[:-1]), *given[1:]],
        lambda liar: lambda given: [replace(given[0], data=given[0].data[:-1]), *given[1:]],
        lambda liar: lambda given: [replace(given[0], revision=given[0].revision + 1), *given[1:]],
        lambda liar: lambda given: [replace(given[0], revision=2**64 - 1), *given[1:]],
        lambda liar: lambda given: given[1:],
        lambda liar: lambda given: [],
    ],
)
async def test_blocks_that_a_member_made_up_are_not_committed(three, twist):
    async with three() as members:
        await members.start(1, 2)
        await members.proposer.submit(an_issue())
        await _blocks(members, 6)
        height = await _trimmed(members)
        lying = _Lying(members[1].replica, twist(members[1]))
        members.ways.wrap[members[1].name] = lambda honest: lying
        await members[3].start()
        await members[3].serving()
        assert lying.asked >= 1, "the liar was asked first"
        assert members[3].replica.height >= height
        assert members[3].replica.head.root == members[2].replica.head.root


async def test_an_order_with_another_block_of_its_height_is_not_taken_for_its_own(three):
    """As after etcd was set up anew from an old copy and went on without this member: its first proposal would not fit
    and stop all others."""
    async with three() as members:
        await members.start()
        await members.proposer.submit(an_issue())
        height = await members.agreed()
        founded, header = members[1].founded, parse_block(await _kept(members[1], height)).header
        for each in members.running:
            await each.stop()
        other = make_block(
            channel=header.channel, height=height, previous=bytes.fromhex(header.previous), time_ms=header.time_ms,
            proposer=founded.member, contents=(), sign=founded.cosigner_key.sign,
        )  # fmt: skip
        client, key = EtcdClient(members[1].etcd_of("nobody")), Keys.of(members[1].etcd_of("nobody")).block(height)
        await client.txn([], [delete(key)])
        await client.txn([], [put(key, render_block(other))])
        await client.close()
        await members[1].start()
        await until(lambda: members[1].replica.status()["state"] == "waiting")
        with pytest.raises(OrderingUnavailable, match=f"block {height} of the order is another one"):
            await members[1].replica.check_orderer()
        with pytest.raises(OrderingUnavailable):
            await members[1].submit(*transfers(1))
        assert members[1].orderer.proposer is None


async def _kept(member: Member, height: int) -> bytes:
    (given,) = await member.replica.give_blocks(height, 1, member.replica.head.size)
    return bytes(given.data)


async def test_a_member_says_so_while_it_catches_up_and_takes_nothing(three):
    async with three() as members:
        await members.start(1, 2)
        await members.proposer.submit(an_issue())
        await _blocks(members, 3)
        await _trimmed(members)
        members.ways.cut |= {members[1].name, members[2].name}
        await members[3].start()
        await asyncio.sleep(0.3)
        assert members[3].replica.status()["state"] == "catching-up"
        for asked in (members[3].submit(*transfers(1)), members[3].replica.check_log()):
            with pytest.raises(CatchingUp):
                await asked
        members.ways.cut.clear()
        await members[3].serving()
        await members[3].replica.check_log()


@pytest.fixture
def new_database_url(new_database) -> str:
    return str(new_database("ledger"))
