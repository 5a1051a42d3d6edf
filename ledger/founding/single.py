"""A ledger of one member, founded in one act."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.core.commands import Enrolment
from contracts.rules import Genesis
from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from ledger.founding.folder import Founded, check, refuse_existing, write
from ledger.founding.keys import verifier_keys
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
) -> Founded:
    """Makes keys, policy and genesis in the data folder; the policy also names external `witnesses`, and needs
    `required` of them. Raises GenesisExists, GenesisInvalid."""
    refuse_existing(settings)
    agreed = Genesis(
        channel=channel, origin=origin, created_ms=created_ms, contracts_root=contracts_root, parties=tuple(parties)
    )
    check(agreed)
    # names that no note can use, and witnesses that make no policy, are found before there is a key
    _policy(*verifier_keys(origin, member, PrivateKey.generate(), PrivateKey.generate()), witnesses, required)
    log, cosigner = PrivateKey.create(settings.log_key_file), PrivateKey.create(settings.cosigner_key_file)
    log_vkey, cosigner_vkey = verifier_keys(origin, member, log, cosigner)
    policy = _policy(log_vkey, cosigner_vkey, witnesses, required)
    write(settings, agreed, policy)
    return Founded(agreed, log, cosigner, member, policy)


def _policy(log: VerifierKey, cosigner: VerifierKey, witnesses: Sequence[VerifierKey], required: int) -> bytes:
    try:
        return write_policy([log], [cosigner], witnesses=witnesses, required=required)
    except VerificationError as error:
        raise GenesisInvalid(f"these witnesses make no policy: {error}") from None
