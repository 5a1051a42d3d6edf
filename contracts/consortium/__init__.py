"""The members that run the ledger, kept in its own state, so that every replica knows who may order and cosign.

    members(reader, height)        who they are at a height
    validator_set(members)         the hash that block summaries name them by
    quorum(n), majority(n)         how many make a checkpoint final, how many approve a change

A noun a module: membership (records, ChangeMembership), equivocation (ReportEquivocation).
"""

from contracts.consortium.membership import (
    LEAD_HEIGHTS,
    FormerMemberRecord,
    FoundingRecord,
    MemberRecord,
    Roster,
    majority,
    members,
    quorum,
    roster,
    validator_set,
)

__all__ = [
    "LEAD_HEIGHTS",
    "FormerMemberRecord",
    "FoundingRecord",
    "MemberRecord",
    "Roster",
    "majority",
    "members",
    "quorum",
    "roster",
    "validator_set",
]
