"""Answers that are the same for every service: the plain oadrResponse, and what an error is called on the wire."""

from __future__ import annotations

import msgspec

from openadr.errors import MessageError, OpenAdrError, ResponseCode
from openadr.v2 import EiResponse, OadrResponse, render
from openadr.v2.document.signature import signable
from vtn.errors import VtnError

_CODES: dict[str, ResponseCode] = {
    "address_invalid": ResponseCode.INVALID_DATA,
    "address_missing": ResponseCode.INVALID_DATA,
    "availability_invalid": ResponseCode.INVALID_DATA,
    "certificate_expired": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "certificate_revoked": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "certificate_unknown": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "event_unknown": ResponseCode.INVALID_ID,
    "granularity_invalid": ResponseCode.INVALID_DATA,
    "interval_invalid": ResponseCode.INVALID_DATA,
    "modification_out_of_sequence": ResponseCode.OUT_OF_SEQUENCE,
    "opt_exists": ResponseCode.INVALID_DATA,
    "opt_type_invalid": ResponseCode.INVALID_DATA,
    "opt_unknown": ResponseCode.INVALID_ID,
    "profile_unsupported": ResponseCode.NOT_ALLOWED,
    "r_id_unknown": ResponseCode.INVALID_ID,
    "registration_unknown": ResponseCode.INVALID_ID,
    "report_request_unknown": ResponseCode.INVALID_ID,
    "report_unsupported": ResponseCode.REPORT_NOT_SUPPORTED,
    "target_mismatch": ResponseCode.TARGET_MISMATCH,
    "too_many_opts": ResponseCode.NOT_ALLOWED,
    "too_many_requests": ResponseCode.NOT_ALLOWED,
    "replayed": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "signature_missing": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "signer_mismatch": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "signer_unknown": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "timestamp_off": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "too_many_messages": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "value_too_large": ResponseCode.INVALID_DATA,
    "ven_mismatch": ResponseCode.INVALID_ID,
    "ven_not_enrolled": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "ven_not_registered": ResponseCode.NOT_REGISTERED_OR_AUTHORIZED,
    "ven_unknown": ResponseCode.INVALID_ID,
}
"""Code of a VtnError -> response code of the profile."""

_MARK = "@VEN-ID@"


def failure(error: OpenAdrError | VtnError, request_id: str) -> EiResponse:
    """The eiResponse that says what went wrong with the request `request_id`."""
    if isinstance(error, VtnError):
        code = _CODES.get(error.code, ResponseCode.DEPLOYMENT_ERROR_OR_OTHER_ERROR)
        return EiResponse(int(code), str(error), request_id)
    return EiResponse(int(error.code), error.detail, request_id)


def refusal(error: OpenAdrError | VtnError, request_id: str = "", ven_id: str | None = None) -> OadrResponse:
    """The plain answer to a message that is not carried out; it keeps requestID and venID of the question."""
    if isinstance(error, MessageError):
        request_id = request_id or error.request_id
        ven_id = ven_id or error.ven_id
    return OadrResponse(failure(error, request_id), ven_id or None)


class Ready(msgspec.Struct, frozen=True):
    """An answer that needs no rendering: as it is sent, and as it is signed (`openadr.v2.document.signable`)."""

    body: bytes
    signable: bytes


class EmptyAnswers:
    """The answer to an empty poll: rendered once, the venID put in."""

    def __init__(self) -> None:
        body = render(OadrResponse(EiResponse(request_id=""), _MARK))
        self._before, self._after = body.split(_MARK.encode())
        self._signable_before, self._signable_after = signable(body).split(_MARK.encode())

    def to(self, ven_id: str) -> Ready:
        """The answer for a VEN."""
        text = _escaped(ven_id).encode()
        return Ready(self._before + text + self._after, self._signable_before + text + self._signable_after)


def _escaped(text: str) -> str:
    """As canonical XML has text; a venID is one line."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")
