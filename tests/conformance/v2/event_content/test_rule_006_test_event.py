"""Rule 6: any testEvent other than "false" is a test; the VTN says which it is."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(("test_event", "expected"), [(True, "true"), (False, "false")])
def test_a_test_event_is_marked_and_no_other(vtn, device, test_event, expected):
    event_id = vtn.event(device, test_event=test_event)
    answer = device.events()
    assert answer.text(".//ei:testEvent", answer.event(event_id)) == expected
