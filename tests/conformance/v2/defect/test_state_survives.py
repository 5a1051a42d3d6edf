"""A stock VTN kept events, opts, report requests and polls in memory: lost at a restart, wrong with two workers."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.running import a_running_vtn


@pytest.fixture
def other_worker(vtn, tmp_path):
    """A second VTN on the same database: another worker, or the same one after a restart."""
    with a_running_vtn(vtn.database_url, tmp_path, vtn.clock) as running:
        yield running


def moved(device, running):
    """The same VEN, talking to another worker."""
    found = type(device)(running, device.ven_name, device.ven_id)
    found.registration_id = device.registration_id
    return found


def test_another_worker_knows_registration_events_and_requests(vtn, device, other_worker):
    event_id = vtn.event(device)
    device.poll_for("oadrDistributeEvent")
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"))
    request_id = device.post("EiReport", reporting.register_report(device.ven_id, described)).text(
        ".//ei:reportRequestID"
    )
    there = moved(device, other_worker)
    assert there.events().event_ids == [event_id]
    assert there.answer((event_id, 0, "optOut")).code == 200
    assert vtn.delivery(event_id, device).state == "opted_out"
    stretch = reporting.interval(reporting.number("meter", 1), start_ms=vtn.clock.now_ms() - 900_000, length="PT15M")
    body = reporting.report(request_id, "usage", "TELEMETRY_USAGE", stretch)
    assert there.post("EiReport", reporting.update_report(device.ven_id, body)).code == 200


def test_what_one_worker_queues_another_hands_out_and_either_hears_the_answer(vtn, device, other_worker):
    there = moved(device, other_worker)
    assert there.poll().name == "oadrResponse"
    event_id = vtn.event(device)
    assert there.poll_for("oadrDistributeEvent").event_ids == [event_id]
    assert device.answer((event_id, 0, "optIn")).code == 200
    vtn.clock.advance(60_000)
    assert [there.poll().name, device.poll().name] == ["oadrResponse", "oadrResponse"]


def test_a_registration_ended_at_one_worker_is_ended_at_all(device, other_worker):
    there = moved(device, other_worker)
    assert there.poll().code == 200
    device.post("EiRegisterParty", wire.cancel_party_registration(device.registration_id, device.ven_id))
    while (answer := there.poll()).code == 200:
        assert answer.name == "oadrResponse"
    assert answer.code == 463
