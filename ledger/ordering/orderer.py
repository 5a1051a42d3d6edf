"""What a replica needs of whatever puts blocks in order.

    replica ── propose(h, bytes) ──▶ orderer ── watch(from h) ──▶ every replica, the same bytes for h

Promises of an orderer:
- For each height there is at most one block, ever, and all watchers see the same bytes for it, in order of height.
- `propose` answers Committed only for a block that every later watcher from that height will see, or (local orderer)
  that its only watcher will make durable itself. It never retries on its own with other bytes.
- Unknown means just that: the block may be in the order or may come to be. The caller proposes the SAME bytes at the
  same height again until it hears Committed or Conflict. Nobody may treat Unknown as a failure.
- Fenced means certainly not: another proposer holds the lease, so the transactions go to that one.
- The order may be a window: `trim` drops blocks that every member has, and a watch that begins below says so.
- It does not look into blocks: whether a block is acceptable is judged by each replica that executes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Committed:
    """The block is in the order at its height; `revision` is the orderer's own number of it."""

    revision: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another block has this height; it comes by `watch`. What it lacks must be proposed again, higher."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer in time: propose the same bytes again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fenced:
    """This replica does not hold the lease: the block is not in the order and never will be by this proposal.
    `proposer`: who does, by the name of its member; None while nobody is known to."""

    proposer: str | None


Proposed = Committed | Conflict | Unknown | Fenced


@dataclass(frozen=True, slots=True)
class Ordered:
    """A block in the order."""

    height: int
    data: bytes
    revision: int


class Orderer(Protocol):
    """One channel's order; see the module for what it promises."""

    @property
    def name(self) -> str:
        """For people: `local`, `etcd`."""

    @property
    def leads(self) -> bool:
        """This replica may propose, as far as it knows. Only the outcome of a proposal is sure."""

    @property
    def proposer(self) -> str | None:
        """Name of the member that may propose, as far as is known. Between start and stop a replica runs for it."""

    async def changed(self) -> None:
        """Returns when `proposer` or `leads` has changed after the call."""

    async def start(self, height: int, *, runs: bool = True) -> None:
        """Begin, for a replica that has applied `height`; again, to run for proposer from now on or (`runs` False) to
        give that up and only know who proposes. Raises OrderingUnavailable, also where the order ends below
        that height (rule 13: such an orderer is not ours)."""

    async def stop(self) -> None:
        """Give up the lease, if any, so that another proposer need not wait for its end."""

    async def check(self) -> None:
        """Return if proposals are possible now, else raise OrderingUnavailable. Cheap enough for a readiness probe."""

    async def propose(self, height: int, data: bytes) -> Proposed:
        """Try to make `data` the block `height`. Raises OrderingUnavailable if it certainly is not and will not be."""

    def watch(self, from_height: int) -> AsyncIterator[Ordered]:
        """The blocks from `from_height` on, in order, each once, without end; outages are waited out.

        Raises OrderTrimmed if a block asked for was dropped, OrderTampered if one was overwritten or deleted."""

    async def tip(self) -> int:
        """The highest height that was ordered before the call, by whomever (0: none). Raises OrderingUnavailable."""

    async def first(self) -> int:
        """The lowest height still kept; where none is, the next to come. Raises OrderingUnavailable."""

    async def trim(self, below: int) -> None:
        """Drop the blocks below `below`, at most up to the tip; what is dropped already is no error. The caller knows
        that every member can do without. Raises OrderingUnavailable."""

    def state(self) -> dict[str, Any]:
        """What is known at the moment, without asking: `proposer` and `lease` (held by this replica) at least, with a
        cluster also endpoint, leader, members, db_bytes and alarms. For metrics and readiness."""
