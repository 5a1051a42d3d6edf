"""A virtual node that ended: its money goes back when it can, and others work meanwhile."""

from __future__ import annotations

import pytest

from ledger.client import LedgerClient, Refused
from tests.vtn.aggregator.groups.feeders import Feeders
from vtn.aggregator.virtual_nodes.groups import parties
from vtn.services.virtual_nodes.operations import VirtualNodes


async def test_a_virtual_node_that_ended_and_cannot_pay_back_yet_keeps_no_other_from_work(
    world: Feeders, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await world.homes("e", 40, peak=None)
    formation = world.formation()
    await formation.form()
    nodes = VirtualNodes(world.opened.vtn, world.program)
    await nodes.create("mine", ids[:20])
    await formation.form()
    returned = parties.funds_returned
    await nodes.delete("mine")

    async def refused(client: LedgerClient, to: str) -> bool:
        raise Refused("party_inactive", "not now")

    monkeypatch.setattr(parties, "funds_returned", refused)
    await nodes.create("next", ids[:20])
    assert [node.name for node in await formation.form()] == ["vn-F1-3"]
    monkeypatch.setattr(parties, "funds_returned", returned)
    await formation.form()
    assert sorted(node.name for node in formation.nodes.values()) == ["vn-F1", "vn-F1-3"]
