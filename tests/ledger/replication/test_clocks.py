"""A member whose clock is ahead does not order: the ledger's time would go there with it, and never back."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import pytest

from ledger.errors import OrderingUnavailable, PeerUnavailable
from ledger.operations.errors import BlockAhead, ClockAhead
from ledger.operations.watch.observation import Observer
from ledger.operations.watch.readiness import check_clock
from ledger.replication.membership.clocks import ahead_ms
from ledger.replication.peers import NoPeers, PeerStatus
from tests.builders import START_MS, a_clock
from tests.ledger.replicas import an_issue, transfers
from tests.ledger.replication.consortium import a_consortium, until

DAY_MS = 86_400_000


class _Saying(NoPeers):
    """Members that say these times; None: away."""

    def __init__(self, *times_ms: int | None) -> None:
        self._said = {f"member.example/{place}": time_ms for place, time_ms in enumerate(times_ms)}
        self.names = list(self._said)

    async def status(self, member: str) -> PeerStatus:
        time_ms = self._said[member]
        if time_ms is None:
            raise PeerUnavailable("away")
        return PeerStatus(member=member, height=0, size=0, note="", final="", time_ms=time_ms)


@pytest.mark.parametrize(
    ("said", "ahead"),
    [
        ([START_MS, START_MS], 0),
        ([START_MS - DAY_MS, START_MS - 7_000], 7_000),
        ([START_MS - DAY_MS, START_MS], 0),  # one of two may lie
        ([START_MS - DAY_MS, None], DAY_MS),
        ([START_MS + DAY_MS, START_MS + DAY_MS], 0),
        ([0, None], None),  # does not say
    ],
)
async def test_a_clock_is_ahead_when_more_than_half_of_those_who_answer_say_so(said, ahead):
    assert await ahead_ms(_Saying(*said), a_clock()) == ahead


@pytest.fixture
def three(tmp_path, new_database, etcd_servers):
    urls = [new_database("ledger") for _ in range(3)]
    return lambda: a_consortium(urls, tmp_path, etcd_servers)


async def test_a_member_whose_clock_is_a_day_ahead_follows_and_never_orders(three):
    async with three() as members:
        wrong, right, other = members[1], members[2], members[3]
        await right.start()
        await other.start()
        wrong.clock = a_clock(START_MS + DAY_MS)
        await wrong.start()
        await asyncio.gather(*(each.serving() for each in (right, other)))
        await until(lambda: wrong.replica.status()["state"] == "serving")
        await until(lambda: right.orderer.leads or other.orderer.leads)
        (result,) = await right.submit(an_issue())
        assert result.status == "committed"
        await right.kill()
        await until(lambda: other.orderer.leads)
        await asyncio.sleep(0.5)
        assert not wrong.orderer.leads
        assert other.replica.head.time_ms < START_MS + DAY_MS


async def test_a_member_whose_clock_runs_away_while_it_orders_gives_that_up_until_the_clock_is_right(three):
    async with three() as members:
        await members.start()
        await members.proposer.submit(an_issue())
        wrong = members.proposer
        others = [each for each in members.running if each is not wrong]
        wrong.clock.advance(DAY_MS)
        sent = asyncio.create_task(wrong.submit(*transfers(1)))
        await until(lambda: any(each.orderer.leads for each in others))
        assert not wrong.orderer.leads
        status = wrong.replica.status()
        assert "86400 s ahead of most others" in status["held_back"]
        assert [result.code for result in await sent] == ["ok"], "its clients go on: what they send is handed over"
        assert all(each.replica.head.time_ms < START_MS + DAY_MS for each in members.running)
        with pytest.raises(ClockAhead, match="Set the clock"):
            await check_clock(wrong.replica, Observer(wrong.engine, list, wrong.clock), wrong.clock)
        for other in others:
            other.clock.advance(DAY_MS)
        await until(lambda: wrong.replica.status()["held_back"] is None)


async def test_where_nobody_else_is_there_to_order_clients_are_told_that_the_clock_is_wrong(three):
    async with three() as members:
        await members.start()
        await members.proposer.submit(an_issue())
        wrong = members.proposer
        wrong.clock.advance(DAY_MS)
        for other in members.running:
            if other is not wrong:
                await other.orderer.stop()  # they follow and cosign, and do not run
        await until(lambda: wrong.replica.status()["held_back"] is not None and wrong.orderer.proposer is None)
        with pytest.raises(OrderingUnavailable, match="nobody orders blocks at the moment, and this member's clock is"):
            await wrong.submit(*transfers(1))


async def test_a_proposer_that_takes_the_time_away_is_named_with_its_block(three):
    async with three() as members:
        await members.start()
        await members.proposer.submit(an_issue())
        await members.agreed()
        liar = members.proposer
        honest = next(each for each in members.running if each is not liar)
        liar.replica._proposing._may_propose = AsyncMock(return_value=True)  # the guard is its own, and it has none
        final = honest.replica.final_height
        liar.clock.advance(DAY_MS)
        (result,) = await liar.submit(*transfers(1))
        await until(lambda: honest.replica.height >= (result.height or 0))
        uncosigned = honest.replica.status()["uncosigned"]
        assert (uncosigned["height"], uncosigned["proposer"]) == (result.height, liar.name)
        assert honest.replica.final_height == final
        observer = Observer(honest.engine, lambda: [honest.replica], honest.clock)
        await observer.look()
        with pytest.raises(
            BlockAhead, match=f"block {result.height}, which {liar.name} proposed.*nothing becomes final"
        ):
            await check_clock(honest.replica, observer, honest.clock)
