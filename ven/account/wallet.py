"""The home's key: made here, kept here, and never part of anything that is sent."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from contracts.core.codec import encode
from contracts.core.commands import CONTRACT_OF, Command, Enrolment, enrolment_bytes
from contracts.core.envelope import Transaction, seal
from contracts.core.parties import Role
from ledger.client import party_id
from runtime.keys import PrivateKey

KEY_FILE = "ven.key"
MAIN = "main"


class Wallet:
    """Signs for one device in one channel. `party` is its pseudonym on the ledger, derived from the public key."""

    def __init__(self, key: PrivateKey, channel: str = MAIN) -> None:
        self._key = key
        self._channel = channel
        self.public = key.public
        self.party = party_id(Role.DEVICE, key.public)

    @classmethod
    def open(cls, folder: Path, channel: str = MAIN, name: str = KEY_FILE) -> Wallet:
        """The wallet of an enrolled home. Raises KeyFileError."""
        return cls(PrivateKey.load(folder / name), channel)

    @classmethod
    def open_or_create(cls, folder: Path, name: str = KEY_FILE, channel: str = MAIN) -> Wallet:
        """The wallet in `folder`; a key is made once and found again by every later attempt. Raises KeyFileError."""
        path = folder / name
        return cls.open(folder, channel, name) if path.exists() else cls(PrivateKey.create(path), channel)

    def prove_enrolment(self, sponsor: str, area: str) -> str:
        """Signature (hex) by which the key agrees to be this device under `sponsor` in `area`."""
        enrolment = Enrolment(party=self.party, role=Role.DEVICE, key=self.public, sponsor=sponsor, area=area)
        return self._key.sign(enrolment_bytes(enrolment)).hex()

    def sign_text(self, text: dict[str, Any]) -> dict[str, str]:
        """A canonical text and the key's signature (hex) over it: a consent, a request. Raises CodecError."""
        body = encode(text)
        return {"text": body.decode(), "signature": self._key.sign(body).hex()}

    def seal(self, command: Command, not_after_ms: int) -> Transaction:
        """The signed transaction of a command, to be stored before it is sent. Raises CodecError."""
        return seal(
            command,
            channel=self._channel,
            contract=CONTRACT_OF[type(command)],
            sender=self.party,
            nonce=secrets.token_hex(16),
            not_after_ms=not_after_ms,
            salt=secrets.token_bytes(32),
            sign=self._key.sign,
        )
