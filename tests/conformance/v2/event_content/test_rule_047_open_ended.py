"""Rule 47: a duration of 0 is open-ended; its last interval lasts 0 as well."""

from __future__ import annotations

import pytest

from tests.conformance.v2.running import HOUR_MS, a_signal
from tests.vtn.opened import PROGRAM
from vtn.errors import InvalidInput


def test_an_open_ended_event_is_active_until_it_is_cancelled(vtn, device):
    event_id = vtn.event(device, duration_s=0, signals=(a_signal(("1", 600), ("2", 0)),))
    answer = device.events()
    assert answer.text(".//ei:eiActivePeriod//xcal:duration/xcal:duration", answer.event(event_id)) == "PT0S"
    assert answer.texts(".//ei:interval/xcal:duration/xcal:duration", answer.event(event_id)) == ["PT10M", "PT0S"]
    vtn.clock.advance(100 * HOUR_MS)
    later = device.events()
    assert later.event_status(event_id) == "active"
    assert later.text(".//ei:currentValue//ei:value", later.event(event_id)) == "2"
    vtn.do(vtn.inside.dr_events.cancel(event_id))
    assert device.events().event_status(event_id) == "cancelled"


def test_an_interval_of_0_elsewhere_is_refused(vtn):
    broken = vtn.an_event(duration_s=0, signals=(a_signal(("1", 0), ("2", 600)),))
    with pytest.raises(InvalidInput, match="rule 47"):
        vtn.do(vtn.inside.dr_events.create(broken, PROGRAM))
