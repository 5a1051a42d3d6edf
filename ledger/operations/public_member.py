"""Whose ledger a database is, told by what it signed: an audit needs the public halves of a member's keys alone.

genesis note (size 0) or the newest ─ lines ─▶ keys of the policy, or of member.json for a member that came later
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.core.codec import decode
from contracts.core.commands import Member
from contracts.core.errors import CodecError
from contracts.rules import Genesis
from ledger.errors import GenesisInvalid
from ledger.founding import Founded
from ledger.log.checkpoint import log_key
from ledger.store import tables
from ledger.verify import VerificationError
from ledger.verify.note import VerifierKey, parse_checkpoint
from ledger.verify.policy import parse_policy
from runtime.keys import PrivateKey

_NOTES: Final = 1_000


class _PublicKey(NamedTuple):
    """As much of a key as checks signatures."""

    public: str


async def founded_as_signed(engine: AsyncEngine, channel: str, member_file: Path) -> Founded:
    """The ledger of a database, for `ledger.audit.audit`; it cannot sign. Raises GenesisInvalid."""
    of, notes = tables.meta.c, tables.checkpoints.c
    newest = select(notes.note).where(notes.channel == channel).order_by(notes.size.desc()).limit(_NOTES)
    async with engine.connect() as connection:
        row = (await connection.execute(select(of.genesis, of.policy).where(of.channel == channel))).one()
        signed = [bytes(note) for note in (await connection.scalars(newest)).all()]
    try:
        agreed = decode(row[0], Genesis, bytes_max=len(row[0]))
        policy = parse_policy(row[1])
    except (CodecError, VerificationError) as error:
        raise GenesisInvalid(f"genesis or policy of channel {channel} cannot be used: {error}") from None
    logs, witnesses = list(policy.logs), [key for _, key in policy.witnesses]
    if member_file.exists():  # noqa: ASYNC240  # one file, once
        later_log, later_witness = _own_keys(member_file, agreed.origin)
        logs, witnesses = [*logs, later_log], [*witnesses, later_witness]
    for note in signed:
        found = _signers(note, logs, witnesses)
        if found is not None:
            log, witness = (cast("PrivateKey", _PublicKey(f"ed25519:{key.public.hex()}")) for key in found)
            return Founded(agreed, log, witness, found[1].name, row[1])
    raise GenesisInvalid(f"no checkpoint of channel {channel} is signed by a member that its policy names")


def _signers(
    note: bytes, logs: list[VerifierKey], witnesses: list[VerifierKey]
) -> tuple[VerifierKey, VerifierKey] | None:
    """Log key and cosigning key of a note with both lines; the audit verifies them."""
    try:
        lines = {(line.name, line.key_id) for line in parse_checkpoint(note).signatures}
    except VerificationError:
        return None
    log = next((key for key in logs if (key.name, key.key_id) in lines), None)
    witness = next((key for key in witnesses if (key.name, key.key_id) in lines), None)
    return None if log is None or witness is None else (log, witness)


def _own_keys(member_file: Path, origin: str) -> tuple[VerifierKey, VerifierKey]:
    try:
        said = decode(member_file.read_bytes(), Member)
        log = VerifierKey.parse(said.log_vkey)
        return log_key(origin, log.public), VerifierKey.parse(said.cosigner_vkey)
    except (CodecError, VerificationError, OSError) as error:
        raise GenesisInvalid(f"{member_file} cannot be used: {error}") from None
