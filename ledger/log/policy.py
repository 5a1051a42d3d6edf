"""Writing the policy file that clients trust: the members' log keys, their cosigning keys, and the quorum."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.verify.note import VerifierKey
from ledger.verify.policy import NO_QUORUM, Group, Policy, parse_policy

GROUP_LABEL = "members"


def write_policy(logs: Sequence[VerifierKey], cosigners: Sequence[VerifierKey], threshold: int | None = None) -> bytes:
    """The canonical policy file: any of `logs` signs, at least `threshold` of `cosigners` (default_threshold) cosign.

    The order of the arguments does not matter. Without cosigners the quorum is `none`. The local name of a witness is
    its key name. Raises VerificationError(policy_malformed) for keys that make no policy.
    """
    logs = sorted(logs, key=VerifierKey.encode)
    cosigners = sorted(cosigners, key=VerifierKey.encode)
    if not cosigners:
        policy = Policy(tuple(logs), (), (), NO_QUORUM)
    else:
        names = tuple(key.name for key in cosigners)
        needed = default_threshold(len(names)) if threshold is None else threshold
        witnesses = tuple(zip(names, cosigners, strict=True))
        policy = Policy(tuple(logs), witnesses, (Group(GROUP_LABEL, needed, names),), GROUP_LABEL).sealed()
    data = policy.render()
    parse_policy(data, strict=True)
    return data


def default_threshold(members: int) -> int:
    """Cosignatures that make a checkpoint final: a majority up to 3 members (crash faults only), above it > 2/3."""
    if members < 1:
        raise ValueError("no members")
    return members // 2 + 1 if members <= 3 else 2 * members // 3 + 1
