"""Consents: who may see a home's readings, what for and until when, signed by the home's ledger key.

    text (canonical JSON) ── signature of the key ──▶ granted ──▶ ends by its date, or revoked by home or operator

A home without a ledger key consents on paper: the operator records where that paper is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TypeVar

import msgspec
from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.codec import decode, encode
from contracts.core.errors import CodecError
from runtime.clock import Clock
from runtime.keys import verify
from vtn.auth import audit
from vtn.auth.permissions import GRANTEES, Role
from vtn.errors import InvalidInput, NotAllowed, NotFound
from vtn.records.database import Database
from vtn.records.tables import metadata, vens

CONSENT_FORMAT, REVOCATION_FORMAT = "gridpact.consent.1", "gridpact.consent-revocation.1"
READINGS = "readings"
_TEXT_BYTES_MAX = 2_048
_DIFFER_MS = 10 * 60_000
_YEARS_MAX_MS = 10 * 366 * 86_400_000

consents = Table(
    "consents",
    metadata,
    Column("consent_id", Text, primary_key=True),
    Column("ven_id", Text, ForeignKey("vens.ven_id"), nullable=False),
    Column("grantee", Text, nullable=False, comment="a role"),
    Column("scope", Text, nullable=False, comment="readings"),
    Column("purpose", Text, nullable=False),
    Column("granted_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("text", LargeBinary, nullable=False, comment="what was signed, or where the paper is"),
    Column("signature", Text, comment="hex, by the home's ledger key; null for a paper"),
    Column("revoked_ms", BigInteger),
    Column("revocation", LargeBinary, comment="the home's signed revocation as JSON; null by the operator"),
    Index("consents_by_ven", "ven_id", "grantee"),
)


class SignedText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A canonical text and the hex signature of the home's ledger key over its UTF-8 bytes."""

    text: str
    signature: str


class ConsentText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a home signs. Times are milliseconds of the wall clock; `sponsor` is the VTN's ledger party."""

    format: str
    party: str
    sponsor: str
    grantee: str
    scope: str
    purpose: str
    granted_ms: int
    until_ms: int


class RevocationText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a home signs to take a consent back."""

    format: str
    party: str
    consent_id: str
    revoked_ms: int


_Text = TypeVar("_Text", ConsentText, RevocationText)


class Consent(msgspec.Struct, frozen=True):
    """A consent as it is kept. `signed`: by the home's key; otherwise the operator vouches for a paper."""

    consent_id: str
    ven_id: str
    grantee: str
    scope: str
    purpose: str
    granted_ms: int
    until_ms: int
    revoked_ms: int | None
    signed: bool


class Consents:
    """Consents in PostgreSQL. `sponsor` is the VTN's ledger party."""

    def __init__(self, database: Database, clock: Clock, *, sponsor: str) -> None:
        self._database = database
        self._clock = clock
        self._sponsor = sponsor

    async def grant(self, ven_id: str, signed: SignedText) -> str:
        """Keep a consent signed by the home's key; again it is the same one. Its id. Raises InvalidInput, NotFound."""
        async with self._database.transaction() as connection:
            return await self.grant_within(connection, ven_id, signed)

    async def grant_within(self, connection: AsyncConnection, ven_id: str, signed: SignedText) -> str:
        """As `grant`, inside a transaction."""
        party, key = await _identity(connection, ven_id)
        given = _read(signed, ConsentText, CONSENT_FORMAT, party, key)
        now_ms = self._clock.wall_ms()
        if given.sponsor != self._sponsor:
            raise InvalidInput("consent_invalid", "the consent was given to another VTN")
        if given.granted_ms > now_ms + _DIFFER_MS:
            raise InvalidInput("consent_invalid", "the consent was given in the future")
        await self._store(connection, ven_id, given, signed.signature)
        return consent_id(signed.text)

    async def record_paper(self, ven_id: str, grantee: Role, purpose: str, until_ms: int, paper: str) -> str:
        """Note a consent given on paper, for a home without a key; `paper` says where it is. Raises InvalidInput."""
        given = ConsentText(
            format="paper: " + paper, party="", sponsor=self._sponsor, grantee=grantee, scope=READINGS,
            purpose=purpose, granted_ms=self._clock.wall_ms(), until_ms=until_ms,
        )  # fmt: skip
        async with self._database.transaction() as connection:
            if await connection.scalar(select(vens.c.ven_id).where(vens.c.ven_id == ven_id)) is None:
                raise NotFound("ven_unknown", f"there is no VEN {ven_id}")
            await self._store(connection, ven_id, given, None)
        return consent_id(encode(given).decode())

    async def revoke_signed(self, ven_id: str, signed: SignedText) -> None:
        """The home takes a consent back. Raises InvalidInput, NotFound."""
        async with self._database.transaction() as connection:
            party, key = await _identity(connection, ven_id)
            given = _read(signed, RevocationText, REVOCATION_FORMAT, party, key)
            await self._revoke(connection, given.consent_id, ven_id, msgspec.json.encode(signed))

    async def revoke(self, consent: str) -> None:
        """The operator ends a consent. Raises NotFound."""
        async with self._database.transaction() as connection:
            ven_id = await connection.scalar(select(consents.c.ven_id).where(consents.c.consent_id == consent))
            await self._revoke(connection, consent, str(ven_id), None)

    async def given(self, ven_id: str | None = None) -> list[Consent]:
        """Consents of a home or all, newest first."""
        c = consents.c
        columns = [c[name] for name in Consent.__struct_fields__[:-1]]
        query = select(*columns, c.signature.is_not(None)).order_by(c.granted_ms.desc(), c.consent_id)
        if ven_id is not None:
            query = query.where(c.ven_id == ven_id)
        async with self._database.reading() as connection:
            return [Consent(*tuple(row)) for row in await connection.execute(query)]

    async def consenting(self, ven_ids: Collection[str], grantee: Role) -> set[str]:
        """Those of the homes whose consent names the role now."""
        now_ms = self._clock.wall_ms()
        c = consents.c
        query = select(c.ven_id).where(
            c.ven_id.in_(list(ven_ids)), c.grantee == grantee, c.scope == READINGS,
            c.revoked_ms.is_(None), c.until_ms > now_ms, c.granted_ms <= now_ms + _DIFFER_MS,
        )  # fmt: skip
        async with self._database.reading() as connection:
            return set((await connection.execute(query)).scalars())

    async def _store(self, connection: AsyncConnection, ven_id: str, given: ConsentText, signature: str | None) -> None:
        if given.scope != READINGS or given.grantee not in GRANTEES:
            raise InvalidInput("consent_invalid", f"a consent is for {READINGS}, to one of {', '.join(GRANTEES)}")
        if not 0 <= given.granted_ms < given.until_ms <= given.granted_ms + _YEARS_MAX_MS:
            raise InvalidInput("consent_invalid", "a consent ends after it was given, and within ten years")
        body = encode(given)
        key = consent_id(body.decode())
        statement = insert(consents).values(
            consent_id=key, ven_id=ven_id, grantee=given.grantee, scope=given.scope, purpose=given.purpose,
            granted_ms=given.granted_ms, until_ms=given.until_ms, text=body, signature=signature,
        )  # fmt: skip
        stored = await connection.scalar(statement.on_conflict_do_nothing().returning(consents.c.consent_id))
        if stored is not None:
            detail = {"consent": key, "grantee": given.grantee, "until_ms": given.until_ms, "purpose": given.purpose}
            await audit.record(connection, "consent_granted", ven_id, **detail, signed=signature is not None)

    async def _revoke(self, connection: AsyncConnection, consent: str, ven_id: str, revocation: bytes | None) -> None:
        mine = (consents.c.consent_id == consent) & (consents.c.ven_id == ven_id)
        if await connection.scalar(select(consents.c.consent_id).where(mine)) is None:
            raise NotFound("consent_unknown", f"there is no consent {consent}")
        values = {"revoked_ms": self._clock.wall_ms(), "revocation": revocation}
        open_one = mine & consents.c.revoked_ms.is_(None)
        if (await connection.execute(update(consents).where(open_one).values(**values))).rowcount:
            await audit.record(connection, "consent_revoked", ven_id, consent=consent, signed=revocation is not None)


def consent_id(text: str) -> str:
    """The id of a consent follows from its text, so that the home knows it too."""
    return f"con-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


async def _identity(connection: AsyncConnection, ven_id: str) -> tuple[str, str]:
    query = select(vens.c.party, vens.c.public_key).where(vens.c.ven_id == ven_id)
    row = (await connection.execute(query)).first()
    if row is None:
        raise NotFound("ven_unknown", f"there is no VEN {ven_id}")
    if row.party is None or row.public_key is None:
        raise NotAllowed("key_missing", "this VEN has no ledger key to sign with")
    return row.party, row.public_key


def _read(signed: SignedText, kind: type[_Text], format: str, party: str, key: str) -> _Text:
    try:
        body = signed.text.encode()
        given = decode(body, kind, bytes_max=_TEXT_BYTES_MAX)
        signature = bytes.fromhex(signed.signature)
    except (CodecError, ValueError) as error:
        raise InvalidInput("consent_invalid", f"this is no signed {kind.__name__}: {error}") from None
    if given.format != format or given.party != party:
        raise InvalidInput("consent_invalid", "the text is of another kind, or names another party")
    if not verify(key, body, signature):
        raise InvalidInput("consent_invalid", "the signature is not that of the home's ledger key")
    return given
