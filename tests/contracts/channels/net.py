"""A main channel with children, each with its log and members: what moves between them, and who brings the proofs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts import rules
from contracts.channels.registry import ChannelRecord
from contracts.core import commands as c
from contracts.core.codec import digest, read
from contracts.core.envelope import Transaction, transaction_id
from contracts.core.facts import BridgeBurned, BridgeLocked
from contracts.core.proofs import FactProof
from tests.contracts.channels.logs import Log, a_member, channel_members
from tests.contracts.world import HOUR_MS, World

MAIN_MEMBERS = ("m1", "m2", "m3")
CHILD_MEMBERS = ("m1", "m2", "vn")


class Logged(World):
    """A world whose transactions are blocks of a log that its members cosign."""

    def __init__(self, channel: str, members: Sequence[str], parent: rules.ParentChannel | None = None) -> None:
        self.log = Log(channel, f"test/{channel}", members)
        named = [a_member(name, f"test/{channel}") for name in members]
        super().__init__(devices=2, channel=channel, members=named, parent=parent)

    def execute(self, item: Transaction | rules.Tick) -> rules.Outcome:
        outcome = super().execute(item)
        if isinstance(item, Transaction):
            self.log.record(item, transaction_id(item.header), outcome.code, outcome.facts)
            self.log.seal(self.time_ms)
            self.height = self.log.height + 1
        return outcome

    def known(self, channel: str) -> ChannelRecord:
        return read(self.records["channel", channel], ChannelRecord)

    @property
    def last_id(self) -> str:
        """Id of the last transaction."""
        return self.journal[-1][1].transaction_id


class Net:
    """main and its children; money moves between them by the contracts alone."""

    def __init__(self, *children: str) -> None:
        self.main = Logged("main", MAIN_MEMBERS)
        self.children = {name: self._found(name) for name in children or ("vn-1",)}

    def __getitem__(self, name: str) -> Logged:
        return self.main if name == "main" else self.children[name]

    # ---- steps that must succeed

    def lock(self, amount_minor: int, channel: str = "vn-1", sender: str = "utl", recipient: str = "utl") -> FactProof:
        """Locks money on main and anchors main in the child; the proof of the lock."""
        self.main.run(sender, a_lock(self.main, amount_minor, channel, recipient))
        return self.shown("main", channel, BridgeLocked)

    def mint(self, proof: FactProof, channel: str = "vn-1") -> None:
        self[channel].run("aud", c.BridgeMint(proof=proof))

    def burn(self, amount_minor: int, channel: str = "vn-1", sender: str = "utl", recipient: str = "utl") -> FactProof:
        """Burns money in the child and anchors the child on main; the proof of the burn."""
        self[channel].run(sender, a_burn(self[channel], amount_minor, recipient))
        return self.shown(channel, "main", BridgeBurned)

    def release(self, proof: FactProof, channel: str = "vn-1") -> None:
        self.main.run("aud", c.BridgeRelease(channel=channel, proof=proof))

    def shown(self, origin: str, to: str, fact: type[Any]) -> FactProof:
        """Anchors `origin` in `to`; the proof of the fact that the last transaction of `origin` produced."""
        identity = self[origin].last_id
        size = self.anchor(origin, to)
        return self[origin].log.proof(identity, fact.__name__, size)

    def anchor(self, origin: str, to: str) -> int:
        """Brings the newest checkpoint of one channel to the other; its size."""
        source, target = self[origin], self[to]
        command = source.log.anchor(target.known(origin), source.log.members)
        target.run("aud", command)
        return command.size

    # ---- looking

    def escrow(self, channel: str) -> int:
        """What main holds for a child."""
        return self.main.free(f"bridge/{channel}")

    def supply(self, channel: str) -> int:
        """What there is in a child."""
        return -self.children[channel].free("issuance")

    def _found(self, name: str) -> Logged:
        parent = rules.ParentChannel(
            channel="main", origin="test/main", members=channel_members(*MAIN_MEMBERS), quorum=2
        )
        child = Logged(name, CHILD_MEMBERS, parent)
        self.main.run("agg", an_opening(child))
        self.main.run("aud", child.log.anchor(None, child.log.members))
        return child


def an_opening(child: Logged, **given: Any) -> c.OpenChannel:
    defaults: dict[str, Any] = {
        "channel": child.channel, "origin": child.origin, "genesis": digest(child.founding),
        "members": channel_members(*child.log.members), "quorum": 2,
    }  # fmt: skip
    return c.OpenChannel(**{**defaults, **given})


def a_lock(main: World, amount_minor: int, channel: str = "vn-1", recipient: str = "utl", **given: Any) -> c.BridgeLock:
    defaults: dict[str, Any] = {"mint_by_ms": main.time_ms + HOUR_MS}
    return c.BridgeLock(channel=channel, recipient=recipient, amount_minor=amount_minor, **{**defaults, **given})


def a_burn(child: World, amount_minor: int, recipient: str = "utl", **given: Any) -> c.BridgeBurn:
    defaults: dict[str, Any] = {"release_by_ms": child.time_ms + HOUR_MS}
    return c.BridgeBurn(recipient=recipient, amount_minor=amount_minor, **{**defaults, **given})


def signed_by(command: c.AnchorCheckpoint, *names: str) -> tuple[c.Cosignature, ...]:
    """The cosignatures of an anchor that are by these."""
    return tuple(each for each in command.cosignatures if each.member in names)
