"""Certificates of VENs: which one opens the door for which VEN, and until when.

    issued (our authority, from the device's request) ─┐
                                                       ├─▶ active ──▶ superseded (two newer ones) or revoked, for ever
    imported (another authority's, by its fingerprint) ┘

Every active certificate of a VEN counts, so that a renewed one and the old one work side by side until the device has
changed over. A change wakes every worker at its commit; `vtn.auth.fingerprints` also looks for changes on its own.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.v2 import fingerprint
from runtime.clock import Clock
from runtime.tls.certificates import remaining_life
from vtn.auth import audit
from vtn.auth.pki import DEVICE_DAYS, Pki, requested_key
from vtn.errors import Conflict, InvalidInput, NotAllowed, NotFound
from vtn.records.database import Database, wake
from vtn.records.tables import metadata, vens

ACTIVE, SUPERSEDED, REVOKED = "active", "superseded", "revoked"
ISSUED, IMPORTED = "issued", "imported"
TOPIC = "certificate"
"""Of the notifications; the key is the fingerprint."""

_ACTIVE_MAX = 2
_RENEW_BELOW = 0.5
"""A request for the same key gets the certificate it has while more than this part of its life is left."""

certificates = Table(
    "certificates",
    metadata,
    Column("fingerprint", Text, primary_key=True, comment="OpenADR's: AA:BB:.. of 10 bytes"),
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False, index=True),
    Column("status", Text, nullable=False, comment="active, superseded, revoked"),
    Column("source", Text, nullable=False, comment="issued, imported"),
    Column("key_digest", Text, index=True, comment="SHA-256 of the public key; null where only the fingerprint came"),
    Column("subject", Text, nullable=False),
    Column("chain", LargeBinary, comment="PEM, as the device got it"),
    Column("not_after_ms", BigInteger, comment="wall clock; null where only the fingerprint is known"),
    Column("bound_ms", BigInteger, nullable=False, comment="wall clock"),
    Column("ended_ms", BigInteger, comment="superseded or revoked, wall clock"),
    Column("reason", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("certificates_changed", "changed_at"),
)


class BoundCertificate(msgspec.Struct, frozen=True):
    """A certificate and the VEN it is bound to. Times are wall clock."""

    fingerprint: str
    ven_id: str
    status: str
    source: str
    subject: str
    not_after_ms: int | None
    bound_ms: int
    ended_ms: int | None
    reason: str | None


class Handed(msgspec.Struct, frozen=True):
    """What a device gets: its chain and whom it trusts (PEM), and when the certificate ends (wall clock)."""

    chain: str
    authorities: str
    not_after_ms: int


class Certificates:
    """Certificates in PostgreSQL. `pki` is the authority, which may not have been made."""

    def __init__(
        self, database: Database, clock: Clock, pki: Pki, *, organisation: str, days: int = DEVICE_DAYS
    ) -> None:
        self._database = database
        self._clock = clock
        self._pki = pki
        self._organisation = organisation
        self._days = days

    async def issue(self, ven_id: str, request_pem: bytes) -> Handed:
        """A certificate for the key of a request; again for the same key it is the same one.

        Raises InvalidInput for the request, NotAllowed for a key that was revoked or where there is no authority,
        Conflict for a key another VEN uses, NotFound.
        """
        if not self._pki.exists:
            raise NotAllowed("pki_missing", "this VTN issues no certificates: its operator runs `dr-vtn pki init`")
        digest = _key_digest(requested_key(request_pem))
        async with self._database.transaction() as connection:
            await _locked(connection, ven_id)
            known = await self._known(connection, ven_id, digest)
            if known is not None:
                return self._handed(known["chain"])
            issued = self._pki.issue(request_pem, ven_id, self._organisation, days=self._days)
            der = issued.certificate.public_bytes(Encoding.DER)
            await self._store(connection, ven_id, fingerprint(der), ISSUED, issued.certificate, issued.chain)
        return self._handed(issued.chain)

    async def bind(self, ven_id: str, printed: str, certificate: x509.Certificate | None = None) -> None:
        """Bind a certificate of another authority, by its fingerprint; binding it again changes nothing.

        Raises InvalidInput, NotFound, Conflict if another VEN has it, NotAllowed if it was revoked.
        """
        async with self._database.transaction() as connection:
            await self.bind_within(connection, ven_id, printed, certificate)

    async def bind_within(
        self, connection: AsyncConnection, ven_id: str, printed: str, certificate: x509.Certificate | None = None
    ) -> None:
        """As `bind`, inside a transaction."""
        printed = normal_fingerprint(printed)
        await _locked(connection, ven_id)
        query = select(certificates.c.ven_id, certificates.c.status).where(certificates.c.fingerprint == printed)
        found = (await connection.execute(query)).first()
        if found is None:
            await self._store(connection, ven_id, printed, IMPORTED, certificate, None)
        elif found.ven_id != ven_id:
            raise Conflict("already_in_use", f"the certificate {printed} is bound to {found.ven_id}")
        elif found.status != ACTIVE:
            raise NotAllowed("certificate_revoked", f"the certificate {printed} is {found.status}, which is for ever")

    async def revoke(self, ven_id: str, reason: str, *, printed: str | None = None) -> list[str]:
        """Revoke one certificate of a VEN, or all it has; which were revoked. Raises NotFound."""
        async with self._database.transaction() as connection:
            await _locked(connection, ven_id)
            return await self.revoke_within(connection, ven_id, reason, printed=printed)

    async def revoke_within(
        self, connection: AsyncConnection, ven_id: str, reason: str, *, printed: str | None = None
    ) -> list[str]:
        """As `revoke`, inside a transaction."""
        condition = (certificates.c.ven_id == ven_id) & (certificates.c.status != REVOKED)
        if printed is not None:
            condition &= certificates.c.fingerprint == normal_fingerprint(printed)
        ended = await self._end(connection, condition, REVOKED, reason)
        if printed is not None and not ended:
            raise NotFound("certificate_unknown", f"{ven_id} has no certificate {printed} that could be revoked")
        await self._name_newest(connection, ven_id)
        for each in ended:
            await audit.record(connection, "certificate_revoked", ven_id, fingerprint=each, reason=reason)
        return ended

    async def bound(self, ven_id: str | None = None) -> list[BoundCertificate]:
        """Certificates of a VEN, or all, newest first."""
        columns = [certificates.c[name] for name in BoundCertificate.__struct_fields__]
        query = select(*columns).order_by(certificates.c.ven_id, certificates.c.bound_ms.desc())
        if ven_id is not None:
            query = query.where(certificates.c.ven_id == ven_id)
        async with self._database.reading() as connection:
            return [BoundCertificate(*row) for row in await connection.execute(query)]

    async def _known(self, connection: AsyncConnection, ven_id: str, digest: str) -> Any:
        """The certificate this key has already, None if it is to get one."""
        query = select(certificates).where(certificates.c.key_digest == digest)
        for row in (await connection.execute(query.order_by(certificates.c.bound_ms.desc()))).mappings().all():
            if row["ven_id"] != ven_id:
                raise Conflict("already_in_use", "another VEN has a certificate for this key: make a new key")
            if row["status"] == REVOKED:
                raise NotAllowed("key_revoked", "a certificate for this key was revoked: make a new key")
            if row["status"] == ACTIVE and row["chain"] is not None:
                certificate = x509.load_pem_x509_certificate(row["chain"])
                if remaining_life(certificate, self._now()) > _RENEW_BELOW:
                    return row
        return None

    async def _store(
        self,
        connection: AsyncConnection,
        ven_id: str,
        printed: str,
        source: str,
        certificate: x509.Certificate | None,
        chain: bytes | None,
    ) -> None:
        values: dict[str, Any] = {
            "fingerprint": printed, "ven_id": ven_id, "status": ACTIVE, "source": source, "subject": "", "chain": chain,
            "bound_ms": self._clock.wall_ms(),
        }  # fmt: skip
        if certificate is not None:
            values["subject"] = certificate.subject.rfc4514_string()[:400]
            values["key_digest"] = _key_digest(certificate.public_key())
            values["not_after_ms"] = int(certificate.not_valid_after_utc.timestamp() * 1000)
        await connection.execute(insert(certificates).values(**values))
        active = (certificates.c.ven_id == ven_id) & (certificates.c.status == ACTIVE)
        newest = select(certificates.c.fingerprint).where(active).order_by(*_NEWEST_FIRST).limit(_ACTIVE_MAX)
        old = active & certificates.c.fingerprint.not_in(newest.scalar_subquery())
        await self._end(connection, old, SUPERSEDED, "two newer ones")
        await self._name_newest(connection, ven_id)
        await wake(connection, TOPIC, printed)
        act = "certificate_issued" if source == ISSUED else "certificate_imported"
        await audit.record(connection, act, ven_id, fingerprint=printed, name=values["subject"])

    async def _end(self, connection: AsyncConnection, condition: Any, status: str, reason: str) -> list[str]:
        values = {"status": status, "ended_ms": self._clock.wall_ms(), "reason": reason, "changed_at": func.now()}
        statement = update(certificates).where(condition).values(**values).returning(certificates.c.fingerprint)
        ended = list((await connection.execute(statement)).scalars())
        for each in ended:
            await wake(connection, TOPIC, each)
        return ended

    async def _name_newest(self, connection: AsyncConnection, ven_id: str) -> None:
        """`vens.fingerprint` shows the newest active certificate."""
        active = (certificates.c.ven_id == ven_id) & (certificates.c.status == ACTIVE)
        newest = select(certificates.c.fingerprint).where(active).order_by(*_NEWEST_FIRST).limit(1).scalar_subquery()
        await connection.execute(update(vens).where(vens.c.ven_id == ven_id).values(fingerprint=newest))
        await wake(connection, "ven", ven_id)

    def _handed(self, chain: bytes) -> Handed:
        certificate = x509.load_pem_x509_certificate(chain)
        ends_ms = int(certificate.not_valid_after_utc.timestamp() * 1000)
        return Handed(chain.decode(), self._pki.authorities.read_text(encoding="ascii"), ends_ms)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC)


_NEWEST_FIRST = (certificates.c.bound_ms.desc(), certificates.c.fingerprint)


def normal_fingerprint(text: str) -> str:
    """A fingerprint as people write it (`aabb..`, `AA:BB:..`; 10 bytes, or all 32 of a SHA-256) in OpenADR's form.

    Raises InvalidInput.
    """
    try:
        digest = bytes.fromhex(text.replace(":", "").strip())
        if len(digest) not in (10, 32):
            raise ValueError(f"{len(digest)} bytes")
    except ValueError:
        raise InvalidInput(
            "fingerprint_invalid", "a fingerprint is the last 10 bytes, or all 32, of the certificate's SHA-256 in hex"
        ) from None
    return digest[-10:].hex(":").upper()


async def ven_of_certificate(connection: AsyncConnection, printed: str | None) -> str | None:
    """venID an active certificate is bound to."""
    if printed is None:
        return None
    active = (certificates.c.fingerprint == printed) & (certificates.c.status == ACTIVE)
    found: str | None = await connection.scalar(select(certificates.c.ven_id).where(active))
    return found


async def _locked(connection: AsyncConnection, ven_id: str) -> None:
    if await connection.scalar(select(vens.c.ven_id).where(vens.c.ven_id == ven_id).with_for_update()) is None:
        raise NotFound("ven_unknown", f"there is no VEN {ven_id}: `dr-vtn vens list` shows those there are")


def _key_digest(key: CertificatePublicKeyTypes) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
