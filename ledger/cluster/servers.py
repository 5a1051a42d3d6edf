"""etcd servers: the flags of one for production, and several of them run by this process.

    EtcdServer (what it is) ── command(program, all of them) ──▶ a command line, for any supervisor
    EtcdServers: starts them on loopback, waits, kills, stops them in the middle (SIGSTOP), ends them

Every acknowledged write is on the disk of a majority: nothing here makes etcd faster at that price.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.cluster.binaries import architecture_prefix, find_etcd, version_of
from ledger.errors import OrderingUnavailable, ReplicaError
from ledger.ordering.etcd.admin import EtcdAdmin, Status
from ledger.ordering.etcd.connection import Connection
from ledger.ordering.etcd.errors import Unanswered
from ledger.ordering.etcd.settings import EtcdSettings
from runtime.ports import free_ports

_START_S: Final = 30.0
_STOP_S: Final = 2.0
"""Ended together, the leader waits 6 s in vain for somebody to take over; everything acknowledged is on disk."""
_LEADER_S: Final = 10.0
_POLL_S: Final = 0.05
_QUOTA_BYTES: Final = 8 * 1024**3
_FEATURES_SINCE: Final = (3, 6, 0)


class EtcdFailed(ReplicaError):
    """An etcd server does not start; the message holds its last words."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class EtcdTls:
    """PEM files of one server, used towards clients and peers alike, and the authority both must come from. peer_name:
    what a peer's certificate must name; None: any certificate of the authority may be a peer's."""

    ca: Path
    certificate: Path
    key: Path
    peer_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdServer:
    """One member of a cluster. URLs name the addresses it listens at. `data_dir` is made by etcd (0700).

    lan: heartbeat and election of 50 and 500 ms; etcd's own 100 and 1,000 otherwise."""

    name: str
    data_dir: Path
    client_url: str
    peer_url: str
    tls: EtcdTls | None = None
    lan: bool = True
    quota_bytes: int = _QUOTA_BYTES

    def command(self, program: Path, cluster: Sequence[EtcdServer], *, token: str, joining: bool = False) -> list[str]:
        """Its command line in a cluster of `cluster` (itself among them). token: unique to a cluster for ever, so that
        servers of another never join. joining: the cluster exists already."""
        flags = {
            "name": self.name,
            "data-dir": str(self.data_dir),
            "listen-client-urls": self.client_url,
            "advertise-client-urls": self.client_url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": ",".join(f"{each.name}={each.peer_url}" for each in cluster),
            "initial-cluster-state": "existing" if joining else "new",
            "initial-cluster-token": token,
            "snapshot-count": "1000",
            "quota-backend-bytes": str(self.quota_bytes),
            "auto-compaction-mode": "revision",
            "auto-compaction-retention": "1000",
            "logger": "zap",
            "log-level": "warn",
            "log-outputs": "stderr",
        }
        if self.lan:
            flags |= {"heartbeat-interval": "50", "election-timeout": "500"}
        if version_of(program) >= _FEATURES_SINCE:
            flags["feature-gates"] = "InitialCorruptCheck=true"
        else:
            flags["experimental-initial-corrupt-check"] = "true"
        if self.tls is not None:
            for side in ("", "peer-"):
                flags |= {
                    f"{side}trusted-ca-file": str(self.tls.ca),
                    f"{side}cert-file": str(self.tls.certificate),
                    f"{side}key-file": str(self.tls.key),
                    f"{side}client-cert-auth": "true",
                }
            if self.tls.peer_name is not None:
                flags["peer-cert-allowed-hostname"] = self.tls.peer_name
        return [*architecture_prefix(), str(program), *(f"--{name}={value}" for name, value in flags.items())]


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    stopped: bool = field(default=False)


class EtcdServers:
    """A cluster on this machine, each server with its log `<data_dir>.log`. Not bound to one event loop."""

    def __init__(self, servers: Sequence[EtcdServer], *, token: str, program: Path | None = None) -> None:
        self.servers = tuple(servers)
        self._token = token
        self._program = program
        self._joining: set[str] = set()
        self._running: dict[str, _Running] = {}

    @classmethod
    def on_loopback(
        cls, folder: Path, count: int = 3, *, tls: Sequence[EtcdTls] = (), quota_bytes: int = _QUOTA_BYTES
    ) -> EtcdServers:
        """Servers named 1, 2, ... with data below `folder` on ports that are free now; one EtcdTls each, or none."""
        ports = free_ports(2 * count)
        scheme = "https" if tls else "http"
        servers = [
            EtcdServer(
                name=str(place + 1),
                data_dir=folder / str(place + 1),
                client_url=f"{scheme}://127.0.0.1:{ports[2 * place]}",
                peer_url=f"{scheme}://127.0.0.1:{ports[2 * place + 1]}",
                tls=tls[place] if tls else None,
                quota_bytes=quota_bytes,
            )
            for place in range(count)
        ]
        return cls(servers, token=str(folder))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Client URLs of all servers."""
        return tuple(server.client_url for server in self.servers)

    async def start(self) -> None:
        """Start those that do not run and wait until each has a leader. Raises EtcdMissing, EtcdFailed."""
        for server in self.servers:
            if server.name not in self._running:
                await self.launch(server.name)
        await asyncio.gather(*(self._ready(server) for server in self.servers))

    async def launch(self, name: str) -> None:
        """Start one server, without waiting until it serves."""
        if self._program is None:
            self._program = await asyncio.to_thread(find_etcd)
        command = await asyncio.to_thread(self._command, name, self._program)
        self._running[name] = self._spawn(name, command)

    async def join(self, server: EtcdServer) -> None:
        """Start a server whose peer URL the cluster has added as a member."""
        self.servers = (*self.servers, server)
        self._joining.add(server.name)
        await self.launch(server.name)

    def kill(self, name: str) -> None:
        """kill -9; the data stays."""
        running = self._running.pop(name)
        running.process.kill()
        running.process.wait()

    def freeze(self, name: str) -> None:
        """SIGSTOP: its connections stay open and silent."""
        running = self._running[name]
        running.process.send_signal(signal.SIGSTOP)
        running.stopped = True

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        running = self._running[name]
        running.process.send_signal(signal.SIGCONT)
        running.stopped = False

    async def stop(self) -> None:
        """End all servers: SIGTERM, and SIGKILL if that does not do."""
        running, self._running = self._running, {}
        for each in running.values():
            if each.stopped:
                each.process.send_signal(signal.SIGCONT)
            each.process.terminate()
        await asyncio.gather(*(asyncio.to_thread(_end, each.process) for each in running.values()))

    def kill_all(self) -> None:
        """kill -9 for all."""
        for name in list(self._running):
            self.kill(name)

    async def leader(self, settings: EtcdSettings | None = None) -> str:
        """Name of the server that leads. Raises EtcdFailed if none does within a few seconds."""
        end = asyncio.get_running_loop().time() + _LEADER_S
        while asyncio.get_running_loop().time() < end:
            for server in self.servers:
                running = self._running.get(server.name)
                if running is None or running.stopped:
                    continue
                with contextlib.suppress(OrderingUnavailable, Unanswered):
                    status = await self._status(server, settings)
                    if status.leader == status.member:
                        return server.name
            await asyncio.sleep(_POLL_S)
        raise EtcdFailed("no etcd server leads: too few of them run")

    def log(self, name: str) -> Path:
        """What a server said."""
        data_dir = self._server(name).data_dir
        return data_dir.with_name(f"{data_dir.name}.log")

    def _server(self, name: str) -> EtcdServer:
        return next(server for server in self.servers if server.name == name)

    def _command(self, name: str, program: Path) -> list[str]:
        joining = name in self._joining
        return self._server(name).command(program, self.servers, token=self._token, joining=joining)

    def _spawn(self, name: str, command: list[str]) -> _Running:
        server = self._server(name)
        server.data_dir.parent.mkdir(parents=True, exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ETCD_")}
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        return _Running(process)

    async def _ready(self, server: EtcdServer) -> None:
        end = asyncio.get_running_loop().time() + _START_S
        reason = "no answer"
        while asyncio.get_running_loop().time() < end:
            process = self._running[server.name].process
            if process.poll() is not None:
                del self._running[server.name]
                raise EtcdFailed(f"etcd {server.name} ended at its start:\n{self._last_words(server.name)}")
            try:
                if (await self._status(server, None)).leader:
                    return
            except (OrderingUnavailable, Unanswered) as error:
                reason = str(error)
            await asyncio.sleep(_POLL_S)
        raise EtcdFailed(f"etcd {server.name} has no leader after {_START_S:.0f} s ({reason})")

    async def _status(self, server: EtcdServer, settings: EtcdSettings | None) -> Status:
        tls = server.tls
        mine = EtcdSettings(
            endpoints=[server.client_url], channel="", member="", patience_s=0.3,
            ca=tls.ca if tls else None,
            certificate=tls.certificate if tls else None,
            certificate_key=tls.key if tls else None,
            user=settings.user if settings else None,
            password=settings.password if settings else None,
        )  # fmt: skip
        connection = Connection(mine)
        try:
            return await EtcdAdmin(connection).status()
        finally:
            await connection.close()

    def _last_words(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-8:])


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
