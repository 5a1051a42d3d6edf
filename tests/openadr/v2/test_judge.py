"""openleadr as a judge: it reads what we write, and we read what it writes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from openleadr import enums, objects
from openleadr.messaging import create_message, parse_message

from openadr.model import DrEvent, Target
from openadr.v2 import (
    EventResponse,
    Message,
    OadrCreatedEvent,
    OadrCreatedPartyRegistration,
    OadrDistributeEvent,
    OadrPoll,
    OadrRegisterReport,
    OadrResponse,
    OadrUpdateReport,
    distribute,
    parse,
    render,
    to_report,
    wire_name,
)
from tests.builders import START_MS, a_dr_event
from tests.openadr.samples import MESSAGES, a_full_event

START = datetime(2026, 1, 1, tzinfo=UTC)
RESPONSE = {"response_code": 200, "response_description": "OK", "request_id": "r"}


def judged(message: Message) -> dict[str, Any]:
    name, payload = parse_message(render(message).decode())
    assert name == wire_name(message)
    return dict(payload)


@pytest.mark.parametrize(
    "message", [message for message in MESSAGES if not isinstance(message, OadrUpdateReport)], ids=wire_name
)
def test_openleadr_reads_every_message(message: Message) -> None:
    judged(message)


def test_openleadr_reads_our_event_as_we_mean_it() -> None:
    payload = judged(distribute([a_full_event()], vtn_id="vtn", request_id="r", now_ms=START_MS + 900_000))
    event = payload["events"][0]
    descriptor, period, signal = event["event_descriptor"], event["active_period"], event["event_signals"][0]
    assert (descriptor["event_id"], descriptor["modification_number"]) == ("event & <full>", 3)
    assert (descriptor["priority"], descriptor["test_event"], descriptor["event_status"]) == (2, True, "active")
    assert (period["dtstart"], period["duration"]) == (START, timedelta(hours=1))
    assert period["ramp_up"] == timedelta(minutes=10)
    assert [interval["signal_payload"] for interval in signal["intervals"]] == [-1.25, -2.5, 0]
    assert [interval["duration"] for interval in signal["intervals"]] == [timedelta(minutes=m) for m in (15, 30, 15)]
    assert signal["current_value"] == -2.5
    assert (signal["measurement"]["name"], signal["measurement"]["scale"]) == ("powerReal", "k")
    assert {"group_id": "feeder-7"} in event["targets"]
    assert event["response_required"] == "never"


def test_openleadr_reads_our_event_responses() -> None:
    payload = judged(OadrCreatedEvent("ven-1", (EventResponse("event-1", 2, "optOut", "r"),)))
    assert payload["ven_id"] == "ven-1"
    (response,) = payload["event_responses"]
    assert (response["event_id"], response["modification_number"], response["opt_type"]) == ("event-1", 2, "optOut")


def test_openleadr_reads_our_reports() -> None:
    metadata = next(message for message in MESSAGES if isinstance(message, OadrRegisterReport))
    description = judged(metadata)["reports"][0]["report_descriptions"][0]
    assert description["measurement"]["name"] == "energyReal"
    assert description["sampling_rate"]["min_period"] == timedelta(minutes=15)


def an_openleadr_event(**given: Any) -> objects.Event:
    defaults: dict[str, Any] = {
        "event_descriptor": objects.EventDescriptor(
            event_id="event-1",
            modification_number=0,
            market_context="http://programs.example/peak",
            event_status="far",
            created_date_time=START - timedelta(days=1),
            test_event=False,
        ),
        "active_period": objects.ActivePeriod(dtstart=START, duration=timedelta(hours=1)),
        "event_signals": [
            objects.EventSignal(
                signal_name="SIMPLE",
                signal_type="level",
                signal_id="signal-1",
                intervals=[objects.Interval(dtstart=START, duration=timedelta(hours=1), signal_payload=1)],
            )
        ],
        "targets": [objects.Target(group_id="feeder-7")],
        "response_required": "always",
    }
    return objects.Event(**{**defaults, **given})


def from_openleadr(event: objects.Event) -> DrEvent:
    body = create_message("oadrDistributeEvent", response=RESPONSE, request_id="r", vtn_id="v", events=[event])
    message = parse(body.encode())
    assert isinstance(message, OadrDistributeEvent)
    # The status is not compared: openleadr takes it from the wall clock.
    return message.events[0].dr_event


def test_an_event_of_openleadr_is_the_same_event_as_ours() -> None:
    assert from_openleadr(an_openleadr_event()) == a_dr_event()


def test_targets_of_openleadr_are_read() -> None:
    targets = [objects.Target(ven_id="00123"), objects.Target(resource_id="r"), objects.Target(group_id="g")]
    assert set(from_openleadr(an_openleadr_event(targets=targets)).targets) == {
        Target("ven", "00123"),
        Target("resource", "r"),
        Target("group", "g"),
    }


def test_registration_poll_and_answers_of_openleadr_are_read() -> None:
    assert parse(create_message("oadrPoll", ven_id="00123").encode()) == OadrPoll("00123")
    answer = parse(create_message("oadrResponse", response=RESPONSE, ven_id="v").encode())
    assert isinstance(answer, OadrResponse)
    created = parse(
        create_message(
            "oadrCreatedPartyRegistration",
            response=RESPONSE,
            registration_id="reg",
            ven_id="00123",
            vtn_id="vtn",
            profiles=[{"profile_name": "2.0b", "transports": [{"transport_name": "simpleHttp"}]}],
            requested_oadr_poll_freq=timedelta(seconds=10),
        ).encode()
    )
    assert isinstance(created, OadrCreatedPartyRegistration)
    assert (created.ven_id, created.poll_interval_s) == ("00123", 10)


def test_a_report_of_openleadr_becomes_readings() -> None:
    description = objects.ReportDescription(
        r_id="meter",
        report_type="usage",
        reading_type="Direct Read",
        measurement=enums.MEASUREMENTS.ENERGY_REAL,
        report_subject=None,
        market_context=None,
        report_data_source=objects.Target(resource_id="home-1"),
        sampling_rate=objects.SamplingRate(timedelta(seconds=10), timedelta(seconds=60), False),
    )
    given = {
        "report_request_id": "rr-1",
        "report_specifier_id": "usage",
        "created_date_time": START,
    }
    metadata = objects.Report(report_name="TELEMETRY_USAGE", report_descriptions=[description], **given)
    registered = parse(create_message("oadrRegisterReport", request_id="r", ven_id="v", reports=[metadata]).encode())
    assert isinstance(registered, OadrRegisterReport)
    payload = objects.ReportPayload(r_id="meter", value=412.0)
    interval = objects.ReportInterval(dtstart=START, duration=timedelta(minutes=15), report_payload=payload)
    data = objects.Report(report_name="TELEMETRY_USAGE", report_descriptions=[], intervals=[interval], **given)
    update = parse(create_message("oadrUpdateReport", request_id="r", ven_id="v", reports=[data]).encode())
    assert isinstance(update, OadrUpdateReport)
    described = {each.r_id: each for each in registered.reports[0].descriptions}
    (reading,) = to_report(update.reports[0], described).readings
    assert (reading.start_ms, reading.duration_s, reading.value_wh) == (START_MS, 900, 412)
