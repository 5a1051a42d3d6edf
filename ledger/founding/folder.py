"""The data folder of a member: written once, checked whenever it is read.

log.key       signs checkpoints under the log's name      (0600)
cosigner.key  cosigns them under the member's own name    (0600)
member.json   this member, as the founders or the other members need it
members.json  the founding members
policy.txt    whom clients believe (tlog-policy)
genesis.json  the state before block 1; written last, so that it is there or nothing counts
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.core.codec import decode, encode
from contracts.core.commands import Member
from contracts.core.errors import CodecError, Refusal
from contracts.rules import Genesis, genesis
from ledger.config import LedgerSettings
from ledger.errors import GenesisExists, GenesisInvalid
from ledger.founding.keys import own_member, raw, verifier_keys
from ledger.verify import VerificationError
from ledger.verify.policy import Policy, parse_policy
from runtime.keys import PrivateKey

GENESIS_BYTES_MAX = 4 * 1024 * 1024


class Founded(NamedTuple):
    """A ledger as its member holds it."""

    genesis: Genesis
    log_key: PrivateKey
    cosigner_key: PrivateKey
    member: str
    policy: bytes


def load(settings: LedgerSettings) -> Founded:
    """What was founded or joined here. Raises GenesisInvalid, KeyFileError."""
    try:
        agreed = decode(settings.genesis_file.read_bytes(), Genesis, bytes_max=GENESIS_BYTES_MAX)
        policy = settings.policy_file.read_bytes()
        trusted = parse_policy(policy, strict=True)
    except FileNotFoundError as error:
        raise GenesisInvalid(
            _incomplete(settings)
            or f"there is no ledger in {settings.data_dir} ({error.filename} is missing): "
            "found one with `dr-ledger init --utility FILE.pub --aggregator FILE.pub`, join one with `dr-ledger join`, "
            "or name its folder: --data-dir"
        ) from None
    except (CodecError, VerificationError, OSError) as error:
        raise GenesisInvalid(f"the ledger in {settings.data_dir} cannot be used: {error}") from None
    check(agreed)
    log, cosigner = PrivateKey.load(settings.log_key_file), PrivateKey.load(settings.cosigner_key_file)
    member = _own_name(settings, agreed, trusted, log, cosigner)
    if member is None:
        raise GenesisInvalid(
            f"the keys in {settings.log_key_file.parent} are not those {settings.policy_file} names: restore the folder"
        )
    return Founded(agreed, log, cosigner, member, policy)


def check(agreed: Genesis) -> None:
    """Raises GenesisInvalid for a genesis that makes no ledger."""
    if agreed.origin.rpartition("/")[2] != agreed.channel:
        raise GenesisInvalid(f"the log's name {agreed.origin!r} must end in /{agreed.channel}, its channel")
    try:
        genesis(agreed)
    except (Refusal, ValueError) as error:
        raise GenesisInvalid(f"these parties and members make no ledger: {error}") from None


def refuse_existing(settings: LedgerSettings, *, keys: bool = True) -> None:
    """Raises GenesisExists where a ledger is; with `keys`, also where a member's keys are."""
    files = [settings.genesis_file, settings.policy_file, settings.postgres_dir]
    if keys:
        files += [settings.log_key_file, settings.cosigner_key_file]
    found = [path for path in files if path.exists()]
    if found:
        raise GenesisExists(
            _incomplete(settings)
            or f"{found[0]} exists: a ledger is founded once and never over another. Start it with "
            f"`dr-ledger serve --data-dir {settings.data_dir}`, or found a new one in another folder"
        )


def _incomplete(settings: LedgerSettings) -> str | None:
    """What to do where a part of a ledger is missing: the same, whichever command met it. None where all or nothing
    is there."""
    agreed = (settings.genesis_file, settings.policy_file)
    missing = [path.name for path in agreed if not path.exists()]
    left = [path.name for path in (*agreed, settings.postgres_dir) if path.exists()]
    if missing and left:
        return (
            f"a part of the ledger in {settings.data_dir} was lost: {' and '.join(missing)} missing, "
            f"{', '.join(left)} there. Found nothing here. Copy the file from another member (it is the same for all, "
            "and no secret) or from a copy of this folder, or take a backup into another folder with "
            "`dr-ledger restore`"
        )
    keys = [path for path in (settings.log_key_file, settings.cosigner_key_file) if path.exists()]
    if missing and keys:
        return (
            f"{keys[0]} is there, and no ledger yet: a new member takes the founders' files with `dr-ledger join`, one "
            "that lost its folder takes a backup with `dr-ledger restore`; a new ledger is founded in another folder"
        )
    return None


def write(settings: LedgerSettings, agreed: Genesis, policy: bytes) -> None:
    """Policy, members, and at last the genesis."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.policy_file.write_bytes(policy)
    if agreed.members:
        settings.members_file.write_bytes(encode(list(agreed.members)))
    partial = settings.genesis_file.with_suffix(".partial")
    partial.write_bytes(encode(agreed))
    partial.rename(settings.genesis_file)


def _own_name(
    settings: LedgerSettings, agreed: Genesis, trusted: Policy, log: PrivateKey, cosigner: PrivateKey
) -> str | None:
    """By the policy, or, for a member that came later and that no founder's file names, by its own member.json."""
    names = [key.name for _, key in trusted.witnesses if key.public == raw(cosigner)]
    if names and any(key.public == raw(log) and key.name == agreed.origin for key in trusted.logs):
        return names[0]
    if names or not agreed.members or not settings.member_file.exists():
        return None
    try:
        said = decode(settings.member_file.read_bytes(), Member)
    except (CodecError, OSError):
        return None
    own = own_member(said.name, said.peer_url, agreed.origin, log, cosigner)
    same = verifier_keys(agreed.origin, said.name, log, cosigner)[1].encode() == said.cosigner_vkey
    return own.name if same and said.name not in {each.name for each in agreed.members} else None
