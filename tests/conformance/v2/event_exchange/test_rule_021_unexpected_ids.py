"""Rule 21: an unexpected venID or eventID is an error, and every message names the vtnID."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import wire


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("OadrPoll", wire.poll("nobody")),
        ("EiEvent", wire.request_event("nobody")),
        ("EiEvent", wire.created_event("nobody", ("evt-1", 0, "optIn"))),
        ("EiOpt", wire.create_opt("nobody", "opt-1", "optOut")),
        ("EiOpt", wire.cancel_opt("nobody", "opt-1")),
    ],
)
def test_a_venid_nobody_has_is_answered_with_452(device, service, message):
    answer = device.post(service, message)
    assert (answer.name, answer.code) == ("oadrResponse", 452)


def test_an_event_of_another_ven_is_unknown(vtn, device):
    other = vtn.device()
    event_id = vtn.event(other)
    assert device.answer((event_id, 0, "optIn")).code == 452
    assert vtn.delivery(event_id, other).state == "queued"


def test_the_vtn_names_itself_in_every_list_of_events(vtn, device):
    registered = device.post("EiRegisterParty", wire.create_party_registration(device.ven_name))
    vtn_id = registered.text("./ei:vtnID")
    assert vtn_id
    assert device.events().text("./ei:vtnID") == vtn_id
