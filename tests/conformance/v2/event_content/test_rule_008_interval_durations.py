"""Rule 8: the durations of a signal's intervals add up to that of the active period."""

from __future__ import annotations

import pytest

from tests.conformance.v2.running import a_signal
from tests.vtn.opened import PROGRAM
from vtn.errors import InvalidInput


def test_the_intervals_of_a_sent_event_add_up(vtn, device):
    event_id = vtn.event(device, duration_s=5400, signals=(a_signal(("1", 1800), ("2", 3600)),))
    answer = device.events()
    event = answer.event(event_id)
    assert answer.text(".//ei:eiActivePeriod//xcal:duration/xcal:duration", event) == "PT1H30M"
    assert answer.texts(".//ei:interval/xcal:duration/xcal:duration", event) == ["PT30M", "PT1H"]


def test_an_event_whose_intervals_do_not_add_up_is_refused(vtn):
    with pytest.raises(InvalidInput, match="rule 8"):
        vtn.do(vtn.inside.dr_events.create(vtn.an_event(duration_s=5400, signals=(a_signal(("1", 1800)),)), PROGRAM))
