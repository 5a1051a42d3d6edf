"""One member founds, and grows to three: the order moves to etcd behind its last block, then others are approved."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from contracts.core.parties import Role
from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from ledger.founding import contracts_root, create_member, found, join, load
from ledger.ordering.etcd.orderer import EtcdOrderer
from ledger.ordering.etcd.settings import EtcdSettings
from tests.builders import START_MS
from tests.ledger.interface.commands import refusal
from tests.ledger.replicas import a_replica, an_issue, transfers
from tests.ledger.replication.consortium import ORIGIN, Consortium, Member, Ways, changed, joining, name_of, until
from tests.ledger.running import AGGREGATOR, UTILITY, a_running_ledger, an_enrolment


def _alone(folder: Path, peer_url: str | None) -> LedgerSettings:
    settings = LedgerSettings(data_dir=folder)
    parties = [an_enrolment(Role.UTILITY, UTILITY), an_enrolment(Role.AGGREGATOR, AGGREGATOR)]
    found(
        settings, parties=parties, channel="main", origin=ORIGIN, member=name_of(1), contracts_root=contracts_root(),
        created_ms=START_MS, peer_url=peer_url,
    )  # fmt: skip
    return settings


@pytest.fixture
def urls(new_database):
    return [new_database("ledger") for _ in range(4)]


async def test_a_ledger_of_one_member_grows_to_three(urls, tmp_path, etcd_servers):
    settings = _alone(tmp_path / "1", "http://127.0.0.1:9001")
    async with a_replica(urls[0], tmp_path / "1") as ledger:  # orders by itself
        await ledger.run(an_issue())
        await ledger.run(*transfers(3))
        founded, height = ledger.founded, ledger.replica.height
    etcd = EtcdSettings(
        endpoints=etcd_servers.endpoints, channel="main", member=name_of(1), prefix="/growth", lease_s=1
    )
    orderer = EtcdOrderer(etcd)
    await orderer.found(height)  # dr-ledger begin-order
    await orderer.stop()
    one = Member(founded, settings, urls[0], etcd, Ways())
    members = Consortium({1: one}, one._ways)
    try:
        await members.start()
        (paid,) = await one.submit(*transfers(1, first=50))
        assert (paid.code, paid.height) == ("ok", height + 1)
        for number, signers in ((2, [1]), (3, [1, 2])):
            new = members.members[number] = joining(members, number, urls[number - 1], tmp_path / str(number))
            await new.start()
            await changed(members, "add", new, [members[each] for each in signers], 100 * number)
        (paid,) = await members[3].submit(*transfers(1, first=500))
        await until(lambda: all(each.replica.attested(paid.index or 0) == 3 for each in members.running))
        assert members[1].replica.status()["members"] == [name_of(number) for number in (1, 2, 3)]
        height = await members.agreed()
        await asyncio.gather(*(members[each].stop() for each in (2, 3)))
        (alone,) = await one.submit(*transfers(1, first=900))
        assert (alone.code, alone.height) == ("ok", height + 1)
        await one.stop()
        # the founder alone was a quorum once, and is none any more
        where = {"DR_LEDGER_DATA_DIR": str(tmp_path / "1"), "DATABASE_URL": urls[0]}
        where["DR_LEDGER_ETCD_ENDPOINTS"] = ",".join(etcd_servers.endpoints)
        said = await asyncio.to_thread(refusal, 7, "begin-order", "--height", height + 1, **where)
        assert f"last block is {height + 1}, its last final one {height}" in " ".join(said.split())
    finally:
        await asyncio.gather(*(each.stop() for each in members.running))


class _Founder:
    """The founder's answers, from a log that it made alone; it knows of no other member."""

    def __init__(self, alone: Any) -> None:
        self._alone = alone
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        self.asked += name == "give_changes"
        return getattr(self._alone, name)


async def test_the_founder_alone_leads_nobody_along_a_log_of_its_own_once_others_are_members(
    urls, tmp_path, etcd_servers
):
    settings = _alone(tmp_path / "1", "http://127.0.0.1:9001")
    founded = load(settings)

    def etcd(prefix: str) -> EtcdSettings:
        return EtcdSettings(
            endpoints=etcd_servers.endpoints, channel="main", member=name_of(1), prefix=prefix, lease_s=1
        )

    one = Member(founded, settings, urls[0], etcd("/growth-true"), Ways())
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    false = Member(founded, elsewhere, urls[1], etcd("/growth-false"), Ways())
    members = Consortium({1: one}, one._ways)
    late = joining(members, 3, urls[2], tmp_path / "3", peer_seeds=f"{name_of(2)}=http://127.0.0.1:9002")
    try:
        await members.start()
        await one.submit(an_issue())
        two = members.members[2] = joining(members, 2, urls[3], tmp_path / "2")
        await two.start()
        await changed(members, "add", two, [one], 100)
        height = await members.agreed()
        await one.orderer.trim(height)
        await false.start()
        await false.serving()
        for number in (0, 100, 200):
            await false.submit(*transfers(100, first=number))
        await until(lambda: false.replica.final_height == false.replica.height)
        assert false.replica.head.size > one.replica.head.size
        lying = _Founder(false.replica)
        members.ways.wrap[one.name] = lambda honest: lying
        members.members[3] = late
        await late.start()
        await late.serving()
        assert lying.asked
        assert late.replica.height >= height
        first = [(await each.replica.give_blocks(1, 1, each.replica.head.size))[0] for each in (late, two)]
        assert first[0].data == first[1].data
        assert late.replica.status()["members"] == [name_of(1), name_of(2)]
    finally:
        await asyncio.gather(*(each.stop() for each in [*members.running, false]))


async def test_a_ledger_founded_for_one_for_good_says_why_nobody_joins(urls, tmp_path):
    settings = _alone(tmp_path / "1", None)
    other = LedgerSettings(data_dir=tmp_path / "2")
    create_member(other, name=name_of(2), peer_url="http://127.0.0.1:9002", origin=ORIGIN)
    with pytest.raises(GenesisInvalid, match="without --peer-url"):
        join(other, genesis=settings.genesis_file, policy=settings.policy_file)
    async with a_running_ledger(urls[0], tmp_path / "1") as address:
        propose = ["members", "propose", "--add", other.member_file, "--output", tmp_path / "change.json"]
        assert "without --peer-url" in await asyncio.to_thread(refusal, 9, *propose, "--url", address)
