"""A change of the members as files: one proposes, each signs on its own machine, one submits.

    members propose ─▶ change.json ─▶ members approve (each present member; the new one too) ─▶ NAME.approval.json
                                                     members submit change.json *.approval.json ─▶ ChangeMembership

Nothing in the files is secret. What is signed names the ledger by the digest of its genesis, the channel and the height
from which the change holds, so that an approval is good for nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from contracts.core.codec import encode
from contracts.core.commands import Approval, ChangeMembership, Member, membership_bytes
from contracts.core.errors import CodecError
from ledger.cluster.layout import ClusterError
from runtime.keys import PrivateKey

FORMAT: Final = "gridpact/membership/v1"
_T = TypeVar("_T")


class Proposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """change.json: a change that nobody has approved yet. `ledger`: digest of the genesis, hex."""

    format: Literal["gridpact/membership/v1"] = FORMAT
    ledger: str
    channel: str
    change: Literal["add", "remove"]
    name: str
    member: Member | None = None
    effective_height: int

    def command(self, approvals: Sequence[Approval] = ()) -> ChangeMembership:
        """The command, with what was approved. Raises CodecError for values that no transaction can hold."""
        member = self.member
        found = ChangeMembership(
            change=self.change,
            name=self.name,
            log_vkey=member.log_vkey if member else None,
            cosigner_vkey=member.cosigner_vkey if member else None,
            peer_url=member.peer_url if member else None,
            effective_height=self.effective_height,
            approvals=tuple(sorted(approvals, key=lambda each: each.member)),
        )
        encode(found)
        return found

    def approve(self, member: str, key: PrivateKey) -> Approval:
        """The signature of a member's cosigning key."""
        return Approval(
            member=member, signature=key.sign(membership_bytes(self.ledger, self.channel, self.command())).hex()
        )


def read_proposal(path: Path) -> Proposal:
    """Raises ClusterError."""
    found = _read(path, Proposal)
    if (found.change == "add") != (found.member is not None) or (found.member and found.member.name != found.name):
        raise ClusterError(f"{path} contradicts itself: a member is added with its keys and removed by its name alone")
    return found


def read_member(path: Path) -> Member:
    """member.json, as `dr-ledger member create` writes it. Raises ClusterError."""
    return _read(path, Member)


def read_approvals(paths: Sequence[Path]) -> list[Approval]:
    """Raises ClusterError, also where a member approves twice."""
    found = [_read(path, Approval) for path in paths]
    twice = {each.member for each in found if [other.member for other in found].count(each.member) > 1}
    if twice:
        raise ClusterError(f"two files hold an approval of {', '.join(sorted(twice))}: leave one out")
    return found


def write(path: Path, value: msgspec.Struct) -> None:
    """Writes a file of this module, never over another. Raises ClusterError."""
    try:
        with path.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
    except FileExistsError:
        raise ClusterError(f"{path} exists: choose another name with --output") from None


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, CodecError) as error:
        raise ClusterError(f"{path} is not what it should be ({kind.__name__}): {error}") from None
