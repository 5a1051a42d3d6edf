"""2.0b party registration: an enrolled VEN says how it is reached; either side may end it.

enrolled ──▶ registered (registrationID) ──▶ cancelled by the VEN, or asked by the VTN and confirmed by the VEN

With a registration end what was agreed under it: report requests of both sides and what waits to be told. A new one
brings back the events that still apply, and so does one by a VEN that does not name the one it has: it forgot it.
"""

from __future__ import annotations

import secrets

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.clock import Clock
from vtn.auth.certificates import ven_of_certificate
from vtn.errors import Conflict, InvalidInput, NotAllowed, NotFound
from vtn.records.database import Database
from vtn.records.messages import acknowledge, close_all, queue
from vtn.records.tables import vens
from vtn.services.deliveries import queue_again
from vtn.services.reports import REGISTER_MESSAGE, end_requests, end_source_requests
from vtn.services.vens import ENROLLED, Ven, change_ven, locked_ven

CANCEL_MESSAGE = "cancel_registration"
REREGISTER_MESSAGE = "request_reregistration"


class RegistrationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a VEN registers with. `fingerprint` is that of its TLS certificate, None without TLS."""

    ven_id: str | None
    ven_name: str | None
    registration_id: str | None = None
    profile_name: str = "2.0b"
    transport_name: str = "simpleHttp"
    transport_address: str | None = None
    http_pull: bool = True
    report_only: bool = False
    fingerprint: str | None = None


class Registrations:
    """Registrations in PostgreSQL. `require_certificate`: only a bound TLS certificate says who asks; `offer_reports`:
    a VEN that registers is told which reports the VTN has (rule 301)."""

    def __init__(
        self, database: Database, clock: Clock, *, require_certificate: bool = False, offer_reports: bool = False
    ) -> None:
        self._database = database
        self._clock = clock
        self._require_certificate = require_certificate
        self.offer_reports = offer_reports

    async def register(self, request: RegistrationRequest) -> Ven:
        """Register a VEN that is enrolled, or change how it is reached; again keeps its registrationID.

        Raises NotFound, NotAllowed (not enrolled, wrong certificate), Conflict (ids of two VENs), InvalidInput.
        """
        if request.profile_name != "2.0b" or request.transport_name != "simpleHttp":
            raise InvalidInput("profile_unsupported", "the VTN offers profile 2.0b over simpleHttp")
        if not request.http_pull and not request.transport_address:
            raise InvalidInput("address_missing", "a push VEN names its oadrTransportAddress")
        async with self._database.transaction() as connection:
            ven = await self._enrolled(connection, request)
            if request.registration_id is not None and request.registration_id != ven.registration_id:
                raise NotFound("registration_unknown", f"{request.registration_id} is not a registration of this VEN")
            now_ms = self._clock.now_ms()
            changed = await change_ven(
                connection,
                ven.ven_id,
                registration_id=ven.registration_id or f"reg-{secrets.token_hex(8)}",
                profile_name=request.profile_name,
                transport_name=request.transport_name,
                transport_address=request.transport_address,
                http_pull=request.http_pull,
                report_only=request.report_only,
                registered_ms=now_ms,
            )
            await acknowledge(connection, ven.ven_id, REREGISTER_MESSAGE, now_ms)
            if ven.registration_id is None or request.registration_id is None:
                await queue_again(connection, ven.ven_id, now_ms)
            if self.offer_reports:
                await queue(connection, [ven.ven_id], REGISTER_MESSAGE, "METADATA", now_ms)
        assert changed is not None
        return changed

    async def cancel(self, registration_id: str, ven_id: str | None) -> Ven:
        """The VEN ends its registration. Raises NotFound."""
        async with self._database.transaction() as connection:
            condition = vens.c.registration_id == registration_id
            found = await connection.scalar(select(vens.c.ven_id).where(condition).with_for_update())
            if found is None or ven_id not in (None, found):
                raise NotFound("registration_unknown", f"there is no registration {registration_id}")
            return await self._end(connection, found)

    async def request_cancel(self, ven_id: str) -> None:
        """The VTN ends a registration: the VEN is told on its next poll. Raises NotFound, NotAllowed."""
        await self._tell(ven_id, CANCEL_MESSAGE)

    async def request_reregistration(self, ven_id: str) -> None:
        """Ask a VEN to register again. Raises NotFound, NotAllowed."""
        await self._tell(ven_id, REREGISTER_MESSAGE)

    async def confirm_cancel(self, ven_id: str) -> None:
        """The VEN confirmed that the VTN ended its registration; unasked it means nothing."""
        async with self._database.transaction() as connection:
            if await acknowledge(connection, ven_id, CANCEL_MESSAGE, self._clock.now_ms()):
                await self._end(connection, ven_id)

    async def _end(self, connection: AsyncConnection, ven_id: str) -> Ven:
        await end_requests(connection, ven_id)
        await end_source_requests(connection, ven_id)
        await close_all(connection, ven_id, self._clock.now_ms())
        changed = await change_ven(connection, ven_id, registration_id=None, registered_ms=None)
        assert changed is not None
        return changed

    async def _tell(self, ven_id: str, kind: str) -> None:
        async with self._database.transaction() as connection:
            ven = await locked_ven(connection, ven_id)
            if ven is None:
                raise NotFound("ven_unknown", f"there is no VEN {ven_id}")
            if ven.registration_id is None:
                raise NotAllowed("ven_not_registered", f"{ven_id} is not registered")
            await queue(connection, [ven_id], kind, ven.registration_id, self._clock.now_ms())

    async def _enrolled(self, connection: AsyncConnection, request: RegistrationRequest) -> Ven:
        conditions = {"ven_id": request.ven_id, "ven_name": request.ven_name}
        given = {name: value for name, value in conditions.items() if value}
        found = set()
        for name, value in given.items():
            found.add(await connection.scalar(select(vens.c.ven_id).where(vens.c[name] == value)))
        if self._require_certificate or request.fingerprint is not None:
            bound = await ven_of_certificate(connection, request.fingerprint)
            if bound is None:
                raise NotAllowed("certificate_unknown", "no enrolment is bound to this certificate")
            found.add(bound)
        if not found or found == {None}:
            raise NotFound("ven_unknown", "no enrolment has this venID or venName")
        if len(found) > 1:
            raise Conflict("ven_mismatch", "venID, venName and certificate do not belong to one enrolment")
        ven = await locked_ven(connection, str(found.pop()))
        assert ven is not None
        if ven.status != ENROLLED:
            raise NotAllowed("ven_not_enrolled", f"the enrolment of this VEN is {ven.status}")
        return ven
