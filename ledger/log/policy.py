"""Writing the policy file that clients trust: the members' log keys, their cosigning keys, external witnesses, and the
quorum of them.

    log ...                                    each member's log key, under the log's name
    witness ...                                each member, then each external witness
    group members-<d> 2 m1 m2 m3               } no external witness is required: those named are shown where they
    quorum members-<d>                         } have cosigned
    group members 2 m1 m2 m3                   } otherwise members and witnesses must both have agreed
    group witnesses 1 w1 w2                    }
    group both-<d> 2 members witnesses         }
    quorum both-<d>                            }
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.verify.note import VerifierKey
from ledger.verify.policy import NO_QUORUM, Group, Policy, parse_policy

GROUP_LABEL = "members"
WITNESSES_LABEL = "witnesses"
BOTH_LABEL = "both"


@dataclass(frozen=True, slots=True)
class Parties:
    """Who a policy's cosigners are. `quorum`: how many members it needs; `required`: how many external witnesses."""

    members: tuple[VerifierKey, ...]
    quorum: int
    witnesses: tuple[VerifierKey, ...] = ()
    required: int = 0


def write_policy(
    logs: Sequence[VerifierKey],
    cosigners: Sequence[VerifierKey],
    threshold: int | None = None,
    *,
    witnesses: Sequence[VerifierKey] = (),
    required: int = 0,
) -> bytes:
    """The canonical policy file: any of `logs` signs, at least `threshold` of the members' `cosigners`
    (default_threshold) cosign, and at least `required` of the external `witnesses`.

    The order of the arguments does not matter. Without cosigners the quorum is `none`. The local name of a witness is
    its key name. Raises VerificationError(policy_malformed) for keys that make no policy.
    """
    logs = sorted(logs, key=VerifierKey.encode)
    cosigners = sorted(cosigners, key=VerifierKey.encode)
    witnesses = sorted(witnesses, key=VerifierKey.encode)
    if not cosigners:
        policy = Policy(tuple(logs), (), (), NO_QUORUM)
    else:
        names = tuple(key.name for key in cosigners)
        members = Group(GROUP_LABEL, default_threshold(len(names)) if threshold is None else threshold, names)
        groups: tuple[Group, ...] = (members,)
        quorum = GROUP_LABEL
        if required:
            others = Group(WITNESSES_LABEL, required, tuple(key.name for key in witnesses))
            groups, quorum = (members, others, Group(BOTH_LABEL, 2, (GROUP_LABEL, WITNESSES_LABEL))), BOTH_LABEL
        named = tuple((key.name, key) for key in (*cosigners, *witnesses))
        policy = Policy(tuple(logs), named, groups, quorum).sealed()
    data = policy.render()
    parse_policy(data, strict=True)
    return data


def parties_of(policy: Policy) -> Parties:
    """Members and external witnesses of a policy in the form above; in any other, every cosigner is a member."""
    groups = {group.name: group for group in policy.groups}
    quorum = groups.get(policy.quorum)
    members = groups.get(GROUP_LABEL) if quorum is not None and GROUP_LABEL in quorum.members else quorum
    if members is None or not {name for name, _ in policy.witnesses}.issuperset(members.members):
        keys = tuple(key for _, key in policy.witnesses)
        return Parties(keys, default_threshold(max(1, len(keys))))
    others = groups.get(WITNESSES_LABEL)
    return Parties(
        tuple(key for name, key in policy.witnesses if name in members.members),
        members.threshold,
        tuple(key for name, key in policy.witnesses if name not in members.members),
        0 if others is None or members is quorum else others.threshold,
    )


def default_threshold(members: int) -> int:
    """Cosignatures that make a checkpoint final: a majority up to 3 members (crash faults only), above it > 2/3."""
    if members < 1:
        raise ValueError("no members")
    return members // 2 + 1 if members <= 3 else 2 * members // 3 + 1
