"""Rule 22: a VEN acts only if it is targeted: by its venID, its resource, a group, or by nothing."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS, RESOURCE

MINE = {
    "nobody named": "",
    "its venID": f"<ei:venID>{said.VEN}</ei:venID>",
    "its resource": f"<ei:resourceID>{RESOURCE}</ei:resourceID>",
    "a group": "<ei:groupID>feeder-7</ei:groupID>",
    "among others": f"<ei:resourceID>other</ei:resourceID><ei:venID>ven-9</ei:venID><ei:venID>{said.VEN}</ei:venID>",
}
OTHERS = {
    "another venID": "<ei:venID>ven-123</ei:venID>",
    "another resource": "<ei:resourceID>H2</ei:resourceID>",
    "a party": "<ei:partyID>party-9</ei:partyID>",
}


async def hears(ven, target):
    start_ms = ven.clock.now_ms() + HOUR_MS
    created = await ven.hear(said.distribute(said.event("evt-1", start_ms, target=target)), "oadrCreatedEvent")
    await ven.at(start_ms)
    return created


@pytest.mark.parametrize("target", MINE.values(), ids=MINE)
async def test_it_acts_where_it_is_meant(ven, target):
    assert (await hears(ven, target)).opts == [("evt-1", "0", "optIn")]
    await ven.until(lambda: ven.shed_w == 600)


@pytest.mark.parametrize("target", OTHERS.values(), ids=OTHERS)
async def test_it_does_not_act_for_others(ven, target):
    created = await hears(ven, target)
    assert (created.opts, created.event_codes) == ([("evt-1", "0", "optOut")], ["462"])
    assert ven.shed_w == 0
