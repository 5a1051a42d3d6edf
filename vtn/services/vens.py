"""VENs: who is enrolled, in which group, and how it is reached."""

from __future__ import annotations

import builtins
import secrets
from typing import Any

import msgspec
from cryptography import x509
from sqlalchemy import ColumnElement, RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.codec import decode
from contracts.core.errors import CodecError
from runtime.clock import Clock
from runtime.keys import verify
from vtn.auth import audit
from vtn.auth.certificates import Certificates, ven_of_certificate
from vtn.auth.consent import SignedText
from vtn.errors import Conflict, InvalidInput, NotAllowed, NotFound
from vtn.flexibility.envelope import Device, Kind
from vtn.records.database import Database, wake
from vtn.records.tables import programs, vens

WAITING, APPROVED, ENROLLING, ENROLLED = "waiting", "approved", "enrolling", "enrolled"
DEVICES_MAX = 64
REFUSED, REVOKED, REMOVED = "refused", "revoked", "removed"
DESCRIPTION_FORMAT = "gridpact.resource.1"
_SKEW_MS = 300_000


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner offers: at most `flexible_w` of import less, at most `flexible_percent` of the load, at most
    `max_events_per_week` events; `devices`: what shifts, if the home says so: it bounds how long and tells the rest.

    corrected_percent: the home learns from its events and says so much of what its devices are rated for; None: it
    does not. `described_ms`, its wall clock, and `corrected_ms`, ours, are when it last said so, and something else."""

    flexible_w: int = 0
    flexible_percent: int = 100
    max_events_per_week: int = 7
    devices: tuple[Device, ...] = ()
    corrected_percent: int | None = None
    described_ms: int = 0
    corrected_ms: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.flexible_w <= 10**9 and 0 <= self.flexible_percent <= 100):
            raise ValueError("flexible_w is 0 to 1 GW, flexible_percent 0 to 100")
        if not 0 <= self.max_events_per_week <= 1000:
            raise ValueError("max_events_per_week is 0 to 1000")
        if len(self.devices) > DEVICES_MAX:
            raise ValueError(f"a home names {DEVICES_MAX} devices at most")
        if not 0 < (self.corrected_percent or 100) <= 1000:
            raise ValueError("corrected_percent is 1 to 1000")


class DescriptionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A home says what it can do now: `signed` is a DescriptionText with the signature of its ledger key."""

    ven_id: str
    signed: SignedText


class DescriptionText(msgspec.Struct, frozen=True):
    """What the ledger key signs; `at_ms` is wall clock, the later one counts. What it says besides, to later releases,
    is not looked at."""

    format: str
    ven_id: str
    at_ms: int
    resource: Resource


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken: that of `described_ms`; `unknown_kinds` are taken by the numbers alone that came with them."""

    described_ms: int
    devices: int
    unknown_kinds: tuple[str, ...] = ()


class Ven(msgspec.Struct, frozen=True):
    """An enrolled VEN. `party` and `public_key` are its ledger identity, `virtual_node` the id of its group (groupID on
    the wire), `registration_id` its 2.0b party registration (None while not registered), `meter_r_id` the rID whose
    readings are its energy. `fingerprint` is that of its newest certificate. `status`: waiting
    (for approval), approved, enrolling, enrolled, refused (by the ledger), revoked, removed."""

    ven_id: str
    ven_name: str
    party: str | None
    public_key: str | None
    area: str
    program: str
    virtual_node: str | None
    status: str
    resource: Resource
    registration_id: str | None
    profile_name: str | None
    transport_name: str | None
    transport_address: str | None
    http_pull: bool
    report_only: bool
    poll_interval_s: int
    fingerprint: str | None
    meter_r_id: str | None
    enrolled_ms: int
    registered_ms: int | None


class Vens:
    """VENs in PostgreSQL."""

    def __init__(
        self, database: Database, clock: Clock, certificates: Certificates, *, poll_interval_s: int = 60
    ) -> None:
        self._database = database
        self._clock = clock
        self._certificates = certificates
        self._poll_interval_s = poll_interval_s

    async def add(
        self,
        ven_name: str,
        area: str,
        program: str,
        *,
        virtual_node: str | None = None,
        resource: Resource | None = None,
        fingerprint: str | None = None,
        certificate: x509.Certificate | None = None,
    ) -> Ven:
        """Enrol a VEN without a ledger key: it gets events and reports telemetry, but cannot be a party to contracts.
        A certified device is known by the fingerprint of the certificate it brings.

        Raises Conflict for a name or certificate that is taken, NotFound for the program.
        """
        ven = Ven(
            ven_id=new_ven_id(), ven_name=ven_name, party=None, public_key=None, area=area, program=program,
            virtual_node=virtual_node, status=ENROLLED, resource=resource or Resource(), registration_id=None,
            profile_name=None, transport_name=None, transport_address=None, http_pull=True, report_only=False,
            poll_interval_s=self._poll_interval_s, fingerprint=None, meter_r_id=None,
            enrolled_ms=self._clock.now_ms(), registered_ms=None,
        )  # fmt: skip
        async with self._database.transaction() as connection:
            if not await connection.scalar(select(programs.c.name).where(programs.c.name == program)):
                raise NotFound("program_unknown", f"there is no program {program}")
            await insert_ven(connection, ven)
            await audit.record(connection, "ven_added", ven.ven_id, ven_name=ven_name, area=area)
            if fingerprint is not None:
                await self._certificates.bind_within(connection, ven.ven_id, fingerprint, certificate)
        return ven if fingerprint is None else await self.get(ven.ven_id)

    async def get(self, ven_id: str) -> Ven:
        """Raises NotFound."""
        return _found(await self.find(ven_id), ven_id)

    async def find(self, ven_id: str) -> Ven | None:
        """The VEN with this venID."""
        return await self._one(vens.c.ven_id == ven_id)

    async def find_all(self, ven_ids: builtins.list[str]) -> dict[str, Ven]:
        """Those of these VENs there are, by venID."""
        query = select(vens).where(vens.c.ven_id == func.any(ven_ids))
        async with self._database.reading() as connection:
            found = [to_ven(row) for row in (await connection.execute(query)).mappings()]
        return {ven.ven_id: ven for ven in found}

    async def find_by_name(self, ven_name: str) -> Ven | None:
        """The VEN with this venName."""
        return await self._one(vens.c.ven_name == ven_name)

    async def find_by_fingerprint(self, fingerprint: str) -> Ven | None:
        """The VEN an active certificate is bound to."""
        async with self._database.reading() as connection:
            ven_id = await ven_of_certificate(connection, fingerprint)
        return None if ven_id is None else await self.find(ven_id)

    async def list(
        self, *, virtual_node: str | None = None, area: str | None = None, status: str | None = None
    ) -> list[Ven]:
        """VENs by venID; a condition that is None does not count."""
        query = select(vens).order_by(vens.c.ven_id)
        for column, value in ((vens.c.virtual_node, virtual_node), (vens.c.area, area), (vens.c.status, status)):
            if value is not None:
                query = query.where(column == value)
        async with self._database.reading() as connection:
            return [to_ven(row) for row in (await connection.execute(query)).mappings()]

    async def describe(self, request: DescriptionRequest) -> Described:
        """Take what an enrolled home says of itself, on the word of its ledger key; the same again changes nothing.

        Raises InvalidInput (what is wrong with which device), NotAllowed (signature, clock, an older text), NotFound.
        """
        async with self._database.transaction() as connection:
            ven = await locked_ven(connection, request.ven_id)
            if ven is None or ven.public_key is None:
                raise NotFound("ven_unknown", "no enrolment with a ledger key has this venID")
            said = _described(ven, request.signed)
            known = ven.resource
            corrected_ms = known.corrected_ms
            if said.resource.corrected_percent != known.corrected_percent:
                corrected_ms = 0 if said.resource.corrected_percent is None else self._clock.now_ms()
            resource = msgspec.structs.replace(said.resource, described_ms=said.at_ms, corrected_ms=corrected_ms)
            if resource != known:
                if said.at_ms <= known.described_ms:
                    raise NotAllowed("description_older", "this home has said something else at this time, or later")
                if abs(said.at_ms - self._clock.wall_ms()) > _SKEW_MS:
                    raise NotAllowed("timestamp_off", "the text is older or newer than five minutes: set the clock")
                if ven.status != ENROLLED:
                    raise NotAllowed("ven_not_enrolled", f"the enrolment of this VEN is {ven.status}")
                await change_ven(connection, ven.ven_id, resource=msgspec.json.encode(resource))
                detail = {"flexible_w": str(resource.flexible_w), "devices": str(len(resource.devices))}
                await audit.record(connection, "ven_described", ven.ven_id, **detail)
        unknown = {each.kind for each in resource.devices} - {*Kind}
        return Described(described_ms=said.at_ms, devices=len(resource.devices), unknown_kinds=tuple(sorted(unknown)))

    async def assign_group(self, ven_id: str, virtual_node: str | None) -> Ven:
        """Put a VEN into the group of a virtual node, or take it out of every group. Raises NotFound."""
        return await self._change(ven_id, virtual_node=virtual_node)

    async def bind_fingerprint(self, ven_id: str, fingerprint: str, certificate: x509.Certificate | None = None) -> Ven:
        """Bind a VEN to a certificate it brings. Raises NotFound, Conflict if another VEN has it, InvalidInput."""
        await self._certificates.bind(ven_id, fingerprint, certificate)
        return await self.get(ven_id)

    async def revoke(self, ven_id: str, reason: str) -> Ven:
        """Shut a VEN out: no certificate of it counts any more. `reinstate` lets it in again. Raises NotFound."""
        return await self._shut_out(ven_id, REVOKED, "ven_revoked", reason)

    async def reinstate(self, ven_id: str) -> Ven:
        """Let a revoked VEN in again; it needs a new certificate. Raises NotFound, NotAllowed if it is not revoked."""
        async with self._database.transaction() as connection:
            ven = await locked_ven(connection, ven_id)
            if ven is not None and ven.status != REVOKED:
                raise NotAllowed("ven_not_revoked", f"{ven_id} is {ven.status}, not revoked")
            changed = await change_ven(connection, ven_id, status=ENROLLED)
            await audit.record(connection, "ven_reinstated", ven_id)
        return _found(changed, ven_id)

    async def remove(self, ven_id: str) -> Ven:
        """Take a VEN out of service: it is no longer answered; its history stays. Raises NotFound."""
        return await self._shut_out(ven_id, REMOVED, "ven_removed", "taken out of service")

    async def _shut_out(self, ven_id: str, status: str, act: str, reason: str) -> Ven:
        values = {"registration_id": None} | ({"virtual_node": None} if status == REMOVED else {})
        async with self._database.transaction() as connection:
            changed = await change_ven(connection, ven_id, status=status, **values)
            _found(changed, ven_id)
            await self._certificates.revoke_within(connection, ven_id, reason)
            await audit.record(connection, act, ven_id, reason=reason)
        return await self.get(ven_id)

    async def _change(self, ven_id: str, **values: Any) -> Ven:
        try:
            async with self._database.transaction() as connection:
                changed = await change_ven(connection, ven_id, **values)
        except IntegrityError as error:
            raise Conflict("already_in_use", f"another VEN has the same {', '.join(values)}") from error
        return _found(changed, ven_id)

    async def _one(self, condition: ColumnElement[bool]) -> Ven | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(vens).where(condition))).mappings().first()
        return None if row is None else to_ven(row)


async def change_ven(connection: AsyncConnection, ven_id: str, **values: Any) -> Ven | None:
    """Change columns of a VEN inside a transaction and wake the workers that remember it."""
    query = update(vens).where(vens.c.ven_id == ven_id).values(**values).returning(*vens.c)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        return None
    await wake(connection, "ven", ven_id)
    return to_ven(row)


async def insert_ven(connection: AsyncConnection, ven: Ven) -> None:
    """Store a new VEN. Raises Conflict for a name or key that is taken."""
    row = msgspec.structs.asdict(ven) | {"resource": msgspec.json.encode(ven.resource)}
    try:
        await connection.execute(insert(vens).values(**row))
    except IntegrityError as error:
        raise Conflict("already_in_use", f"a VEN named {ven.ven_name}, or with the same key, is enrolled") from error
    await wake(connection, "ven", ven.ven_id)


def new_ven_id() -> str:
    """A venID nobody has."""
    return f"ven-{secrets.token_hex(8)}"


async def locked_ven(connection: AsyncConnection, ven_id: str) -> Ven | None:
    """A VEN, locked until the transaction ends."""
    row = (await connection.execute(select(vens).where(vens.c.ven_id == ven_id).with_for_update())).mappings().first()
    return None if row is None else to_ven(row)


def to_ven(row: RowMapping) -> Ven:
    """A row of the table as data."""
    return Ven(**{**row, "resource": msgspec.json.decode(row["resource"], type=Resource)})


def _described(ven: Ven, signed: SignedText) -> DescriptionText:
    """What a home says of itself, as its key signed it. Raises InvalidInput, NotAllowed."""
    try:
        body = signed.text.encode()
        plain = decode(body, dict)  # canonical as a whole, with what a later release may say
        proven = verify(ven.public_key or "", body, bytes.fromhex(signed.signature))
        said = msgspec.convert(plain, DescriptionText)
    except (CodecError, msgspec.ValidationError, ValueError) as error:
        raise InvalidInput("description_invalid", f"this is no signed description: {error}") from None
    if not proven or (said.format, said.ven_id) != (DESCRIPTION_FORMAT, ven.ven_id):
        raise NotAllowed("proof_invalid", "the proof is not the ledger key's signature of this description")
    return said


def _found(ven: Ven | None, ven_id: str) -> Ven:
    if ven is None:
        raise NotFound("ven_unknown", f"there is no VEN {ven_id}: `dr-vtn vens list` shows those there are")
    return ven
