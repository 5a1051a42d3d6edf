"""The key that backups are sealed for: X25519, its private half kept away from the replica.

    file key (32 random bytes, one a file) ── HPKE to each recipient ──▶ header of the backup
              └── AES-256-GCM ──▶ every part

Only the public half is needed to make a backup, so a machine that is broken into gives away no older backup. To erase
what backups hold, destroy the private key they were sealed for: a new key each quarter makes that a rule.
"""

from __future__ import annotations

import contextlib
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ledger.operations.errors import BackupKeyWrong
from runtime.errors import KeyFileError

SUITE: Final = "HPKE-X25519-HKDF-SHA256-AES-256-GCM"
_INFO: Final = b"gridpact/backup/v1"
_TEXT: Final = re.compile(r"x25519:([0-9a-f]{64})", re.ASCII)


class Recipient:
    """The public half: `x25519:<64 hex>`."""

    def __init__(self, public: X25519PublicKey) -> None:
        self._public = public
        self.text = f"x25519:{public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()}"

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of its text: names the key in a backup."""
        return sha256(self.text.encode()).hexdigest()[:16]

    @classmethod
    def read(cls, given: str) -> Self:
        """A public key as text or as the name of a .pub file. Raises KeyFileError."""
        text = given
        if not _TEXT.fullmatch(given):
            path = Path(given)
            if path.suffix != ".pub":  # a private key has the same form: it must not be taken by a slip
                raise KeyFileError(
                    f"{given} is neither a backup key (x25519:...) nor a .pub file: "
                    "`dr-ledger backup-key FILE` makes one"
                )
            try:
                text = path.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise KeyFileError(f"the backup key {path} cannot be read: {error}") from None
        match = _TEXT.fullmatch(text)
        if match is None:
            raise KeyFileError(f"{given} holds no public backup key (x25519: and 64 hex digits)")
        return cls(X25519PublicKey.from_public_bytes(bytes.fromhex(match[1])))

    def wrap(self, file_key: bytes) -> bytes:
        """The file key for the holder of the private half alone."""
        try:
            return _suite().encrypt(file_key, self._public, info=_INFO)
        except ValueError as error:  # a point of small order
            raise KeyFileError(f"the backup key {self.text} cannot be used: {error}") from None


class BackupKey:
    """The private half."""

    def __init__(self, secret: X25519PrivateKey) -> None:
        self._secret = secret
        self.recipient = Recipient(secret.public_key())

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new key in `path` (0600), its public half beside it with the ending .pub. Raises KeyFileError."""
        public_file = path.with_suffix(".pub")
        if public_file == path:
            raise KeyFileError(f"{path} would be the name of its own public half: give another ending, such as .key")
        for there in (path, public_file):
            if there.exists():
                raise KeyFileError(f"{there} exists: a key is never overwritten; choose another name")
        secret = X25519PrivateKey.generate()
        raw = secret.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(f"x25519-secret:{raw.hex()}\n")
                file.flush()
                os.fsync(file.fileno())
            key = cls(secret)
            public_file.write_text(key.recipient.text + "\n", encoding="ascii")
        except OSError as error:
            raise KeyFileError(f"the backup key {path} cannot be made: {error.strerror}") from None
        return key

    @classmethod
    def load(cls, path: Path) -> Self:
        """The key in `path`. Raises KeyFileError if it is missing, damaged or readable by others."""
        try:
            mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(f"the backup key {path} cannot be read: {error}") from None
        if os.name == "posix" and mode & 0o077:
            raise KeyFileError(f"{path} can be read by other users: run `chmod 600 {path}`, replace it if it leaked")
        name, _, digits = text.partition(":")
        if name == "x25519-secret" and len(digits) == 64:
            with contextlib.suppress(ValueError):  # the text is a secret: no error repeats it
                return cls(X25519PrivateKey.from_private_bytes(bytes.fromhex(digits)))
        raise KeyFileError(f"{path} holds no private backup key: `dr-ledger backup-key FILE` makes one")

    def unwrap(self, wrapped: bytes) -> bytes:
        """The file key. Raises BackupKeyWrong."""
        try:
            return _suite().decrypt(wrapped, self._secret, info=_INFO)
        except (InvalidTag, ValueError):
            raise BackupKeyWrong(
                f"the file key in the backup's header is damaged, or not for {self.recipient.fingerprint}"
            ) from None


def _suite() -> Suite:
    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
