"""A member of main that is none of the child: nothing of the child's bodies reaches its etcd, tables or folder."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.channels.registry import ChannelRecord
from contracts.core import commands as c
from contracts.core.codec import encode, read
from contracts.core.envelope import seal
from contracts.core.parties import Role
from ledger.app import KEYS_FILE
from ledger.channels.anchors import Crossing
from ledger.channels.errors import ChannelKeyMissing
from ledger.channels.founding import found_child, join_child, opening
from ledger.channels.sealing.keys import ChannelKeys
from ledger.channels.sealing.orderer import SealedOrderer
from ledger.client import party_id
from ledger.cluster.servers import EtcdServers
from ledger.founding import Founded, load, read_member
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.replica import Replica
from ledger.store import tables
from ledger.store.postgres import PostgresStore
from runtime import logs
from tests.builders import START_MS, a_key
from tests.ledger.channels.sealing.test_sealing import found_below
from tests.ledger.replicas import HOUR_MS
from tests.ledger.replication.consortium import Consortium, DirectPeers, Member, Ways, a_consortium, until
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, AUDITOR, UTILITY, an_enrolment

CHILD = "vn-1"


@pytest.fixture
def urls(new_database: Callable[..., str]) -> list[str]:
    """A database for each member."""
    return [new_database("ledger") for _ in range(3)]


def a_transaction(command: c.Command, channel: str) -> bytes:
    made = seal(
        command, channel=channel, contract=c.CONTRACT_OF[type(command)], sender=AGGREGATOR_ID,
        nonce=secrets.token_hex(16), not_after_ms=START_MS + HOUR_MS, salt=secrets.token_bytes(32),
        sign=AGGREGATOR.sign,
    )  # fmt: skip
    return encode(made)


def an_enrolment_in(area: str, number: int) -> c.EnrolParty:
    key = a_key(number)
    wish = c.Enrolment(
        party=party_id(Role.DEVICE, key.public), role=Role.DEVICE, key=key.public, sponsor=AGGREGATOR_ID, area=area
    )
    return c.EnrolParty(enrolment=wish, proof=key.sign(c.enrolment_bytes(wish)).hex())


def child_replica(member: Member, founded: Founded, ways: Ways, servers: EtcdServers, prefix: str) -> Replica:
    """The child channel as a member hosts it beside main."""
    settings = member.settings.of_channel(CHILD)
    etcd = EtcdSettings(endpoints=servers.endpoints, channel=CHILD, member=founded.member, prefix=prefix, lease_s=1)
    keys = ChannelKeys.load(settings.data_dir / KEYS_FILE, CHILD, founded.cosigner_key)
    peers = DirectPeers(ways, founded.member, [each.name for each in founded.genesis.members])
    store = PostgresStore(member.engine, CHILD)
    return Replica(store, founded, settings, member.clock, SealedOrderer(EtcdOrderer(etcd), keys), peers)


async def holding(member: Member, text: str) -> list[str]:
    """Tables of a member in which the text occurs."""
    names = []
    for name in tables.metadata.tables:
        rows = await member.sql(f"SELECT * FROM {name}")
        values = [bytes(value) if isinstance(value, memoryview) else value for row in rows for value in row]
        if any(text.encode() in (value if isinstance(value, bytes) else str(value).encode()) for value in values):
            names.append(name)
    return sorted(names)


def founded_child(made: Consortium) -> tuple[Founded, Founded, c.OpenChannel]:
    """vn-1 of members 1 and 2, founded by the first."""
    parties = [an_enrolment(Role.UTILITY, UTILITY), an_enrolment(Role.AGGREGATOR, AGGREGATOR)]
    agreed, policy = found_child(
        made[1].settings, made[1].founded, CHILD, created_ms=START_MS,
        parties=[*parties, an_enrolment(Role.AUDITOR, AUDITOR)],
        members=[read_member(made[number].settings.member_file) for number in (1, 2)],
    )  # fmt: skip
    folder = made[1].settings.of_channel(CHILD).data_dir
    second = join_child(made[2].settings, folder)
    with pytest.raises(ChannelKeyMissing, match="not for this member"):
        join_child(made[3].settings, folder)
    assert not made[3].settings.of_channel(CHILD).data_dir.exists()
    return load(made[1].settings.of_channel(CHILD)), second, opening(agreed, policy)


class _Refused(Crossing):
    """One whose target refuses all it brings."""

    async def _submit(self, command: c.Command) -> str:
        return "refused"


async def test_bodies_of_a_restricted_channel_stay_with_its_members(
    urls: list[str], tmp_path: Path, etcd_servers: EtcdServers, capfd: Any
) -> None:
    logs.configure("dr-ledger", json=True)
    salt = secrets.token_hex(12)
    hidden, public = f"hidden-{salt}", f"public-{salt}"
    async with a_consortium(urls, tmp_path, etcd_servers) as made:
        await made.start()
        first, second, command = founded_child(made)
        ways = Ways()
        async with (
            child_replica(made[1], first, ways, etcd_servers, f"/{salt}") as one,
            child_replica(made[2], second, ways, etcd_servers, f"/{salt}") as two,
        ):
            ways.running = {first.member: one, second.member: two}
            await until(lambda: {each.status()["state"] for each in (one, two)} == {"serving"})
            shown = await made[3].submit(
                a_transaction(an_enrolment_in(public, 401), "main"), a_transaction(command, "main")
            )
            assert [each.code for each in shown] == ["ok", "ok"]
            refused = c.Transfer(to=AGGREGATOR_ID, amount_minor=1, reference=hidden)
            for content, code in ((an_enrolment_in(hidden, 402), "ok"), (refused, "same_party")):
                (result,) = await two.submit([a_transaction(content, CHILD)])
                assert result.code == code
            await until(lambda: {each.final_height for each in (one, two)} == {one.height} != {0})
            leader = one if one.status()["proposer"] == first.member else two
            await made.agreed()
            crossing = Crossing(
                leader, made[3].replica, AGGREGATOR, made[3].clock, tmp_path / "crossing.json", downward=False
            )
            assert await crossing.step() == 1
            assert await crossing.step() == 0
            (result,) = await two.submit([a_transaction(an_enrolment_in(hidden, 403), CHILD)])
            assert result.code == "ok"
            await until(lambda: {each.final_height for each in (one, two)} == {one.height, result.height})
            sides = (leader, made[3].replica, AGGREGATOR, made[3].clock, tmp_path / "crossing.json")
            assert await _Refused(*sides, downward=False).step() == 0
            crossing = Crossing(*sides, downward=False)
            assert await crossing.step() == 1, "what was refused before a restart is brought after it"
            assert await crossing.step() == 0
            body, _ = await made[3].replica.record(ChannelRecord.KIND, CHILD)
            assert body is not None
            assert read(body, ChannelRecord).size == leader.head.size, "main knows the child by its checkpoint alone"
            await made.agreed()
            assert await holding(made[1], hidden) == await holding(made[2], hidden) == ["bodies", "facts", "records"]
            assert await holding(made[3], public) == ["bodies", "facts", "records"], "so the search can find"
            assert await holding(made[3], hidden) == []
    assert found_below(made[3].settings.data_dir, hidden.encode()) == []
    for server in etcd_servers.servers:
        assert found_below(server.data_dir, public.encode()), "blocks of main are in clear"
        assert found_below(server.data_dir, hidden.encode()) == []
    written = "".join(capfd.readouterr())
    assert "replica serves" in written
    assert hidden not in written, "no log line of any member shows a body"
