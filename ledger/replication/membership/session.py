"""One process signs for a member: a key in etcd says which, for as long as that one renews it.

    <prefix>/<channel>/running/<member>     {"place","run","host","since_ms"}, bound to a lease of LEASE_S

    claim: nobody there ─▶ ours        our own place's last process ─▶ ended, ours (it is dead: sole_signer)
           somebody else ─▶ it ends within a lease, if it is dead ─▶ ours        it is renewed ─▶ AlreadyRuns
    keep:  renewed; lost while etcd was away ─▶ claim again

A data folder that was copied to another machine has the same keys and, once it has begun, its own database: both would
execute one order and sign the same trees, take the lease from each other, and each answer for the other. So the younger
does not start, or stops. The place is the machine since it was started, and the folder there: a copy has another.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from ledger.errors import AlreadyRuns, OrderingUnavailable
from ledger.ordering.etcd.client import EtcdClient, KeyValue, created_at, get, put
from ledger.ordering.etcd.errors import LeaseGone, Unanswered
from ledger.ordering.etcd.settings import EtcdSettings
from runtime.logs import get_logger

LEASE_S: Final = 6
_RENEWALS: Final = 3
_LOOK_S: Final = 0.5
_MORE_S: Final = 4
"""A lease may live that much longer than the process that held it, where etcd has just got a new leader."""
_BOOT_FILE: Final = Path("/proc/sys/kernel/random/boot_id")

_log = get_logger("ledger.session")


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs: its place, one start of it, the machine's name, since when (wall time)."""

    place: str
    run: str
    host: str
    since_ms: int


def place_of(folder: Path) -> str:
    """Names this folder on this machine since it was started."""
    boot = _BOOT_FILE.read_text().strip() if _BOOT_FILE.exists() else ""
    found = folder.resolve().stat()
    parts = (boot, socket.gethostname(), str(folder.resolve()), f"{found.st_dev}:{found.st_ino}")
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


class Session:
    """One process's. settings: of the member's first channel. lease_s: for how long a process that died holds it."""

    def __init__(self, settings: EtcdSettings, folder: Path, *, lease_s: int = LEASE_S) -> None:
        self._settings = settings
        self._client = EtcdClient(settings)
        self._key = f"{settings.prefix}/{settings.channel}/running/{settings.member}".encode()
        since_ms = time.time_ns() // 1_000_000
        host = socket.gethostname()
        self._own = Running(place=place_of(folder), run=secrets.token_hex(8), host=host, since_ms=since_ms)
        self._value = msgspec.json.encode(self._own)
        self._lease_s = lease_s
        self._lease = 0
        self._started = False

    async def begin(self) -> None:
        """Before anything is signed. Without etcd nothing is ordered either: then it is claimed later, by `keep`.
        Raises AlreadyRuns."""
        try:
            await self._claim()
        except OrderingUnavailable as error:
            _log.warning("whether this member runs elsewhere is asked later", error=str(error))

    async def keep(self) -> None:
        """Until it is cancelled. Raises AlreadyRuns."""
        while True:
            await asyncio.sleep(self._lease_s / _RENEWALS if self._lease else _LOOK_S)
            try:
                if self._lease:
                    await self._client.keep_alive(self._lease)
                else:
                    await self._claim()
            except LeaseGone:
                self._lease = 0
            except (Unanswered, OrderingUnavailable) as error:
                _log.debug("the session was not renewed", error=str(error))

    async def end(self) -> None:
        """The next process need not wait."""
        lease, self._lease = self._lease, 0
        if lease:
            with contextlib.suppress(OrderingUnavailable):
                await self._client.revoke(lease)
        await self._client.close()

    async def _claim(self) -> None:
        """Raises AlreadyRuns, OrderingUnavailable."""
        loop = asyncio.get_running_loop()
        until: float | None = None
        while True:
            holder = await self._create()
            if holder is None:
                self._started = True
                return
            other = _read(holder.value)
            if other is not None and other.place == self._own.place and not self._started:
                await self._client.revoke(holder.lease)
                continue
            if until is None:
                until = loop.time() + self._lease_s + _MORE_S
                _log.warning("this member's keys are in use: does that process still live?", **_shown(other))
            if loop.time() >= until:
                raise AlreadyRuns(self._explained(other))
            await asyncio.sleep(_LOOK_S)

    async def _create(self) -> KeyValue | None:
        """None where the key is ours now, else what is there. One lease for all attempts: which of them was answered
        does not matter."""
        try:
            if self._lease:
                await self._client.keep_alive(self._lease)
            else:
                self._lease, _ = await self._client.grant(self._lease_s)
            answer = await self._client.txn(
                [created_at(self._key, 0)], [put(self._key, self._value, self._lease)], [get(self._key)]
            )
        except LeaseGone:
            self._lease = 0
            return await self._create()
        except Unanswered as error:
            raise OrderingUnavailable(str(error)) from error
        if answer.succeeded:
            return None
        holder = answer.found[0].kvs[0]
        return None if holder.value == self._value else holder

    def _explained(self, other: Running | None) -> str:
        shown = _shown(other)
        return (
            f"the keys of {self._settings.member} are in use by another process, on {shown['host']} since "
            f"{shown['since']}, which answers etcd to this moment: this one stops. If this folder is a copy of that "
            "one's, run only one of the two, ever. To move a member, stop it there, then start it here"
        )


def _read(value: bytes) -> Running | None:
    try:
        return msgspec.json.decode(value, type=Running)
    except msgspec.MsgspecError:
        return None


def _shown(other: Running | None) -> dict[str, str]:
    if other is None:
        return {"host": "an unknown machine", "since": "an unknown time"}
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(other.since_ms / 1000))
    return {"host": other.host[:100], "since": since}
