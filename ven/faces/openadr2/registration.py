"""2.0b party registration: made once, kept, renewed when the VTN asks or has forgotten it."""

from __future__ import annotations

import secrets

import msgspec

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
from ven.errors import VtnRefused, VtnUnreachable
from ven.faces.openadr2.link import Link, demand_success
from ven.home.store import Store

_NOTE = "registration"
_SPEAKS = ("2.0b", "simpleHttp")

_log = get_logger("ven.faces.openadr2.registration")


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What the VTN gave: ids, and how often to poll in seconds of domain time (None: no wish)."""

    ven_id: str
    registration_id: str
    vtn_id: str
    poll_s: int | None


class Registrar:
    """Keeps one VEN registered. `ven_id`: the venID of its enrolment, None where the VTN assigns one."""

    def __init__(self, link: Link, store: Store, *, ven_name: str, ven_id: str | None) -> None:
        self._link = link
        self._store = store
        self._ven_name = ven_name
        self._ven_id = ven_id

    @property
    def current(self) -> Registration | None:
        """The registration as far as this side knows."""
        return self._store.notes.read(_NOTE, Registration)

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
            )
        )
        try:
            registration = self._read(answer)
        except VtnRefused:
            self.drop()  # the old id may be what is refused: the next attempt goes without
            raise
        self._store.notes.write(_NOTE, registration)
        _log.info("registered", home=self._ven_name, ven_id=registration.ven_id, poll_s=registration.poll_s)
        return registration

    def drop(self) -> None:
        """Forgets the registration; the venID of the enrolment stays."""
        self._store.notes.drop(_NOTE)

    async def cancelled(self, message: OadrCancelPartyRegistration) -> None:
        """The VTN ended the registration, and with it its report requests: confirm and forget."""
        known = self.current
        fits = known is not None and message.registration_id == known.registration_id
        response = EiResponse(request_id=message.request_id)
        if not fits:
            response = EiResponse(452, "this registrationID is not known", message.request_id)
        await self._link.ask(
            OadrCanceledPartyRegistration(response, message.registration_id, known.ven_id if known else None)
        )
        if fits:
            with self._store.transaction():
                self.drop()
                self._store.reports.end_all()
            _log.warning("registration cancelled by the VTN", home=self._ven_name)

    def _read(self, answer: object) -> Registration:
        if isinstance(answer, OadrResponse):
            demand_success(answer.response)
        if not isinstance(answer, OadrCreatedPartyRegistration):
            raise VtnUnreachable(f"the VTN answered a registration with {type(answer).__name__}")
        demand_success(answer.response)
        if not answer.registration_id or not answer.ven_id:
            raise VtnRefused(463, "a registration without ids")
        if self._ven_id is not None and answer.ven_id != self._ven_id:
            raise VtnRefused(463, f"it registered venID {answer.ven_id}, this home is {self._ven_id}")
        return Registration(
            ven_id=answer.ven_id,
            registration_id=answer.registration_id,
            vtn_id=answer.vtn_id,
            poll_s=answer.poll_interval_s or None,
        )


def new_request_id() -> str:
    return secrets.token_hex(8)


def _check_profile(answer: OadrCreatedPartyRegistration) -> None:
    offered = {(each.profile_name, transport) for each in answer.profiles for transport in each.transport_names}
    if offered and _SPEAKS not in offered:
        raise VtnRefused(469, f"it does not offer OpenADR 2.0b over simple HTTP, but {sorted(offered)}")
