"""From bytes to a typed message. The only errors that leave this module are MessageErrors with a response code."""

from collections.abc import Callable
from typing import Any

from openadr.errors import MessageError, OpenAdrError, ResponseCode
from openadr.v2 import fields, messages
from openadr.v2.document.leniency import Leniency
from openadr.v2.document.safe import complete, parse_safely, validated
from openadr.v2.document.schema import EI, EMIX, OADR, PYLD, XCAL
from openadr.v2.events import read_device_classes, read_event, read_targets
from openadr.v2.messages import EiResponse, Message, OadrEvent, RefusedEvent
from openadr.v2.reports import read_report, read_report_request


def parse(body: bytes, *, lenient: bool = False, leniencies: list[Leniency] | None = None) -> Message:
    """The message in an OpenADR 2.0b body.

    `lenient` also reads what real devices get wrong; each repair is appended to `leniencies`, for the log. Raises
    MessageError; its `code`, `request_id` and `ven_id` make the oadrResponse to send back.
    """
    return read(parse_safely(body), lenient=lenient, leniencies=leniencies)


def read(root: Any, *, lenient: bool = False, leniencies: list[Leniency] | None = None) -> Message:
    """As `parse`, from a root element that was parsed safely (the one a signature check returned, for instance)."""
    element = validated(root, lenient=lenient, leniencies=leniencies)
    reader = _READERS.get(element.tag)
    if reader is None:
        raise complete(MessageError(f"{element.tag} is not supported", ResponseCode.NOT_RECOGNIZED), root)
    try:
        return reader(element)
    except MessageError as error:
        raise complete(error, root) from None
    except OpenAdrError as error:
        raise complete(MessageError(error.detail, error.code), root) from error


def error_answer(error: OpenAdrError) -> messages.OadrResponse:
    """The oadrResponse to send back for a message that could not be read or acted on: same requestID, code, reason."""
    context = error if isinstance(error, MessageError) else MessageError("")
    reason = "".join(character if character.isprintable() else "?" for character in error.detail)
    return messages.OadrResponse(EiResponse(int(error.code), reason, context.request_id), context.ven_id or None)


def _response(parent: Any) -> EiResponse:
    return _read_response(parent.find(EI + "eiResponse"))


def _read_response(element: Any) -> EiResponse:
    return EiResponse(
        response_code=_code(element),
        response_description=fields.optional_text(element, EI + "responseDescription") or "",
        request_id=fields.request_id(element),
    )


def _code(element: Any) -> int:
    code = fields.integer(element, EI + "responseCode")
    if code < 100:
        raise MessageError(f"{code:03d} is no response code")
    return code


def _query_registration(element: Any) -> Message:
    return messages.OadrQueryRegistration(fields.request_id(element))


def _create_party_registration(element: Any) -> Message:
    return messages.OadrCreatePartyRegistration(
        request_id=fields.request_id(element),
        ven_name=fields.optional_text(element, OADR + "oadrVenName"),
        registration_id=fields.optional_text(element, EI + "registrationID"),
        ven_id=fields.ven_id(element),
        profile_name=fields.token(element, OADR + "oadrProfileName"),
        transport_name=fields.token(element, OADR + "oadrTransportName"),
        transport_address=fields.optional_text(element, OADR + "oadrTransportAddress"),
        report_only=fields.boolean(element, OADR + "oadrReportOnly"),
        xml_signature=fields.boolean(element, OADR + "oadrXmlSignature"),
        http_pull_model=None
        if element.find(OADR + "oadrHttpPullModel") is None
        else fields.boolean(element, OADR + "oadrHttpPullModel"),
    )


def _created_party_registration(element: Any) -> Message:
    transport = f"{OADR}oadrTransports/{OADR}oadrTransport"
    return messages.OadrCreatedPartyRegistration(
        response=_response(element),
        vtn_id=fields.text(element, EI + "vtnID"),
        registration_id=fields.optional_text(element, EI + "registrationID"),
        ven_id=fields.ven_id(element),
        profiles=tuple(
            messages.Profile(
                profile_name=fields.token(profile, OADR + "oadrProfileName"),
                transport_names=tuple(
                    fields.token(child, OADR + "oadrTransportName") for child in profile.findall(transport)
                ),
            )
            for profile in element.findall(f"{OADR}oadrProfiles/{OADR}oadrProfile")
        ),
        poll_interval_s=fields.duration_s(element, OADR + "oadrRequestedOadrPollFreq"),
    )


def _cancel_party_registration(element: Any) -> Message:
    return messages.OadrCancelPartyRegistration(
        request_id=fields.request_id(element),
        registration_id=fields.text(element, EI + "registrationID"),
        ven_id=fields.ven_id(element),
    )


def _canceled_party_registration(element: Any) -> Message:
    return messages.OadrCanceledPartyRegistration(
        response=_response(element),
        registration_id=fields.optional_text(element, EI + "registrationID"),
        ven_id=fields.ven_id(element),
    )


def _request_reregistration(element: Any) -> Message:
    return messages.OadrRequestReregistration(fields.text(element, EI + "venID"))


def _poll(element: Any) -> Message:
    return messages.OadrPoll(fields.text(element, EI + "venID"))


def _plain_response(element: Any) -> Message:
    return messages.OadrResponse(_response(element), fields.ven_id(element))


def _distribute_event(element: Any) -> Message:
    response = element.find(EI + "eiResponse")
    found = [read_event(child) for child in element.findall(OADR + "oadrEvent")]
    return messages.OadrDistributeEvent(
        request_id=fields.request_id(element),
        vtn_id=fields.text(element, EI + "vtnID"),
        events=tuple(event for event in found if isinstance(event, OadrEvent)),
        response=None if response is None else _read_response(response),
        refused=tuple(event for event in found if isinstance(event, RefusedEvent)),
    )


def _request_event(element: Any) -> Message:
    inner = element.find(PYLD + "eiRequestEvent")
    limit = fields.optional_token(inner, PYLD + "replyLimit")
    return messages.OadrRequestEvent(
        request_id=fields.request_id(inner),
        ven_id=fields.text(inner, EI + "venID"),
        reply_limit=None if limit is None else int(limit),
    )


def _created_event(element: Any) -> Message:
    inner = element.find(PYLD + "eiCreatedEvent")
    return messages.OadrCreatedEvent(
        ven_id=fields.text(inner, EI + "venID"),
        event_responses=tuple(
            messages.EventResponse(
                event_id=fields.text(child, f"{EI}qualifiedEventID/{EI}eventID"),
                modification_number=fields.integer(child, f"{EI}qualifiedEventID/{EI}modificationNumber"),
                opt_type=fields.token(child, EI + "optType"),
                request_id=fields.request_id(child),
                response_code=_code(child),
                response_description=fields.optional_text(child, EI + "responseDescription"),
            )
            for child in inner.findall(f"{EI}eventResponses/{EI}eventResponse")
        ),
        response=_response(inner),
    )


def _create_opt(element: Any) -> Message:
    event = element.find(EI + "qualifiedEventID")
    available = f"{XCAL}vavailability/{XCAL}components/{XCAL}available/{XCAL}properties"
    return messages.OadrCreateOpt(
        request_id=fields.request_id(element),
        opt_id=fields.text(element, EI + "optID"),
        opt_type=fields.token(element, EI + "optType"),
        opt_reason=fields.token(element, EI + "optReason"),
        ven_id=fields.text(element, EI + "venID"),
        created_ms=fields.time_ms(element, EI + "createdDateTime"),
        event_id=None if event is None else fields.text(event, EI + "eventID"),
        modification_number=None if event is None else fields.integer(event, EI + "modificationNumber"),
        market_context=fields.optional_token(element, EMIX + "marketContext"),
        availability=tuple(
            messages.Availability(fields.dtstart_ms(period) or 0, fields.duration_s(period) or 0)
            for period in element.findall(available)
        ),
        targets=read_targets(element.find(EI + "eiTarget")),
        device_classes=read_device_classes(element.find(OADR + "oadrDeviceClass")),
    )


def _created_opt(element: Any) -> Message:
    return messages.OadrCreatedOpt(_response(element), fields.text(element, EI + "optID"))


def _cancel_opt(element: Any) -> Message:
    return messages.OadrCancelOpt(
        request_id=fields.request_id(element),
        opt_id=fields.text(element, EI + "optID"),
        ven_id=fields.text(element, EI + "venID"),
    )


def _canceled_opt(element: Any) -> Message:
    return messages.OadrCanceledOpt(_response(element), fields.optional_text(element, EI + "optID"))


def _register_report(element: Any) -> Message:
    return messages.OadrRegisterReport(
        request_id=fields.request_id(element),
        reports=tuple(read_report(child) for child in element.findall(OADR + "oadrReport")),
        ven_id=fields.ven_id(element),
        report_request_id=fields.optional_text(element, EI + "reportRequestID"),
    )


def _registered_report(element: Any) -> Message:
    return messages.OadrRegisteredReport(
        response=_response(element),
        report_requests=tuple(read_report_request(child) for child in element.findall(OADR + "oadrReportRequest")),
        ven_id=fields.ven_id(element),
    )


def _create_report(element: Any) -> Message:
    return messages.OadrCreateReport(
        request_id=fields.request_id(element),
        report_requests=tuple(read_report_request(child) for child in element.findall(OADR + "oadrReportRequest")),
        ven_id=fields.ven_id(element),
    )


def _pending(element: Any) -> tuple[str, ...]:
    return fields.texts(element, f"{OADR}oadrPendingReports/{EI}reportRequestID")


def _created_report(element: Any) -> Message:
    return messages.OadrCreatedReport(_response(element), _pending(element), fields.ven_id(element))


def _update_report(element: Any) -> Message:
    return messages.OadrUpdateReport(
        request_id=fields.request_id(element),
        reports=tuple(read_report(child) for child in element.findall(OADR + "oadrReport")),
        ven_id=fields.ven_id(element),
    )


def _updated_report(element: Any) -> Message:
    cancel = element.find(OADR + "oadrCancelReport")
    return messages.OadrUpdatedReport(
        response=_response(element),
        cancel_report=None if cancel is None else _cancel_report(cancel),
        ven_id=fields.ven_id(element),
    )


def _cancel_report(element: Any) -> messages.OadrCancelReport:
    return messages.OadrCancelReport(
        request_id=fields.request_id(element),
        report_request_ids=fields.texts(element, EI + "reportRequestID"),
        report_to_follow=fields.boolean(element, PYLD + "reportToFollow"),
        ven_id=fields.ven_id(element),
    )


def _canceled_report(element: Any) -> Message:
    return messages.OadrCanceledReport(_response(element), _pending(element), fields.ven_id(element))


_READERS: dict[str, Callable[[Any], Message]] = {
    OADR + "oadrQueryRegistration": _query_registration,
    OADR + "oadrCreatePartyRegistration": _create_party_registration,
    OADR + "oadrCreatedPartyRegistration": _created_party_registration,
    OADR + "oadrCancelPartyRegistration": _cancel_party_registration,
    OADR + "oadrCanceledPartyRegistration": _canceled_party_registration,
    OADR + "oadrRequestReregistration": _request_reregistration,
    OADR + "oadrPoll": _poll,
    OADR + "oadrResponse": _plain_response,
    OADR + "oadrDistributeEvent": _distribute_event,
    OADR + "oadrRequestEvent": _request_event,
    OADR + "oadrCreatedEvent": _created_event,
    OADR + "oadrCreateOpt": _create_opt,
    OADR + "oadrCreatedOpt": _created_opt,
    OADR + "oadrCancelOpt": _cancel_opt,
    OADR + "oadrCanceledOpt": _canceled_opt,
    OADR + "oadrRegisterReport": _register_report,
    OADR + "oadrRegisteredReport": _registered_report,
    OADR + "oadrCreateReport": _create_report,
    OADR + "oadrCreatedReport": _created_report,
    OADR + "oadrUpdateReport": _update_report,
    OADR + "oadrUpdatedReport": _updated_report,
    OADR + "oadrCancelReport": _cancel_report,
    OADR + "oadrCanceledReport": _canceled_report,
}
