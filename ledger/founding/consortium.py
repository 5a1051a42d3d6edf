"""A ledger of several members: each makes its keys, one writes the genesis of all, each joins it.

    each member    create_member ──▶ log.key, cosigner.key, member.json ── to one of them ──┐
    one of them    found_consortium(member.json ...) ──▶ genesis.json, policy.txt, members.json ── to all
    each member    join ──▶ checks that its own keys are named there, and that the three fit; then takes them

The same input gives the same bytes, so the members can compare what they were given by its digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from contracts.core.codec import decode, encode
from contracts.core.commands import Enrolment, Member
from contracts.core.errors import CodecError
from contracts.rules import Genesis, ParentChannel
from ledger.config import LedgerSettings
from ledger.errors import GenesisExists, GenesisInvalid
from ledger.founding.folder import GENESIS_BYTES_MAX, Founded, check, load, refuse_existing, write
from ledger.founding.keys import own_member, renamed, verifier_keys
from ledger.log.policy import Parties, parties_of, write_policy
from ledger.verify import VerificationError
from ledger.verify.note import VerifierKey
from ledger.verify.policy import parse_policy
from runtime.keys import PrivateKey


class Named(Protocol):
    """A member's keys, as in genesis or state."""

    @property
    def log_vkey(self) -> str: ...
    @property
    def cosigner_vkey(self) -> str: ...


MEMBER_BYTES_MAX: Final = 64 * 1024


def create_member(settings: LedgerSettings, *, name: str, peer_url: str, origin: str) -> Member:
    """Makes this member's keys and member.json in the data folder. Raises GenesisExists, GenesisInvalid."""
    verifier_keys(origin, name, PrivateKey.generate(), PrivateKey.generate())  # names that no note can use
    for path in (settings.log_key_file, settings.cosigner_key_file, settings.member_file, settings.genesis_file):
        if path.exists():
            raise GenesisExists(f"{path} exists: a member's keys are made once and never over others")
    log, cosigner = PrivateKey.create(settings.log_key_file), PrivateKey.create(settings.cosigner_key_file)
    member = own_member(name, peer_url, origin, log, cosigner)
    settings.member_file.write_bytes(encode(member))
    return member


def read_member(path: Path) -> Member:
    """A member.json. Raises GenesisInvalid."""
    try:
        return decode(path.read_bytes(), Member, bytes_max=MEMBER_BYTES_MAX)
    except (OSError, CodecError) as error:
        raise GenesisInvalid(f"{path} is no member.json (`dr-ledger member create` makes it): {error}") from None


def consortium(
    members: Sequence[Member],
    *,
    parties: Sequence[Enrolment],
    channel: str,
    origin: str,
    contracts_root: str,
    created_ms: int,
    parent: ParentChannel | None = None,
    quorum: int | None = None,
    witnesses: Sequence[VerifierKey] = (),
    required: int = 0,
) -> tuple[Genesis, bytes]:
    """The genesis of these members and their policy: the same for the same input, in whatever order. The policy also
    names external `witnesses`, and needs `required` of them. Raises GenesisInvalid."""
    named = sorted((renamed(member, origin) for member in members), key=lambda member: member.name)
    agreed = Genesis(
        channel=channel, origin=origin, created_ms=created_ms, contracts_root=contracts_root, parties=tuple(parties),
        members=tuple(named), parent=parent,
    )  # fmt: skip
    check(agreed)
    return agreed, policy_of(named, quorum, Parties((), 0, tuple(witnesses), required))


def policy_of(members: Sequence[Named], quorum: int | None = None, like: Parties | bytes | None = None) -> bytes:
    """The policy file that names these members, and the external witnesses of `like`, parties or a policy file. Raises
    GenesisInvalid."""
    beside = parties_of(parse_policy(like)) if isinstance(like, bytes) else like or Parties((), 0)
    try:
        return write_policy(
            [VerifierKey.parse(member.log_vkey) for member in members],
            [VerifierKey.parse(member.cosigner_vkey) for member in members],
            quorum,
            witnesses=beside.witnesses,
            required=beside.required,
        )
    except VerificationError as error:
        raise GenesisInvalid(f"these members make no consortium: {error}") from None


def found_consortium(settings: LedgerSettings, agreed: Genesis, policy: bytes) -> None:
    """Writes genesis.json, policy.txt and members.json into the data folder, beside this member's keys if they are
    there. Raises GenesisExists."""
    refuse_existing(settings, keys=False)
    write(settings, agreed, policy)


def join(settings: LedgerSettings, *, genesis: Path, policy: Path, members: Path | None = None) -> Founded:
    """Takes the three files of the founders, if they name this member's keys and fit each other. Raises GenesisInvalid,
    GenesisExists, KeyFileError."""
    try:
        agreed = decode(genesis.read_bytes(), Genesis, bytes_max=GENESIS_BYTES_MAX)
        policy_bytes = policy.read_bytes()
        listed = None if members is None else decode(members.read_bytes(), list[Member], bytes_max=GENESIS_BYTES_MAX)
    except (OSError, CodecError) as error:
        raise GenesisInvalid(f"the founders' files cannot be used: {error}") from None
    if listed is not None and tuple(listed) != agreed.members:
        raise GenesisInvalid(f"{members} names other members than {genesis}")
    if not agreed.members:
        raise GenesisInvalid(
            f"{genesis} is of a ledger that one member founded for good (dr-ledger init without --peer-url): its state "
            "names no members, so nobody can approve another"
        )
    check(agreed)
    log, cosigner = PrivateKey.load(settings.log_key_file), PrivateKey.load(settings.cosigner_key_file)
    named = any(own_member(each.name, each.peer_url, agreed.origin, log, cosigner) == each for each in agreed.members)
    if not named and not settings.member_file.exists():
        raise GenesisInvalid(f"the keys in {settings.log_key_file.parent} are those of none of the founders")
    refuse_existing(settings, keys=False)
    write(settings, agreed, policy_bytes)
    return load(settings)
