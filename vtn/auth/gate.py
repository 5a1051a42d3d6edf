"""The door of the 2.0b face: who sent this, did they sign it, may it count, and how is the answer signed?

bytes ── parsed safely ── signed? ── yes ── only what the signature covers is read
                             │ no             │
certificate (TLS, proxy) ────┴──▶ one VEN ◀───┴── signer's certificate ── timestamp, nonce: once
"""

from __future__ import annotations

import asyncio
import secrets

import msgspec
from aiohttp import web
from sqlalchemy import Column, ForeignKey, Table, Text, delete, select
from sqlalchemy.dialects.postgresql import insert

from openadr import v2
from openadr.errors import MessageError, ResponseCode
from openadr.v2.document.safe import parse_safely
from openadr.v2.document.signature import PrivateKey, Verified, is_signed, load_key, sign_object, signable, verify_tree
from openadr.v2.parsing import read
from runtime.clock import Clock
from runtime.logs import get_logger
from runtime.tls import Certificate
from vtn.auth import audit
from vtn.auth.certificates import ACTIVE, TOPIC
from vtn.auth.fingerprints import FORWARDING_HEADERS, LOOK_S, Binding, Bindings, Proxies, presented
from vtn.auth.replay import Replay
from vtn.errors import NotAllowed, NotFound
from vtn.records.database import Database, wake
from vtn.records.tables import metadata, vens
from vtn.records.wakeups import Wakeups

SIGNING_TOPIC = "signing"
_OPEN_STATUS = "enrolled"

signing_vens = Table(
    "signing_vens",
    metadata,
    Column("ven_id", Text, ForeignKey("vens.ven_id"), primary_key=True, comment="both sides sign"),
)

_log = get_logger("vtn.gate")


class Caller(msgspec.Struct, frozen=True):
    """Who sent a message. `fingerprint` and `ven_id` are None where no certificate says so (plain HTTP on loopback);
    `signed` is the algorithm of the message's signature, None without one; `address` is where it came from."""

    fingerprint: str | None = None
    ven_id: str | None = None
    signed: str | None = None
    address: str | None = None

    @property
    def sender(self) -> str:
        """By what it is counted."""
        return self.fingerprint or f"address {self.address}"


class Signer:
    """Signs answers with the keys of the server's certificates; each key is parsed once."""

    def __init__(self, certificates: list[Certificate], clock: Clock) -> None:
        """Raises KeyFileError, SettingsError."""
        self._clock = clock
        self._keys: dict[str, tuple[PrivateKey, bytes]] = {}
        for certificate in certificates:
            key = load_key(certificate.key.read_bytes())
            self._keys["p256" if key.key_size == 256 else "rsa"] = (key, certificate.chain.read_bytes())

    def sign(self, body: bytes, algorithm: str | None, prepared: bytes | None = None) -> bytes:
        """The body signed with the algorithm the peer used, if there is such a key. Raises NotAllowed without any.

        `prepared` is what `signable` makes of the body, where it is known already.
        """
        if not self._keys:
            raise NotAllowed("signing_key_missing", "this VTN has no certificate to sign with")
        chosen = self._keys.get(algorithm or "p256") or next(iter(self._keys.values()))
        nonce = secrets.token_urlsafe(18)
        return sign_object(prepared or signable(body), *chosen, nonce, self._clock.wall_ms())


class Gate:
    """One worker's door. `require_certificate`: without a certificate nobody is let in."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        signer: Signer,
        *,
        skew_s: float,
        require_certificate: bool,
        proxies: Proxies | None = None,
        require_signatures: bool = False,
    ) -> None:
        self.bindings = Bindings(database, clock)
        self.replay = Replay(database, clock, skew_s=skew_s)
        self.require_certificate = require_certificate
        self._database = database
        self._clock = clock
        self._signer = signer
        self._proxies = proxies
        self._require_signatures = require_signatures
        self._signing: frozenset[str] | None = None

    def read(
        self, body: bytes, *, lenient: bool, leniencies: list[v2.Leniency] | None = None
    ) -> tuple[v2.Message, Verified | None]:
        """The message in a body and the signature it came with; of a signed body only what the signature covers.

        Raises MessageError.
        """
        root = parse_safely(body)
        if not is_signed(root):
            return read(root, lenient=lenient, leniencies=leniencies), None
        verified = verify_tree(root)
        return read(verified.root, lenient=lenient, leniencies=leniencies), verified

    async def authenticate(self, request: web.BaseRequest, verified: Verified | None = None) -> Caller:
        """Who sent the message. Raises NotAllowed, InvalidInput, MessageError for a proxy that was not configured."""
        printed = self._presented(request)
        binding = None
        if printed is not None:
            binding = await self._usable(printed)
        if verified is None:
            return Caller(printed, None if binding is None else binding.ven_id, address=request.remote)
        signer = await self._usable(verified.fingerprint)
        if verified.not_after_ms < self._clock.wall_ms():
            raise self._refused("certificate_expired", "the certificate of the signature is over")
        if signer is None:
            raise self._refused("signer_unknown", "no enrolment is bound to the certificate of the signature")
        if printed is not None and (binding is None or binding.ven_id != signer.ven_id):
            raise self._refused(
                "signer_mismatch", "the message is signed by another than the one who sent it", signer=signer.ven_id
            )
        try:
            await self.replay.admit(verified.fingerprint, verified.nonce, verified.timestamp_ms)
        except NotAllowed as error:
            _log.warning("signed message refused", reason=error.code, ven_id=signer.ven_id)
            raise
        return Caller(printed or verified.fingerprint, signer.ven_id, verified.algorithm, request.remote)

    async def check(self, caller: Caller, ven_id: str) -> None:
        """Raises NotAllowed unless the caller may speak for this VEN, and has signed if it has to."""
        if caller.ven_id != ven_id and (self.require_certificate or caller.ven_id is not None):
            raise self._refused(
                "certificate_unknown", "this certificate is not that of the VEN", claimed=ven_id, bound=caller.ven_id
            )
        await self.demand_signature(caller, ven_id)

    async def demand_signature(self, caller: Caller, ven_id: str) -> None:
        """Raises NotAllowed if this VEN has to sign, and the message is not signed."""
        if caller.signed is None and await self.signs(ven_id):
            raise self._refused(
                "signature_missing", "this VEN signs its messages: this one is not signed", ven_id=ven_id
            )

    async def seal(self, body: bytes, caller: Caller | None, *, signable: bytes | None = None) -> bytes:
        """The answer as it is sent: signed where the message was, or where the VEN is to get signed ones."""
        if caller is None:
            return body
        if caller.signed is None and not (caller.ven_id is not None and await self.signs(caller.ven_id)):
            return body
        return self._signer.sign(body, caller.signed, signable)

    async def seal_to(self, ven_id: str, body: bytes) -> bytes:
        """A message of ours as it is sent to a VEN: signed where everything between us is."""
        return self._signer.sign(body, None) if await self.signs(ven_id) else body

    async def read_answer(self, body: bytes, ven_id: str, *, lenient: bool) -> v2.Message:
        """What a VEN answered to a message of ours. Raises MessageError, NotAllowed for its signature."""
        message, verified = self.read(body, lenient=lenient)
        if verified is None:
            await self.demand_signature(Caller(), ven_id)
            return message
        signer = await self._usable(verified.fingerprint)
        if signer is None or signer.ven_id != ven_id:
            raise self._refused("signer_mismatch", "the answer is signed by another", ven_id=ven_id)
        await self.replay.admit(verified.fingerprint, verified.nonce, verified.timestamp_ms)
        return message

    async def signs(self, ven_id: str) -> bool:
        """Does everything between this VEN and us have to be signed?"""
        if self._require_signatures:
            return True
        signing = self._signing
        if signing is None or not self.bindings.sure:
            signing = await self.load_signing()
        return ven_id in signing

    async def load_signing(self) -> frozenset[str]:
        """Read which VENs sign."""
        async with self._database.reading() as connection:
            self._signing = frozenset((await connection.execute(select(signing_vens.c.ven_id))).scalars())
        return self._signing

    def forget_signing(self, _: str = "") -> None:
        """Which VENs sign has changed."""
        self._signing = None

    def listen(self, wakeups: Wakeups) -> None:
        """Hear of changes at once."""
        wakeups.on(TOPIC, self.bindings.forget)
        wakeups.on(SIGNING_TOPIC, self.forget_signing)

    async def watch(self) -> None:
        """Look for changes, and remove nonces that no longer count, until cancelled."""
        try:
            while True:
                try:
                    await self.bindings.look()
                    await self.load_signing()
                    await self.replay.remove_expired()
                except Exception:
                    _log.exception("changes of certificates cannot be read")
                await asyncio.sleep(LOOK_S)
        finally:
            await self.replay.close()

    def _presented(self, request: web.BaseRequest) -> str | None:
        if self._proxies is None and not self.require_certificate:
            for name in FORWARDING_HEADERS:
                if name in request.headers:
                    _log.error("a proxy that is not configured forwards requests: set trusted_proxies", header=name)
                    code = ResponseCode.DEPLOYMENT_ERROR_OR_OTHER_ERROR
                    raise MessageError("the VTN is reached through a proxy it does not know", code)
        return presented(request, self._proxies)

    async def _usable(self, printed: str) -> Binding | None:
        """The binding of a certificate; None for a stranger's. Raises NotAllowed for one that counts no more."""
        found = await self.bindings.find(printed)
        if found is None:
            return None
        if found.status != ACTIVE or found.ven_status != _OPEN_STATUS:
            state = found.status if found.status != ACTIVE else found.ven_status
            raise self._refused("certificate_revoked", f"this certificate is {state}", ven_id=found.ven_id)
        if found.not_after_ms is not None and found.not_after_ms < self._clock.wall_ms():
            raise self._refused("certificate_expired", "this certificate is over", ven_id=found.ven_id)
        return found

    def _refused(self, code: str, reason: str, **ids: str | None) -> NotAllowed:
        _log.warning("caller refused", reason=code, **ids)
        return NotAllowed(code, reason)


class Signing:
    """Which VENs have to sign: the operator's choice, kept in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def require(self, ven_id: str, required: bool) -> None:
        """From now on everything between this VEN and the VTN is signed, or need not be. Raises NotFound."""
        async with self._database.transaction() as connection:
            if await connection.scalar(select(vens.c.ven_id).where(vens.c.ven_id == ven_id)) is None:
                raise NotFound("ven_unknown", f"there is no VEN {ven_id}: `dr-vtn vens list` shows those there are")
            if required:
                await connection.execute(insert(signing_vens).values(ven_id=ven_id).on_conflict_do_nothing())
            else:
                await connection.execute(delete(signing_vens).where(signing_vens.c.ven_id == ven_id))
            await wake(connection, SIGNING_TOPIC, ven_id)
            await audit.record(connection, "signatures_required" if required else "signatures_optional", ven_id)
