"""The digest: the same at the VTN that wrote the event and at every VEN that read it, and nothing slips past it."""

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from openleadr.messaging import XML_SCHEMA

from openadr.errors import InvalidEvent
from openadr.model import DrEvent, PowerAttributes, SignalInterval, Target, Unit, canonical, decimal, digest
from openadr.timeline import EventStatus
from openadr.v2 import OadrDistributeEvent, distribute, parse, render
from tests.builders import START_MS, a_dr_event, a_signal
from tests.openadr.samples import a_full_event
from tests.openadr.strategies import events


def received(event: DrEvent, now_ms: int = START_MS) -> DrEvent:
    """The event as a VEN has it, after the wire."""
    message = parse(render(distribute([event], vtn_id="vtn", request_id="r", now_ms=now_ms)))
    assert isinstance(message, OadrDistributeEvent)
    assert not message.refused
    return message.events[0].dr_event


@given(events(), st.integers(0, 4_102_444_800_000))
def test_the_digest_survives_the_wire_at_any_moment(event: DrEvent, now_ms: int) -> None:
    body = render(distribute([event], vtn_id="vtn", request_id="r", now_ms=now_ms))
    assert XML_SCHEMA.validate(etree.fromstring(body)), XML_SCHEMA.error_log
    assert received(event, now_ms) == event
    assert digest(received(event, now_ms)) == digest(event)


def test_the_canonical_form_is_these_bytes() -> None:
    """Golden: a change here is a new format and needs a new name in it."""
    expected = (
        '{"cancelled":false,"duration_s":3600,"event_id":"event-1","format":"gridpact.dr_event.1",'
        '"modification_number":0,"notification_s":0,"priority":0,"program":"http://programs.example/peak",'
        '"ramp_up_s":0,"recovery_s":0,"response_required":true,"signals":[{"device_classes":[],"intervals":'
        '[{"duration_s":3600,"payload":"1"}],"name":"SIMPLE","signal_id":"signal-1","type":"level","unit":null}],'
        '"start_after_s":0,"start_ms":1767225600000,"targets":[{"kind":"group","value":"feeder-7"}],'
        '"test_event":false,"vtn_comment":""}'
    )
    assert canonical(a_dr_event()).decode() == expected
    assert digest(a_dr_event()) == hashlib.sha256(expected.encode()).hexdigest()


def test_a_unit_is_spelt_out_in_the_canonical_form() -> None:
    signal = json.loads(canonical(a_full_event()))["signals"][0]
    assert signal["unit"] == {
        "description": "",
        "kind": "power_real",
        "power": {"ac": True, "hertz": "50", "voltage": "230"},
        "pulse_factor": None,
        "scale": "k",
        "symbol": "W",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", "event-2"),
        ("program", "http://programs.example/other"),
        ("modification_number", 1),
        ("priority", 1),
        ("test_event", True),
        ("start_ms", START_MS + 1),
        ("duration_s", 3601),
        ("signals", (a_signal(intervals=(SignalInterval(3600, "2"),)),)),
        ("targets", (Target("group", "feeder-8"),)),
        ("response_required", False),
        ("start_after_s", 1),
        ("notification_s", 1),
        ("ramp_up_s", 1),
        ("recovery_s", 1),
        ("vtn_comment", "x"),
        ("cancelled", True),
    ],
)
def test_every_change_that_counts_changes_the_digest(field: str, value: Any) -> None:
    """Rule 5: everything but createdDateTime, eventStatus and currentValue is a modification."""
    assert digest(msgspec.structs.replace(a_dr_event(), **{field: value})) != digest(a_dr_event())


def test_no_field_is_forgotten_by_the_test_above() -> None:
    assert {field.name for field in msgspec.structs.fields(DrEvent)} == {
        *json.loads(canonical(a_dr_event())).keys() - {"format"},
        "created_ms",
    }


@given(st.integers(0, 4_102_444_800_000), st.integers(0, 4_102_444_800_000))
def test_created_time_status_and_current_value_do_not_count(created_ms: int, now_ms: int) -> None:
    """Rule 5."""
    assert digest(received(a_dr_event(created_ms=created_ms), now_ms)) == digest(a_dr_event())


def test_the_order_and_repetition_of_targets_do_not_count() -> None:
    one, two = Target("ven", "b"), Target("group", "a")
    assert digest(a_dr_event(targets=(one, two, one))) == digest(a_dr_event(targets=(two, one)))


@pytest.mark.parametrize(
    ("payload", "same"), [("1.50", "1.5"), ("15e-1", "1.5"), ("+2", "2"), ("-0.0", "0"), (".5", "0.5")]
)
def test_one_number_has_one_spelling(payload: str, same: str) -> None:
    assert SignalInterval(1, payload) == SignalInterval(1, same)


@pytest.mark.parametrize("payload", ["NaN", "INF", "-Infinity", "1_0", "", "1e99999", "0x1", "٣", "1e40", "1" * 81])
def test_what_is_no_finite_decimal_is_refused(payload: str) -> None:
    with pytest.raises(InvalidEvent):
        decimal(payload)


@pytest.mark.parametrize(
    "broken",
    [
        {"event_id": ""},
        {"event_id": " padded"},
        {"event_id": "a\nb"},
        {"event_id": "e\u0301"},
        {"program": "x" * 257},
        {"signals": ()},
        {"signals": (a_signal("same"), a_signal("same"))},
        {"start_ms": -1},
        {"duration_s": 2**53},
        {"priority": 2**32},
        {"modification_number": -1},
    ],
)
def test_an_event_without_one_canonical_form_cannot_be_made(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        a_dr_event(**broken)


@pytest.mark.parametrize(
    "broken",
    [
        {"scale": "kilo"},
        {"symbol": ""},
        {"power": PowerAttributes()},
        {"pulse_factor": "1"},
        {"kind": "pulse_count"},
    ],
)
def test_a_unit_that_cannot_be_sent_cannot_be_made(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        Unit(**{"kind": "energy_real", "symbol": "Wh", **broken})


def test_a_cancelled_event_stays_cancelled_over_the_wire() -> None:
    """Rule 36: the VEN has to see the cancellation, so it is sent, with status cancelled and no current value."""
    cancelled = a_dr_event(cancelled=True, modification_number=1)
    sent = distribute([cancelled], vtn_id="v", request_id="r", now_ms=START_MS + 1).events[0]
    assert (sent.status, sent.current_values) == (EventStatus.CANCELLED, ("0",))
    assert received(cancelled).cancelled
