"""The transaction envelope: what a party signs, and what commits to the part that may be erased.

Header and signature are permanent entries of the log. Salt and body are kept apart, so that they can be erased
after the dispute window while the chain of entries still verifies.

    commitment = SHA-256("gridpact/commit/v1\\0" || salt || body)
    signature  = Sign("gridpact/tx/v1\\0" || canonical header)
    id         = SHA-256 of what is signed
"""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from contracts.core.codec import decode, encode
from contracts.core.units import Hash, Id, SignatureHex, TimeMs

TRANSACTION_CONTEXT: Final = b"gridpact/tx/v1\0"
COMMITMENT_CONTEXT: Final = b"gridpact/commit/v1\0"
ENROLMENT_CONTEXT: Final = b"gridpact/enrol/v1\0"
OFFER_CONTEXT: Final = b"gridpact/offer/v1\0"
BODY_BYTES_MAX: Final = 49_152


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Who asks which contract for what. `nonce` is the sender's message id: 32 to 64 hex digits or an id."""

    channel: Id
    contract: Id
    command: Id
    sender: Id
    nonce: Id
    not_after_ms: TimeMs
    commitment: Hash


class Transaction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A signed command on its way: `salt` is 32 bytes in hex, `body` the canonical JSON text of the command."""

    header: Header
    signature: SignatureHex
    salt: Hash
    body: str


class Opened(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A transaction with what its own bytes say, so that each is computed once.

    signed: what the sender signs; committed: do salt and body give the header's commitment; command: the body where it
    is known to be the canonical form of its command, else None."""

    transaction: Transaction
    signed: bytes
    signature: bytes
    salt: bytes
    body: bytes
    committed: bool
    command: msgspec.Struct | None = None


def open_transaction(transaction: Transaction, header_bytes: bytes | None = None) -> Opened:
    """The parts of a transaction; its command is left to whoever knows the commands. header_bytes: the canonical bytes
    of its header, where the caller has them."""
    header = transaction.header
    salt, body = bytes.fromhex(transaction.salt), transaction.body.encode("utf-8", "surrogatepass")
    return Opened(
        transaction=transaction,
        signed=signing_bytes(header) if header_bytes is None else TRANSACTION_CONTEXT + header_bytes,
        signature=bytes.fromhex(transaction.signature),
        salt=salt,
        body=body,
        committed=commitment(salt, body) == header.commitment,
    )


def signing_bytes(header: Header) -> bytes:
    """What the sender signs."""
    return TRANSACTION_CONTEXT + encode(header)


def transaction_id(header: Header) -> str:
    """The id under which the ledger keeps a transaction's first result."""
    return hashlib.sha256(signing_bytes(header)).hexdigest()


def commitment(salt: bytes, body: bytes) -> str:
    """Binds a body without revealing it (the salt has 32 random bytes)."""
    return hashlib.sha256(COMMITMENT_CONTEXT + salt + body).hexdigest()


def seal(
    command: msgspec.Struct,
    *,
    channel: str,
    contract: str,
    sender: str,
    nonce: str,
    not_after_ms: int,
    salt: bytes,
    sign: Callable[[bytes], bytes],
) -> Transaction:
    """Makes the signed transaction of a command; `salt` must be 32 bytes nobody can guess."""
    body = encode(command)
    header = Header(
        channel=channel,
        contract=contract,
        command=type(command).__name__,
        sender=sender,
        nonce=nonce,
        not_after_ms=not_after_ms,
        commitment=commitment(salt, body),
    )
    return Transaction(header=header, signature=sign(signing_bytes(header)).hex(), salt=salt.hex(), body=body.decode())


def parse_transaction(data: bytes) -> Transaction:
    """Reads the canonical bytes of a transaction. Raises CodecError."""
    return decode(data, Transaction)
