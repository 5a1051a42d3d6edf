"""Every OpenADR 2.0b message we read or write, as typed data. Names are those of the standard.

A field is what the wire says and nothing more: ids are text ("00123" stays "00123"), times are epoch milliseconds UTC,
durations seconds. Events and readings appear as the neutral model (`openadr.model`). None means the element is absent.
"""

import msgspec

from openadr.errors import ResponseCode
from openadr.model import DrEvent, Quality, Target, Unit
from openadr.timeline import EventStatus


class EiResponse(msgspec.Struct, frozen=True):
    """Outcome of the request `request_id`: 200 or an error code with its description."""

    response_code: int = 200
    response_description: str = "OK"
    request_id: str = ""


# --- registration -----------------------------------------------------------------------------------------------------


class OadrQueryRegistration(msgspec.Struct, frozen=True):
    """VEN asks what the VTN offers, and under which registration it is known."""

    request_id: str


class OadrCreatePartyRegistration(msgspec.Struct, frozen=True):
    """VEN registers, or re-registers if `registration_id` is given."""

    request_id: str
    ven_name: str | None = None
    registration_id: str | None = None
    ven_id: str | None = None
    profile_name: str = "2.0b"
    transport_name: str = "simpleHttp"
    transport_address: str | None = None
    report_only: bool = False
    xml_signature: bool = False
    http_pull_model: bool | None = True


class Profile(msgspec.Struct, frozen=True):
    """A profile and the transports it is offered on."""

    profile_name: str = "2.0b"
    transport_names: tuple[str, ...] = ("simpleHttp",)


class OadrCreatedPartyRegistration(msgspec.Struct, frozen=True):
    """VTN answers a query or a registration. A refusal has an error code and no ids."""

    response: EiResponse
    vtn_id: str
    registration_id: str | None = None
    ven_id: str | None = None
    profiles: tuple[Profile, ...] = (Profile(),)
    poll_interval_s: int | None = None


class OadrCancelPartyRegistration(msgspec.Struct, frozen=True):
    """Either side ends the registration."""

    request_id: str
    registration_id: str
    ven_id: str | None = None


class OadrCanceledPartyRegistration(msgspec.Struct, frozen=True):
    """Answer to oadrCancelPartyRegistration."""

    response: EiResponse
    registration_id: str | None = None
    ven_id: str | None = None


class OadrRequestReregistration(msgspec.Struct, frozen=True):
    """VTN asks the VEN to register again."""

    ven_id: str


# --- poll and plain answer --------------------------------------------------------------------------------------------


class OadrPoll(msgspec.Struct, frozen=True):
    """VEN asks whether there is anything for it."""

    ven_id: str


class OadrResponse(msgspec.Struct, frozen=True):
    """The plain answer, and the answer to anything that went wrong."""

    response: EiResponse
    ven_id: str | None = None


# --- events -----------------------------------------------------------------------------------------------------------


class OadrEvent(msgspec.Struct, frozen=True):
    """One event as distributed: the event, its status when sent and the value of each of its signals at that moment."""

    dr_event: DrEvent
    status: EventStatus
    current_values: tuple[str | None, ...]


class RefusedEvent(msgspec.Struct, frozen=True):
    """An event that arrived but cannot be taken over: answer it with `code` and opt out (rule 19: answer per event)."""

    event_id: str
    modification_number: int
    code: ResponseCode
    detail: str
    response_required: bool = True


class OadrDistributeEvent(msgspec.Struct, frozen=True):
    """Every event that applies to the VEN, in the order of rule 15: one that is missing is cancelled by that."""

    request_id: str
    vtn_id: str
    events: tuple[OadrEvent, ...] = ()
    response: EiResponse | None = None
    refused: tuple[RefusedEvent, ...] = ()


class OadrRequestEvent(msgspec.Struct, frozen=True):
    """VEN asks for its events; the answer is an oadrDistributeEvent even when there is none."""

    request_id: str
    ven_id: str
    reply_limit: int | None = None


class EventResponse(msgspec.Struct, frozen=True):
    """optIn or optOut of one event. `request_id` is that of the oadrDistributeEvent (rule 41)."""

    event_id: str
    modification_number: int
    opt_type: str
    request_id: str
    response_code: int = 200
    response_description: str | None = None


class OadrCreatedEvent(msgspec.Struct, frozen=True):
    """VEN answers events, each one on its own."""

    ven_id: str
    event_responses: tuple[EventResponse, ...] = ()
    response: EiResponse = EiResponse()


# --- opt --------------------------------------------------------------------------------------------------------------


class Availability(msgspec.Struct, frozen=True):
    """One half-open stretch of an opt schedule."""

    start_ms: int
    duration_s: int


class OadrCreateOpt(msgspec.Struct, frozen=True):
    """VEN changes its mind about an event, or opts in or out for a schedule."""

    request_id: str
    opt_id: str
    opt_type: str
    opt_reason: str
    ven_id: str
    created_ms: int
    event_id: str | None = None
    modification_number: int | None = None
    market_context: str | None = None
    availability: tuple[Availability, ...] = ()
    targets: tuple[Target, ...] = ()
    device_classes: tuple[str, ...] = ()


class OadrCreatedOpt(msgspec.Struct, frozen=True):
    """Answer to oadrCreateOpt."""

    response: EiResponse
    opt_id: str


class OadrCancelOpt(msgspec.Struct, frozen=True):
    """VEN withdraws an opt."""

    request_id: str
    opt_id: str
    ven_id: str


class OadrCanceledOpt(msgspec.Struct, frozen=True):
    """Answer to oadrCancelOpt."""

    response: EiResponse
    opt_id: str | None = None


# --- reports ----------------------------------------------------------------------------------------------------------


class SamplingRate(msgspec.Struct, frozen=True):
    """How often a data point can be sampled."""

    period_s_min: int
    period_s_max: int
    on_change: bool = False


class GreenButton(msgspec.Struct, frozen=True):
    """An Atom feed with Green Button data, as XML text that stands for itself (its namespaces are declared in it)."""

    feed: str


class ReportDescription(msgspec.Struct, frozen=True):
    """One data point (rID) of a METADATA report."""

    r_id: str
    report_type: str
    reading_type: str
    unit: Unit | None = None
    market_context: str | None = None
    sampling_rate: SamplingRate | None = None
    subject_device: str | None = None
    sources: tuple[Target, ...] = ()
    green_button: GreenButton | None = None


class ControlValue(msgspec.Struct, frozen=True):
    """One control of a load, decimal strings: where it stands, and its bounds and normal value where they are said."""

    current: str
    min: str | None = None
    max: str | None = None
    normal: str | None = None


class LoadControlState(msgspec.Struct, frozen=True):
    """oadrLoadControlState: the four ways in which LOAD_CONTROL moves a load, those that apply."""

    capacity: ControlValue | None = None
    level_offset: ControlValue | None = None
    percent_offset: ControlValue | None = None
    set_point: ControlValue | None = None


class ResourceStatus(msgspec.Struct, frozen=True):
    """Payload of TELEMETRY_STATUS."""

    online: bool
    manual_override: bool
    load_control: LoadControlState | None = None


class ReportPayload(msgspec.Struct, frozen=True):
    """Value (decimal string) or status of one data point."""

    r_id: str
    value: str | None = None
    status: ResourceStatus | None = None
    quality: Quality = "ok"
    quality_text: str | None = None
    confidence: int | None = None
    accuracy: str | None = None


class ReportInterval(msgspec.Struct, frozen=True):
    """Payloads (or Green Button feeds) of one interval; what start and duration lack is inherited (rules 314, 342)."""

    payloads: tuple[ReportPayload, ...]
    start_ms: int | None = None
    duration_s: int | None = None
    green_button: tuple[GreenButton, ...] = ()


class OadrReport(msgspec.Struct, frozen=True):
    """A report: METADATA (descriptions) or data (intervals)."""

    report_request_id: str
    report_specifier_id: str
    created_ms: int
    report_name: str | None = None
    report_id: str | None = None
    start_ms: int | None = None
    duration_s: int | None = None
    descriptions: tuple[ReportDescription, ...] = ()
    intervals: tuple[ReportInterval, ...] = ()


class OadrRegisterReport(msgspec.Struct, frozen=True):
    """Which reports the sender can deliver (METADATA)."""

    request_id: str
    reports: tuple[OadrReport, ...] = ()
    ven_id: str | None = None
    report_request_id: str | None = None


class SpecifierPayload(msgspec.Struct, frozen=True):
    """A data point that is asked for."""

    r_id: str
    reading_type: str


class ReportRequest(msgspec.Struct, frozen=True):
    """Ask for a report: granularity of the values, how often to send (0: once, rule 324), from when and how long."""

    report_request_id: str
    report_specifier_id: str
    granularity_s: int
    report_back_s: int
    payloads: tuple[SpecifierPayload, ...]
    start_ms: int | None = None
    duration_s: int | None = None


class OadrRegisteredReport(msgspec.Struct, frozen=True):
    """Answer to oadrRegisterReport; may already ask for reports."""

    response: EiResponse
    report_requests: tuple[ReportRequest, ...] = ()
    ven_id: str | None = None


class OadrCreateReport(msgspec.Struct, frozen=True):
    """Ask for reports."""

    request_id: str
    report_requests: tuple[ReportRequest, ...]
    ven_id: str | None = None


class OadrCreatedReport(msgspec.Struct, frozen=True):
    """Answer to oadrCreateReport with the report requests that are still running."""

    response: EiResponse
    pending_report_request_ids: tuple[str, ...] = ()
    ven_id: str | None = None


class OadrUpdateReport(msgspec.Struct, frozen=True):
    """Deliver report data."""

    request_id: str
    reports: tuple[OadrReport, ...] = ()
    ven_id: str | None = None


class OadrCancelReport(msgspec.Struct, frozen=True):
    """Stop reports; `report_to_follow` asks for a last one."""

    request_id: str
    report_request_ids: tuple[str, ...]
    report_to_follow: bool = False
    ven_id: str | None = None


class OadrUpdatedReport(msgspec.Struct, frozen=True):
    """Answer to oadrUpdateReport; may cancel reports at once."""

    response: EiResponse
    cancel_report: OadrCancelReport | None = None
    ven_id: str | None = None


class OadrCanceledReport(msgspec.Struct, frozen=True):
    """Answer to oadrCancelReport with the report requests that are still running."""

    response: EiResponse
    pending_report_request_ids: tuple[str, ...] = ()
    ven_id: str | None = None


Message = (
    OadrQueryRegistration | OadrCreatePartyRegistration | OadrCreatedPartyRegistration | OadrCancelPartyRegistration
    | OadrCanceledPartyRegistration | OadrRequestReregistration | OadrPoll | OadrResponse | OadrDistributeEvent
    | OadrRequestEvent | OadrCreatedEvent | OadrCreateOpt | OadrCreatedOpt | OadrCancelOpt | OadrCanceledOpt
    | OadrRegisterReport | OadrRegisteredReport | OadrCreateReport | OadrCreatedReport | OadrUpdateReport
    | OadrUpdatedReport | OadrCancelReport | OadrCanceledReport
)  # fmt: skip


def wire_name(message: Message | type[Message]) -> str:
    """Element name of a message: OadrPoll -> "oadrPoll"."""
    name = (message if isinstance(message, type) else type(message)).__name__
    return "o" + name[1:]
