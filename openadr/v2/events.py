"""oadrEvent <-> DrEvent: what the wire says about an event, without loss.

Reading takes the element of a valid document; writing produces the vocabulary of openleadr's event templates. The two
are inverse: an event that was written is read back with the same digest.
"""

from collections.abc import Iterable
from typing import Any, get_args

from openadr.errors import InvalidEvent, OpenAdrError, ResponseCode
from openadr.model import DrEvent, Signal, SignalInterval, Target, TargetKind
from openadr.timeline import EventStatus, current_value, ordered, status
from openadr.v2 import fields
from openadr.v2.document.schema import EI, EMIX, OADR, POWER, STRM, XCAL
from openadr.v2.messages import EiResponse, OadrDistributeEvent, OadrEvent, RefusedEvent
from openadr.v2.units import read_unit, unit_context

_TARGET_FIELDS: dict[TargetKind, tuple[str, str]] = {
    "group": (EI + "groupID", "group_id"),
    "group_name": (EI + "groupName", "group_name"),
    "resource": (EI + "resourceID", "resource_id"),
    "ven": (EI + "venID", "ven_id"),
    "party": (EI + "partyID", "party_id"),
}
_TARGET_KINDS = {element: kind for kind, (element, _) in _TARGET_FIELDS.items()}
assert set(_TARGET_FIELDS) == set(get_args(TargetKind)) - {"other"}


def distribute(
    events: Iterable[DrEvent], *, vtn_id: str, request_id: str, now_ms: int, response: EiResponse | None = None
) -> OadrDistributeEvent:
    """All events that apply to one VEN as one message: ordered (rule 15), with status and current values at `now_ms`.

    `events` has to be complete: an event a VEN knows and does not find is cancelled for it.
    """
    return OadrDistributeEvent(
        request_id=request_id,
        vtn_id=vtn_id,
        events=tuple(to_oadr_event(event, now_ms) for event in ordered(events, now_ms)),
        response=response,
    )


def to_oadr_event(event: DrEvent, now_ms: int) -> OadrEvent:
    """The event as sent at `now_ms`."""
    values = tuple(current_value(event, signal, now_ms) for signal in event.signals)
    return OadrEvent(event, status(event, now_ms), values)


def read_event(element: Any) -> OadrEvent | RefusedEvent:
    """An oadrEvent element as data. One that cannot be taken over does not spoil the others: it comes back refused."""
    event = element.find(EI + "eiEvent")
    descriptor = event.find(EI + "eventDescriptor")
    try:
        return _read(element, event, descriptor)
    except OpenAdrError as error:
        return RefusedEvent(
            event_id=fields.text(descriptor, EI + "eventID"),
            modification_number=fields.integer(descriptor, EI + "modificationNumber"),
            code=error.code,
            detail=error.detail,
            response_required=_response_required(element),
        )


def event_context(oadr_event: OadrEvent) -> dict[str, Any]:
    """An event in the words of openleadr's templates."""
    event = oadr_event.dr_event
    return {
        "event_descriptor": {
            "event_id": event.event_id,
            "modification_number": event.modification_number,
            "modification_date_time": None,
            "modification_reason": None,
            "priority": event.priority,
            "market_context": event.program,
            "created_date_time": event.created_ms,
            "event_status": oadr_event.status.value,
            "test_event": event.test_event,
            "vtn_comment": event.vtn_comment or None,
        },
        "active_period": {
            "dtstart": event.start_ms,
            "duration": event.duration_s,
            "tolerance": {"startafter": event.start_after_s} if event.start_after_s else None,
            "notification_period": event.notification_s,
            "ramp_up_period": event.ramp_up_s,
            "recovery_period": event.recovery_s,
        },
        "event_signals": [
            _signal_context(signal, value)
            for signal, value in zip(event.signals, oadr_event.current_values, strict=True)
        ],
        "targets": targets_context(event.targets),
        "response_required": "always" if event.response_required else "never",
        "report_requests": None,
    }


def read_targets(element: Any) -> tuple[Target, ...]:
    """Designations of an eiTarget. What is not understood becomes one of kind "other", which nobody matches."""
    if element is None:
        return ()
    return tuple(
        Target(_TARGET_KINDS[child.tag], child.text or "")
        if child.tag in _TARGET_KINDS
        else Target("other", child.tag.rpartition("}")[2])
        for child in element
    )


def read_device_classes(element: Any) -> tuple[str, ...]:
    """Device classes of an eiTarget that may name nothing else."""
    if element is None:
        return ()
    if any(child.tag != POWER + "endDeviceAsset" for child in element):
        raise InvalidEvent("a signal is narrowed by device class only", ResponseCode.TARGET_MISMATCH)
    return tuple(fields.text(child, POWER + "mrid") for child in element)


def targets_context(targets: Iterable[Target]) -> list[dict[str, str]]:
    """Targets in the words of openleadr's templates. Raises InvalidEvent for one that was not understood."""
    found = []
    for target in targets:
        if target.kind not in _TARGET_FIELDS:
            raise InvalidEvent(f"a target {target.value} is read, never sent", ResponseCode.TARGET_MISMATCH)
        found.append({_TARGET_FIELDS[target.kind][1]: target.value})
    return found


def _read(element: Any, event: Any, descriptor: Any) -> OadrEvent:
    period = event.find(EI + "eiActivePeriod").find(XCAL + "properties")
    start_ms = fields.dtstart_ms(period)
    length_s = fields.duration_s(period)
    assert start_ms is not None
    assert length_s is not None
    signals = event.find(EI + "eiEventSignals").findall(EI + "eiEventSignal")
    comment = fields.optional_text(descriptor, EI + "vtnComment")
    priority = fields.optional_text(descriptor, EI + "priority")
    test = fields.optional_text(descriptor, EI + "testEvent")
    found_status = EventStatus(fields.token(descriptor, EI + "eventStatus"))
    dr_event = DrEvent(
        event_id=fields.text(descriptor, EI + "eventID"),
        program=fields.token(descriptor.find(EI + "eiMarketContext"), EMIX + "marketContext"),
        modification_number=fields.integer(descriptor, EI + "modificationNumber"),
        priority=int(priority or "0"),
        # Rule 6: anything but "false" is a test.
        test_event=test is not None and test.strip() != "false",
        start_ms=start_ms,
        duration_s=length_s,
        signals=tuple(_read_signal(signal, start_ms, length_s) for signal in signals),
        targets=read_targets(event.find(EI + "eiTarget")),
        response_required=_response_required(element),
        start_after_s=fields.plain_duration_s(period, f"{XCAL}tolerance/{XCAL}tolerate/{XCAL}startafter") or 0,
        notification_s=fields.duration_s(period, EI + "x-eiNotification") or 0,
        ramp_up_s=fields.duration_s(period, EI + "x-eiRampUp") or 0,
        recovery_s=fields.duration_s(period, EI + "x-eiRecovery") or 0,
        vtn_comment=comment or "",
        cancelled=found_status is EventStatus.CANCELLED,
        created_ms=fields.time_ms(descriptor, EI + "createdDateTime"),
    )
    values = tuple(_read_current_value(signal) for signal in signals)
    return OadrEvent(dr_event, found_status, values)


def _response_required(element: Any) -> bool:
    return fields.token(element, OADR + "oadrResponseRequired") == "always"


def _read_signal(element: Any, start_ms: int, length_s: int) -> Signal:
    found = element.find(STRM + "intervals").findall(EI + "interval")
    intervals = []
    for index, interval in enumerate(found):
        uid = interval.find(XCAL + "uid")
        if uid is not None and fields.token(uid, XCAL + "text") != str(index):
            raise InvalidEvent("interval uids count from 0 by 1 (rule 2)", ResponseCode.COMPLIANCE_ERROR)
        begins_ms = fields.dtstart_ms(interval)
        if begins_ms is not None and begins_ms != start_ms:
            raise InvalidEvent("the intervals of a signal leave a gap or overlap", ResponseCode.COMPLIANCE_ERROR)
        lasts_s = fields.duration_s(interval)
        if lasts_s is None:
            if len(found) > 1:
                raise InvalidEvent("an interval has no duration")
            lasts_s = length_s
        intervals.append(SignalInterval(lasts_s, _read_payload(interval)))
        start_ms += 1000 * lasts_s
    return Signal(
        signal_id=fields.text(element, EI + "signalID"),
        name=fields.token(element, EI + "signalName"),
        type=fields.token(element, EI + "signalType"),
        unit=read_unit(element),
        intervals=tuple(intervals),
        device_classes=read_device_classes(element.find(EI + "eiTarget")),
    )


def _read_payload(interval: Any) -> str:
    payloads = interval.findall(EI + "signalPayload")
    value = payloads[0].find(EI + "payloadFloat") if len(payloads) == 1 else None
    if value is None:
        raise InvalidEvent("an interval of a signal has one signalPayload with one payloadFloat")
    return fields.token(value, EI + "value")


def _read_current_value(signal: Any) -> str | None:
    value = signal.find(f"{EI}currentValue/{EI}payloadFloat")
    return None if value is None else fields.token(value, EI + "value")


def _signal_context(signal: Signal, value: str | None) -> dict[str, Any]:
    return {
        "intervals": [
            {"dtstart": None, "duration": interval.duration_s, "signal_payload": interval.payload}
            for interval in signal.intervals
        ],
        "device_classes": signal.device_classes,
        "signal_name": signal.name,
        "signal_type": signal.type,
        "signal_id": signal.signal_id,
        "measurement": unit_context(signal.unit),
        "current_value": value,
    }
