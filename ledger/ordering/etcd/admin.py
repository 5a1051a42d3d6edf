"""What an operator does with an etcd cluster: its members, users, alarms and space.

add a member:   add(learner) ─▶ start its etcd ─▶ in sync ─▶ promote     a learner that cannot keep up has no vote
free space:     compact ─▶ defragment each follower, the leader last ─▶ disarm
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.ordering.etcd import messages
from ledger.ordering.etcd.connection import Connection
from ledger.ordering.etcd.errors import Unanswered, explain
from ledger.ordering.etcd.messages import message

_SLOW_S: Final = 10.0
_ALARMS: Final = {messages.NOSPACE: "NOSPACE", messages.CORRUPT: "CORRUPT"}
ROOT: Final = "root"


@dataclass(frozen=True, slots=True)
class ClusterMember:
    """A member of the etcd cluster; `name` is empty until it has started once."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool


@dataclass(frozen=True, slots=True)
class Status:
    """One member's view; `leader` 0: it knows none."""

    endpoint: str
    member: int
    leader: int
    version: str
    db_bytes: int
    db_used_bytes: int
    raft_index: int
    raft_applied: int
    learner: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """NOSPACE or CORRUPT, raised by the member with this id."""

    member: int
    name: str


class EtcdAdmin:
    """Calls for operators on an open connection (`EtcdClient.connection`). Most of them need the user root where
    authentication is on. Each raises the errors of this package; changes are made at most once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def members(self) -> tuple[ClusterMember, ...]:
        """All members, also those that are down."""
        answer = await self._read("Cluster/MemberList", "MemberListRequest", "MemberListResponse")
        return tuple(map(_member, answer.members))

    async def add(self, peer_urls: Sequence[str], *, learner: bool = True) -> int:
        """Id of the new member, which has to be started with `--initial-cluster-state existing`."""
        request = message("MemberAddRequest", peerURLs=list(peer_urls), isLearner=learner)
        answer = await self._change("Cluster/MemberAdd", request, "MemberAddResponse")
        return int(answer.member.ID)

    async def promote(self, member: int) -> None:
        """Give a learner its vote. Raises EtcdRefused while it is not in sync."""
        await self._change("Cluster/MemberPromote", message("MemberPromoteRequest", ID=member), "MemberPromoteResponse")

    async def remove(self, member: int) -> None:
        """Take a member out; its etcd stops by itself."""
        await self._change("Cluster/MemberRemove", message("MemberRemoveRequest", ID=member), "MemberRemoveResponse")

    async def status(self) -> Status:
        """The view of the endpoint that answers."""
        answer = await self._read("Maintenance/Status", "StatusRequest", "StatusResponse")
        return Status(
            endpoint=self._connection.endpoint,
            member=answer.header.member_id,
            leader=answer.leader,
            version=answer.version,
            db_bytes=answer.dbSize,
            db_used_bytes=answer.dbSizeInUse,
            raft_index=answer.raftIndex,
            raft_applied=answer.raftAppliedIndex,
            learner=answer.isLearner,
        )

    async def alarms(self) -> tuple[Alarm, ...]:
        """Alarms that are on."""
        request = message("AlarmRequest", action=messages.ALARM_GET)
        answer = await self._connection.until_answered("Maintenance/Alarm", request, "AlarmResponse")
        return tuple(Alarm(each.memberID, _ALARMS.get(each.alarm, str(each.alarm))) for each in answer.alarms)

    async def disarm(self, alarm: Alarm) -> None:
        """Switch an alarm off, after its cause is gone."""
        number = next(number for number, name in _ALARMS.items() if name == alarm.name)
        request = message(
            "AlarmRequest", action=messages.ALARM_DEACTIVATE, memberID=alarm.member, alarm=number
        )  # fmt: skip
        await self._change("Maintenance/Alarm", request, "AlarmResponse")

    async def defragment(self) -> None:
        """Give freed space of the endpoint's database back; the member does nothing else meanwhile."""
        await self._change("Maintenance/Defragment", message("DefragmentRequest"), "DefragmentResponse")

    async def add_user(self, name: str, password: str, prefixes: Sequence[bytes] = ()) -> None:
        """A user who may read and write all keys that begin with one of the prefixes (root: everything)."""
        if name != ROOT:
            await self._change("Auth/RoleAdd", message("AuthRoleAddRequest", name=name), "AuthRoleAddResponse")
        for prefix in prefixes:
            permission = message(
                "Permission", permType=messages.READWRITE, key=prefix, range_end=after(prefix)
            )  # fmt: skip
            request = message("AuthRoleGrantPermissionRequest", name=name, perm=permission)
            await self._change("Auth/RoleGrantPermission", request, "AuthRoleGrantPermissionResponse")
        request = message("AuthUserAddRequest", name=name, password=password)
        await self._change("Auth/UserAdd", request, "AuthUserAddResponse")
        request = message("AuthUserGrantRoleRequest", user=name, role=name)
        await self._change("Auth/UserGrantRole", request, "AuthUserGrantRoleResponse")

    async def add_root(self, password: str) -> None:
        """The user that may do everything; needed before `enable_users`."""
        await self._change("Auth/RoleAdd", message("AuthRoleAddRequest", name=ROOT), "AuthRoleAddResponse")
        await self.add_user(ROOT, password)

    async def enable_users(self) -> None:
        """From now on every call needs a user."""
        await self._change("Auth/AuthEnable", message("AuthEnableRequest"), "AuthEnableResponse")

    async def _read(self, method: str, request: str, answer: str) -> Any:
        return await self._connection.until_answered(method, message(request), answer)

    async def _change(self, method: str, request: Any, answer: str) -> Any:
        try:
            return await self._connection.once(method, request, answer, _SLOW_S)
        except Unanswered as failure:
            raise explain([failure], [failure.endpoint]) from None


def after(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with `prefix` (which does not end in 0xff)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _member(member: Any) -> ClusterMember:
    return ClusterMember(
        member.ID, member.name, tuple(member.peerURLs), tuple(member.clientURLs), bool(member.isLearner)
    )
