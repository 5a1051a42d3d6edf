"""A member that was away while the members changed believes those of today, because those before them signed it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from contracts import rules
from contracts.consortium import quorum
from contracts.core.commands import Transfer
from ledger.errors import CatchingUp, PeerUnavailable
from ledger.founding import Founded
from ledger.machine import Head
from ledger.ordering.signatures import CheckpointSigner
from ledger.replication.membership.shown import shown_by
from ledger.replication.membership.succession import Members, SuccessionRefused, successors
from ledger.replication.peers import GivenChange, PeerStatus
from ledger.replication.transfer import Target, furthest
from ledger.store.cache.bounded import Rows
from ledger.verify.note import Checkpoint
from tests.ledger.replicas import an_issue, sealed, transfers
from tests.ledger.replication.consortium import (
    Consortium,
    Member,
    a_consortium,
    change,
    changed,
    joining,
    name_of,
    until,
)
from tests.ledger.running import AGGREGATOR_ID, UTILITY_ID

SEEDS = f"{name_of(4)}=http://127.0.0.1:9004, {name_of(5)}=http://127.0.0.1:9005"


@pytest.fixture
def urls(new_database):
    return [new_database("ledger") for _ in range(5)]


async def _while_the_third_is_away(members: Consortium, urls: Sequence[str], folder: Any) -> Member:
    """Two new members came and two of the founders left; the order kept nothing but its end. The one that was away,
    which knows nobody who still runs but by the seeds of its settings."""
    one, two, away = (members[number] for number in (1, 2, 3))
    await members.start()
    await members.proposer.submit(an_issue())
    await members.agreed()
    await away.stop()
    four, five = (joining(members, number, urls[number - 1], folder / str(number)) for number in (4, 5))
    for new, signers, first in ((four, [one, two], 100), (five, [one, two, four], 200)):
        members.members[int(new.name[-1])] = new
        await new.start()
        await changed(members, "add", new, signers, first)
    await changed(members, "remove", one, [one, two, four], 300)
    await one.stop()
    await changed(members, "remove", two, [two, four, five], 400)
    await two.stop()
    await members.agreed()
    await until(lambda: four.orderer.leads or five.orderer.leads)
    await members.proposer.orderer.trim(members.proposer.replica.height)
    away.settings = away.settings.model_copy(update={"peer_seeds": SEEDS})
    return away


class _Lying:
    """A member that names false successors, and shows a checkpoint that they signed."""

    def __init__(self, honest: Any, changes: list[GivenChange], note: bytes) -> None:
        self._honest = honest
        self._changes = changes
        self._note = note
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    def peer_status(self) -> PeerStatus:
        return msgspec.structs.replace(self._honest.peer_status(), final=self._note.decode())

    async def give_changes(self, from_height: int) -> list[GivenChange]:
        self.asked += 1
        return [GivenChange(max(from_height, each.height), each.content) for each in self._changes]


async def test_a_member_that_was_away_over_four_changes_believes_no_false_successors_and_catches_up(
    urls, tmp_path, etcd_servers
):
    async with a_consortium(urls[:3], tmp_path, etcd_servers) as members:
        away = await _while_the_third_is_away(members, urls, tmp_path)
        liar, false = members[4], joining(members, 7, urls[0], tmp_path / "7")
        forged = change(members, "add", false, [liar], height=20)
        lying = _Lying(liar.replica, [GivenChange(0, forged)], _signer(false.founded).note(10_000, b"\1" * 32, 1))
        members.ways.wrap[liar.name] = lambda honest: lying
        members.ways.cut.add(name_of(5))
        await away.start()
        await until(lambda: lying.asked > 1)
        with pytest.raises(CatchingUp, match="was not made by those before"):
            await away.replica.check_log()
        assert false.name not in away.replica.peers.names
        members.ways.cut.clear()
        await away.serving()
        assert away.replica.status()["members"] == [name_of(number) for number in (3, 4, 5)]
        assert away.replica.known_members == {name_of(number) for number in (3, 4, 5)}
        assert list(away.replica.peers.names) == [name_of(4), name_of(5)]
        members.ways.wrap.clear()
        (paid,) = await away.submit(*transfers(1, first=900))
        assert paid.code == "ok"
        await until(lambda: all(each.replica.attested(paid.index or 0) == 3 for each in members.running))
        await members.agreed()


def _signer(founded: Founded) -> CheckpointSigner:
    return CheckpointSigner(founded.genesis.origin, founded.log_key, founded.member, founded.cosigner_key)


# ---- what is believed, without a network


@pytest.fixture
async def three(urls, tmp_path, etcd_servers):
    async with a_consortium(urls[:3], tmp_path, etcd_servers) as members:
        yield members


def _founders(members: Consortium) -> dict[str, Rows]:
    known: dict[str, Rows] = {}
    for (kind, key), body in rules.genesis(members[1].founded.genesis).items():
        known.setdefault(kind, Rows()).put(key, body)
    return known


async def test_successors_follow_from_changes_that_most_of_those_before_approved(three, urls, tmp_path):
    one, two, third = (three[number] for number in (1, 2, 3))
    four, five = (joining(three, number, urls[3], tmp_path / str(number)) for number in (4, 5))
    changes = [
        GivenChange(5, change(three, "add", four, [one, two], height=5)),
        GivenChange(20, change(three, "add", five, [one, two, four], height=20)),
        GivenChange(40, change(three, "remove", one, [one, two, four], height=40)),
        GivenChange(60, change(three, "remove", two, [two, four, five], height=60)),
    ]
    terms = successors(_founders(three), changes, "main", 0).terms
    assert ["".join(each.name[-1] for each in term.members) for term in terms] == [
        "123",
        "1234",
        "12345",
        "2345",
        "345",
    ]
    assert [(term.first, term.until) for term in terms] == [(1, 16), (16, 31), (31, 51), (51, 71), (71, None)]

    def refused(changes: list[GivenChange], why: str, channel: str = "main", height: int = 0) -> None:
        with pytest.raises(SuccessionRefused, match=why):
            successors(_founders(three), changes, channel, height)

    refused(changes[1:], "approvals_missing")  # those who approved were no members yet
    refused([GivenChange(5, change(three, "add", four, [third], height=5))], "approvals_missing")
    refused([GivenChange(5, change(three, "add", four, [one, one], height=5))], "approvals_missing")
    refused([changes[0], GivenChange(4, changes[1].content)], "in block 4, after block 5")
    refused([changes[0], GivenChange(6, changes[1].content)], "change_pending")
    refused(changes, "another channel", channel="other")
    refused(changes, "after block 5", height=5)
    refused([GivenChange(5, changes[0].content[:-1])], "not made by those before")
    refused([GivenChange(5, changes[0].content.replace(b"127.0.0.1:9004", b"127.0.0.1:9999"))], "not what was signed")
    other = sealed(AGGREGATOR_ID, Transfer(to=UTILITY_ID, amount_minor=1, reference=""))
    refused([GivenChange(5, other)], "no change of the members")


class _Showing:
    """Peers that answer one question: the changes, or PeerUnavailable where they are None."""

    def __init__(self, shown: dict[str, list[GivenChange] | None]) -> None:
        self._shown = shown
        self.names: list[str] = []
        self.use(dict.fromkeys(list(shown)[:1], ""))

    def use(self, addresses: dict[str, str]) -> None:
        self.names = sorted({*self.names, *addresses} & {*self._shown})

    async def changes(self, member: str, from_height: int) -> list[GivenChange]:
        given = self._shown[member]
        if given is None:
            raise PeerUnavailable("away")
        return given


async def test_former_members_are_believed_for_the_blocks_of_their_time_only(three, urls, tmp_path):
    one, two, third = (three[number] for number in (1, 2, 3))
    four, false = (joining(three, number, urls[3], tmp_path / str(number)) for number in (4, 6))
    add = GivenChange(5, change(three, "add", four, [one, two], height=5))
    again = GivenChange(5, change(three, "add", four, [one, two, third], height=5))
    remove = GivenChange(30, change(three, "remove", third, [one, two, four], height=30))
    other = GivenChange(5, change(three, "add", false, [one, two], height=6))

    async def believed(signers: str, *shown: list[GivenChange] | None) -> Any:
        peers = _Showing({one.name: [add], **{name_of(9 - at): each for at, each in enumerate(shown)}})
        peers.use(dict.fromkeys(peers._shown, ""))
        found = await shown_by(peers, _founders(three), "main", 0, peers.use)
        return found.believed(lambda members: signers if _quorum_of(members, signers) else None)

    assert await believed("12") == ("12", 16)
    assert await believed("12", [], None) == ("12", 16), "who withholds a change that another shows changes nothing"
    assert await believed("12", [again]) == ("12", 16), "one change is one change, whichever approvals are shown"
    assert await believed("124", [add, remove]) == ("124", None)
    assert await believed("12", [add, remove]) == ("12", None), "two of three are a quorum again"
    assert await believed("13", [add, remove]) == ("13", 16)
    assert await believed("45") is None
    assert await believed("126", [other]) == ("126", 16), "of two successions both must agree"
    assert await believed("1246", [other]) == ("1246", None)
    assert (await believed("12", [GivenChange(0, other.content)]))[1] == 16, "what is refused counts for nothing"


def _tree(size: int) -> Checkpoint:
    return Checkpoint("log.example/main", size, b"", (), "", ())


def test_a_tree_that_is_executed_leads_nobody_on_whoever_signed_it():
    """Two of four came back at block 8. Newer members had signed that one, too: it was all they looked at, for ever."""
    head = Head(height=8, time_ms=1, previous=b"", size=22, root=b"", edge={}, next_due_ms=None)
    here, ahead = Target(_tree(22), None), Target(_tree(40), 19)
    assert furthest([here, ahead], head) == ahead
    assert furthest([here], head) is None
    later = dataclasses.replace(head, height=18, size=41)
    assert furthest([ahead, Target(_tree(90), 19)], later) is None, "not beyond their time"
    newer = Target(_tree(50), None)
    assert furthest([Target(_tree(10**9), 19), newer], head) == newer


async def test_members_that_are_shown_are_asked_for_those_after_them(three, urls, tmp_path):
    one, two = three[1], three[2]
    four = joining(three, 4, urls[3], tmp_path / "4")
    five = joining(three, 5, urls[4], tmp_path / "5")
    first = GivenChange(5, change(three, "add", four, [one, two], height=5))
    second = GivenChange(20, change(three, "add", five, [one, two, four], height=20))
    peers = _Showing({one.name: [first], four.name: [first, second]})
    found = await shown_by(peers, _founders(three), "main", 0, peers.use)
    assert peers.names == [one.name, four.name]
    assert [len(term.members) for succession in found.successions for term in succession.terms] == [3, 4, 5]


def _quorum_of(members: Members, signers: str) -> bool:
    return sum(each.name[-1] in signers for each in members) >= quorum(len(members))
