"""A home changes its id on the ledger with the billing period; which id was whose stays in this database.

    home: new key ── signed by the old one ──▶ turn ── EnrolParty, the same credit for all ──▶ ledger
                                                  └── then: VEN, party and key replaced, and said in the audit alone

The home comes at a random moment of the first hours of the period, and ends its old id at another: nobody who reads the
ledger can tell which of those that came belongs to which of those that went.
"""

from __future__ import annotations

import msgspec
from sqlalchemy.exc import IntegrityError

from contracts.core.codec import decode
from contracts.core.commands import Enrolment, EnrolParty, Transfer, enrolment_bytes
from contracts.core.errors import CodecError
from contracts.core.parties import Role
from ledger.client import party_id
from runtime.clock import Clock
from runtime.keys import verify
from vtn.auth import audit
from vtn.auth.consent import SignedText
from vtn.errors import Conflict, InvalidInput, LedgerRefused, NotAllowed, NotFound
from vtn.records.database import Database
from vtn.services.ledger_outbox import PENDING, LedgerOutbox, LedgerUnavailable
from vtn.services.vens import ENROLLED, Ven, change_ven, locked_ven

FORMAT = "gridpact.pseudonym.1"
_DONE_BEFORE = "party_exists"
_SKEW_MS = 300_000


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new id is asked for: `signed` is a TurnText with the signature of the VEN's present ledger key."""

    ven_id: str
    signed: SignedText


class TurnText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the present key signs. `proof` is the hex signature of contracts' Enrolment by the new key; `at_ms` is wall
    clock."""

    format: str
    ven_id: str
    period: str
    public_key: str
    proof: str
    at_ms: int


class Turned(msgspec.Struct, frozen=True, kw_only=True):
    """The VEN's id from now on."""

    party: str


class Pseudonyms:
    """Turns of enrolled VENs. `credit_minor` is what each new id begins with."""

    def __init__(
        self, database: Database, clock: Clock, outbox: LedgerOutbox, *, sponsor: str, credit_minor: int = 0
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._sponsor = sponsor
        self._credit_minor = credit_minor

    async def turn(self, request: TurnRequest) -> Turned:
        """Enrol the new id and make it the VEN's; the same request again gets the same answer.

        Raises InvalidInput, NotAllowed, NotFound, Conflict for a key in use, LedgerRefused, LedgerUnavailable (repeat
        later)."""
        async with self._database.transaction() as connection:
            ven = await locked_ven(connection, request.ven_id)
            if ven is None or ven.public_key is None:
                raise NotFound("ven_unknown", "no enrolment with a ledger key has this venID")
            asked, enrolment = self._asked(ven, request)
            if ven.public_key == asked.public_key:
                return Turned(party=enrolment.party)
            keys = [f"enrol-{enrolment.party}", f"credit-{enrolment.party}"]
            await self._outbox.put(
                connection, keys[0], self._sponsor, EnrolParty(enrolment=enrolment, proof=asked.proof)
            )
            if self._credit_minor:
                # no reference: it would name the home in each of its periods
                credit = Transfer(to=enrolment.party, amount_minor=self._credit_minor, reference="")
                await self._outbox.put(connection, keys[1], self._sponsor, credit)
        for entry in await self._outbox.deliver(keys):
            if entry.status == PENDING:
                raise LedgerUnavailable(f"the ledger has not answered yet about {entry.key}: repeat the request")
            if entry.code not in ("ok", None, _DONE_BEFORE):
                raise LedgerRefused(entry.code or "", f"the ledger refused {entry.key}: {entry.code}")
        return await self._replace(ven, asked, enrolment.party)

    async def _replace(self, before: Ven, asked: TurnText, party: str) -> Turned:
        try:
            async with self._database.transaction() as connection:
                ven = await locked_ven(connection, before.ven_id)
                if ven is None or ven.public_key not in (before.public_key, asked.public_key):
                    raise Conflict("pseudonym_changed", "this VEN has turned to another key meanwhile")
                await change_ven(connection, before.ven_id, party=party, public_key=asked.public_key)
                await audit.record(connection, "ven_pseudonym", before.ven_id, party=party, period=asked.period)
        except IntegrityError:
            raise Conflict("already_in_use", "another VEN has this key") from None
        return Turned(party=party)

    def _asked(self, ven: Ven, request: TurnRequest) -> tuple[TurnText, Enrolment]:
        try:
            body = request.signed.text.encode()
            asked = decode(body, TurnText)
            known = verify(ven.public_key or "", body, bytes.fromhex(request.signed.signature))
            enrolment = Enrolment(
                party=party_id(Role.DEVICE, asked.public_key),
                role=Role.DEVICE,
                key=asked.public_key,
                sponsor=self._sponsor,
                area=ven.area,
            )
            proven = verify(asked.public_key, enrolment_bytes(enrolment), bytes.fromhex(asked.proof))
        except (CodecError, ValueError) as error:
            raise InvalidInput("turn_invalid", f"this is no signed turn to another id: {error}") from None
        # its answer was lost: the key that is asked for is the one this VEN has
        again = ven.public_key == asked.public_key
        if not (known or again) or not proven or (asked.format, asked.ven_id) != (FORMAT, ven.ven_id):
            raise NotAllowed("proof_invalid", "the proof is not the present and the new key's signature of this turn")
        if abs(asked.at_ms - self._clock.wall_ms()) > _SKEW_MS and not again:
            raise NotAllowed("timestamp_off", "the request is older or newer than five minutes: set the clock")
        if ven.status != ENROLLED:
            raise NotAllowed("ven_not_enrolled", f"the enrolment of this VEN is {ven.status}")
        return asked, enrolment
