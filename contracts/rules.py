"""The only entrance to the contracts: one ordered item and the state before it give the outcome, everywhere the same.

    apply(reader, Transaction, context) -> Outcome       a signed command
    apply(reader, Tick(), context)      -> Outcome       deadlines that fell due, at the start of a block
    genesis(Genesis)                    -> writes        the state before block 1

A refusal is an outcome with a code and no writes: it leaves no trace but the code.
"""

from typing import Final

import msgspec

from contracts import measurements, tokens
from contracts.channels import bridge, registry
from contracts.consortium import equivocation, membership
from contracts.core import commands, facts, parties
from contracts.core.codec import decode, digest
from contracts.core.commands import COMMANDS, ChannelMember, Command, Enrolment, Member
from contracts.core.context import Context
from contracts.core.envelope import BODY_BYTES_MAX, Opened, Transaction, open_transaction
from contracts.core.errors import CodecError, Refusal
from contracts.core.facts import Fact
from contracts.core.parties import MAY_ENROL, MAY_SIGN, Party, PartyStatus, Role
from contracts.core.state import Reader, Records, State, Writes
from contracts.core.units import Count, Hash, Id, Origin, TimeMs
from contracts.demand_response import completion, contract, handshake, needs, proposal

OK: Final = "ok"
EXPIRIES_MAX: Final = 200


class Tick(msgspec.Struct, frozen=True):
    """Works off deadlines up to the block's time."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """code: "ok" or a code of errors.CODES; detail: for logs, never in the log. records: the writes,
    decoded, for a reader that keeps them."""

    code: str
    facts: tuple[Fact, ...]
    writes: Writes
    detail: str = ""
    records: Records = {}


class ParentChannel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The channel above a child, as it stands when the child is founded: whose cosignatures count for it."""

    channel: Id
    origin: Origin
    members: tuple[ChannelMember, ...]
    quorum: Count


class Genesis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the founding members agree on before block 1; its digest is the `previous` of block 1. `members` order and
    cosign; `parent`: the channel that money comes from, for a child."""

    channel: Id
    origin: str
    created_ms: TimeMs
    contracts_root: Hash
    parties: tuple[Enrolment, ...]
    members: tuple[Member, ...] = ()
    parent: ParentChannel | None = None


def apply(reader: Reader, item: Transaction | Opened | Tick, context: Context) -> Outcome:
    """Executes one item. Deterministic; raises nothing for anything a sender can send."""
    state = State(reader)
    try:
        if isinstance(item, Tick):
            happened = handshake.expire_due(state, context.time_ms, EXPIRIES_MAX)
        else:
            opened = item if isinstance(item, Opened) else open_transaction(item)
            happened = _execute(state, opened, context)
    except Refusal as refusal:
        return Outcome(code=refusal.code, facts=(), writes={}, detail=refusal.detail)
    return Outcome(code=OK, facts=tuple(happened), writes=state.writes, records=state.records)


def genesis(founding: Genesis) -> Writes:
    """The state before block 1: the ledger itself, its members, the channel above it, and the founding parties, each
    its own sponsor. Raises Refusal, ValueError."""
    state = State(_Empty())
    roles = [enrolment.role for enrolment in founding.parties]
    if Role.UTILITY not in roles or Role.AGGREGATOR not in roles:
        raise ValueError("a genesis needs at least one utility and one aggregator")
    parent = founding.parent
    ledger = membership.FoundingRecord(
        channel=founding.channel,
        origin=founding.origin,
        genesis=digest(founding),
        parent=None if parent is None else parent.channel,
    )
    state.put(membership.FOUNDING_KEY, ledger)
    membership.admit_founders(state, founding.origin, founding.members)
    if parent is not None:
        _know_parent(state, founding.channel, parent)
    for enrolment in founding.parties:
        parties.enrol(state, _party(enrolment))
    return state.writes


def due(reader: Reader, time_ms: int) -> bool:
    """Is there a deadline at or before `time_ms`?"""
    return bool(reader.scan("expiry", "", f"{time_ms:016d}~", 1))


def next_due_ms(reader: Reader) -> int | None:
    """When the earliest deadline falls due, so that an idle ledger wakes for it."""
    rows = reader.scan("expiry", "", "~", 1)
    return int(rows[0][0].split("/")[0]) if rows else None


def _execute(state: State, transaction: Opened, context: Context) -> list[Fact]:
    sender, command = _admit(state, transaction, context)
    time_ms = context.time_ms
    match command:
        case commands.EnrolParty():
            return _enrol(state, sender, command, context)
        case commands.RevokeParty():
            return _revoke(state, sender, command)
        case commands.Issue():
            return _issue(state, command, context)
        case commands.Transfer():
            return tokens.transfer(state, sender, command, context.transaction_id)
        case commands.RecordMeasurements():
            return measurements.record(state, sender, command, time_ms)
        case commands.ForgetReadings():
            return measurements.forget(state, sender, command, time_ms)
        case commands.RequestReduction():
            return needs.request_reduction(state, sender, command, time_ms)
        case commands.CloseRequest():
            return needs.close_request(state, sender, command)
        case commands.SetupDR():
            return proposal.setup_dr(state, sender, command, context)
        case commands.AcceptReduction():
            return handshake.accept_reduction(state, sender, command, time_ms)
        case commands.RejectReduction():
            return handshake.reject_reduction(state, sender, command)
        case commands.SettleDR():
            return completion.settle_dr(state, command, context)
        case commands.DRCompletion():
            return completion.complete_dr(state, command, context)
        case _:
            return _execute_between(state, sender, command, context)


def _execute_between(state: State, sender: Party, command: Command, context: Context) -> list[Fact]:
    """What concerns the members of the ledger, and other channels."""
    match command:
        case commands.ChangeMembership():
            return membership.change_membership(state, command, context)
        case commands.ReportEquivocation():
            return equivocation.report_equivocation(state, sender, command, context)
        case commands.OpenChannel():
            return registry.open_channel(state, sender, command)
        case commands.AnchorCheckpoint():
            return registry.anchor_checkpoint(state, command, context)
        case commands.BridgeLock():
            return bridge.lock(state, sender, command, context)
        case commands.BridgeMint():
            return bridge.mint(state, command, context)
        case commands.BridgeBurn():
            return bridge.burn(state, sender, command, context)
        case commands.BridgeRelease():
            return bridge.release(state, command, context)
        case _:
            raise Refusal("command_unknown", type(command).__name__)


def _admit(state: State, opened: Opened, context: Context) -> tuple[Party, Command]:
    """Everything that is checked before a contract runs, cheapest first."""
    header = opened.transaction.header
    if header.channel != context.channel:
        raise Refusal("wrong_channel", header.channel)
    if context.time_ms > header.not_after_ms:
        raise Refusal("transaction_expired", str(header.not_after_ms))
    kind = COMMANDS.get((header.contract, header.command))
    if kind is None:
        raise Refusal("command_unknown", f"{header.contract}.{header.command}")
    if len(opened.body) > BODY_BYTES_MAX:
        raise Refusal("limit_exceeded", f"a body of {len(opened.body)} bytes")
    if not opened.committed:
        raise Refusal("commitment_mismatch")
    sender = parties.active_party(state, header.sender)
    if not context.valid(sender.key, opened.signed, opened.signature):
        raise Refusal("bad_signature", header.sender)
    if sender.role not in MAY_SIGN.get(header.command, ()):
        raise Refusal("role_not_allowed", f"{sender.role} {header.command}")
    if type(opened.command) is kind:
        return sender, opened.command
    try:
        return sender, decode(opened.body, kind, bytes_max=BODY_BYTES_MAX)
    except CodecError as error:
        raise Refusal("body_invalid", str(error)) from None


def _enrol(state: State, sender: Party, command: commands.EnrolParty, context: Context) -> list[Fact]:
    enrolment = command.enrolment
    if enrolment.role not in MAY_ENROL.get(sender.role, ()):
        raise Refusal("role_not_allowed", f"{sender.role} enrols {enrolment.role}")
    if enrolment.sponsor != sender.party:
        raise Refusal("not_party", enrolment.sponsor)
    if not context.valid(enrolment.key, commands.enrolment_bytes(enrolment), bytes.fromhex(command.proof)):
        raise Refusal("proof_of_possession", enrolment.party)
    parties.enrol(state, _party(enrolment))
    return [
        facts.PartyEnrolled(
            party=enrolment.party,
            role=enrolment.role,
            key=enrolment.key,
            sponsor=enrolment.sponsor,
            area=enrolment.area,
        )
    ]


def _issue(state: State, command: commands.Issue, context: Context) -> list[Fact]:
    if membership.founding(state).parent is not None:
        raise Refusal("issue_elsewhere")
    return tokens.issue(state, command, context.transaction_id)


def _know_parent(state: State, channel: str, parent: ParentChannel) -> None:
    if parent.channel == channel:
        raise ValueError("a channel cannot be its own parent")
    registry.register(
        state,
        registry.ChannelRecord(
            channel=parent.channel,
            relation=registry.Relation.PARENT,
            origin=parent.origin,
            genesis=None,
            members=parent.members,
            quorum=parent.quorum,
        ),
    )


def _revoke(state: State, sender: Party, command: commands.RevokeParty) -> list[Fact]:
    party = parties.active_party(state, command.party)
    if sender.party not in (party.party, party.sponsor):
        raise Refusal("not_party", sender.party)
    if sender.party != party.party and contract.engaged(state, party.party):
        raise Refusal("device_engaged", party.party)
    parties.revoke(state, party)
    return [facts.PartyRevoked(party=party.party, reason=command.reason)]


def _party(enrolment: Enrolment) -> Party:
    return Party(
        party=enrolment.party,
        role=enrolment.role,
        key=enrolment.key,
        sponsor=enrolment.sponsor,
        area=enrolment.area,
        status=PartyStatus.ACTIVE,
    )


class _Empty:
    def get(self, kind: str, key: str) -> bytes | None:
        return None

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        return []
