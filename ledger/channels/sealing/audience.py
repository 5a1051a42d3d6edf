"""Who could open a block that is sealed now: nobody may who is no member at its height.

    epoch began ──── X joined, got the earlier keys ──── X left ──▶ a block here needs an epoch begun since
    epoch began with X ───────────────────────────────── X left ──▶ the same

What the members' records say of former members is held against the epochs of this member's key file. A proposer whose
file lacks the newest epoch would seal for who left, and cannot be told by its file alone.
"""

from __future__ import annotations

from typing import Final, Protocol

from contracts.consortium import MemberRecord
from contracts.consortium.membership import FormerMemberRecord
from contracts.core.codec import read
from ledger.channels.sealing.keys import Epoch, KeyFile

PAGE: Final = 200
BLOCKS: Final = 8
"""For so many blocks the records are believed while the members' names are the same: nobody comes and goes in fewer
than 10."""


class Members(Protocol):
    """The replica of the channel, as far as it is asked."""

    @property
    def height(self) -> int: ...

    def members(self) -> list[str]: ...

    async def records(self, kind: str, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]: ...


class Audience:
    """Former members of one channel, as its state knows them."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._known: list[MemberRecord] = []
        self._read_at: tuple[int, list[str]] | None = None

    async def outsiders(self, file: KeyFile, height: int) -> list[str]:
        """Names of those who were members and could open block `height` as this file would have it sealed. Raises
        StoreUnavailable, Diverged."""
        epoch = file.at(height)
        return sorted(each.name for each in await self._former() if _left(each, height) and _could_open(each, epoch))

    async def _former(self) -> list[MemberRecord]:
        height, names = self._members.height, self._members.members()
        if self._read_at is None or self._read_at[1] != names or height > self._read_at[0] + BLOCKS:
            known = [*await self._all(MemberRecord), *await self._all(FormerMemberRecord)]
            self._known = [each for each in known if each.until_height is not None]
            self._read_at = (height, names)
        return self._known

    async def _all(self, kind: type[MemberRecord]) -> list[MemberRecord]:
        found: list[MemberRecord] = []
        after = ""
        while rows := await self._members.records(kind.KIND, "", after, PAGE):
            found += [read(body, kind) for _, body in rows]
            after = rows[-1][0]
        return found


def _left(member: MemberRecord, height: int) -> bool:
    return member.until_height is not None and member.until_height <= height


def _could_open(member: MemberRecord, epoch: Epoch) -> bool:
    """Who joined after the epoch began was given its key with the earlier ones."""
    return member.from_height > epoch.from_height or any(each.key == member.key for each in epoch.wrapped)
