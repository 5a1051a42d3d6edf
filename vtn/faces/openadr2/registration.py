"""EiRegisterParty: query, create and cancel, in both directions."""

from __future__ import annotations

from openadr.v2 import (
    EiResponse,
    OadrCanceledPartyRegistration,
    OadrCancelPartyRegistration,
    OadrCreatedPartyRegistration,
    OadrCreatePartyRegistration,
    OadrQueryRegistration,
    OadrResponse,
)
from runtime.logs import get_logger
from vtn.errors import NotAllowed, VtnError
from vtn.faces.openadr2.answers import failure
from vtn.faces.openadr2.pushing import service_url
from vtn.services.registrations import RegistrationRequest, Registrations
from vtn.services.vens import ENROLLED, Ven, Vens

_log = get_logger("vtn.openadr2.registration")


class RegisterParty:
    """The service on the VTN's registrations. `fingerprint` is that of the caller's certificate, None without TLS."""

    def __init__(
        self, registrations: Registrations, vens: Vens, *, vtn_id: str, poll_interval_s: int, secure: bool
    ) -> None:
        self._secure = secure
        self._registrations = registrations
        self._vens = vens
        self._vtn_id = vtn_id
        self._poll_interval_s = poll_interval_s

    async def query(self, message: OadrQueryRegistration, fingerprint: str | None) -> OadrCreatedPartyRegistration:
        """What the VTN offers, and to a VEN known by its certificate also its ids. A stranger with TLS is refused."""
        ven = None
        if fingerprint is not None:
            ven = await self._vens.find_by_fingerprint(fingerprint)
            if ven is None or ven.status != ENROLLED:
                error = NotAllowed("certificate_unknown", "no enrolment is bound to this certificate")
                return OadrCreatedPartyRegistration(failure(error, message.request_id), self._vtn_id)
        return self._created(message.request_id, ven if ven is not None and ven.registration_id else None)

    async def create(
        self, message: OadrCreatePartyRegistration, fingerprint: str | None
    ) -> OadrCreatedPartyRegistration:
        """Register an enrolled VEN; a refusal has a 45x code and no ids."""
        request = RegistrationRequest(
            ven_id=message.ven_id or None,
            ven_name=message.ven_name or None,
            registration_id=message.registration_id or None,
            profile_name=message.profile_name,
            transport_name=message.transport_name,
            transport_address=message.transport_address,
            http_pull=message.http_pull_model is not False,
            report_only=message.report_only,
            fingerprint=fingerprint,
        )
        try:
            if message.http_pull_model is False and message.transport_address:
                service_url(message.transport_address, "EiEvent", secure=self._secure)
            ven = await self._registrations.register(request)
        except VtnError as error:
            _log.info("registration refused", ven_id=message.ven_id, ven_name=message.ven_name, reason=error.code)
            return OadrCreatedPartyRegistration(failure(error, message.request_id), self._vtn_id)
        _log.info("registered", ven_id=ven.ven_id, registration_id=ven.registration_id)
        return self._created(message.request_id, ven)

    async def cancel(self, message: OadrCancelPartyRegistration, caller: Ven | None) -> OadrCanceledPartyRegistration:
        """The VEN ends its registration. `caller` is known where TLS is on."""
        ids = {"registration_id": message.registration_id, "ven_id": message.ven_id}
        ven_id = message.ven_id or None if caller is None else caller.ven_id
        try:
            ven = await self._registrations.cancel(message.registration_id, ven_id)
        except VtnError as error:
            return OadrCanceledPartyRegistration(failure(error, message.request_id), **ids)
        _log.info("registration cancelled", ven_id=ven.ven_id)
        response = EiResponse(request_id=message.request_id)
        return OadrCanceledPartyRegistration(response, message.registration_id, ven.ven_id)

    async def canceled(self, message: OadrCanceledPartyRegistration, ven: Ven) -> OadrResponse:
        """The VEN confirms that the VTN ended its registration."""
        await self._registrations.confirm_cancel(ven.ven_id)
        return OadrResponse(EiResponse(request_id=message.response.request_id), ven.ven_id)

    def _created(self, request_id: str, ven: Ven | None) -> OadrCreatedPartyRegistration:
        return OadrCreatedPartyRegistration(
            response=EiResponse(request_id=request_id),
            vtn_id=self._vtn_id,
            registration_id=None if ven is None else ven.registration_id,
            ven_id=None if ven is None else ven.ven_id,
            poll_interval_s=self._poll_interval_s if ven is None else ven.poll_interval_s,
        )
