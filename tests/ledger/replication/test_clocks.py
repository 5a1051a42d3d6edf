"""A member whose clock is ahead does not order: the ledger's time would go there with it, and never back."""

from __future__ import annotations

import asyncio

import pytest

from ledger.errors import PeerUnavailable
from ledger.replication.membership.clocks import ahead_ms
from ledger.replication.peers import NoPeers, PeerStatus
from tests.builders import START_MS, a_clock
from tests.ledger.replicas import an_issue
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
