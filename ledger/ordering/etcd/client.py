"""etcd as typed calls: keys, transactions, watches, leases. (Members, users and alarms are in `admin`.)

Reads are repeated at other endpoints until one answers. A transaction is one attempt: whether it may be repeated is
the caller's knowledge. Revisions are etcd's count of changes to the whole store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from grpc import aio

from ledger.ordering.etcd import messages
from ledger.ordering.etcd.connection import Connection
from ledger.ordering.etcd.errors import NO_ANSWER, Compacted, EtcdRefused, LeaseGone, Unanswered
from ledger.ordering.etcd.messages import message
from ledger.ordering.etcd.settings import EtcdSettings

_KEEP_ALIVE_S: Final = 0.4


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it stands; `lease` 0: none."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a range holds (at most its limit; `more`: there is more); `count` counts without the limit."""

    kvs: tuple[KeyValue, ...]
    count: int
    more: bool


@dataclass(frozen=True, slots=True)
class TxnAnswer:
    """`found` has one entry for each `get` of the branch that was taken, in order."""

    succeeded: bool
    revision: int
    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A key was put, or deleted (`value` is empty then)."""

    deleted: bool
    kv: KeyValue


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one or several revisions, in order; `revision` is the last, and complete."""

    revision: int
    changes: tuple[Change, ...]


def get(key: bytes, end: bytes = b"", *, limit: int = 0, keys_only: bool = False, count_only: bool = False) -> Any:
    """The operation of reading `key`, or all keys from `key` up to before `end`."""
    asked = message(
        "RangeRequest", key=key, range_end=end, limit=limit, keys_only=keys_only, count_only=count_only
    )  # fmt: skip
    return message("RequestOp", request_range=asked)


def put(key: bytes, value: bytes, lease: int = 0) -> Any:
    """The operation of writing a key."""
    return message("RequestOp", request_put=message("PutRequest", key=key, value=value, lease=lease))


def delete(key: bytes, end: bytes = b"") -> Any:
    """The operation of deleting a key or a range."""
    return message("RequestOp", request_delete_range=message("DeleteRangeRequest", key=key, range_end=end))


def created_at(key: bytes, revision: int) -> Any:
    """The condition that the key was created at `revision`; 0: that it does not exist."""
    return message(
        "Compare", result=messages.EQUAL, target=messages.CREATE, key=key, create_revision=revision
    )  # fmt: skip


def exists(key: bytes) -> Any:
    """The condition that the key exists."""
    return message("Compare", result=messages.GREATER, target=messages.CREATE, key=key, create_revision=0)


def modified_at(key: bytes, revision: int) -> Any:
    """The condition that the last change of the key was at `revision`; 0: that it does not exist."""
    return message("Compare", result=messages.EQUAL, target=messages.MOD, key=key, mod_revision=revision)


def has_value(key: bytes, value: bytes) -> Any:
    """The condition that the key exists with this value."""
    return message("Compare", result=messages.EQUAL, target=messages.VALUE, key=key, value=value)


class EtcdClient:
    """One client of one cluster; close it in the event loop that used it."""

    def __init__(self, settings: EtcdSettings) -> None:
        self.connection = Connection(settings)

    async def close(self) -> None:
        await self.connection.close()

    async def read(self, *operations: Any, deadline_s: float | None = None) -> TxnAnswer:
        """Read several ranges at one revision, linearizably: a majority agrees that nothing newer was acknowledged."""
        request = message("TxnRequest", success=list(operations))
        return _txn(await self.connection.until_answered("KV/Txn", request, "TxnResponse", deadline_s))

    async def txn(
        self,
        compare: Sequence[Any],
        success: Sequence[Any],
        failure: Sequence[Any] = (),
        deadline_s: float | None = None,
    ) -> TxnAnswer:
        """One attempt at a transaction. Raises Unanswered; `sent` says that it may have happened all the same."""
        request = message("TxnRequest", compare=list(compare), success=list(success), failure=list(failure))
        return _txn(await self.connection.once("KV/Txn", request, "TxnResponse", deadline_s))

    async def compact(self, revision: int) -> None:
        """Forget all that was replaced or deleted up to `revision`."""
        request = message("CompactionRequest", revision=revision)
        try:
            await self.connection.until_answered("KV/Compact", request, "CompactionResponse")
        except Compacted:
            return  # somebody else was there first

    async def watch(self, key: bytes, end: bytes, revision: int, silence_s: float) -> AsyncGenerator[Changes, None]:
        """Changes in a range from `revision` on, from one endpoint. Ends by an exception: Unanswered (also when the
        endpoint stays silent for `silence_s` although asked), Compacted, or what etcd refuses."""
        connection = self.connection
        metadata = await connection.metadata()
        endpoint, call = connection.stream("/etcdserverpb.Watch/Watch", "WatchRequest", "WatchResponse", metadata)
        created = message("WatchCreateRequest", key=key, range_end=end, start_revision=revision)
        reading: asyncio.Future[Any] | None = None
        asked = True
        try:
            await call.write(message("WatchRequest", create_request=created))
            while True:
                reading = reading or asyncio.ensure_future(call.read())
                done, _ = await asyncio.wait([reading], timeout=silence_s)
                if not done:
                    if asked:
                        connection.hop(endpoint)
                        raise Unanswered(endpoint, "the watch fell silent", sent=True, alive=False)
                    asked = True
                    await call.write(message("WatchRequest", progress_request=message("WatchProgressRequest")))
                    continue
                if reading.cancelled():  # the connection is being closed
                    raise Unanswered(endpoint, "the watch was ended", sent=True, alive=False)
                answer, reading, asked = reading.result(), None, False
                if answer is aio.EOF:
                    connection.hop(endpoint)
                    raise Unanswered(endpoint, "the watch was ended", sent=True, alive=True)
                connection.check_cluster(answer.header, endpoint)
                if answer.canceled:
                    raise self._canceled(answer, endpoint)
                if answer.events:
                    yield _changes(answer.events)
        except aio.AioRpcError as error:
            raise connection.stream_failed(error, endpoint) from None
        except asyncio.InvalidStateError:  # gRPC's answer to writing on a stream that has just ended
            connection.hop(endpoint)
            raise Unanswered(endpoint, "the watch was ended", sent=True, alive=False) from None
        finally:
            call.cancel()
            if reading is not None:
                await asyncio.gather(reading, return_exceptions=True)

    async def grant(self, ttl_s: int) -> tuple[int, int]:
        """A new lease: its id, and the seconds it lives without keep-alive (etcd may set more than asked)."""
        request = message("LeaseGrantRequest", TTL=ttl_s)
        answer = await self.connection.once("Lease/LeaseGrant", request, "LeaseGrantResponse")
        return int(answer.ID), int(answer.TTL)

    async def keep_alive(self, lease: int) -> int:
        """Renew a lease: the seconds it lives from now. One attempt. Raises Unanswered, LeaseGone."""
        connection = self.connection
        metadata = await connection.metadata()
        endpoint, call = connection.stream(
            "/etcdserverpb.Lease/LeaseKeepAlive", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse", metadata
        )
        try:
            async with asyncio.timeout(_KEEP_ALIVE_S):
                await call.write(message("LeaseKeepAliveRequest", ID=lease))
                answer = await call.read()
        except TimeoutError:
            connection.hop(endpoint)
            raise Unanswered(endpoint, NO_ANSWER, sent=True, alive=False) from None
        except aio.AioRpcError as error:
            raise connection.stream_failed(error, endpoint) from None
        except asyncio.InvalidStateError:
            connection.hop(endpoint)
            raise Unanswered(endpoint, "the stream was ended", sent=True, alive=False) from None
        finally:
            call.cancel()
        if answer is aio.EOF:
            connection.hop(endpoint)
            raise Unanswered(endpoint, "the stream was ended", sent=True, alive=True)
        connection.check_cluster(answer.header, endpoint)
        if answer.TTL <= 0:
            raise LeaseGone(f"lease {lease:x}")
        return int(answer.TTL)

    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys; one that is gone already is no error."""
        request = message("LeaseRevokeRequest", ID=lease)
        try:
            await self.connection.until_answered("Lease/LeaseRevoke", request, "LeaseRevokeResponse")
        except LeaseGone:
            return

    @staticmethod
    def _canceled(answer: Any, endpoint: str) -> Exception:
        if answer.compact_revision:
            return Compacted(f"etcd keeps changes from revision {answer.compact_revision} on")
        reason = answer.cancel_reason or "the watch was canceled"
        if "permission" in reason:
            return EtcdRefused(
                f"etcd at {endpoint} refuses to show the channel's keys: {reason}. Grant the user's role"
            )
        return Unanswered(endpoint, reason, sent=True, alive=True)


def _txn(answer: Any) -> TxnAnswer:
    found = tuple(
        Found(tuple(map(_kv, each.response_range.kvs)), int(each.response_range.count), bool(each.response_range.more))
        for each in answer.responses
        if each.HasField("response_range")
    )
    return TxnAnswer(bool(answer.succeeded), int(answer.header.revision), found)


def _kv(kv: Any) -> KeyValue:
    return KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def _changes(events: Any) -> Changes:
    found = tuple(Change(event.type == messages.DELETE, _kv(event.kv)) for event in events)
    return Changes(found[-1].kv.mod_revision, found)
