"""The lines of external witnesses among those of the members: what they count for, and what they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from contracts.core.commands import Member
from ledger.founding import policy_of
from ledger.log.checkpoint import add_signatures, cosign_checkpoint, cosigner_key, log_key
from ledger.log.policy import parties_of, write_policy
from ledger.marker import MemoryMarker
from ledger.ordering.signatures import CheckpointSigner
from ledger.replication.attestation import Attestations, Contradiction, FinalCheckpoint
from ledger.replication.exchange import Exchange
from ledger.replication.offload import inline
from ledger.replication.peers import NoPeers, PeerStatus
from ledger.verify import parse_policy
from ledger.verify.note import parse_checkpoint
from ledger.verify.policy import verify_checkpoint
from tests.builders import a_key
from tests.ledger.witness.growing import raw

ORIGIN, TIME_S = "ledger.example/main", 1_767_225_600
ROOT, OTHER = b"\1" * 32, b"\2" * 32
WITNESS = cosigner_key("witness.example/w1", raw(a_key(500)))


class Three:
    """Three members, one external witness, and the attestations of the first member."""

    def __init__(self, required: int) -> None:
        keys = [(f"member.example/{n}", a_key(300 + n), a_key(400 + n)) for n in (1, 2, 3)]
        self.signers = [CheckpointSigner(ORIGIN, log, name, cosigner) for name, log, cosigner in keys]
        logs, cosigners = (
            [log_key(ORIGIN, raw(log)) for _, log, _ in keys],
            [cosigner_key(n, raw(c)) for n, _, c in keys],
        )
        self.members = [
            Member(name=name, log_vkey=log.encode(), cosigner_vkey=own.encode(), peer_url="https://m.example")
            for (name, _, _), log, own in zip(keys, logs, cosigners, strict=True)
        ]
        self.policy_bytes = write_policy(logs, cosigners, witnesses=[WITNESS], required=required)
        self.policy = parse_policy(self.policy_bytes)
        self.told: list[Contradiction] = []
        self.own = Attestations(ORIGIN, "member.example/1", self.policy, self.told.append)

    def note(self, number: int, size: int) -> bytes:
        return self.signers[number - 1].note(size, ROOT, TIME_S)

    def witnessed(self, size: int, root: bytes = ROOT) -> bytes:
        note = self.signers[0].note(size, root, TIME_S, cosigned=False)
        line = cosign_checkpoint(parse_checkpoint(note).text, WITNESS, a_key(500).sign, TIME_S)
        return add_signatures(note, [line])


@pytest.mark.parametrize("required", [0, 1])
def test_a_witness_is_no_member_and_makes_final_only_what_a_quorum_of_them_cosigned(required: int):
    of = Three(required)
    of.own.executed(5, 1, ROOT)
    assert of.own.take(of.witnessed(5))
    assert of.own.take(of.note(1, 5))
    assert (of.own.final.size, of.own.attested(0), of.own.agreed) == (0, 1, 0)
    of.own.take(of.note(2, 5))
    assert (of.own.final.size, of.own.attested(0), of.own.agreed) == (5, 2, 5)
    assert WITNESS.name in verify_checkpoint(of.own.final.note, of.policy, strict=True).cosigned_at_s
    assert of.own.members() == [f"member.example/{n}" for n in (1, 2, 3)]
    assert of.own.could_be_quorum(["member.example/1", "member.example/3"])
    assert not of.own.could_be_quorum(["member.example/1"])


def test_what_members_agreed_on_waits_for_a_required_witness_and_is_what_it_is_shown():
    of = Three(1)
    for size in (5, 9):
        of.own.executed(size, size, ROOT)
        for number in (1, 2, 3):
            of.own.take(of.note(number, size))
    assert (of.own.agreed, of.own.final.size) == (9, 0)
    of.own.take(of.witnessed(5))
    assert of.own.final.size == 5
    of.own.take(of.witnessed(9))
    assert of.own.final.size == 9


def test_a_checkpoint_with_a_line_of_every_log_key_is_shown_before_a_newer_one_that_lacks_some():
    of = Three(0)
    assert of.own.agreed_note() is None
    of.own.executed(5, 1, ROOT)
    of.own.executed(9, 2, ROOT)
    for number, size in ((1, 5), (2, 5), (1, 9), (2, 9)):
        of.own.take(of.note(number, size))
    assert parse_checkpoint(of.own.agreed_note() or b"").size == 9, "nobody waits for a member that is away"
    of.own.take(of.note(3, 5))
    shown = parse_checkpoint(of.own.agreed_note() or b"")
    assert (shown.size, sum(line.name == ORIGIN for line in shown.signatures)) == (5, 3)


def test_a_witness_that_signed_another_tree_of_ours_is_told():
    of = Three(0)
    of.own.executed(5, 1, ROOT)
    of.own.take(of.note(1, 5))
    of.own.take(of.witnessed(5, OTHER))
    assert [(each.member, each.outvoted) for each in of.told] == [(WITNESS.name, False)]


def test_lines_that_come_while_a_final_checkpoint_is_kept_are_shown_with_it():
    of = Three(0)
    of.own.hold = True
    of.own.executed(5, 1, ROOT)
    for number in (1, 2):
        of.own.take(of.note(number, 5))
    kept: FinalCheckpoint = of.own.reached
    of.own.take(of.note(3, 5))
    of.own.take(of.witnessed(5))
    of.own.show(kept)
    assert len(parse_checkpoint(of.own.final.note).signatures) == 7


@pytest.mark.parametrize("required", [0, 1])
def test_when_the_members_change_the_witnesses_stay(required: int):
    of = Three(required)
    changed = parties_of(parse_policy(policy_of(of.members[:2], like=of.policy_bytes), strict=True))
    assert [key.name for key in changed.members] == ["member.example/1", "member.example/2"]
    assert (changed.witnesses, changed.required) == ((WITNESS,), required)


class _SlowPeer(NoPeers):
    """One member that answers when it is let."""

    names = ("member.example/2",)

    def __init__(self) -> None:
        self.sent: list[Sequence[bytes]] = []
        self.answers = asyncio.Event()
        self.asked = asyncio.Event()

    async def status(self, member: str) -> PeerStatus:
        return PeerStatus(member=member, height=0, size=0, note="", final="")

    async def cosign(self, member: str, notes: Sequence[bytes]) -> None:
        self.sent.append(notes)
        self.asked.set()
        await self.answers.wait()


async def test_a_line_that_comes_while_the_note_is_on_its_way_is_sent_after_it() -> None:
    of, peer, no_store = Three(0), _SlowPeer(), None
    exchange = Exchange(of.own, peer, MemoryMarker(), no_store, inline, ORIGIN, lambda: None)  # type: ignore[arg-type]
    of.own.executed(5, 1, ROOT)
    exchange.share(of.note(1, 5))
    visit: asyncio.Task[Any] = asyncio.create_task(exchange.jobs()[-1]())
    try:
        async with asyncio.timeout(60):
            await peer.asked.wait()
            peer.asked.clear()
            exchange.share(of.witnessed(5))
            peer.answers.set()
            await peer.asked.wait()
    finally:
        visit.cancel()
    lines = [{line.name for line in parse_checkpoint(note).signatures} for notes in peer.sent for note in notes]
    assert [WITNESS.name in names for names in lines] == [False, True]


async def test_a_replica_that_halts_while_the_disk_is_waited_for_lets_no_signature_go() -> None:
    of = Three(0)

    async def slow(work: Any, /, *arguments: Any) -> Any:
        exchange.halted = True
        return work(*arguments)

    exchange = Exchange(of.own, _SlowPeer(), MemoryMarker(), None, slow, ORIGIN, lambda: None)  # type: ignore[arg-type]
    of.own.executed(5, 1, ROOT)
    exchange._mine.append((5, ROOT, of.note(1, 5)))
    await exchange.release()
    assert of.own.note(5) is None
    assert not exchange.contacts["member.example/2"].queue
