"""Founding a ledger and loading what was founded: two separate acts.

    data folder:  log.key       signs checkpoints under the log's name      (0600)
                  cosigner.key  cosigns them under the member's own name    (0600)
                  policy.txt    whom clients believe (tlog-policy)
                  genesis.json  the state before block 1; written last, so that it is there or nothing counts

`found` refuses if anything exists. `load` checks that the four fit each other before anything is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import contracts
from contracts.core.codec import decode, digest, encode
from contracts.core.commands import Enrolment
from contracts.core.errors import CodecError, Refusal
from contracts.rules import Genesis, genesis
from ledger.config import LedgerSettings
from ledger.errors import GenesisExists, GenesisInvalid
from ledger.log.checkpoint import cosigner_key, log_key
from ledger.log.policy import write_policy
from ledger.verify import VerificationError
from ledger.verify.note import VerifierKey
from ledger.verify.policy import parse_policy
from runtime.keys import PrivateKey


class Founded(NamedTuple):
    """A ledger as its member holds it."""

    genesis: Genesis
    log_key: PrivateKey
    cosigner_key: PrivateKey
    member: str
    policy: bytes


def found(
    settings: LedgerSettings,
    *,
    parties: Sequence[Enrolment],
    channel: str,
    origin: str,
    member: str,
    contracts_root: str,
    created_ms: int,
) -> Founded:
    """Makes keys, policy and genesis in the data folder. Raises GenesisExists, GenesisInvalid."""
    _refuse_existing(settings)
    agreed = Genesis(
        channel=channel, origin=origin, created_ms=created_ms, contracts_root=contracts_root, parties=tuple(parties)
    )
    _check(agreed)
    _verifier_keys(origin, member, PrivateKey.generate(), PrivateKey.generate())  # names that no note can use
    log, cosigner = PrivateKey.create(settings.log_key_file), PrivateKey.create(settings.cosigner_key_file)
    log_vkey, cosigner_vkey = _verifier_keys(origin, member, log, cosigner)
    policy = write_policy([log_vkey], [cosigner_vkey])
    settings.policy_file.write_bytes(policy)
    partial = settings.genesis_file.with_suffix(".partial")
    partial.write_bytes(encode(agreed))
    partial.rename(settings.genesis_file)
    return Founded(agreed, log, cosigner, member, policy)


def contracts_root() -> str:
    """SHA-256 that names the contracts this program executes: over each module's path and source, in path order."""
    folder = Path(contracts.__file__).parent
    sources = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py"))
    return digest([[name, digest(path.read_bytes())] for name, path in sources])


def load(settings: LedgerSettings) -> Founded:
    """What `found` made. Raises GenesisInvalid, KeyFileError."""
    try:
        agreed = decode(settings.genesis_file.read_bytes(), Genesis)
        policy = settings.policy_file.read_bytes()
        trusted = parse_policy(policy, strict=True)
    except FileNotFoundError as error:
        raise GenesisInvalid(
            f"there is no ledger in {settings.data_dir} ({error.filename} is missing): "
            "found one with `dr-ledger init --utility FILE.pub --aggregator FILE.pub`, or name its folder: --data-dir"
        ) from None
    except (CodecError, VerificationError, OSError) as error:
        raise GenesisInvalid(f"the ledger in {settings.data_dir} cannot be used: {error}") from None
    _check(agreed)
    log, cosigner = PrivateKey.load(settings.log_key_file), PrivateKey.load(settings.cosigner_key_file)
    names = [key.name for _, key in trusted.witnesses if key.public == _raw(cosigner)]
    if not names or not any(key.public == _raw(log) and key.name == agreed.origin for key in trusted.logs):
        raise GenesisInvalid(
            f"the keys in {settings.data_dir} are not those {settings.policy_file.name} names: restore the folder"
        )
    return Founded(agreed, log, cosigner, names[0], policy)


def _refuse_existing(settings: LedgerSettings) -> None:
    files = (settings.genesis_file, settings.log_key_file, settings.cosigner_key_file, settings.policy_file)
    found = [path for path in (*files, settings.postgres_dir) if path.exists()]
    if found:
        raise GenesisExists(
            f"{found[0]} exists: a ledger is founded once and never over another. Start it with "
            f"`dr-ledger serve --data-dir {settings.data_dir}`, or found a new one in another folder"
        )


def _check(agreed: Genesis) -> None:
    if agreed.origin.rpartition("/")[2] != agreed.channel:
        raise GenesisInvalid(f"the log's name {agreed.origin!r} must end in /{agreed.channel}, its channel")
    try:
        genesis(agreed)
    except (Refusal, ValueError) as error:
        raise GenesisInvalid(f"these parties make no ledger: {error}") from None


def _verifier_keys(origin: str, member: str, log: PrivateKey, cosigner: PrivateKey) -> tuple[VerifierKey, VerifierKey]:
    try:
        return log_key(origin, _raw(log)), cosigner_key(member, _raw(cosigner))
    except VerificationError as error:
        raise GenesisInvalid(f"the log's name {origin!r} or the member's {member!r} cannot be used: {error}") from None


def _raw(key: PrivateKey) -> bytes:
    return bytes.fromhex(key.public.partition(":")[2])
