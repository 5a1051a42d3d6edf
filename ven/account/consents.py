"""Consents of this home's owner: signed by its key, kept here, and taken back from here."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from ven.account.wallet import Wallet
from ven.home.store import Notes

GRANTEES = ("aggregator", "virtual_node", "utility", "auditor")
_NOTE = "consents"
_DAY_MS = 86_400_000


class ConsentChoice(msgspec.Struct, frozen=True):
    """What the owner agrees to: `grantee` may see the readings for `purpose` for so many days from now."""

    grantee: str
    purpose: str
    days: int


class OwnConsent(msgspec.Struct, frozen=True):
    """A consent as the home keeps it. Times are wall clock."""

    consent_id: str
    grantee: str
    purpose: str
    granted_ms: int
    until_ms: int
    text: str
    signature: str
    revoked_ms: int | None = None


def signed_consents(
    wallet: Wallet, notes: Notes, sponsor: str, choices: Sequence[ConsentChoice]
) -> list[dict[str, str]]:
    """Sign what the owner agrees to, once: a request that is repeated carries the same texts. Raises CodecError."""
    known = {(each.grantee, each.purpose): each for each in read_consents(notes) if each.revoked_ms is None}
    new = [_sign(wallet, sponsor, each) for each in choices if (each.grantee, each.purpose) not in known]
    if new:
        write_consents(notes, [*read_consents(notes), *new])
    wanted = {(each.grantee, each.purpose) for each in choices}
    return [
        {"text": each.text, "signature": each.signature}
        for each in [*known.values(), *new]
        if (each.grantee, each.purpose) in wanted
    ]


def revocation(wallet: Wallet, consent_id: str) -> dict[str, str]:
    """The signed text that takes a consent back."""
    return wallet.sign_text(
        {
            "format": "gridpact.consent-revocation.1",
            "party": wallet.party,
            "consent_id": consent_id,
            "revoked_ms": _now_ms(),
        }
    )


def mark_revoked(notes: Notes, consent_id: str) -> None:
    """The VTN knows that a consent was taken back."""
    write_consents(
        notes,
        [
            msgspec.structs.replace(each, revoked_ms=_now_ms()) if each.consent_id == consent_id else each
            for each in read_consents(notes)
        ],
    )


def read_consents(notes: Notes) -> list[OwnConsent]:
    """What the owner agreed to, oldest first."""
    return notes.read(_NOTE, list[OwnConsent]) or []


def write_consents(notes: Notes, consents: list[OwnConsent]) -> None:
    """Keep what the owner agreed to."""
    notes.write(_NOTE, consents)


def _sign(wallet: Wallet, sponsor: str, choice: ConsentChoice) -> OwnConsent:
    now_ms = _now_ms()
    until_ms = now_ms + choice.days * _DAY_MS
    text: dict[str, Any] = {
        "format": "gridpact.consent.1",
        "party": wallet.party,
        "sponsor": sponsor,
        "grantee": choice.grantee,
        "scope": "readings",
        "purpose": choice.purpose,
        "granted_ms": now_ms,
        "until_ms": until_ms,
    }
    signed = wallet.sign_text(text)
    consent_id = f"con-{hashlib.sha256(signed['text'].encode()).hexdigest()[:20]}"
    return OwnConsent(consent_id, choice.grantee, choice.purpose, now_ms, until_ms, signed["text"], signed["signature"])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
