"""Who the members are beyond what this replica has executed: the chain of changes, each signed by the members before.

    own state (height h)      ChangeMembership ── approvals of more than half of the members then ──▶ next members
    members of h + 1 ───────▶ ReportEquivocation ─ two signatures of the accused ───────────────────▶ next members
                                  ...                                                                    │
                     the newest final checkpoint of a peer, by the quorum of any of these sets  ◀─────────┘

A replica that was away knows the members of its last block and no later ones, so it cannot judge a checkpoint that the
members of today cosigned. Peers show it the changes since; each is judged by the contract itself, on this replica's
own records. So whoever wants to name false successors needs the keys of more than half of the members before them. The
blocks are executed all the same, and held against the checkpoint one by one.

Which of the shown changes count, and for which blocks each set does, is said in ledger.replication.membership.shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from contracts.consortium import FormerMemberRecord, FoundingRecord, MemberRecord, roster
from contracts.consortium.equivocation import report_equivocation
from contracts.consortium.membership import MemberKeyRecord, change_membership
from contracts.core.commands import ChangeMembership, ReportEquivocation
from contracts.core.context import Context
from contracts.core.errors import CodecError, Refusal
from contracts.core.parties import Party, PartyStatus, Role
from contracts.core.state import State
from ledger.errors import PeerUnavailable
from ledger.ordering.transactions import parse
from ledger.replication.peers import GivenChange
from ledger.store.cache.bounded import Rows
from ledger.store.store import Store
from runtime.keys import verify

COMMANDS: Final = (ChangeMembership.__name__, ReportEquivocation.__name__)
"""The commands by which members change."""

CHANGES_MAX: Final = 1_000

Members = tuple[MemberRecord, ...]
Step = tuple[tuple[str, bytes | None], ...]

_KINDS: Final = (FoundingRecord.KIND, MemberRecord.KIND, FormerMemberRecord.KIND, MemberKeyRecord.KIND)
_RECORDS_MAX: Final = 100_000
_REPORTER: Final = Party(
    party="reporter", role=Role.AUDITOR, key="", sponsor="reporter", area="none", status=PartyStatus.ACTIVE
)
"""Anybody may report, and who did changes nothing about the members."""


class SuccessionRefused(PeerUnavailable):
    """A peer showed changes of the members that are not approved by those before, or are no changes at all."""


class Term(NamedTuple):
    """Who the members are of blocks first <= height < until; until None: as far as is known, for good."""

    first: int
    until: int | None
    members: Members


class Succession(NamedTuple):
    """Terms from the next block on, without gaps (none where the state names no members), and what each change made of
    the members' records: alike for one change, whoever shows it with whichever of its approvals."""

    terms: tuple[Term, ...]
    steps: tuple[Step, ...]


async def own_records(store: Store) -> dict[str, Rows]:
    """The state as far as it is about members, by kind. Raises StoreUnavailable."""
    return {kind: Rows(await store.records(kind, "", "", _RECORDS_MAX)) for kind in _KINDS}


def successors(known: Mapping[str, Rows], changes: Sequence[GivenChange], channel: str, height: int) -> Succession:
    """The members of block `height` + 1, and after each later change. Raises SuccessionRefused for the first change
    that those before it did not approve."""
    reader = _Records(known)
    found: list[tuple[int, Members]] = []
    steps: list[Step] = []

    def note(at: int) -> None:
        while found and found[-1][0] >= at:  # what was to come may be another now
            found.pop()
        step: int | None = at
        while step is not None:
            present = roster(reader, step)
            if present.members and (not found or _named(found[-1][1]) != _named(present.members)):
                found.append((step, present.members))
            step = present.until_height

    note(height + 1)
    first = height + 1
    for change in changes[:CHANGES_MAX]:
        if change.height < max(first, height):
            raise SuccessionRefused(f"a change of the members in block {change.height}, after block {height}")
        height = change.height
        state = _judged(reader, change, channel)
        reader.take(state)
        steps.append(tuple(sorted((k, body) for (kind, k), body in state.writes.items() if kind == MemberRecord.KIND)))
        note(height + 1)
    terms = [
        Term(start, found[at + 1][0] if at + 1 < len(found) else None, members)
        for at, (start, members) in enumerate(found)
    ]
    return Succession(tuple(terms), tuple(steps))


def _named(members: Members) -> list[tuple[str, str]]:
    return [(each.name, each.key) for each in members]


def _judged(reader: _Records, change: GivenChange, channel: str) -> State:
    """What the change makes of the records."""
    state = State(reader)
    context = Context(channel=channel, height=change.height, time_ms=0, transaction_id="", verify=verify)
    try:
        parsed = parse(change.content)
        if parsed.header.channel != channel or not parsed.committed:
            raise SuccessionRefused(
                f"the change in block {change.height} is of another channel, or not what was signed"
            )
        if isinstance(parsed.command, ChangeMembership):
            change_membership(state, parsed.command, context)
        elif isinstance(parsed.command, ReportEquivocation):
            report_equivocation(state, _REPORTER, parsed.command, context)
        else:
            raise SuccessionRefused(f"what block {change.height} is said to change is no change of the members")
    except (CodecError, Refusal) as error:
        raise SuccessionRefused(
            f"the change of the members in block {change.height} was not made by those before: {error}"
        ) from None
    return state


class _Records:
    """contracts.core.state.Reader on a few records."""

    def __init__(self, known: Mapping[str, Rows]) -> None:
        self._kinds = {kind: Rows(rows.bodies.items()) for kind, rows in known.items()}

    def get(self, kind: str, key: str) -> bytes | None:
        rows = self._kinds.get(kind)
        return None if rows is None else rows.bodies.get(key)

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        rows = self._kinds.get(kind)
        return [] if rows is None else rows.scan(first, last, limit)

    def take(self, state: State) -> None:
        """Follow a change."""
        for (kind, key), body in state.writes.items():
            rows = self._kinds.setdefault(kind, Rows())
            if body is None:
                rows.drop(key)
            else:
                rows.put(key, body)
