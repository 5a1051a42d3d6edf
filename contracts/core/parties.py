"""Parties of the ledger and the one table of who may sign what.

A party is a pseudonymous id with a key and a role; who it is in the world stays in enrolment tables outside the
ledger. A key belongs to one party only, so that nobody can contract with himself under two names.
"""

from enum import StrEnum
from typing import ClassVar, Final

import msgspec

from contracts.core.errors import Refusal
from contracts.core.state import Record, State
from contracts.core.units import Id, PublicKey


class Role(StrEnum):
    """What a party is in demand response."""

    UTILITY = "utility"
    AGGREGATOR = "aggregator"
    VIRTUAL_NODE = "virtual_node"
    DEVICE = "device"
    AUDITOR = "auditor"


class PartyStatus(StrEnum):
    """A revoked party signs nothing any more; its history and balance stay."""

    ACTIVE = "active"
    REVOKED = "revoked"


class Party(Record, frozen=True, kw_only=True):
    """An enrolled party. `sponsor` enrolled it (the genesis parties sponsor themselves); `area` is the feeder of a
    virtual node or device, by which a need that names a feeder is matched."""

    KIND: ClassVar[str] = "party"
    party: Id
    role: Role
    key: PublicKey
    sponsor: Id
    area: Id
    status: PartyStatus


class PartyKey(Record, frozen=True, kw_only=True):
    """Which party a key belongs to; the record's key is the public key."""

    KIND: ClassVar[str] = "party_key"
    party: Id


#: command -> roles that may sign it. Everything not in this table is refused.
MAY_SIGN: Final[dict[str, tuple[Role, ...]]] = {
    "EnrolParty": (Role.UTILITY, Role.AGGREGATOR),
    "RevokeParty": (Role.UTILITY, Role.AGGREGATOR, Role.VIRTUAL_NODE, Role.DEVICE, Role.AUDITOR),
    "Issue": (Role.UTILITY,),
    "Transfer": (Role.UTILITY, Role.AGGREGATOR, Role.VIRTUAL_NODE, Role.DEVICE),
    "RequestReduction": (Role.UTILITY,),
    "CloseRequest": (Role.UTILITY, Role.AGGREGATOR, Role.AUDITOR),
    "SetupDR": (Role.AGGREGATOR, Role.VIRTUAL_NODE),
    "AcceptReduction": (Role.VIRTUAL_NODE, Role.DEVICE),
    "RejectReduction": (Role.VIRTUAL_NODE, Role.DEVICE),
    "SettleDR": (Role.UTILITY, Role.AGGREGATOR, Role.VIRTUAL_NODE, Role.DEVICE, Role.AUDITOR),
    "DRCompletion": (Role.UTILITY, Role.AGGREGATOR, Role.VIRTUAL_NODE, Role.DEVICE, Role.AUDITOR),
    "RecordMeasurements": (Role.DEVICE,),
    "ForgetReadings": (Role.AGGREGATOR, Role.DEVICE),
    # What members or another channel signed speaks for itself: whoever brings it, it is judged alike.
    "ChangeMembership": tuple(Role),
    "ReportEquivocation": tuple(Role),
    "OpenChannel": (Role.UTILITY, Role.AGGREGATOR),
    "AnchorCheckpoint": tuple(Role),
    "BridgeLock": (Role.UTILITY, Role.AGGREGATOR, Role.VIRTUAL_NODE, Role.DEVICE),
    "BridgeMint": tuple(Role),
    "BridgeBurn": (Role.UTILITY, Role.AGGREGATOR, Role.VIRTUAL_NODE, Role.DEVICE),
    "BridgeRelease": tuple(Role),
}

#: role of the sponsor -> roles it may enrol.
MAY_ENROL: Final[dict[Role, tuple[Role, ...]]] = {
    Role.UTILITY: (Role.AGGREGATOR, Role.AUDITOR),
    Role.AGGREGATOR: (Role.VIRTUAL_NODE, Role.DEVICE),
}


def active_party(state: State, party: str) -> Party:
    """The party, if it is enrolled and not revoked. Raises Refusal."""
    found = state.take(Party, party, "party_unknown")
    if found.status is not PartyStatus.ACTIVE:
        raise Refusal("party_revoked", party)
    return found


def enrol(state: State, party: Party) -> None:
    """Adds a party whose id and key are both new. Raises Refusal."""
    if state.find(Party, party.party) is not None:
        raise Refusal("party_exists", party.party)
    if state.find(PartyKey, party.key) is not None:
        raise Refusal("key_in_use", party.key)
    state.put(party.party, party)
    state.put(party.key, PartyKey(party=party.party))


def revoke(state: State, party: Party) -> None:
    """Ends a party's right to sign."""
    state.put(party.party, msgspec.structs.replace(party, status=PartyStatus.REVOKED))
