"""Rule 6: any testEvent other than "false" is a test; it is answered like every event."""

from __future__ import annotations

import pytest

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


@pytest.mark.parametrize(("text", "is_test"), [("false", False), ("true", True), ("yes", True), ("False", True)])
async def test_a_test_event_is_known_as_one_and_answered(ven, text, is_test):
    event = said.event("evt-1", ven.clock.now_ms() + HOUR_MS, test=text)
    created = await ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    assert ven.store.events.find("evt-1").event.test_event is is_test
