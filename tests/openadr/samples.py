"""One sample of every 2.0b message, every optional part in use somewhere, and the event and reports it takes."""

from openadr.model import DrEvent, SignalInterval, Target, Unit
from openadr.v2 import (
    Availability,
    ControlValue,
    EiResponse,
    EventResponse,
    GreenButton,
    LoadControlState,
    Message,
    OadrCanceledOpt,
    OadrCanceledPartyRegistration,
    OadrCanceledReport,
    OadrCancelOpt,
    OadrCancelPartyRegistration,
    OadrCancelReport,
    OadrCreatedEvent,
    OadrCreatedOpt,
    OadrCreatedPartyRegistration,
    OadrCreatedReport,
    OadrCreateOpt,
    OadrCreatePartyRegistration,
    OadrCreateReport,
    OadrPoll,
    OadrQueryRegistration,
    OadrRegisteredReport,
    OadrRegisterReport,
    OadrReport,
    OadrRequestEvent,
    OadrRequestReregistration,
    OadrResponse,
    OadrUpdatedReport,
    OadrUpdateReport,
    ReportDescription,
    ReportInterval,
    ReportPayload,
    ReportRequest,
    ResourceStatus,
    SamplingRate,
    SpecifierPayload,
    distribute,
)
from tests.builders import START_MS, a_dr_event, a_signal

OK = EiResponse(200, "OK", "request-1")


def a_full_event() -> DrEvent:
    """An event that uses every field of the model."""
    steps = (SignalInterval(900, "-1.25"), SignalInterval(1800, "-2.5"), SignalInterval(900, "0"))
    return a_dr_event(
        "event & <full>",
        modification_number=3,
        priority=2,
        test_event=True,
        signals=(
            a_signal("dispatch", "LOAD_DISPATCH", "delta", unit=Unit("power_real", "W", "k"), intervals=steps),
            a_signal(
                "price",
                "ELECTRICITY_PRICE",
                "price",
                unit=Unit("currency_per_kwh", "EUR"),
                intervals=(SignalInterval(3600, "0.31"),),
            ),
            a_signal(device_classes=("Thermostat", "Water_Heater")),
        ),
        targets=(Target("group", "feeder-7"), Target("ven", "00123"), Target("party", "p"), Target("resource", "r")),
        response_required=False,
        start_after_s=300,
        notification_s=86_400,
        ramp_up_s=600,
        recovery_s=1200,
        vtn_comment="Évening peak: \"hold\" & 'wait' < 1h",
    )


def a_report_request() -> ReportRequest:
    return ReportRequest(
        "rr-1", "usage", 900, 3600, (SpecifierPayload("meter", "Net"),), start_ms=START_MS, duration_s=10_800
    )


def a_metadata_report() -> OadrReport:
    return OadrReport(
        "0",
        "usage",
        START_MS,
        "METADATA_TELEMETRY_USAGE",
        duration_s=86_400,
        descriptions=(
            ReportDescription(
                "meter",
                "usage",
                "Net",
                Unit("energy_real", "Wh"),
                "http://programs.example/peak",
                SamplingRate(900, 3600, True),
                "Energy_Management_System",
                (Target("resource", "home-1"),),
            ),
            ReportDescription("pulses", "usage", "Direct Read", Unit("pulse_count", "count", pulse_factor="0.5")),
            ReportDescription("mood", "level", "x-notApplicable", Unit("custom", "%", description="Share of mood")),
        ),
    )


FEED = (
    '<feed xmlns="http://www.w3.org/2005/Atom"><id>urn:uuid:1</id><title>usage</title>'
    "<updated>2026-01-01T00:00:00Z</updated></feed>"
)


def green_button_metadata() -> OadrReport:
    """METADATA_HISTORY_GREENBUTTON: the data is described by a feed instead of a unit."""
    described = ReportDescription("gb-1", "usage", "Direct Read", green_button=GreenButton(FEED))
    return OadrReport("0", "green", START_MS, "METADATA_HISTORY_GREENBUTTON", descriptions=(described,))


def a_green_button_report() -> OadrReport:
    """HISTORY_GREENBUTTON: one feed."""
    interval = ReportInterval((), START_MS, 3600, green_button=(GreenButton(FEED),))
    return OadrReport("rr-2", "green", START_MS, "HISTORY_GREENBUTTON", intervals=(interval,))


def a_status_report() -> OadrReport:
    """TELEMETRY_STATUS with the state of two controls."""
    control = LoadControlState(capacity=ControlValue("0.5", "0", "1", "1"), set_point=ControlValue("21.5"))
    status = ResourceStatus(True, False, control)
    payload = ReportPayload("status-1", status=status, quality_text="Quality Good - Non Specific")
    interval = ReportInterval((payload,), START_MS)
    return OadrReport("rr-1", "status", START_MS, "TELEMETRY_STATUS", intervals=(interval,))


def a_data_report() -> OadrReport:
    return OadrReport(
        "rr-1",
        "usage",
        START_MS,
        "TELEMETRY_USAGE",
        "report-1",
        start_ms=START_MS,
        duration_s=1800,
        intervals=(
            ReportInterval(
                (
                    ReportPayload("meter", "412", quality_text="Quality Good - Non Specific"),
                    ReportPayload(
                        "pv", "-8", quality_text="Quality Good - Local Override", confidence=90, accuracy="1.5"
                    ),
                )
            ),
            ReportInterval(
                (
                    ReportPayload(
                        "meter",
                        status=ResourceStatus(True, False),
                        quality="bad",
                        quality_text="Quality Bad - Not Connected",
                    ),
                ),
                START_MS + 900_000,
                900,
            ),
        ),
    )


MESSAGES: tuple[Message, ...] = (
    OadrQueryRegistration("request-1"),
    OadrCreatePartyRegistration(
        "request-1", "home-1", "registration-1", "00123", transport_address="https://home.example", xml_signature=True
    ),
    OadrCreatedPartyRegistration(OK, "vtn", "registration-1", "00123", poll_interval_s=604_800),
    OadrCancelPartyRegistration("request-1", "registration-1", "00123"),
    OadrCanceledPartyRegistration(OK, "registration-1", "00123"),
    OadrRequestReregistration("00123"),
    OadrPoll("00123"),
    OadrResponse(EiResponse(452, "unknown event", "request-1"), "00123"),
    distribute(
        [a_full_event(), a_dr_event()], vtn_id="vtn", request_id="request-1", now_ms=START_MS + 900_000, response=OK
    ),
    OadrRequestEvent("request-1", "00123", 5),
    OadrCreatedEvent(
        "00123",
        (
            EventResponse("event-1", 0, "optIn", "request-1"),
            EventResponse("event-2", 7, "optOut", "request-1", 460, "no such signal here"),
        ),
    ),
    OadrCreateOpt(
        "request-1",
        "opt-1",
        "optOut",
        "overrideStatus",
        "00123",
        START_MS,
        "event-1",
        0,
        "http://programs.example/peak",
        (Availability(START_MS, 3600), Availability(START_MS + 7_200_000, 1800)),
        (Target("group", "feeder-7"), Target("resource", "home-1")),
        ("Thermostat", "EVSE"),
    ),
    OadrCreatedOpt(OK, "opt-1"),
    OadrCancelOpt("request-1", "opt-1", "00123"),
    OadrCanceledOpt(OK, "opt-1"),
    OadrRegisterReport("request-1", (a_metadata_report(),), "00123", "0"),
    OadrRegisteredReport(OK, (a_report_request(),), "00123"),
    OadrCreateReport("request-1", (a_report_request(), a_report_request()), "00123"),
    OadrCreatedReport(OK, ("rr-1", "0002"), "00123"),
    OadrUpdateReport("request-1", (a_data_report(),), "00123"),
    OadrUpdatedReport(OK, OadrCancelReport("request-2", ("rr-1", "rr-2"), True, "00123"), "00123"),
    OadrCancelReport("request-1", ("rr-1", "rr-2"), True, "00123"),
    OadrCanceledReport(OK, ("rr-3",), "00123"),
)

BARE_MESSAGES: tuple[Message, ...] = (
    OadrCreatePartyRegistration("", http_pull_model=None),
    OadrCreatedPartyRegistration(EiResponse(463, "not enrolled", "request-1"), "vtn"),
    OadrCancelPartyRegistration("request-1", "registration-1"),
    OadrCanceledPartyRegistration(EiResponse(452, "", "request-1")),
    OadrResponse(EiResponse()),
    distribute([], vtn_id="vtn", request_id="", now_ms=START_MS),
    OadrRequestEvent("request-1", "00123"),
    OadrCreatedEvent("00123", response=EiResponse(200, "OK", "request-1")),
    OadrCreateOpt("request-1", "opt-1", "optIn", "x-private", "00123", START_MS),
    OadrCanceledOpt(OK),
    OadrRegisterReport("request-1"),
    OadrRegisteredReport(OK),
    OadrCreateReport("request-1", (a_report_request(),)),
    OadrCreatedReport(OK),
    OadrUpdateReport("request-1"),
    OadrUpdateReport("request-1", (OadrReport("rr-1", "usage", START_MS),)),
    OadrUpdateReport("request-1", (a_status_report(), a_green_button_report())),
    OadrRegisterReport("request-1", (green_button_metadata(),)),
    OadrUpdatedReport(OK),
    OadrCancelReport("request-1", ("rr-1",)),
    OadrCanceledReport(OK),
)
"""The same messages with everything optional left out."""
