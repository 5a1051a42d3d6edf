"""What the VTN says, whichever way it comes: acted on in the store, and answered.

poll ──▶ message ──▶ answer ──▶ sent as a request of its own          nothing here waits: what follows from a
push ──▶ message ──▶ answer ──▶ the HTTP response                     message (answers to events, reports) is
                                                                      owed, and said by the engine
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from openadr.client.registration import Registrar, Registration
from openadr.errors import MessageError, ResponseCode
from openadr.v2 import (
    EiResponse,
    Message,
    OadrCanceledPartyRegistration,
    OadrCanceledReport,
    OadrCancelPartyRegistration,
    OadrCancelReport,
    OadrCreatedReport,
    OadrCreateReport,
    OadrDistributeEvent,
    OadrRegisteredReport,
    OadrRegisterReport,
    OadrRequestReregistration,
    OadrResponse,
    OadrUpdatedReport,
    OadrUpdateReport,
    wire_name,
)
from runtime.logs import get_logger
from ven.faces.openadr2.events import EventDesk
from ven.faces.openadr2.reporting.desk import ReportDesk
from ven.faces.openadr2.reporting.sourced import SourcedDesk

Request = (
    OadrDistributeEvent
    | OadrCreateReport
    | OadrCancelReport
    | OadrRegisterReport
    | OadrUpdateReport
    | OadrCancelPartyRegistration
    | OadrRequestReregistration
)
"""What a VTN says first."""

_log = get_logger("ven.faces.openadr2.conversation")


@dataclass
class Heard:
    """What came of messages: `events`, some are new or changed; `renew`, the VTN wants a new registration."""

    events: bool = False
    renew: bool = False


class Conversation:
    """One home's side. `heard` is read and cleared by the engine."""

    def __init__(
        self, registrar: Registrar, events: EventDesk, reports: ReportDesk, sourced: SourcedDesk, *, home: str
    ) -> None:
        self._registrar = registrar
        self._events = events
        self._reports = reports
        self._sourced = sourced
        self._home = home
        self.heard = Heard()

    def pushed(self, message: Message) -> Message:
        """The HTTP response to a message that was posted here. Raises MessageError for one no VTN says first."""
        registration = self._registrar.current
        if registration is None:
            raise MessageError("this VEN is not registered", ResponseCode.NOT_REGISTERED_OR_AUTHORIZED)
        if not isinstance(message, Request):
            raise MessageError(f"{wire_name(message)} is not what a VTN says first", ResponseCode.NOT_RECOGNIZED)
        if isinstance(message, OadrDistributeEvent):
            return OadrResponse(self._distributed(message, registration), registration.ven_id)
        return self._carry_out(message, registration)

    def polled(self, message: Request, registration: Registration) -> Message | None:
        """What to say about a message that a poll brought; None where the answers are owed and said later."""
        if isinstance(message, OadrDistributeEvent):
            response = self._distributed(message, registration)
            return None if response.response_code == ResponseCode.OK else self._events.refusal(response, registration)
        return self._carry_out(message, registration)

    def _distributed(self, message: OadrDistributeEvent, registration: Registration) -> EiResponse:
        response, changed = self._events.receive(message, registration)
        self.heard.events = self.heard.events or changed
        return response

    def _carry_out(
        self,
        message: OadrCreateReport
        | OadrCancelReport
        | OadrRegisterReport
        | OadrUpdateReport
        | OadrCancelPartyRegistration
        | OadrRequestReregistration,
        registration: Registration,
    ) -> Message:
        if message.ven_id and message.ven_id != registration.ven_id:
            _log.warning("message for another VEN", home=self._home, ven_id=message.ven_id, message=wire_name(message))
            return self._not_ours(message, registration)
        match message:
            case OadrCreateReport():
                return self._reports.create(message, registration)
            case OadrCancelReport():
                return self._reports.cancel(message, registration)
            case OadrRegisterReport():
                return self._sourced.offered(message, registration)
            case OadrUpdateReport():
                return self._sourced.updated(message, registration)
            case OadrCancelPartyRegistration():
                return self._registrar.cancelled(message)
            case OadrRequestReregistration():
                self.heard.renew = True
                return OadrResponse(EiResponse(), registration.ven_id)
            case _:
                assert_never(message)

    def _not_ours(self, message: Message, registration: Registration) -> Message:
        """Rule 21: an unexpected venID is an error, said in the answer that belongs to the message."""
        request_id = getattr(message, "request_id", "")
        refusal = EiResponse(ResponseCode.INVALID_ID, "the venID is not this VEN's", request_id)
        match message:
            case OadrCreateReport():
                return OadrCreatedReport(refusal, self._reports.running_ids(), registration.ven_id)
            case OadrCancelReport():
                return OadrCanceledReport(refusal, self._reports.running_ids(), registration.ven_id)
            case OadrRegisterReport():
                return OadrRegisteredReport(refusal, (), registration.ven_id)
            case OadrUpdateReport():
                return OadrUpdatedReport(refusal, None, registration.ven_id)
            case OadrCancelPartyRegistration():
                return OadrCanceledPartyRegistration(refusal, message.registration_id, registration.ven_id)
            case _:
                return OadrResponse(refusal, registration.ven_id)
