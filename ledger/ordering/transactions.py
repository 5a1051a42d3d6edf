"""A transaction as the replica handles it: parsed once, with everything that is hashed or signed."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import msgspec

from contracts.core.codec import decode
from contracts.core.commands import COMMANDS, Command, embedded, touched
from contracts.core.envelope import (
    BODY_BYTES_MAX,
    Header,
    Transaction,
    commitment,
    parse_transaction,
    signing_bytes,
)
from contracts.core.errors import CodecError
from ledger.verify.opening import SALT_BYTES

Triple = tuple[str, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Parsed:
    """`content`: canonical bytes of the whole; `command` None: the body is not one of ours (the contracts say why)."""

    transaction: Transaction
    content: bytes
    content_hash: bytes
    id: str
    signed: bytes
    signature: bytes
    salt: bytes
    body: bytes
    committed: bool
    command: Command | None

    @property
    def header(self) -> Header:
        return self.transaction.header

    def signatures(self, sender_key: str, payee_key: str | None = None) -> tuple[Triple, ...]:
        """The (key, message, signature) triples that executing it will ask about, as far as is known beforehand."""
        own = (sender_key, self.signed, self.signature)
        return (own,) if self.command is None else (own, *embedded(self.command, payee_key))

    def touched(self) -> tuple[tuple[str, str], ...]:
        """(kind, key) of records it is sure to read, to be loaded with those of the whole block."""
        sender = self.header.sender
        if self.command is None:
            return (("party", sender),)
        return touched(sender, self.command)


def parse(content: bytes) -> Parsed:
    """Reads the canonical bytes of a transaction. Raises CodecError."""
    transaction = parse_transaction(content)
    header = transaction.header
    signed = signing_bytes(header)
    body, salt = transaction.body.encode(), bytes.fromhex(transaction.salt)
    if len(salt) != SALT_BYTES:
        raise CodecError(f"a salt of {len(salt)} bytes")
    return Parsed(
        transaction=transaction,
        content=content,
        content_hash=sha256(content).digest(),
        id=sha256(signed).hexdigest(),
        signed=signed,
        signature=bytes.fromhex(transaction.signature),
        salt=salt,
        body=body,
        committed=commitment(salt, body) == header.commitment,
        command=_command(header, body),
    )


def _command(header: Header, body: bytes) -> Command | None:
    kind = COMMANDS.get((header.contract, header.command))
    if kind is None:
        return None
    try:
        # the strict check is the contracts'; here the command is only a hint for loading
        return msgspec.json.decode(body, type=kind) if len(body) <= BODY_BYTES_MAX else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def strictly_formed(parsed: Parsed) -> bool:
    """Is the body the canonical form of a known command? (At ingress, before it costs a leaf.)"""
    kind = COMMANDS.get((parsed.header.contract, parsed.header.command))
    if kind is None:
        return False
    try:
        decode(parsed.body, kind, bytes_max=BODY_BYTES_MAX)
    except CodecError:
        return False
    return True
