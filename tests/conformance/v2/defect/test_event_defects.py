"""Events that a stock VTN got wrong: priority beaten by the start, currentValue 0 while active, nothing sent again when
an answer was lost, optOut after optIn lost, 500 for an oadrCreatedEvent without answers, `P` for open-ended."""

from __future__ import annotations

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.running import HOUR_MS, a_signal


def test_priority_decides_between_active_events_not_the_start(vtn, device):
    now_ms = vtn.clock.now_ms()
    earlier = vtn.event(device, start_ms=now_ms + 60_000, priority=5)
    higher = vtn.event(device, start_ms=now_ms + 120_000, priority=1)
    vtn.clock.advance(300_000)
    answer = device.events()
    assert answer.event_ids == [higher, earlier]
    assert answer.texts(".//ei:eventStatus") == ["active", "active"]
    assert answer.texts(".//ei:currentValue//ei:value") == ["1", "1"]


def test_an_answer_that_was_lost_costs_nothing(vtn, device):
    event_id = vtn.event(device)
    device.poll_for("oadrDistributeEvent")  # say this never arrived
    vtn.clock.advance(30_000)
    assert device.poll_for("oadrDistributeEvent").event_ids == [event_id]


def test_a_created_event_without_answers_is_no_error(device):
    answer = device.post("EiEvent", wire.created_event(device.ven_id, outer="x"))
    assert (answer.name, answer.code, answer.answered) == ("oadrResponse", 200, "x")


def test_an_open_ended_event_has_a_duration_that_says_so(vtn, device):
    vtn.event(device, duration_s=0, signals=(a_signal(("1", 0)),))
    assert b">P<" not in device.events().body


def test_every_service_is_mounted(vtn, device):
    """EiOpt was 404."""
    answer = device.post("EiOpt", wire.create_opt(device.ven_id, "opt-1", "optOut"))
    assert (answer.status, answer.name) == (200, "oadrCreatedOpt")


def test_a_ven_that_ignores_requests_in_the_answer_to_its_registration_gets_them_by_poll(vtn, device):
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"))
    answer = device.post("EiReport", reporting.register_report(device.ven_id, described))
    vtn.clock.advance(HOUR_MS // 60)
    asked = device.poll_for("oadrCreateReport")
    assert asked.texts(".//ei:reportRequestID") == answer.texts(".//ei:reportRequestID")
