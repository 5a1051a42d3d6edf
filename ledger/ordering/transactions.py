"""A transaction as the replica handles it: parsed once, with everything that is hashed or signed."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from contracts.core.codec import decode
from contracts.core.commands import COMMANDS, Command, embedded, touched
from contracts.core.envelope import (
    BODY_BYTES_MAX,
    TRANSACTION_CONTEXT,
    Header,
    Opened,
    open_transaction,
    parse_transaction,
)
from contracts.core.errors import CodecError
from ledger.verify.opening import SALT_BYTES

Triple = tuple[str, bytes, bytes]

_SIGNATURE_BYTES: Final = 64
_HEADER: Final = b'"header":'
_BEHIND_HEADER: Final = len(b',"salt":""') + 2 * SALT_BYTES + len(b',"signature":""}') + 2 * _SIGNATURE_BYTES


class Parsed(Opened, frozen=True, kw_only=True, eq=False):
    """What was opened, with `content`, its canonical bytes, their hash, and its id on the ledger. `command` None: the
    body is not the canonical form of one of ours. Two of them are equal if they are the same object."""

    header: Header
    content: bytes
    content_hash: bytes
    id: str
    command: Command | None

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

    def entry(self, receipt_hash: bytes) -> bytes:
        """The canonical entry (ledger.log.entry.transaction_entry), put together from parts that are canonical."""
        parts = (
            f'{{"channel":"{self.header.channel}","header":'.encode(),
            self.signed[len(TRANSACTION_CONTEXT) :],
            f',"kind":"transaction","receipt":"{receipt_hash.hex()}","signature":"{self.transaction.signature}"}}'.encode(),
        )
        return b"".join(parts)


def parse(content: bytes) -> Parsed:
    """Reads the canonical bytes of a transaction. Raises CodecError."""
    transaction = parse_transaction(content)
    # canonical bytes have one form: the header stands between the body, in which quotation marks are escaped, and two
    # fields of known length
    opened = open_transaction(transaction, content[content.rindex(_HEADER) + len(_HEADER) : -_BEHIND_HEADER])
    if len(opened.salt) != SALT_BYTES:
        raise CodecError(f"a salt of {len(opened.salt)} bytes")
    return Parsed(
        transaction=transaction,
        header=transaction.header,
        content=content,
        content_hash=sha256(content).digest(),
        id=sha256(opened.signed).hexdigest(),
        signed=opened.signed,
        signature=opened.signature,
        salt=opened.salt,
        body=opened.body,
        committed=opened.committed,
        command=_command(transaction.header, opened.body),
    )


def _command(header: Header, body: bytes) -> Command | None:
    kind = COMMANDS.get((header.contract, header.command))
    if kind is None:
        return None
    try:
        return decode(body, kind, bytes_max=BODY_BYTES_MAX)
    except CodecError:
        return None
