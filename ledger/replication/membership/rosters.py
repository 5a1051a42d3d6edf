"""The members of the next block, told to everything in a replica that counts, watches, asks or answers them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, NamedTuple

from contracts.consortium import FormerMemberRecord, MemberRecord, Roster
from contracts.core.codec import read
from ledger.founding import Founded, policy_of
from ledger.ordering.progress import Progress
from ledger.replication.alarm import Alarms
from ledger.replication.attestation import Attestations
from ledger.replication.exchange import Exchange
from ledger.replication.peers import Peers
from ledger.store.store import Store
from ledger.verify.policy import Policy, parse_policy
from runtime.logs import get_logger

_log = get_logger("ledger.rosters")


class Changed(NamedTuple):
    """The members differ from those before. policy: the file that names them; visits: to be run for new peers; leaves:
    this one was a member and is none any more."""

    policy: bytes
    visits: list[Callable[[], Coroutine[Any, Any, None]]]
    leaves: bool


class Rosters:
    """One replica's. known: names that peers may have, also of those who become members later."""

    def __init__(
        self, founded: Founded, progress: Progress, peers: Peers, attestations: Attestations, alarms: Alarms,
        exchange: Exchange,
    ) -> None:  # fmt: skip
        self._founded = founded
        self._progress = progress
        self._peers = peers
        self._attestations = attestations
        self._alarms = alarms
        self._exchange = exchange
        self._addresses = _others(founded.genesis.members, founded.member)
        self.known: set[str] = set(attestations.members())

    def follow(self, named: Roster, known: Collection[str], further: Mapping[str, str]) -> Changed | None:
        """Who orders and cosigns from the next block on, by the state (a ledger of one may name nobody there); None
        where they are those before. further: URLs by name of others that can be asked."""
        self.known.update(known)
        own, names, before = self._founded.member, [each.name for each in named.members], self._attestations.members()
        if not names or names == before:
            return None
        self.known -= {*before} - {*names}  # who left is given nothing more, above all no bodies
        policy = policy_of(named.members, like=self._founded.policy)
        self._attestations.use(parse_policy(policy))
        self._alarms.use(self._attestations.policy)
        self._addresses = _others(named.members, own)
        self.reach(further)
        visits = self._exchange.use(self._addresses)
        _log.info("the members are", channel=self._progress.channel, height=self._progress.head.height, members=names)
        return Changed(policy, visits, leaves=own in before and own not in names)

    def reach(self, further: Mapping[str, str]) -> None:
        """The members can be asked, and while this one catches up those that came after them."""
        self._peers.use({**further, **self._addresses})

    def policy_of(self, members: Collection[MemberRecord]) -> Policy:
        """By whose quorum checkpoints are judged where these are the members."""
        return parse_policy(policy_of(list(members), like=self._founded.policy))


async def has_left(store: Store, member: str, height: int) -> bool:
    """Was this one a member, and is it none after block `height`? One that is still to join is nobody's former member.
    Raises StoreUnavailable."""
    for kind in (MemberRecord, FormerMemberRecord):
        body, _ = await store.record(kind.KIND, member)
        if body is not None:
            until = read(body, kind).until_height
            return until is not None and until <= height + 1
    return False


def _others(members: Collection[Any], own: str) -> dict[str, str]:
    return {each.name: each.peer_url for each in members if each.name != own}
