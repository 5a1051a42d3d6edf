"""Pseudonyms that change each billing period: who a party is stays in the enrolment table, outside the ledger.

    enrolment table (sponsor)   secret ── HMAC(channel, period, home) ──▶ party id        dev-3f9a...
    home                        secret ── HKDF(channel, period) ────────▶ signing key     never leaves the home

    period p                         turn of the period                        period p + 1
    old id ── contracts end ── Transfer all to sponsor, RevokeParty      new id: EnrolParty, the same credit for all
                                     └─▶ paid out by the bill, outside the ledger

Nothing on the ledger leads from the old id to the new one: ids and keys are unrelated without the secrets, and money is
not handed over. What the old id has goes to the sponsor, together with everybody else's, and is paid out by the bill;
the new id starts with a credit that is the same for all. Homes that turn together are each other's cover: their number,
by sponsor and area, is how well one is hidden.

What this does not hide. The sponsor knows everybody (it sends the bills). Until the bill is paid, the home's claim is
against its sponsor, proved by its last Transfer. Who is alone in its area or turns alone is known. Readings, baselines
and meter limits are in clear for the channel's members, and a load curve may be recognised: rotation hides names from
those who compare records, not habits from those who study them. Erase bodies to end that (ledger.channels.erasure).
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from contracts.core.codec import decode, encode
from contracts.core.commands import Command, Enrolment, EnrolParty, RevokeParty, Transfer, enrolment_bytes
from contracts.core.errors import CodecError
from contracts.core.parties import Role
from contracts.core.units import Hash, Id
from runtime.errors import KeyFileError
from runtime.keys import PrivateKey

SECRET_BYTES: Final = 32
PERIOD: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)
"""A billing period: year and month, as the bill names it."""

_PREFIX: Final = {Role.DEVICE: "dev", Role.VIRTUAL_NODE: "vn"}
_ID_CONTEXT: Final = b"gridpact/pseudonym/v1\0"
_KEY_CONTEXT: Final = b"gridpact/pseudonym-key/v1\0"
_ID_BYTES: Final = 8
_FILE_BYTES_MAX: Final = 64 << 20

Period = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]


class Home(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the table: `home` is what the sponsor calls it (a contract number, a venID)."""

    home: Id
    area: Id
    role: Role = Role.DEVICE


class TableFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The enrolment table as it is kept: secret and homes."""

    format: Literal["gridpact/enrolment-table/v1"]
    secret: Hash
    homes: tuple[Home, ...]


class EnrolmentTable:
    """Which homes there are and, by its secret alone, under which id each is in a channel and period."""

    def __init__(self, secret: bytes, homes: Iterable[Home] = ()) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"the secret of a table has {SECRET_BYTES} bytes")
        self._secret = secret
        self.homes: Mapping[str, Home] = {each.home: each for each in homes}

    @classmethod
    def load(cls, path: Path) -> EnrolmentTable:
        """The table in `path`. Raises KeyFileError if it is missing, damaged or readable by others."""
        try:
            if os.name == "posix" and path.stat().st_mode & 0o077:
                raise KeyFileError(f"the enrolment table {path} can be read by other users: run `chmod 600 {path}`")
            file = decode(path.read_bytes(), TableFile, bytes_max=_FILE_BYTES_MAX)
        except (OSError, CodecError):  # the file is a secret: no error repeats it
            raise KeyFileError(f"there is no enrolment table at {path}, or it is damaged") from None
        return cls(bytes.fromhex(file.secret), file.homes)

    def save(self, path: Path) -> None:
        """Replaces the file at once, readable by its owner alone."""
        file = TableFile(
            format="gridpact/enrolment-table/v1", secret=self._secret.hex(), homes=tuple(self.homes.values())
        )
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(encode(file))
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)

    def with_home(self, home: Home) -> EnrolmentTable:
        """The table with one home more."""
        return EnrolmentTable(self._secret, [*self.homes.values(), home])

    def pseudonym(self, home: str, channel: str, period: str) -> str:
        """The home's party id in a channel and period. Raises KeyError for an unknown home, ValueError."""
        known = self.homes[home]
        message = _ID_CONTEXT + encode([channel, _checked(period), home])
        return f"{_PREFIX[known.role]}-{hmac.digest(self._secret, message, 'sha256')[:_ID_BYTES].hex()}"

    def find(self, party: str, channel: str, periods: Iterable[str]) -> tuple[str, str] | None:
        """(home, period) of a pseudonym, among these periods; None if it is nobody's."""
        for period in periods:
            for home in self.homes:
                if self.pseudonym(home, channel, period) == party:
                    return home, period
        return None


class HomeSecret:
    """What a home keeps: its signing key in each channel and period follows from it."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secrets.token_bytes(SECRET_BYTES) if secret is None else secret
        if len(self._secret) != SECRET_BYTES:
            raise ValueError(f"the secret of a home has {SECRET_BYTES} bytes")

    def key(self, channel: str, period: str) -> PrivateKey:
        """The key with which the home signs. Raises ValueError for what is no period."""
        info = _KEY_CONTEXT + encode([channel, _checked(period)])
        return PrivateKey.from_seed(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._secret))


def enrolment(pseudonym: str, home: Home, key: PrivateKey, sponsor: str) -> EnrolParty:
    """What a home gives its sponsor for the period to come: the new key's agreement to be this party."""
    wish = Enrolment(party=pseudonym, role=home.role, key=key.public, sponsor=sponsor, area=home.area)
    return EnrolParty(enrolment=wish, proof=key.sign(enrolment_bytes(wish)).hex())


def opening(enrolments: Sequence[EnrolParty], credit_minor: int) -> list[Command]:
    """What the sponsor signs at the turn of a period, in this order: all enrolments, then all credits, each in order of
    the new id, which says nothing about the old ones. `credit_minor` is the same for all (0: none)."""
    joining = sorted(enrolments, key=lambda each: each.enrolment.party)
    credited = [Transfer(to=each.enrolment.party, amount_minor=credit_minor, reference="") for each in joining]
    return [*joining, *(credited if credit_minor else ())]


def closing(pseudonym: str, free_minor: int, sponsor: str) -> list[Command]:
    """What a home signs with its old key once its contracts have ended: everything goes to the sponsor, who pays it out
    by the bill, and the id signs no more."""
    last = RevokeParty(party=pseudonym, reason="")
    return [*([Transfer(to=sponsor, amount_minor=free_minor, reference="")] if free_minor else []), last]


def _checked(period: str) -> str:
    if not PERIOD.fullmatch(period):
        raise ValueError(f"{period!r} is no billing period: write it like 2026-01")
    return period
