"""EiRegisterParty: query, create, re-register, cancel by either side; a refused one says why and has no ids."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import reporting, wire


def register(device, **given):
    return device.post("EiRegisterParty", wire.create_party_registration(**given))


def test_a_query_says_what_is_offered(device):
    answer = device.post("EiRegisterParty", wire.query_registration("query-7"))
    assert (answer.name, answer.code, answer.answered) == ("oadrCreatedPartyRegistration", 200, "query-7")
    assert answer.texts(".//oadr:oadrProfileName") == ["2.0b"]
    assert answer.texts(".//oadr:oadrTransportName") == ["simpleHttp"]
    assert answer.text("./ei:vtnID")
    assert answer.text("./oadr:oadrRequestedOadrPollFreq/xcal:duration") == "PT1M"


def test_an_enrolled_ven_registers_by_name_and_gets_its_ids(vtn):
    device = vtn.device(register=False)
    answer = register(device, ven_name=device.ven_name, request_id="reg-7")
    assert (answer.name, answer.code, answer.answered) == ("oadrCreatedPartyRegistration", 200, "reg-7")
    assert answer.text("./ei:venID") == device.ven_id
    assert answer.text("./ei:registrationID")


def test_registering_again_keeps_the_registration(device):
    for given in ({"ven_name": device.ven_name}, {"ven_id": device.ven_id, "registration_id": device.registration_id}):
        answer = register(device, **given)
        assert (answer.code, answer.text("./ei:registrationID")) == (200, device.registration_id)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"ven_name": "nobody"}, 452),
        ({"ven_id": "nobody"}, 452),
        ({}, 452),
        ({"profile": "2.0a"}, 451),
        ({"transport": "xmpp"}, 451),
        ({"registration_id": "reg-nobody-knows"}, 452),
        ({"pull": False}, 454),
        ({"pull": False, "address": "http://elsewhere.example"}, 454),
        ({"pull": False, "address": "file:///etc/passwd"}, 454),
        ({"pull": False, "address": "http://user:word@127.0.0.1"}, 454),
    ],
    ids=str,
)
def test_a_refused_registration_has_a_45x_code_and_no_ids(vtn, given, code):
    """A stock VTN answered 200 with empty ids."""
    device = vtn.device(register=False)
    if {"profile", "transport", "registration_id", "pull"} & set(given):
        given = {"ven_name": device.ven_name} | given
    answer = register(device, **given, request_id="reg-7")
    assert (answer.name, answer.code, answer.answered) == ("oadrCreatedPartyRegistration", code, "reg-7")
    assert answer.elements("./ei:venID | ./ei:registrationID") == []
    assert device.poll().code == 463


def test_ids_of_two_vens_are_refused(vtn, device):
    other = vtn.device()
    assert register(device, ven_name=device.ven_name, ven_id=other.ven_id).code == 452


def test_a_ven_ends_its_registration(vtn, device):
    """A stock VTN answered with the wrong message."""
    body = wire.cancel_party_registration(device.registration_id, device.ven_id, "cancel-7")
    answer = device.post("EiRegisterParty", body)
    assert (answer.name, answer.code, answer.answered) == ("oadrCanceledPartyRegistration", 200, "cancel-7")
    assert answer.text("./ei:registrationID") == device.registration_id
    again = device.post("EiRegisterParty", body)
    assert (again.name, again.code) == ("oadrCanceledPartyRegistration", 452)
    while (polled := device.poll()).code != 463:  # a notification takes its moment
        assert polled.code == 200


def test_a_registration_of_another_ven_is_not_ended(vtn, device):
    other = vtn.device()
    body = wire.cancel_party_registration(other.registration_id, device.ven_id)
    assert device.post("EiRegisterParty", body).code == 452
    assert other.poll().code == 200


def test_the_vtn_ends_a_registration_and_the_ven_confirms(vtn, device):
    vtn.do(vtn.inside.registrations.request_cancel(device.ven_id))
    told = device.poll_for("oadrCancelPartyRegistration")
    assert (told.text("./ei:registrationID"), told.text("./ei:venID")) == (device.registration_id, device.ven_id)
    vtn.clock.advance(30_000)
    again = device.poll_for("oadrCancelPartyRegistration")
    confirmation = wire.canceled_party_registration(again.request_id, device.registration_id, device.ven_id)
    answer = device.post("EiRegisterParty", confirmation)
    assert (answer.name, answer.code, answer.answered) == ("oadrResponse", 200, again.request_id)
    while (polled := device.poll()).code != 463:
        assert polled.code == 200
    assert register(device, ven_name=device.ven_name).text("./ei:registrationID") != device.registration_id


def test_an_unasked_confirmation_ends_nothing(device):
    confirmation = wire.canceled_party_registration("req-1", device.registration_id, device.ven_id)
    assert device.post("EiRegisterParty", confirmation).code == 200
    assert device.poll().code == 200


def test_the_vtn_asks_for_a_new_registration_until_it_comes(vtn, device):
    vtn.do(vtn.inside.registrations.request_reregistration(device.ven_id))
    for _ in range(2):
        assert device.poll_for("oadrRequestReregistration").text("./ei:venID") == device.ven_id
        vtn.clock.advance(30_000)
    answer = register(device, ven_id=device.ven_id, registration_id=device.registration_id)
    assert (answer.code, answer.text("./ei:registrationID")) == (200, device.registration_id)
    vtn.clock.advance(30_000)
    assert device.poll().name == "oadrResponse"


def test_with_a_registration_end_its_report_requests_and_a_new_one_brings_back_the_events(vtn, device):
    event_id = vtn.event(device)
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"))
    registered = device.post("EiReport", reporting.register_report(device.ven_id, described))
    device.post("EiRegisterParty", wire.cancel_party_registration(device.registration_id, device.ven_id))
    assert vtn.do(vtn.inside.reports.requests(device.ven_id)) == []
    register(device, ven_name=device.ven_name)
    assert event_id in device.poll_for("oadrDistributeEvent").event_ids
    stretch = reporting.interval(reporting.number("meter", 1), start_ms=0, length="PT15M")
    body = reporting.report(registered.text(".//ei:reportRequestID"), "usage", "TELEMETRY_USAGE", stretch)
    assert device.post("EiReport", reporting.update_report(device.ven_id, body)).code == 452


@pytest.mark.parametrize("ended", [True, False], ids=["after an end", "without one"])
@pytest.mark.parametrize("required", [True, False])
def test_a_device_that_forgot_everything_is_told_of_events_it_had_answered(vtn, device, ended, required):
    event_id = vtn.event(device, response_required=required)
    device.poll_for("oadrDistributeEvent")
    device.answer((event_id, 0, "optIn"))
    assert device.poll().name == "oadrResponse"
    if ended:
        device.post("EiRegisterParty", wire.cancel_party_registration(device.registration_id, device.ven_id))
    assert register(device, ven_name=device.ven_name).code == 200
    for _ in range(1 if required else 2):
        assert device.poll_for("oadrDistributeEvent").event_ids == [event_id]
        assert vtn.delivery(event_id, device).state == "opted_in"
        vtn.clock.advance(30_000)
    if required:
        device.answer((event_id, 0, "optIn"))
    assert device.poll().name == "oadrResponse"


def test_a_device_that_names_its_registration_is_told_nothing_twice(vtn, device):
    event_id = vtn.event(device)
    device.poll_for("oadrDistributeEvent")
    device.answer((event_id, 0, "optIn"))
    register(device, ven_id=device.ven_id, registration_id=device.registration_id)
    last = vtn.event(device)
    assert device.poll_for("oadrDistributeEvent").event_ids == [event_id, last]
    device.answer((last, 0, "optIn"))
    assert device.poll().name == "oadrResponse"
