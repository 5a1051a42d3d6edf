"""A ledger of one member, founded in one act."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.core.commands import Enrolment
from contracts.rules import Genesis
from ledger.config import LedgerSettings
from ledger.founding.folder import Founded, check, refuse_existing, write
from ledger.founding.keys import verifier_keys
from ledger.log.policy import write_policy
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
) -> Founded:
    """Makes keys, policy and genesis in the data folder. Raises GenesisExists, GenesisInvalid."""
    refuse_existing(settings)
    agreed = Genesis(
        channel=channel, origin=origin, created_ms=created_ms, contracts_root=contracts_root, parties=tuple(parties)
    )
    check(agreed)
    verifier_keys(origin, member, PrivateKey.generate(), PrivateKey.generate())  # names that no note can use
    log, cosigner = PrivateKey.create(settings.log_key_file), PrivateKey.create(settings.cosigner_key_file)
    log_vkey, cosigner_vkey = verifier_keys(origin, member, log, cosigner)
    policy = write_policy([log_vkey], [cosigner_vkey])
    write(settings, agreed, policy)
    return Founded(agreed, log, cosigner, member, policy)
