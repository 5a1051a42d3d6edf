"""Rule 4: a new event has modificationNumber 0."""

from __future__ import annotations

import pytest

from tests.vtn.opened import PROGRAM
from vtn.errors import InvalidInput


def test_a_new_event_is_sent_with_modification_number_0(vtn, device):
    event_id = vtn.event(device)
    assert device.events().modification(event_id) == 0


def test_an_operator_cannot_make_a_new_event_with_another_number(vtn):
    with pytest.raises(InvalidInput, match="rule 4"):
        vtn.do(vtn.inside.dr_events.create(vtn.an_event(modification_number=1), PROGRAM))
