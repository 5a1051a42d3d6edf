"""The commands: what a transaction may ask for. One Struct a command; its name is the header's `command`.

`CONTRACT_OF` says which contract executes it, `embedded` which further signatures its body carries, `touched` which
records it is sure to read (a hint for loading a block's records at once; leaving one out costs a query, nothing else).
A noun a module: money (and parties), demand_response, consortium, channels.
"""

from typing import Final

from contracts.core.commands.base import Command, Part
from contracts.core.commands.channels import (
    AnchorCheckpoint,
    BridgeBurn,
    BridgeLock,
    BridgeMint,
    BridgeRelease,
    ChannelMember,
    Cosignature,
    OpenChannel,
)
from contracts.core.commands.consortium import (
    MEMBERS_MAX,
    Approval,
    ChangeMembership,
    Member,
    ReportEquivocation,
    Statement,
    membership_bytes,
)
from contracts.core.commands.demand_response import (
    INTERVALS_MAX,
    READINGS_MAX,
    TARGETS_MAX,
    AcceptReduction,
    BaselineCommitment,
    CloseRequest,
    DRCompletion,
    ForgetReadings,
    Offer,
    RecordMeasurements,
    RejectReduction,
    RequestReduction,
    SettleDR,
    SetupDR,
    Terms,
    measurement_key,
    offer_bytes,
)
from contracts.core.commands.money import Enrolment, EnrolParty, Issue, RevokeParty, Transfer, enrolment_bytes

__all__ = [
    "COMMANDS",
    "CONTRACT_OF",
    "INTERVALS_MAX",
    "MEMBERS_MAX",
    "READINGS_MAX",
    "TARGETS_MAX",
    "AcceptReduction",
    "AnchorCheckpoint",
    "Approval",
    "BaselineCommitment",
    "BridgeBurn",
    "BridgeLock",
    "BridgeMint",
    "BridgeRelease",
    "ChangeMembership",
    "ChannelMember",
    "CloseRequest",
    "Command",
    "Cosignature",
    "DRCompletion",
    "EnrolParty",
    "Enrolment",
    "ForgetReadings",
    "Issue",
    "Member",
    "Offer",
    "OpenChannel",
    "Part",
    "RecordMeasurements",
    "RejectReduction",
    "ReportEquivocation",
    "RequestReduction",
    "RevokeParty",
    "SettleDR",
    "SetupDR",
    "Statement",
    "Terms",
    "Transfer",
    "Triple",
    "embedded",
    "enrolment_bytes",
    "measurement_key",
    "membership_bytes",
    "offer_bytes",
    "touched",
]

CONTRACT_OF: Final[dict[type[Command], str]] = {
    EnrolParty: "parties",
    RevokeParty: "parties",
    Issue: "tokens",
    Transfer: "tokens",
    RequestReduction: "demand_response",
    CloseRequest: "demand_response",
    SetupDR: "demand_response",
    AcceptReduction: "demand_response",
    RejectReduction: "demand_response",
    RecordMeasurements: "measurements",
    ForgetReadings: "measurements",
    SettleDR: "demand_response",
    DRCompletion: "demand_response",
    ChangeMembership: "consortium",
    ReportEquivocation: "consortium",
    OpenChannel: "channels",
    AnchorCheckpoint: "channels",
    BridgeLock: "bridge",
    BridgeMint: "bridge",
    BridgeBurn: "bridge",
    BridgeRelease: "bridge",
}

COMMANDS: Final[dict[tuple[str, str], type[Command]]] = {
    (contract, kind.__name__): kind for kind, contract in CONTRACT_OF.items()
}

Triple = tuple[str, bytes, bytes]


def embedded(command: Command, key_of_payee: str | None = None) -> tuple[Triple, ...]:
    """The (key, message, signature) triples in a body: a replica verifies those of a block in one batch."""
    match command:
        case EnrolParty(enrolment=enrolment, proof=proof):
            return ((enrolment.key, enrolment_bytes(enrolment), bytes.fromhex(proof)),)
        case SetupDR(offer=Offer() as offer, offer_signature=str(signature)) if key_of_payee is not None:
            return ((key_of_payee, offer_bytes(offer), bytes.fromhex(signature)),)
        case _:
            return ()


def touched(sender: str, command: Command) -> tuple[tuple[str, str], ...]:
    """(kind, key) of records this command reads for certain."""
    keys = [("party", sender)]
    match command:
        case RecordMeasurements(device=device, start_ms=start_ms, interval_s=interval_s, energy_wh=energy_wh):
            ends_ms = start_ms + interval_s * 1000 * len(energy_wh)
            starts = range(start_ms, ends_ms, interval_s * 1000)
            keys += [("measurement", measurement_key(device, each)) for each in starts]
        case EnrolParty(enrolment=enrolment):
            keys += [("party", enrolment.party), ("party_key", enrolment.key), ("account", f"party/{enrolment.party}")]
        case RevokeParty(party=party):
            keys += [("party", party)]
        case Issue(to=to):
            keys += [("account", "issuance"), ("account", f"party/{to}"), ("founding", "ledger")]
        case Transfer(to=to):
            keys += [("account", f"party/{sender}"), ("account", f"party/{to}")]
        case RequestReduction(need_id=need_id, aggregator=aggregator):
            keys += [("need", need_id), ("party", aggregator), ("account", f"party/{sender}")]
        case CloseRequest(need_id=need_id):
            keys += [("need", need_id), ("account", f"need/{need_id}")]
        case SetupDR(contract_id=contract_id, payee=payee, parent=parent, terms=terms):
            keys += [("contract", contract_id), ("need", terms.need_id)]
            keys += [("party", payee), ("account", f"party/{payee}")]
            if parent is None:
                keys += [("account", f"need/{terms.need_id}")]
            else:
                keys += [("contract", parent), ("account", f"contract/{parent}")]
        case AcceptReduction() | RejectReduction() | SettleDR() | DRCompletion():
            keys += [("contract", command.contract_id)]
        case OpenChannel(channel=channel) | AnchorCheckpoint(channel=channel) | BridgeRelease(channel=channel):
            keys += [("channel", channel), ("founding", "ledger")]
        case BridgeLock(channel=channel):
            keys += [("channel", channel), ("account", f"party/{sender}"), ("account", f"bridge/{channel}")]
        case BridgeMint() | BridgeBurn():
            keys += [("founding", "ledger"), ("account", "issuance")]
        case _:
            pass
    return tuple(keys)
