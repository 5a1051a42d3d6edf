"""What all peers together show of the changes of the members, and what a signature of some set of them is worth by it.

    every peer ── changes since ──▶ judged one by one ──▶ one that leaves out the end of another's is dropped
       ▲                                                     │ what is left: one succession, or several that contradict
       └── members that these name are asked, too ◀──────────┘
    signed by a quorum of a set ──▶ believed before the block where that set ends, by each succession that is left

So who was a member once vouches for nothing after its time, as long as one peer shows the change that ended it: the
founder of a ledger that grew to three cannot lead a joiner along a log of its own. Later members may vouch for earlier
blocks, which they executed. Of successions that contradict, each must agree: neither a false one alone nor the true one
alone leads on, which costs time where a majority of an old set lies, and no more.

What it cannot tell: where nobody who can be reached shows a change, because all who can lie or keep silent, the members
before it are believed on. The order does not follow such a history, and a replica halts at the first block of the order
that does not fit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from ledger.errors import ReplicaError
from ledger.replication.membership.succession import Members, Succession, SuccessionRefused, successors
from ledger.replication.peers import Peers
from ledger.store.cache.bounded import Rows

T = TypeVar("T")

_ROUNDS: Final = 8
"""How often members that were not known before are asked for further ones."""


class Shown(NamedTuple):
    """successions: contradict each other where they are several. refused: by name, why a peer's changes count not."""

    successions: tuple[Succession, ...]
    refused: Mapping[str, str]

    def believed(self, vouched: Callable[[Members], T | None]) -> tuple[T, int | None] | None:
        """What the newest members vouch for that do at all, and the first block for which that is worth nothing. None
        where nobody does by one of the successions."""
        found: T | None = None
        ends: list[int] = []
        for succession in self.successions:
            for term in reversed(succession.terms):
                found = vouched(term.members)
                if found is not None:
                    ends += [] if term.until is None else [term.until]
                    break
            else:
                return None
        return None if found is None else (found, min(ends, default=None))


async def shown_by(
    peers: Peers, known: Mapping[str, Rows], channel: str, height: int, learn: Callable[[Mapping[str, str]], None]
) -> Shown:
    """What everybody shows who answers. known: the own records about members at this height. learn: is told the URLs by
    name of members that were shown, to be asked from then on."""
    found: list[Succession] = []
    refused: dict[str, str] = {}
    asked: set[str] = set()
    for _ in range(_ROUNDS):
        names = [name for name in peers.names if name not in asked]
        if not names:
            break
        asked.update(names)
        answers = await asyncio.gather(*(peers.changes(name, height + 1) for name in names), return_exceptions=True)
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, ReplicaError):
                refused[name] = str(answer)
                continue
            if isinstance(answer, BaseException):
                raise answer
            try:
                found.append(successors(known, answer, channel, height))
            except SuccessionRefused as error:
                refused[name] = str(error)
        learn(_addresses(found))
    return Shown(_without_parts(found or [successors(known, (), channel, height)]), refused)


def _without_parts(found: Sequence[Succession]) -> tuple[Succession, ...]:
    """Without those that another one goes on from."""
    kept: list[Succession] = []
    for each in sorted(found, key=lambda succession: len(succession.steps), reverse=True):
        if not any(other.steps[: len(each.steps)] == each.steps for other in kept):
            kept.append(each)
    return tuple(each for each in kept if each.terms)


def _addresses(found: Collection[Succession]) -> dict[str, str]:
    """Of all members in these; who is in several terms is where the last one says."""
    return {each.name: each.peer_url for succession in found for term in succession.terms for each in term.members}
