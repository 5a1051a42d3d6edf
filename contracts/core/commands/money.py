"""Commands of parties and money."""

from contracts.core.codec import encode
from contracts.core.commands.base import Command, Part
from contracts.core.envelope import ENROLMENT_CONTEXT
from contracts.core.parties import Role
from contracts.core.units import Id, Minor, PublicKey, SignatureHex, Text


class Enrolment(Part, frozen=True, kw_only=True):
    """What a joining party signs with its new key: it agrees to be `party` under `sponsor`."""

    party: Id
    role: Role
    key: PublicKey
    sponsor: Id
    area: Id


class EnrolParty(Command, frozen=True, kw_only=True):
    """The sponsor adds a party; `proof` is the new key's signature over the enrolment."""

    enrolment: Enrolment
    proof: SignatureHex


class RevokeParty(Command, frozen=True, kw_only=True):
    """Ends a party's right to sign: asked by itself or its sponsor."""

    party: Id
    reason: Text


class Issue(Command, frozen=True, kw_only=True):
    """Money enters: the utility answers for it outside the ledger."""

    to: Id
    amount_minor: Minor
    reference: Text


class Transfer(Command, frozen=True, kw_only=True):
    """Moves free funds of the sender to another party."""

    to: Id
    amount_minor: Minor
    reference: Text


def enrolment_bytes(enrolment: Enrolment) -> bytes:
    """What a joining party signs."""
    return ENROLMENT_CONTEXT + encode(enrolment)
