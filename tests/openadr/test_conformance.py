"""Conformance rules of OpenADR 2.0b that show in a message; the number of each rule is in its test."""

from typing import Any

import pytest
from hypothesis import given

from openadr.conformance import unit_violations, violations
from openadr.errors import ResponseCode
from openadr.model import DrEvent, SignalInterval, Target, Unit
from openadr.v2 import OadrDistributeEvent, RefusedEvent, distribute, parse, render
from tests.builders import START_MS, a_dr_event, a_signal
from tests.openadr.strategies import events


def broken(event: DrEvent, **given: Any) -> set[int]:
    return {violation.rule for violation in violations(event, **given)}


def sent(*dr_events: DrEvent, now_ms: int = START_MS) -> bytes:
    return render(distribute(dr_events, vtn_id="vtn", request_id="r", now_ms=now_ms))


def received(body: bytes) -> OadrDistributeEvent:
    message = parse(body)
    assert isinstance(message, OadrDistributeEvent)
    return message


def refused(body: bytes) -> RefusedEvent:
    message = received(body)
    assert not message.events
    return message.refused[0]


def three_intervals() -> DrEvent:
    return a_dr_event(signals=(a_signal(intervals=tuple(SignalInterval(1200, str(n)) for n in range(3))),))


@given(events())
def test_a_conformant_event_has_no_violation(event: DrEvent) -> None:
    assert not violations(event)


def test_rule_2_interval_uids_count_from_0_by_1() -> None:
    body = sent(three_intervals())
    uids = [body.index(f"<text>{n}</text>".encode()) for n in range(3)]
    assert uids == sorted(uids)
    wrong = refused(body.replace(b"<text>1</text>", b"<text>7</text>"))
    assert (wrong.code, wrong.event_id) == (ResponseCode.COMPLIANCE_ERROR, "event-1")


def test_rule_4_a_new_event_has_modification_number_0() -> None:
    assert broken(a_dr_event(modification_number=1), is_new=True) == {4}
    assert broken(a_dr_event(modification_number=1)) == set()


@pytest.mark.parametrize(
    ("text", "is_test"), [("false", False), ("true", True), ("0", True), ("False", True), ("", True), ("drill", True)]
)
def test_rule_6_any_test_event_but_false_is_a_test(text: str, is_test: bool) -> None:
    body = sent(a_dr_event()).replace(b"<ei:testEvent>false<", f"<ei:testEvent>{text}<".encode())
    assert received(body).events[0].dr_event.test_event is is_test


def test_rule_6_no_test_event_is_no_test() -> None:
    body = sent(a_dr_event()).replace(b"<ei:testEvent>false</ei:testEvent>", b"")
    assert received(body).events[0].dr_event.test_event is False


def test_rule_7_one_signal_named_simple() -> None:
    assert broken(a_dr_event(signals=(a_signal("a"), a_signal("b", name="simple")))) == {7}


def test_rule_8_intervals_add_up_to_the_active_period() -> None:
    assert broken(three_intervals()) == set()
    assert broken(a_dr_event(duration_s=3601)) == {8}


@pytest.mark.parametrize("payload", ["4", "-1", "0.5", "1e1"])
def test_rule_9_simple_levels_are_0_to_3(payload: str) -> None:
    assert broken(a_dr_event(signals=(a_signal(intervals=(SignalInterval(3600, payload),)),))) == {9}


@pytest.mark.parametrize("payload", ["0", "1.0", "2", "3e0"])
def test_rule_9_a_level_may_be_spelt_as_a_float(payload: str) -> None:
    assert broken(a_dr_event(signals=(a_signal(intervals=(SignalInterval(3600, payload),)),))) == set()


def test_rule_12_every_event_says_whether_a_response_is_required() -> None:
    body = sent(a_dr_event("a"), a_dr_event("b", response_required=False))
    assert [event.dr_event.response_required for event in received(body).events] == [True, False]
    assert body.count(b"oadrResponseRequired>") == 4


@pytest.mark.parametrize(("second", "value"), [(-1, "0"), (0, "2"), (3599, "2"), (3600, "0")])
def test_rule_14_the_current_value_is_0_unless_the_event_is_active(second: int, value: str) -> None:
    """openleadr compares with "ACTIVE", so there it is 0 in an active event too."""
    event = a_dr_event(signals=(a_signal(intervals=(SignalInterval(3600, "2"),)),))
    assert received(sent(event, now_ms=START_MS + 1000 * second)).events[0].current_values == (value,)


def test_rule_15_priority_comes_before_start_among_active_events() -> None:
    """openleadr lets the start date decide when both are active."""
    early = a_dr_event("early", priority=2, start_ms=START_MS - 1000)
    late = a_dr_event("late", priority=1)
    done = a_dr_event("done", priority=1, start_ms=START_MS - 7_200_000)
    waiting = a_dr_event("waiting", start_ms=START_MS + 1000)
    order = [event.dr_event.event_id for event in received(sent(done, waiting, early, late)).events]
    assert order == ["late", "early", "waiting", "done"]


def test_rule_19_one_unreadable_event_does_not_spoil_the_others() -> None:
    body = sent(a_dr_event("bad", duration_s=7201), a_dr_event("good"))
    message = received(body.replace(b"PT2H1S", b"P1M"))
    assert [event.dr_event.event_id for event in message.events] == ["good"]
    assert [(event.event_id, event.code) for event in message.refused] == [("bad", ResponseCode.INVALID_DATA)]


def test_rule_22_a_target_that_is_not_understood_is_no_target_for_all() -> None:
    body = sent(a_dr_event(targets=())).replace(
        b"<ei:eiTarget></ei:eiTarget>",
        b'<ei:eiTarget><meterAsset xmlns="http://docs.oasis-open.org/ns/emix/2011/06/power"><mrid>m</mrid></meterAsset>'
        b"</ei:eiTarget>",
    )
    assert received(body).events[0].dr_event.targets == (Target("other", "meterAsset"),)


def test_rule_41_the_request_id_that_counts_is_that_of_the_distribute_event() -> None:
    assert received(sent()).request_id == "r"


def test_rule_47_an_open_ended_event_has_duration_0_and_ends_in_an_interval_of_0() -> None:
    """openleadr prints such a duration as a bare P."""
    open_ended = a_dr_event(duration_s=0, signals=(a_signal(intervals=(SignalInterval(0, "1"),)),))
    body = sent(open_ended)
    assert body.count(b">PT0S<") == 2
    assert received(body).events[0].dr_event == open_ended
    assert broken(open_ended) == set()
    assert broken(a_dr_event(duration_s=0)) == {47}
    endless_first = (SignalInterval(0, "1"), SignalInterval(3600, "1"))
    assert broken(a_dr_event(signals=(a_signal(intervals=endless_first),))) == {47}


def test_a_signal_type_outside_the_profile_is_code_460() -> None:
    (violation,) = violations(a_dr_event(signals=(a_signal(type="price"),)))
    assert violation.code is ResponseCode.SIGNAL_NOT_SUPPORTED
    assert not violations(a_dr_event(signals=(a_signal(name="x-private", type="delta"),)))


def test_intervals_with_starts_of_their_own_must_be_contiguous() -> None:
    stamp = b"<xcal:dtstart><xcal:date-time>2026-01-01T00:%b:00Z</xcal:date-time></xcal:dtstart><xcal:duration>"
    body = sent(three_intervals())
    for minute, readable in ((b"00", True), (b"05", False)):
        stamped = received(body.replace(b"<xcal:duration>", stamp % minute, 1))
        assert bool(stamped.events) is readable


def test_a_single_interval_without_duration_lasts_the_whole_event() -> None:
    body = sent(a_dr_event())
    without = body.replace(b"<xcal:duration><xcal:duration>PT1H</xcal:duration></xcal:duration>", b"")
    assert without != body
    assert received(without).events[0].dr_event == a_dr_event()


@pytest.mark.parametrize(
    ("name", "type", "unit", "ok"),
    [
        ("ELECTRICITY_PRICE", "price", Unit("currency_per_kwh", "EUR"), True),
        ("ELECTRICITY_PRICE", "price", None, False),
        ("ELECTRICITY_PRICE", "priceMultiplier", None, True),
        ("LOAD_DISPATCH", "setpoint", Unit("power_real", "W"), True),
        ("LOAD_DISPATCH", "setpoint", Unit("energy_real", "Wh"), False),
        ("LOAD_DISPATCH", "level", None, True),
        ("CHARGE_STATE", "delta", Unit("energy_real", "Wh"), True),
        ("SIMPLE", "level", Unit("energy_real", "Wh"), False),
        ("x-ours", "level", Unit("temperature", "celsius"), True),
    ],
)
def test_a_signal_that_is_written_has_the_unit_of_the_profile(name, type, unit, ok) -> None:
    event = a_dr_event(signals=(a_signal(name=name, type=type, unit=unit),))
    found = unit_violations(event)
    assert (not found) is ok
    assert all(each.code == ResponseCode.SIGNAL_NOT_SUPPORTED for each in found)
