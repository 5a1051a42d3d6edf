"""2.0b party registration as the VEN: made once, kept, renewed when the VTN asks or has forgotten it, ended by either.

query ── create ──▶ Registration, on the shelf ──▶ create with its registrationID: the same one, renewed
                      │
                      └── cancelled by the VTN, or by us: off the shelf; the venID of an enrolment stays
"""

from __future__ import annotations

import secrets
from typing import Protocol

import msgspec

from openadr.client.errors import VtnRefused, VtnUnreachable
from openadr.client.link import Link, demand_success
from openadr.errors import ResponseCode
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

NOT_REGISTERED = int(ResponseCode.NOT_REGISTERED_OR_AUTHORIZED)
UNKNOWN = (NOT_REGISTERED, int(ResponseCode.INVALID_ID))
"""What a VTN answers a poll with that knows nothing of the VEN: there are two opinions about the code."""
_SPEAKS = ("2.0b", "simpleHttp")

_log = get_logger("openadr.client.registration")


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What the VTN gave: ids, and how often to poll in seconds of domain time (None: no wish); `transport_address` is
    where it was told to reach this VEN, None for pull."""

    ven_id: str
    registration_id: str
    vtn_id: str
    poll_s: int | None
    transport_address: str | None = None


class Shelf(Protocol):
    """Where one registration is kept; what `write` and `drop` returned from survives a crash."""

    def read(self) -> Registration | None:
        """The registration, None without one."""

    def write(self, registration: Registration) -> None:
        """Keep it in the place of any other."""

    def drop(self, *, ended: bool) -> None:
        """There is none any more. `ended`: a party ended it, and with it all that the VTN had asked for."""


class Registrar:
    """Keeps one VEN registered. `ven_id`: the venID of its enrolment, None where the VTN assigns one;
    `transport_address`: where it is reached in push mode, None for pull."""

    def __init__(
        self,
        link: Link,
        shelf: Shelf,
        *,
        ven_name: str,
        ven_id: str | None,
        transport_address: str | None = None,
    ) -> None:
        self._link = link
        self._shelf = shelf
        self._ven_name = ven_name
        self._ven_id = ven_id
        self._transport_address = transport_address

    @property
    def current(self) -> Registration | None:
        """The registration as far as this side knows."""
        return self._shelf.read()

    @property
    def stale(self) -> bool:
        """Was the VTN told another way to reach this VEN than it has now?"""
        known = self.current
        return known is not None and known.transport_address != self._transport_address

    async def register(self) -> Registration:
        """Registers, or registers again under the old id. Raises VtnRefused, VtnUnreachable."""
        known = self.current
        asked = await self._link.ask(OadrQueryRegistration(new_request_id()))
        if isinstance(asked, OadrCreatedPartyRegistration):
            _check_profile(asked)
        answer = await self._link.ask(
            OadrCreatePartyRegistration(
                request_id=new_request_id(),
                ven_name=self._ven_name,
                ven_id=known.ven_id if known else self._ven_id,
                registration_id=known.registration_id if known else None,
                transport_address=self._transport_address,
                xml_signature=self._link.signs,
                http_pull_model=self._transport_address is None,
            )
        )
        try:
            registration = self._read(answer)
        except VtnRefused:
            self._shelf.drop(ended=False)  # the old id may be what is refused: the next attempt goes without
            raise
        self._shelf.write(registration)
        _log.info("registered", ven_name=self._ven_name, ven_id=registration.ven_id, poll_s=registration.poll_s)
        return registration

    async def cancel(self) -> bool:
        """Ends the registration from this side; False if there is none. Raises VtnRefused, VtnUnreachable: it is kept
        then, except where the VTN does not know it either."""
        known = self.current
        if known is None:
            return False
        message = OadrCancelPartyRegistration(new_request_id(), known.registration_id, known.ven_id)
        answer = await self._link.ask_for(message, OadrCanceledPartyRegistration)
        if answer.response.response_code not in (ResponseCode.INVALID_ID, NOT_REGISTERED):
            demand_success(answer.response)
        self._shelf.drop(ended=True)
        _log.info("registration cancelled", ven_name=self._ven_name)
        return True

    def cancelled(self, message: OadrCancelPartyRegistration) -> OadrCanceledPartyRegistration:
        """The VTN ends the registration, and with it what it had asked for: the answer to send."""
        known = self.current
        own_id = known.ven_id if known else None
        if known is None or message.registration_id != known.registration_id:
            response = EiResponse(ResponseCode.INVALID_ID, "this registrationID is not known", message.request_id)
            return OadrCanceledPartyRegistration(response, message.registration_id, own_id)
        self._shelf.drop(ended=True)
        _log.warning("registration cancelled by the VTN", ven_name=self._ven_name)
        return OadrCanceledPartyRegistration(EiResponse(request_id=message.request_id), message.registration_id, own_id)

    def _read(self, answer: object) -> Registration:
        if isinstance(answer, OadrResponse):
            demand_success(answer.response)
        if not isinstance(answer, OadrCreatedPartyRegistration):
            raise VtnUnreachable(f"the VTN answered a registration with {type(answer).__name__}")
        demand_success(answer.response)
        if not answer.registration_id or not answer.ven_id:
            raise VtnRefused(NOT_REGISTERED, "a registration without ids")
        if self._ven_id is not None and answer.ven_id != self._ven_id:
            raise VtnRefused(NOT_REGISTERED, f"it registered venID {answer.ven_id}, this VEN is {self._ven_id}")
        return Registration(
            ven_id=answer.ven_id,
            registration_id=answer.registration_id,
            vtn_id=answer.vtn_id,
            poll_s=answer.poll_interval_s or None,
            transport_address=self._transport_address,
        )


def new_request_id() -> str:
    """An id for a request of ours, unlike any other."""
    return secrets.token_hex(8)


def _check_profile(answer: OadrCreatedPartyRegistration) -> None:
    offered = {(each.profile_name, transport) for each in answer.profiles for transport in each.transport_names}
    if offered and _SPEAKS not in offered:
        raise VtnRefused(
            ResponseCode.DEPLOYMENT_ERROR_OR_OTHER_ERROR,
            f"it does not offer OpenADR 2.0b over simple HTTP, but {sorted(offered)}",
        )
