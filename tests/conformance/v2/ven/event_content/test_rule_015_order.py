"""Rule 15: of overlapping events the one of the best priority governs (1 is the highest, 0 the lowest), then the one
that starts first, in whatever order they came."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS

MINUTE_MS = 60_000


@pytest.mark.parametrize("reverse", [False, True], ids=["in order", "reversed"])
async def test_the_best_priority_governs_and_the_other_goes_on_afterwards(ven, reverse):
    start_ms = ven.clock.now_ms() + HOUR_MS
    events = [
        said.event("evt-lowest", start_ms, said.signal(("PT1H", "1")), priority=0),
        said.event("evt-first", start_ms + 20 * MINUTE_MS, said.signal(("PT20M", "3")), priority=1, length="PT20M"),
        said.event("evt-second", start_ms + 10 * MINUTE_MS, said.signal(("PT40M", "2")), priority=2, length="PT40M"),
    ]
    await ven.poll(said.distribute(*reversed(events) if reverse else events))
    for minutes, shed_w in ((5, 300), (15, 600), (25, 900), (45, 600), (55, 300), (61, 0)):
        await ven.at(start_ms + minutes * MINUTE_MS)
        await ven.until(lambda shed_w=shed_w: ven.shed_w == shed_w)


async def test_of_equals_the_earlier_start_governs(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    later = said.event("evt-a", start_ms + 10 * MINUTE_MS, said.signal(("PT1H", "3")), priority=1)
    earlier = said.event("evt-b", start_ms, said.signal(("PT1H", "1")), priority=1)
    await ven.poll(said.distribute(earlier, later))
    for minutes, shed_w in ((5, 300), (30, 300), (65, 900)):
        await ven.at(start_ms + minutes * MINUTE_MS)
        await ven.until(lambda shed_w=shed_w: ven.shed_w == shed_w)
