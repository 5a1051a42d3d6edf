"""What real VTNs write and the schema does not like: a VEN reads it all the same."""

from __future__ import annotations

import pytest
from lxml import etree

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS

HABITS = {
    "schemaVersion without namespace": (b"ei:schemaVersion=", b"schemaVersion="),
    "no schemaVersion": (b' ei:schemaVersion="2.0b"', b""),
    "+00:00 for Z": (b"00Z<", b"00+00:00<"),
    "no oadrPayload": (b"oadr:oadrPayload", b"oadr:oadrPayload"),
}


def bare(body: bytes) -> bytes:
    """The message without oadrPayload and oadrSignedObject."""
    return etree.tostring(etree.fromstring(body)[0][0])


@pytest.mark.parametrize("habit", HABITS)
async def test_a_habit_does_not_keep_an_event_from_its_home(ven, habit):
    start_ms = ven.clock.now_ms() + HOUR_MS
    body = said.distribute(said.event("evt-1", start_ms)).replace(*HABITS[habit])
    if habit == "no oadrPayload":
        body = bare(body)
    created = await ven.hear(body, "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)


@pytest.mark.parametrize(("length", "seconds"), [("P1W", 7 * 86_400), ("PT3600S", 3600), ("P0Y0M0DT1H0M0S", 3600)])
async def test_a_duration_is_read_as_long_as_it_is(ven, length, seconds):
    """A stock client read P1W as 0."""
    start_ms = ven.clock.now_ms() + HOUR_MS
    event = said.event("evt-1", start_ms, said.signal((length, "1")), length=length)
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 300)
    await ven.at(start_ms + (seconds - 1) * 1000)
    assert ven.shed_w == 300
    await ven.at(start_ms + seconds * 1000)
    await ven.until(lambda: ven.shed_w == 0)


async def test_a_duration_that_says_nothing_is_open_ended(ven):
    """A stock VTN prints an open end as P."""
    start_ms = ven.clock.now_ms() + HOUR_MS
    event = said.event("evt-1", start_ms, said.signal(("P", "1")), length="P")
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    await ven.at(start_ms + 50 * HOUR_MS)
    await ven.until(lambda: ven.shed_w == 300)
