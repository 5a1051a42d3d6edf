"""A member is added and another removed while the ledger runs: by a signed change, at a height that all know before."""

from __future__ import annotations

import pytest

from contracts.core import commands as c
from contracts.core.codec import digest
from ledger import genesis
from ledger.audit import audit
from ledger.cluster.proposal import Proposal
from ledger.config import LedgerSettings
from ledger.founding import create_member, join, read_member
from ledger.genesis import own_policy
from ledger.log.checkpoint import render_note
from ledger.operations.watch.readiness import check_log, check_order
from ledger.store.store import FinalRow
from ledger.verify import parse_policy, verify_checkpoint
from runtime.errors import Attention
from tests.ledger.replicas import an_issue, sealed, transfers
from tests.ledger.replication.consortium import ORIGIN, Consortium, Member, a_consortium, name_of, until
from tests.ledger.running import AGGREGATOR_ID


@pytest.fixture
def urls(new_database):
    return [new_database("ledger") for _ in range(4)]


def _change(members: Consortium, change: str, name: str, added: c.Member | None, signers: list[Member]) -> bytes:
    founded = members[1].founded
    proposal = Proposal(
        ledger=digest(founded.genesis), channel="main", change=change, name=name, member=added,
        effective_height=members.running[0].replica.height + 11,
    )  # fmt: skip
    approvals = [proposal.approve(each.name, each.founded.cosigner_key) for each in signers]
    return sealed(AGGREGATOR_ID, proposal.command(approvals))


async def _blocks(members: Consortium, count: int, first: int) -> None:
    for number in range(first, first + count):
        (result,) = await members.proposer.submit(*transfers(1, first=number))
        assert result.code == "ok"


async def test_a_fourth_member_joins_and_a_first_leaves_while_the_ledger_runs(urls, tmp_path, etcd_servers):
    async with a_consortium(urls[:3], tmp_path, etcd_servers) as members:
        await members.start()
        await members.proposer.submit(an_issue())
        fourth = _fourth(members, urls[3], tmp_path / "4")
        await fourth.start()
        members.members[4] = fourth
        added = read_member(fourth.settings.member_file)
        signers = [members[1], members[2], fourth]
        (changed,) = await members[1].submit(_change(members, "add", name_of(4), added, signers))
        assert changed.code == "ok"
        await _blocks(members, 12, first=100)
        await until(lambda: all(len(each.replica.status()["members"]) == 4 for each in members.running))
        (paid,) = await fourth.submit(*transfers(1, first=200))
        assert paid.code == "ok"
        await until(lambda: all(each.replica.attested(paid.index or 0) == 4 for each in members.running))
        policy = parse_policy(fourth.replica.policy(), strict=True)
        assert len(verify_checkpoint(await members[1].replica.checkpoint(), policy, strict=True).cosigned_at_s) >= 3

        leaving = next(each for each in members.running if not each.orderer.leads and each is not fourth)
        staying = [each for each in members.running if each is not leaving]
        (changed,) = await fourth.submit(_change(members, "remove", leaving.name, None, staying))
        assert changed.code == "ok"
        await _blocks(members, 12, first=300)
        await until(lambda: all(leaving.name not in each.replica.status()["members"] for each in staying))
        await until(lambda: leaving.replica.status()["state"] == "retired")
        height = leaving.replica.height
        await leaving.stop()
        await leaving.start()
        await until(lambda: leaving.replica.status()["state"] == "retired")
        with pytest.raises(Attention, match=f"the log up to block {height}, its last, and takes nothing new"):
            await check_order(leaving.replica)
        await check_log(leaving.replica)
        (paid,) = await fourth.submit(*transfers(1, first=400))
        await until(lambda: all(each.replica.attested(paid.index or 0) == 3 for each in staying))
        await until(lambda: fourth.replica.attested(fourth.replica.head.size - 1) == 3)
        await fourth.replica._store.save_final(_made_final_by_few_founders(fourth, staying[0]))
        assert (await audit(fourth.engine, fourth.founded)).height == fourth.replica.height
        kept = (await genesis.load(fourth.replica._store, fourth.founded)).final
        assert kept is not None, "no restart takes finality back"
        for each in staying:
            assert any(name == fourth.name for name, _ in each.replica._alarms._notes._keys), "watched"
        assert all(leaving.name not in each.replica.known_members for each in staying), "no body goes to who left"
        await fourth.stop()
        await fourth.start()
        await fourth.serving()
        assert fourth.replica.known_members == {each.name for each in staying}
        assert fourth.replica.status()["members"] == sorted(each.name for each in staying)


def _made_final_by_few_founders(new: Member, founder: Member) -> FinalRow:
    """A quorum of the present members, with the log's signature by one that the founders never named."""
    head = new.replica.head
    tree = new.replica._attestations._trees[head.size]
    log_line = tree.log_lines[own_policy(new.founded).logs[0].key_id]
    note = render_note(tree.text, [log_line, tree.lines[new.name], tree.lines[founder.name]])
    return FinalRow(head.size, head.height, note)


def _fourth(members: Consortium, url: str, folder) -> Member:
    """A member with keys of its own that took the founders' files."""
    first, settings = members[1], LedgerSettings(data_dir=folder)
    create_member(settings, name=name_of(4), peer_url="http://127.0.0.1:9004", origin=ORIGIN)
    founded = join(settings, genesis=first.settings.genesis_file, policy=first.settings.policy_file)
    etcd = first.etcd_of(founded.member)
    return Member(founded, settings, url, etcd, members.ways)
