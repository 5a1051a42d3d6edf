"""Enrolment: a VEN joins with a key of its own. (A 2.0b party registration comes later and needs an enrolment.)

    invite ──▶ code ──▶ the VEN makes its key, signs ──▶ enrol ─┬─ one transaction: VEN, code used, two sealed commands
                                    │            ▲              └─ ledger: EnrolParty, Transfer of the enrolment credit
                                    ▼            │                        │
                              (waiting ──▶ approved: asks again)          └─▶ certificate for the request it brought

Whatever breaks in between, asking again with the same code and the same key goes on where it stopped. Later the ledger
key alone gets a new certificate: it, the venID and the certificate are one record.
"""

from __future__ import annotations

import hashlib
import secrets

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.core.codec import decode
from contracts.core.commands import Enrolment, EnrolParty, Transfer, enrolment_bytes
from contracts.core.errors import CodecError
from contracts.core.parties import Party, Role
from ledger.client import LedgerClient, party_id
from runtime.clock import Clock
from runtime.keys import verify
from runtime.logs import get_logger
from vtn.auth import audit
from vtn.auth.certificates import Certificates, Handed
from vtn.auth.consent import Consents, SignedText
from vtn.auth.pki import requested_key
from vtn.errors import Conflict, InvalidInput, LedgerRefused, NotAllowed, NotFound, VtnError
from vtn.records.database import Database
from vtn.records.tables import invitations, programs, vens
from vtn.services.ledger_outbox import PENDING, LedgerOutbox, LedgerUnavailable, OutboxEntry
from vtn.services.vens import (
    APPROVED,
    ENROLLED,
    ENROLLING,
    REFUSED,
    REMOVED,
    REVOKED,
    WAITING,
    Resource,
    Ven,
    change_ven,
    insert_ven,
    locked_ven,
    new_ven_id,
)

RENEWAL_FORMAT = "gridpact.certificate-renewal.1"
_DONE_BEFORE = ("party_exists", "nonce_reused")
_CONSENTS_MAX = 8
_RENEWAL_SKEW_MS = 300_000

_log = get_logger("vtn.enrolment")


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of a home is given; `code` works once. `sponsor` is the aggregator's ledger party, `channel` the
    channel of the ledger in which the home's contracts will live; `authorities` are the roots (PEM) the VTN's own
    certificate comes from, and say that the home gets a certificate too."""

    vtn_url: str
    openadr2_url: str
    ledger_url: str
    code: str
    ven_name: str
    area: str
    sponsor: str
    channel: str = "main"
    site_zone: str
    program: str
    holidays: tuple[str, ...] = ()
    weekend: tuple[int, ...] = (5, 6)
    expires_ms: int = 0
    authorities: str | None = None


class EnrolmentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the VEN asks with: `proof` is the hex signature of contracts' Enrolment by the key `public_key`,
    `certificate_request` the PEM request for its TLS certificate, `consents` what its owner signed."""

    code: str
    ven_name: str
    public_key: str
    proof: str
    resource: Resource = Resource()
    certificate_request: str | None = None
    consents: tuple[SignedText, ...] = ()


class RenewalRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new certificate is asked for: `signed` is a RenewalText with the signature of the VEN's ledger key."""

    ven_id: str
    certificate_request: str
    signed: SignedText


class RenewalText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the ledger key signs: `request_digest` is the SHA-256 of the PEM request in hex, `at_ms` wall clock."""

    format: str
    ven_id: str
    request_digest: str
    at_ms: int


class DomainTime(msgspec.Struct, frozen=True, kw_only=True):
    """The domain clock where it is not the system's: the same in every process."""

    epoch_wall_ms: int
    epoch_domain_ms: int
    speed: float


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: the VEN's ids, and what it has to know of VTN and ledger. `policy` is the text of the trust file;
    `holidays` are local dates (ISO) of the program, `weekend` days of the week, Monday 0; `certificate` is there if one
    was asked for."""

    ven_id: str
    ven_name: str
    party: str
    sponsor: str
    area: str
    program: str
    interval_s: int
    site_zone: str
    holidays: tuple[str, ...]
    weekend: tuple[int, ...]
    clock: DomainTime | None
    policy: str
    ledger_url: str
    openadr2_url: str
    certificate: Handed | None = None


class Enrolments:
    """Invitations and enrolments. `ledger` is the aggregator's client: it sponsors devices. With `approval` the
    operator decides on each."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: LedgerOutbox,
        ledger: LedgerClient,
        certificates: Certificates,
        consents: Consents,
        *,
        approval: bool = False,
        credit_minor: int = 0,
        poll_interval_s: int = 60,
    ) -> None:
        if ledger.party is None:
            raise InvalidInput("sponsor_missing", "enrolment needs the aggregator's ledger party")
        outbox.add_sender(ledger)
        self.sponsor = ledger.party
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._ledger = ledger
        self._certificates = certificates
        self._consents = consents
        self._approval = approval
        self._credit_minor = credit_minor
        self._poll_interval_s = poll_interval_s

    async def invite(
        self, ven_name: str, area: str, program: str, *, virtual_node: str | None = None, valid_s: int = 30 * 86_400
    ) -> tuple[str, int]:
        """Invite a VEN: its one-time code, which is not kept, and until when it works (ms).

        Inviting the same name again replaces an unused invitation. Raises Conflict for a name that is enrolled,
        NotFound for the program.
        """
        _check_name(ven_name, "VEN name")
        _check_name(area, "area")
        code = secrets.token_urlsafe(24)
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as connection:
            if not await connection.scalar(select(programs.c.name).where(programs.c.name == program)):
                raise NotFound("program_unknown", f"there is no program {program}")
            query = select(invitations).where(invitations.c.ven_name == ven_name).with_for_update()
            found = (await connection.execute(query)).mappings().first()
            values = {
                "code_digest": _digest(code), "area": area, "program": program, "virtual_node": virtual_node,
                "created_ms": now_ms, "expires_ms": now_ms + 1000 * valid_s,
            }  # fmt: skip
            if found is None:
                ven_id = new_ven_id()
                await connection.execute(insert(invitations).values(ven_id=ven_id, ven_name=ven_name, **values))
                await audit.record(connection, "ven_invited", ven_id, ven_name=ven_name, area=area)
            elif found["public_key"] is not None:
                raise Conflict("ven_exists", f"{ven_name} is enrolled as {found['ven_id']}")
            else:
                await connection.execute(update(invitations).where(invitations.c.ven_name == ven_name).values(**values))
                await audit.record(connection, "ven_invited", found["ven_id"], ven_name=ven_name, area=area)
        return code, now_ms + 1000 * valid_s

    async def enrol(self, request: EnrolmentRequest) -> Ven:
        """Enrol the VEN that holds `public_key`; again with the same code and key gives the same VEN. It may be
        `waiting` for the operator's approval.

        Raises InvalidInput for a certificate request or a consent that is none; NotAllowed for a code that is unknown,
        used by another key or expired, and for a wrong proof; Conflict for a key that is in use; LedgerRefused;
        LedgerUnavailable (repeat later).
        """
        if request.certificate_request is not None:
            requested_key(request.certificate_request.encode())
        if len(request.consents) > _CONSENTS_MAX:
            raise InvalidInput("consent_invalid", f"at most {_CONSENTS_MAX} consents come with an enrolment")
        async with self._database.transaction() as connection:
            ven = await self._admit(connection, request)
            for each in request.consents:
                await self._consents.grant_within(connection, ven.ven_id, each)
        if ven.status == WAITING:
            return ven
        if ven.status == REFUSED:  # what stood against it may be gone: the aggregator had no funds, for instance
            await self._outbox.retry(_keys(ven))
            ven = await self._mark(ven, ENROLLING)
        return await self.complete(ven)

    async def complete(self, ven: Ven) -> Ven:
        """Bring an enrolment to its end on the ledger.

        Raises LedgerRefused, LedgerUnavailable, NotAllowed for a VEN that was removed.
        """
        if ven.status in (REMOVED, REVOKED):
            raise NotAllowed(f"ven_{ven.status}", f"{ven.ven_name} is {ven.status}")
        if ven.status != ENROLLING:
            return ven
        entries = await self._outbox.deliver(_keys(ven))
        for entry in entries:
            if entry.status == PENDING:
                raise LedgerUnavailable(f"the ledger has not answered yet about {entry.key}: repeat the request")
        refused = [entry for entry in entries if entry.code not in ("ok", None)]
        if refused and not await self._enrolled_before(ven, refused):
            await self._mark(ven, REFUSED)
            raise LedgerRefused(refused[0].code or "", f"the ledger refused {refused[0].key}: {refused[0].code}")
        _log.info("enrolled", ven_id=ven.ven_id, ven_name=ven.ven_name, party=ven.party)
        return await self._mark(ven, ENROLLED)

    async def complete_pending(self) -> int:
        """After a restart: finish what was interrupted; how many are enrolled now. What fails is tried again later."""
        async with self._database.reading() as connection:
            waiting = list(await connection.scalars(select(vens.c.ven_id).where(vens.c.status == ENROLLING)))
        done = 0
        for ven_id in waiting:
            async with self._database.transaction() as connection:
                ven = await locked_ven(connection, ven_id)
            try:
                done += ven is not None and (await self.complete(ven)).status == ENROLLED
            except VtnError as error:
                _log.warning("enrolment not completed", ven_id=ven_id, reason=str(error))
        return done

    async def approve(self, ven_id: str) -> Ven:
        """Let a VEN that waits join: its next request is carried out. Raises NotFound, NotAllowed."""
        return await self._decide(ven_id, APPROVED, "ven_approved")

    async def reject(self, ven_id: str, reason: str) -> Ven:
        """Turn a VEN that waits away, for good. Raises NotFound, NotAllowed."""
        return await self._decide(ven_id, REMOVED, "ven_rejected", reason=reason)

    async def renew(self, request: RenewalRequest) -> Handed:
        """A new certificate for an enrolled VEN, on the word of its ledger key.

        Raises NotAllowed, InvalidInput, NotFound, Conflict.
        """
        async with self._database.transaction() as connection:
            ven = await locked_ven(connection, request.ven_id)
        if ven is None or ven.public_key is None:
            raise NotFound("ven_unknown", "no enrolment with a ledger key has this venID")
        try:
            body = request.signed.text.encode()
            asked = decode(body, RenewalText)
            proven = verify(ven.public_key, body, bytes.fromhex(request.signed.signature))
        except (CodecError, ValueError) as error:
            raise InvalidInput("renewal_invalid", f"this is no signed renewal: {error}") from None
        expected = (RENEWAL_FORMAT, ven.ven_id, _digest(request.certificate_request))
        if not proven or (asked.format, asked.ven_id, asked.request_digest) != expected:
            raise NotAllowed("proof_invalid", "the proof is not the ledger key's signature of this request")
        if abs(asked.at_ms - self._clock.wall_ms()) > _RENEWAL_SKEW_MS:
            raise NotAllowed("timestamp_off", "the request is older or newer than five minutes: set the clock")
        if ven.status != ENROLLED:
            raise NotAllowed("ven_not_enrolled", f"the enrolment of this VEN is {ven.status}")
        return await self._certificates.issue(ven.ven_id, request.certificate_request.encode())

    async def _decide(self, ven_id: str, status: str, act: str, **detail: str) -> Ven:
        async with self._database.transaction() as connection:
            ven = await locked_ven(connection, ven_id)
            if ven is None:
                raise NotFound("ven_unknown", f"there is no VEN {ven_id}: `dr-vtn vens list` shows those there are")
            if ven.status != WAITING:
                raise NotAllowed("ven_not_waiting", f"{ven_id} is {ven.status}, it does not wait for approval")
            changed = await change_ven(connection, ven_id, status=status)
            await audit.record(connection, act, ven_id, **detail)
        assert changed is not None
        return changed

    async def _admit(self, connection: AsyncConnection, request: EnrolmentRequest) -> Ven:
        query = select(invitations).where(invitations.c.code_digest == _digest(request.code)).with_for_update()
        invitation = (await connection.execute(query)).mappings().first()
        if invitation is None or invitation["ven_name"] != request.ven_name:
            raise NotAllowed("invitation_unknown", "this code is no invitation for this name")
        enrolment = Enrolment(
            party=party_id(Role.DEVICE, request.public_key),
            role=Role.DEVICE,
            key=request.public_key,
            sponsor=self.sponsor,
            area=invitation["area"],
        )
        if not _proves(enrolment, request.proof):
            raise NotAllowed("proof_invalid", "the proof is not the key's signature of its enrolment")
        now_ms = self._clock.now_ms()
        if invitation["public_key"] is not None:
            if invitation["public_key"] != request.public_key:
                raise NotAllowed("invitation_used", "another key has used this invitation")
            known = await locked_ven(connection, invitation["ven_id"])
            assert known is not None
            if known.status != APPROVED:
                return known
            await self._seal(connection, known, EnrolParty(enrolment=enrolment, proof=request.proof))
            ven = await change_ven(connection, known.ven_id, status=ENROLLING)
            assert ven is not None
            return ven
        if invitation["expires_ms"] <= now_ms:
            raise NotAllowed("invitation_expired", "this invitation has expired: ask for a new one")
        status = WAITING if self._approval else ENROLLING
        ven = Ven(
            ven_id=invitation["ven_id"], ven_name=request.ven_name, party=enrolment.party,
            public_key=request.public_key, area=invitation["area"], program=invitation["program"],
            virtual_node=invitation["virtual_node"], status=status, resource=request.resource,
            registration_id=None, profile_name=None, transport_name=None, transport_address=None, http_pull=True,
            report_only=False, poll_interval_s=self._poll_interval_s, fingerprint=None, meter_r_id=None,
            enrolled_ms=now_ms, registered_ms=None,
        )  # fmt: skip
        await insert_ven(connection, ven)
        used = {"public_key": ven.public_key, "used_ms": ven.enrolled_ms}
        await connection.execute(update(invitations).where(invitations.c.ven_id == ven.ven_id).values(**used))
        await audit.record(connection, f"ven_{ven.status}", ven.ven_id, party=ven.party or "", key=request.public_key)
        if ven.status == ENROLLING:
            await self._seal(connection, ven, EnrolParty(enrolment=enrolment, proof=request.proof))
        return ven

    async def _seal(self, connection: AsyncConnection, ven: Ven, command: EnrolParty) -> None:
        """What the ledger is to be told, kept until it answers."""
        enrol_key, credit_key = _keys(ven)
        await self._outbox.put(connection, enrol_key, self.sponsor, command)
        if self._credit_minor:
            assert ven.party is not None
            # no venID as its reference: on the ledger it would tie the pseudonyms of a home to each other
            credit = Transfer(to=ven.party, amount_minor=self._credit_minor, reference="")
            await self._outbox.put(connection, credit_key, self.sponsor, credit)

    async def _enrolled_before(self, ven: Ven, refused: list[OutboxEntry]) -> bool:
        """Was it refused only because it was done before, by a VTN whose database is lost, with this very key?"""
        if any(entry.code not in _DONE_BEFORE for entry in refused) or ven.party is None:
            return False
        party = await self._ledger.record(Party, ven.party)
        return party is not None and party.key == ven.public_key and party.area == ven.area

    async def _mark(self, ven: Ven, status: str) -> Ven:
        async with self._database.transaction() as connection:
            found = await locked_ven(connection, ven.ven_id)
            if found is None or found.status in (REMOVED, REVOKED):
                raise NotAllowed("ven_removed", f"{ven.ven_name} was taken out of service")
            changed = await change_ven(connection, ven.ven_id, status=status)
            if found.status != status:
                await audit.record(connection, f"ven_{status}", ven.ven_id)
        assert changed is not None
        return changed


def _keys(ven: Ven) -> list[str]:
    """Keys of the two transactions; by party, so that a VTN restored from an old backup gives no second credit."""
    return [f"enrol-{ven.party}", f"credit-{ven.party}"]


def _proves(enrolment: Enrolment, proof: str) -> bool:
    try:
        return verify(enrolment.key, enrolment_bytes(enrolment), bytes.fromhex(proof))
    except (ValueError, CodecError):  # no hex, or a key with characters that nothing signed can hold
        return False


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _check_name(name: str, what: str) -> None:
    if not name or len(name) > 96 or not name.isprintable() or name != name.strip():
        raise InvalidInput("name_invalid", f"{what} {name!r}: 1 to 96 printable characters")
