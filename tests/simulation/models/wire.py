"""gRPC to the model of etcd: the real client of the ledger, with its deadlines and endpoints, on servers made of air.

    EtcdOrderer ─ EtcdClient ─ Connection._open(endpoint) ─▶ Channel ─ protobuf messages ─▶ Link ─▶ Etcd

`wired` puts these channels in the place of grpc.aio's; an endpoint `http://<member>.<n>:2379` leads over the link of
that member to the n-th server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import grpc
from grpc import aio

from ledger.ordering.etcd import messages
from ledger.ordering.etcd.connection import Connection
from ledger.ordering.etcd.messages import message
from tests.simulation.models.etcd import SERVERS, Compacted, Etcd, KeyValue, Link, NoAnswer, Refused, Watch, WatchBroken

CLUSTER = 0xC1
_CONNECT_S = 0.01


def endpoints_of(number: int) -> tuple[str, ...]:
    """The servers as the n-th member names them, its own first."""
    order = [(number + at) % SERVERS for at in range(SERVERS)]
    return tuple(f"http://{number}.{server}:2379" for server in order)


@contextlib.contextmanager
def wired(links: Mapping[int, Link]) -> Iterator[None]:
    """Inside, connections to etcd go over the links, by number of the member."""

    def open_(self: Connection, endpoint: str) -> Channel:
        number, _, server = (urlsplit(endpoint).hostname or "").partition(".")
        return Channel(links[int(number)], int(server))

    with patch.object(Connection, "_open", open_):
        yield


class Channel:
    """What the client uses of grpc.aio.Channel."""

    def __init__(self, link: Link, server: int) -> None:
        self._link = link
        self._server = server

    def get_state(self) -> grpc.ChannelConnectivity:
        reached = self._link.reaches(self._server)
        return grpc.ChannelConnectivity.READY if reached else grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def close(self) -> None:
        return None

    def unary_unary(self, method: str, request_serializer: Any, response_deserializer: Any) -> Any:
        name = method.rpartition("/")[2]

        async def call(request: Any, timeout: float, metadata: Any) -> Any:
            sent = request.SerializeToString()  # the caller may change its message afterwards
            received = type(request).FromString(sent)
            return await self._ask(lambda etcd: _HANDLERS[name](etcd, received), timeout, name not in _LOCAL)

        return call

    def stream_stream(self, method: str, request_serializer: Any, response_deserializer: Any) -> Any:
        kind = WatchStream if method.endswith("/Watch") else LeaseStream
        return lambda metadata: kind(self, self._link, self._server)

    async def _ask(self, operation: Callable[[Etcd], Any], timeout_s: float, by_leader: bool) -> Any:
        link = self._link
        if self._server in link.etcd.down and not link.cut:
            await asyncio.sleep(_CONNECT_S)  # nobody listens there: that is said at once
            raise _error(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: refused")
        try:
            return await link.call(lambda: operation(link.etcd), timeout_s, self._server, by_leader=by_leader)
        except NoAnswer:
            raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
        except Compacted:
            raise _error(
                grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"
            ) from None
        except Refused as error:
            found = "lease not found" in str(error)
            code = grpc.StatusCode.NOT_FOUND if found else grpc.StatusCode.UNAVAILABLE
            raise _error(code, str(error)) from None


class LeaseStream:
    """LeaseKeepAlive, one request and its answer."""

    def __init__(self, channel: Channel, link: Link, server: int) -> None:
        self._channel = channel
        self._asked: int = 0

    async def write(self, request: Any) -> None:
        self._asked = request.ID

    async def read(self) -> Any:
        def renew(etcd: Etcd) -> Any:
            alive = etcd.keep_alive(self._asked)
            ttl = int(etcd.leases[self._asked].ttl_s) if alive else 0
            return message("LeaseKeepAliveResponse", header=_header(etcd), ID=self._asked, TTL=ttl)

        return await self._channel._ask(renew, 3600.0, True)

    def cancel(self) -> None:
        return None


class WatchStream:
    """Watch of one range."""

    def __init__(self, channel: Channel, link: Link, server: int) -> None:
        self._link = link
        self._server = server
        self._watch: Watch | None = None

    async def write(self, request: Any) -> None:
        if request.HasField("progress_request"):
            if self._watch is not None:
                self._watch.ask()
            return
        wanted = request.create_request
        if self._server in self._link.etcd.down and not self._link.cut:
            await asyncio.sleep(_CONNECT_S)
            raise _error(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: refused")
        end = wanted.range_end or wanted.key + b"\0"
        self._watch = self._link.watch(wanted.key, end, wanted.start_revision, self._server)

    async def read(self) -> Any:
        assert self._watch is not None
        etcd = self._link.etcd
        try:
            events = await self._watch.next()
        except WatchBroken:
            return aio.EOF
        except _Canceled:
            raise asyncio.CancelledError from None
        except Compacted as error:
            return message(
                "WatchResponse", header=_header(etcd), canceled=True, compact_revision=error.revision + 1
            )  # fmt: skip
        found = [
            message("Event", type=messages.DELETE if event.deleted else messages.PUT, kv=_kv(event)) for event in events
        ]
        return message("WatchResponse", header=_header(etcd), events=found)

    def cancel(self) -> None:
        """A read that waits is cancelled, as in gRPC."""
        if self._watch is not None:
            self._watch.end(_Canceled())


class _Canceled(Exception):
    """By the client itself."""


def _header(etcd: Etcd) -> Any:
    return message("ResponseHeader", cluster_id=CLUSTER, member_id=1, revision=etcd.revision)


def _kv(found: KeyValue, *, keys_only: bool = False) -> Any:
    return message(
        "KeyValue", key=found.key, value=b"" if keys_only else found.value, create_revision=found.create_revision,
        mod_revision=found.mod_revision, version=found.version, lease=found.lease,
    )  # fmt: skip


def _error(code: grpc.StatusCode, details: str) -> aio.AioRpcError:
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details)


# ---- the servers


def _txn(etcd: Etcd, request: Any) -> Any:
    holds = all(_holds(etcd, each) for each in request.compare)
    operations = request.success if holds else request.failure
    writes = any(not each.HasField("request_range") for each in operations)
    before = etcd.revision
    revision = etcd.next_revision() if writes else None
    responses = [_operate(etcd, each, revision) for each in operations]
    if revision is not None and not any(event.mod_revision == revision for event in etcd.history[-len(responses) :]):
        etcd.revision = before  # it deleted nothing
    return message("TxnResponse", header=_header(etcd), succeeded=holds, responses=responses)


def _holds(etcd: Etcd, compare: Any) -> bool:
    found = etcd.get(compare.key)
    if compare.target == messages.VALUE:
        return found is not None and found.value == compare.value
    is_, wanted = {
        messages.CREATE: (found.create_revision if found else 0, compare.create_revision),
        messages.MOD: (found.mod_revision if found else 0, compare.mod_revision),
        messages.VERSION: (found.version if found else 0, compare.version),
        messages.LEASE: (found.lease if found else 0, compare.lease),
    }[compare.target]
    return bool(
        {
            messages.EQUAL: is_ == wanted,
            messages.GREATER: is_ > wanted,
            messages.LESS: is_ < wanted,
            messages.NOT_EQUAL: is_ != wanted,
        }[compare.result]
    )


def _operate(etcd: Etcd, operation: Any, revision: int | None) -> Any:
    if operation.HasField("request_put"):
        asked = operation.request_put
        etcd.put(asked.key, asked.value, asked.lease, revision=revision)
        return message("ResponseOp", response_put=message("PutResponse", header=_header(etcd)))
    if operation.HasField("request_delete_range"):
        asked = operation.request_delete_range
        deleted = etcd.delete(asked.key, asked.range_end or asked.key + b"\0", revision=revision)
        return message("ResponseOp", response_delete_range=message("DeleteRangeResponse", deleted=deleted))
    asked = operation.request_range
    found = etcd.range(asked.key, asked.range_end or asked.key + b"\0")
    shown = found[: asked.limit] if asked.limit else found
    kvs = [] if asked.count_only else [_kv(each, keys_only=asked.keys_only) for each in shown]
    response = message(
        "RangeResponse", header=_header(etcd), kvs=kvs, count=len(found), more=len(shown) < len(found)
    )  # fmt: skip
    return message("ResponseOp", response_range=response)


def _compact(etcd: Etcd, request: Any) -> Any:
    etcd.compact(request.revision)
    return message("CompactionResponse", header=_header(etcd))


def _grant(etcd: Etcd, request: Any) -> Any:
    lease = etcd.grant(float(request.TTL))
    return message("LeaseGrantResponse", header=_header(etcd), ID=lease, TTL=request.TTL)


def _revoke(etcd: Etcd, request: Any) -> Any:
    if not etcd.revoke(request.ID):
        raise Refused("etcdserver: requested lease not found")
    return message("LeaseRevokeResponse", header=_header(etcd))


def _members(etcd: Etcd, request: Any) -> Any:
    found = [message("Member", ID=number + 1, name=f"etcd-{number}") for number in range(SERVERS)]
    return message("MemberListResponse", header=_header(etcd), members=found)


def _status(etcd: Etcd, request: Any) -> Any:
    return message("StatusResponse", header=_header(etcd), version="3.5.16", leader=1 if etcd.leads else 0)


def _alarms(etcd: Etcd, request: Any) -> Any:
    return message("AlarmResponse", header=_header(etcd))


_LOCAL = ("Status",)
_HANDLERS: dict[str, Callable[[Etcd, Any], Any]] = {
    "Txn": _txn,
    "Compact": _compact,
    "LeaseGrant": _grant,
    "LeaseRevoke": _revoke,
    "MemberList": _members,
    "Status": _status,
    "Alarm": _alarms,
}
