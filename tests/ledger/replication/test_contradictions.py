"""A member whose tree differs is found, named with block and transaction, and stopped; the others go on."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.errors import Diverged, QueueFull
from ledger.ordering.signatures import CheckpointSigner
from ledger.ordering.transactions import parse
from ledger.verify import verify_equivocation
from tests.ledger.replicas import an_issue, transfers
from tests.ledger.replication.consortium import ORIGIN, Member, a_consortium, until


@pytest.fixture
def four(tmp_path, new_database, etcd_servers):
    urls = [new_database("ledger") for _ in range(4)]
    return lambda **settings: a_consortium(urls, tmp_path, etcd_servers, **settings)


def _signer(member: Member) -> CheckpointSigner:
    founded = member.founded
    return CheckpointSigner(ORIGIN, founded.log_key, founded.member, founded.cosigner_key)


def _doubting(member: Member, content: bytes) -> None:
    """From now on this member's program finds the signature of one transaction wrong."""
    verdicts: Any = member.replica._following.machine.verdicts
    verify, doubted = verdicts.verify, parse(content).signature
    verdicts.verify = lambda key, message, signature: signature != doubted and verify(key, message, signature)


async def test_a_member_with_another_result_is_named_and_stops_and_the_others_go_on(four):
    async with four() as members:
        await members.start()
        await members.proposer.submit(an_issue())
        await members.agreed()
        differing = next(each for each in members.running if not each.orderer.leads)
        others = [each for each in members.running if each is not differing]
        doubted = transfers(3)[1]
        _doubting(differing, doubted)
        results = await members.proposer.submit(*transfers(3))
        await until(lambda: differing.replica.status()["state"] == "diverged")
        where = f"block {results[1].height}, transaction {results[1].id}"
        await until(lambda: all(each.replica.status()["alarms"] for each in others), seconds=30)
        for each in others:
            for alarm in each.replica.status()["alarms"]:  # one for what it signed, or one for that it stopped
                assert (alarm["member"], alarm["evidence"]) == (differing.name, ())
                assert where in alarm["what"]
        await until(lambda: where in str(differing.replica._progress.fault))
        with pytest.raises(Diverged):
            await differing.submit(*transfers(1, first=5))
        (paid,) = await members.proposer.submit(*transfers(1, first=6))
        for each in others:
            await each.final(paid.height or 0)
            assert each.replica.attested(paid.index or 0) == 3


async def test_a_member_that_stopped_before_it_signed_anything_else_is_named_all_the_same(four):
    async with four() as members:
        await members.start()
        await members.proposer.submit(an_issue())
        await members.agreed()
        differing = next(each for each in members.running if not each.orderer.leads)
        others = [each for each in members.running if each is not differing]
        differing.replica._exchange.halted = True  # so nothing that it signs leaves
        _doubting(differing, transfers(3)[1])
        results = await members.proposer.submit(*transfers(3))
        await until(lambda: all(each.replica.status()["alarms"] for each in others), seconds=30)
        for each in others:
            (alarm,) = each.replica.status()["alarms"]
            assert (alarm["member"], alarm["evidence"]) == (differing.name, ())
            assert f"block {results[1].height}, transaction {results[1].id}" in alarm["what"]


async def test_two_trees_signed_by_one_key_leave_evidence_that_anybody_can_judge(four):
    async with four() as members:
        await members.start()
        await members.proposer.submit(an_issue())
        await members.agreed()
        witness, liar = members[1], members[2]
        await until(lambda: witness.replica.attested(witness.replica.head.size - 1) == 4)
        forged = _signer(liar).note(witness.replica.head.size, b"\7" * 32, 1_767_225_600)
        await witness.replica.take_cosignatures([forged])
        await until(lambda: bool(witness.replica.status()["alarms"]))
        (alarm,) = witness.replica.status()["alarms"]
        assert alarm["member"] == liar.name
        assert alarm["evidence"]
        for name in alarm["evidence"]:
            verify_equivocation((witness.settings.data_dir / "evidence" / name).read_bytes())
        await witness.replica.take_cosignatures([forged])
        assert len(witness.replica.status()["alarms"]) == 1, "told once"
        assert witness.replica.status()["state"] == "serving"


async def test_a_member_that_signed_two_trees_cannot_stop_those_who_look_into_it(four, monkeypatch):
    async with four() as members:
        await members.start()
        await members.proposer.submit(an_issue())
        await members.agreed()
        witness, liar = members[1], members[2]

        async def unheard_of(*_: object) -> None:
            raise QueueFull("come back later")

        monkeypatch.setattr(witness.replica.peers, "receipts", unheard_of)
        await witness.replica.take_cosignatures([_signer(liar).note(witness.replica.head.size, b"\7" * 32, 1)])
        await until(lambda: bool(witness.replica.status()["alarms"]))
        (paid,) = await witness.submit(*transfers(1))
        assert (paid.status, witness.replica.status()["state"]) == ("committed", "serving")
