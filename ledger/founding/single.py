"""A ledger of one member, founded in one act."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from contracts.core.commands import Enrolment
from contracts.rules import Genesis
from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from ledger.founding.folder import Founded, check, refuse_existing, write
from ledger.founding.keys import own_member, verifier_keys
from ledger.log.policy import write_policy
from ledger.verify import VerificationError
from ledger.verify.note import VerifierKey
from runtime.keys import PrivateKey


def found(
    settings: LedgerSettings,
    *,
    parties: Sequence[Enrolment],
    channel: str,
    origin: str,
    member: str,
    contracts_root: str,
    created_ms: int,
    witnesses: Sequence[VerifierKey] = (),
    required: int = 0,
    peer_url: str | None = None,
) -> Founded:
    """Makes keys, policy and genesis in the data folder; the policy also names external `witnesses`, and needs
    `required` of them. peer_url: where other members will reach this one; with it the state names the member, who can
    approve others later; without it the ledger stays one of one member. Raises GenesisExists, GenesisInvalid."""
    refuse_existing(settings)
    agreed = Genesis(
        channel=channel, origin=origin, created_ms=created_ms, contracts_root=contracts_root, parties=tuple(parties)
    )
    check(agreed)
    if peer_url is not None and not peer_url.startswith(("https://", "http://")):
        raise GenesisInvalid(f"{peer_url} is no address: write it like https://replica.example:8441")
    # names that no note can use, and witnesses that make no policy, are found before there is a key
    _policy(*verifier_keys(origin, member, PrivateKey.generate(), PrivateKey.generate()), witnesses, required)
    log, cosigner = PrivateKey.create(settings.log_key_file), PrivateKey.create(settings.cosigner_key_file)
    log_vkey, cosigner_vkey = verifier_keys(origin, member, log, cosigner)
    policy = _policy(log_vkey, cosigner_vkey, witnesses, required)
    if peer_url is not None:
        agreed = msgspec.structs.replace(agreed, members=(own_member(member, peer_url, origin, log, cosigner),))
    write(settings, agreed, policy)
    return Founded(agreed, log, cosigner, member, policy)


def _policy(log: VerifierKey, cosigner: VerifierKey, witnesses: Sequence[VerifierKey], required: int) -> bytes:
    try:
        return write_policy([log], [cosigner], witnesses=witnesses, required=required)
    except VerificationError as error:
        raise GenesisInvalid(f"these witnesses make no policy: {error}") from None
