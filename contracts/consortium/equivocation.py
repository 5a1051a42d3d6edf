"""ReportEquivocation: judges, from two signatures alone, that a member signed two histories of this log."""

from contracts.consortium.membership import MemberRecord, founding, revoke_member
from contracts.core.commands import ReportEquivocation, Statement
from contracts.core.context import Context
from contracts.core.errors import Refusal
from contracts.core.facts import EquivocationProved, Fact
from contracts.core.parties import Party
from contracts.core.proofs import cosigned_bytes, log_key, log_signed_bytes, prefix_roots
from contracts.core.state import State


def report_equivocation(state: State, sender: Party, command: ReportEquivocation, context: Context) -> list[Fact]:
    """The member is none from the next height on. Anyone enrolled may report; the fact names both roots."""
    member = state.take(MemberRecord, command.member, "member_unknown")
    if member.until_height is not None and member.until_height <= context.height + 1:
        raise Refusal("member_unknown", "it is none any more")
    first, second = sorted((command.first, command.second), key=lambda each: each.size)
    if not _contradict(first, second, command.path):
        raise Refusal("not_equivocation")
    origin = founding(state).origin
    if (first.time_s is None) != (second.time_s is None):
        raise Refusal("not_equivocation", "two different keys")
    for statement in (first, second):
        if not _signed(member, origin, statement, context):
            raise Refusal("bad_signature", command.member)
    until = revoke_member(state, member, context.height)
    return [
        EquivocationProved(
            member=member.name,
            key=member.key if first.time_s is not None else log_key(member.log_vkey, origin),
            sizes=(first.size, second.size),
            roots=(first.root, second.root),
            until_height=until,
            party=sender.party,
        )
    ]


def _contradict(smaller: Statement, larger: Statement, path: tuple[str, ...]) -> bool:
    if smaller.size == larger.size:
        return smaller.root != larger.root and not path
    if smaller.size == 0:
        return False  # the empty tree is a prefix of all; a false root of it needs no second signature to be refused
    old_root, new_root = prefix_roots(smaller.size, larger.size, path)
    return new_root == larger.root and old_root != smaller.root


def _signed(member: MemberRecord, origin: str, statement: Statement, context: Context) -> bool:
    signature = bytes.fromhex(statement.signature)
    if statement.time_s is None:
        message = log_signed_bytes(origin, statement.size, statement.root)
        return context.valid(log_key(member.log_vkey, origin), message, signature)
    message = cosigned_bytes(origin, statement.size, statement.root, statement.time_s)
    return context.valid(member.key, message, signature)
