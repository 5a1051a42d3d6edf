"""What a crossing brings is what the contracts ask for, whatever the sizes are and whoever the members."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.core import commands as c
from ledger.channels.proofs import ShownInvalid, anchor_of, fact_proof, headers_between
from ledger.log.checkpoint import checkpoint_text, cosigner_key, render_note
from ledger.log.tiles import TileId, encode_bundle
from ledger.verify.note import NoteSignature
from tests.contracts.channels.logs import Log, a_cosignature, channel_members
from tests.contracts.channels.net import Net, an_opening
from tests.contracts.world import key_of


class Served:
    """The log of a channel as a replica serves it."""

    def __init__(self, log: Log, signers: list[str]) -> None:
        self.log = log
        self.signers = signers

    async def checkpoint(self) -> bytes:
        root = self.log.root(self.log.size)
        lines = []
        for name in self.signers:
            made = a_cosignature(name, self.log.origin, self.log.size, root)
            key = cosigner_key(name, bytes.fromhex(key_of(name).partition(":")[2]))
            signature = made.time_s.to_bytes(8, "big") + bytes.fromhex(made.signature)
            lines.append(NoteSignature(name, key.key_id, signature))
        lines.append(NoteSignature("stranger", b"1234", bytes(72)))
        return render_note(checkpoint_text(self.log.origin, self.log.size, bytes.fromhex(root)), lines)

    async def tile(self, level: int, number: int, width: int) -> bytes | None:
        row = self.log.tiles.get(TileId(level, number), b"")[: width * 32]
        return row if len(row) == width * 32 else None

    async def entries(self, number: int, width: int) -> bytes | None:
        found = self.log.leaves[number * 256 : number * 256 + width]
        return encode_bundle(found) if len(found) == width else None


def grown(members: list[str], blocks: int) -> Log:
    log = Log("vn-1", "test/vn-1", members)
    for _ in range(blocks):
        log.seal(1)
    return log


@given(st.integers(1, 300), st.integers(1, 300))
async def test_an_anchor_is_made_of_public_tiles_for_any_two_sizes(first: int, more: int) -> None:
    members = ["m1", "m2", "vn"]
    log = grown(members, 0)
    log.leaves = [b"entry %d" % n for n in range(first - 1)]
    log.seal(1)
    known = channel_members(*members)
    served = Served(log, members[1:])
    begun = await anchor_of(served, "vn-1", 0, known, known)
    assert begun == log.anchor(None, members[1:])
    log.leaves += [b"entry %d" % n for n in range(more - 1)]
    log.seal(2)
    net_known = _Known(first)
    anchored = await anchor_of(served, "vn-1", first, known, known)
    assert anchored == log.anchor(net_known, members[1:])  # type: ignore[arg-type]
    assert await anchor_of(served, "vn-1", log.size, known, known) is None


class _Known:
    def __init__(self, size: int) -> None:
        self.size = size


async def test_a_handover_carries_the_new_members_and_the_cosignatures_of_both() -> None:
    net = Net()
    child = net["vn-1"]
    child.log.members = ["m1", "vn", "m4"]
    child.submit("utl", c.Transfer(to="agg", amount_minor=0, reference=""))
    new = channel_members("m1", "vn", "m4")
    known = net.main.known("vn-1")
    served = Served(child.log, ["m1", "vn", "m4"])
    command = await anchor_of(served, "vn-1", known.size, known.members, new)
    assert command is not None
    assert [line.member for line in command.cosignatures] == ["m1", "m4", "vn"]
    assert command.members == new
    net.main.run("d0", command)
    assert net.main.known("vn-1").members == new


async def test_a_proof_made_for_a_crossing_is_taken_by_the_contracts() -> None:
    net = Net()
    expected = net.lock(100)
    identity = next(key for key, place in net.main.log._places.items() if place["index"] == expected.index)
    place = net.main.log._places[identity]
    served = Served(net.main.log, ["m1"])
    headers = dict(await headers_between(served, 0, net.main.log.size))
    assert headers[expected.index].command == "BridgeLock"
    assert headers[expected.index] == place["header"]
    assert len(headers) == len(net.main.log._places)
    assert an_opening(net["vn-1"]).channel == "vn-1"


async def test_a_log_that_gives_too_little_is_named() -> None:
    log = grown(["m1"], 3)
    served = Served(log, ["m1"])
    log.tiles = {}
    with pytest.raises(ShownInvalid, match="no tile"):
        await anchor_of(served, "vn-1", 0, channel_members("m1"), channel_members("m1"))
    log.leaves = log.leaves[:2]
    with pytest.raises(ShownInvalid, match="no bundle"):
        await headers_between(served, 0, 3)
    log = grown(["m1"], 2)
    log.leaves[-1] = b"{}"
    with pytest.raises(ShownInvalid, match="no block summary"):
        await anchor_of(Served(log, ["m1"]), "vn-1", 0, channel_members("m1"), channel_members("m1"))
    with pytest.raises(ShownInvalid, match="shows no fact"):
        await fact_proof(Served(grown(["m1"], 2), ["m1"]), 2, 0, b"{}")
