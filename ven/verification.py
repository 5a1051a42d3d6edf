"""Checks of what the ledger recorded for a home, from files alone: no network, no database, no other state.

check_event      the contract's terms are on the ledger, and the event file is the one they name
check_payment    the contract's completion is on the ledger, and its figures add up
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ledger.verify import VerificationError, Verified, verify_payment, verify_proof
from ledger.verify.canonical import encode
from ven.errors import ProofRefused


@dataclass(frozen=True)
class Place:
    """Where the ledger holds it: leaf `index` of the log `origin` of `size` leaves, attested by `witnesses`."""

    origin: str
    channel: str
    index: int
    size: int
    witnesses: tuple[str, ...]


@dataclass(frozen=True)
class EventShown:
    """A contract's terms; `event_digest` is SHA-256 of the event it is about, `event_checked` whether its file fits."""

    place: Place
    contract_id: str
    payer: str
    payee: str
    dr_event_id: str
    event_digest: str
    terms_digest: str
    obligation_wh: int
    event_checked: bool


@dataclass(frozen=True)
class PaymentShown:
    """A contract's end; money in minor units, energy in Wh; `amount_minor` below zero came out of the deposit."""

    place: Place
    contract_id: str
    payer: str
    payee: str
    outcome: str
    obligation_wh: int
    delivered_wh: int
    paid_wh: int
    energy_minor: int
    penalty_minor: int
    amount_minor: int


def check_event(proof: bytes, policy: bytes, opening: bytes, event: bytes | None = None) -> EventShown:
    """`event`: the canonical bytes of the dr_event, None to check the terms alone. Raises ProofRefused."""
    verified, fact = _opened(proof, policy, opening, "DRSetUp")
    terms = fact["terms"]
    if event is not None and sha256(event).hexdigest() != terms["dr_event_digest"]:
        raise ProofRefused(
            f"event_mismatch: the event file has digest {sha256(event).hexdigest()}, "
            f"the contract names {terms['dr_event_digest']}"
        )
    return EventShown(
        place=_place(verified),
        contract_id=fact["contract_id"],
        payer=fact["payer"],
        payee=fact["payee"],
        dr_event_id=terms["dr_event_id"],
        event_digest=terms["dr_event_digest"],
        terms_digest=sha256(encode(terms)).hexdigest(),
        obligation_wh=sum(terms["obligation_wh"]),
        event_checked=event is not None,
    )


def check_payment(proof: bytes, policy: bytes, opening: bytes) -> PaymentShown:
    """Raises ProofRefused."""
    try:
        payment = verify_payment(proof, policy, opening, strict=True)
    except VerificationError as error:
        raise ProofRefused(str(error)) from error
    return PaymentShown(
        place=_place(payment.proved),
        contract_id=payment.contract_id,
        payer=payment.payer,
        payee=payment.payee,
        outcome=payment.outcome,
        obligation_wh=payment.obligation_wh,
        delivered_wh=payment.delivered_wh,
        paid_wh=payment.paid_wh,
        energy_minor=payment.energy_minor,
        penalty_minor=payment.penalty_minor,
        amount_minor=payment.amount_minor,
    )


def _opened(proof: bytes, policy: bytes, opening: bytes, expected: str) -> tuple[Verified, Mapping[str, Any]]:
    try:
        # strict: nothing in the three files may change unnoticed
        verified = verify_proof(proof, policy, opening, strict=True)
    except VerificationError as error:
        raise ProofRefused(str(error)) from error
    fact = verified.fact
    if not isinstance(fact, dict) or fact.get("fact") != expected:
        shown = fact.get("fact") if isinstance(fact, dict) else "no fact"
        raise ProofRefused(f"wrong_fact: the opening shows {shown}, expected is {expected}")
    return verified, fact


def _place(verified: Verified) -> Place:
    checkpoint = verified.attestation.checkpoint
    return Place(
        origin=checkpoint.origin,
        channel=verified.channel,
        index=verified.index,
        size=checkpoint.size,
        witnesses=tuple(sorted(verified.attestation.cosigned_at_s)),
    )
