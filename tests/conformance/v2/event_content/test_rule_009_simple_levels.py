"""Rule 9: a SIMPLE signal has the levels 0 to 3."""

from __future__ import annotations

import pytest

from tests.conformance.v2.running import a_signal
from tests.vtn.opened import PROGRAM
from vtn.errors import InvalidInput


def test_levels_0_to_3_are_sent(vtn, device):
    event_id = vtn.event(device, signals=(a_signal(("0", 900), ("1", 900), ("2", 900), ("3", 900)),))
    answer = device.events()
    assert answer.texts(".//ei:interval//ei:value", answer.event(event_id)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("level", ["4", "-1", "1.5"])
def test_another_level_is_refused(vtn, level):
    with pytest.raises(InvalidInput, match="rule 9"):
        vtn.do(vtn.inside.dr_events.create(vtn.an_event(signals=(a_signal((level, 3600)),)), PROGRAM))
