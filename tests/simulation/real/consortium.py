"""Three members as `dr-ledger cluster up` runs them, with proxies on their ways, and the means to hurt each process.

replica 1 ── proxies ──▶ etcd 1..3          a member's own ways to the order
replica 2 ── proxy ────▶ replica 1 (peers)  the others' way to a member
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp

from contracts.core.parties import Role
from ledger.cluster import preparation
from ledger.cluster.layout import Layout, Member
from ledger.cluster.processes import environment, living
from ledger.cluster.up import program
from runtime.ports import free_ports
from tests.builders import START_MS
from tests.ledger.running import AGGREGATOR, UTILITY
from tests.simulation.real.proxy import Proxy

MEMBERS = 3

_READY_S = 120.0
_LOOK_S = 0.1


class Consortium:
    """Use `running`."""

    def __init__(self, layout: Layout, http: aiohttp.ClientSession) -> None:
        self.layout = layout
        self.http = http
        self.order_ways: dict[str, list[Proxy]] = {}
        self.peer_ways: dict[str, Proxy] = {}
        self._up: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, folder: Path, aggregators: Sequence[str] = ()) -> AsyncIterator[Self]:
        """Founded in an empty folder, started and ready; ended afterwards, whatever was done to it. aggregators: public
        keys of further founders."""
        layout = Layout.plan(folder, [f"member.example/{number + 1}" for number in range(MEMBERS)], port=0)
        keys = {Role.UTILITY: [UTILITY.public], Role.AGGREGATOR: [AGGREGATOR.public, *aggregators]}
        folder.mkdir(parents=True, exist_ok=True)
        async with aiohttp.ClientSession() as http:
            self = cls(layout, http)
            try:
                await preparation.prepare(layout, preparation.Founders(keys), created_ms=START_MS)
                await self._lay_ways()
                self._start()
                await self._open_peer_ways()
                await self.ready()
                yield self
            finally:
                await asyncio.to_thread(self._end)
                for way in [*self.peer_ways.values(), *(way for ways in self.order_ways.values() for way in ways)]:
                    await way.stop()

    @property
    def members(self) -> tuple[Member, ...]:
        return self.layout.members

    # ---- asking

    async def ask(self, member: Member, path: str) -> tuple[int, bytes] | None:
        """Status and body of a GET below the channel, None without an answer."""
        url = f"{self.layout.api_url(member)}/v1/channels/main/{path}"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self.http.get(url, timeout=aiohttp.ClientTimeout(5)) as answer:
                return answer.status, await answer.read()
        return None

    async def status(self, member: Member) -> dict[str, Any] | None:
        """What a replica says of itself."""
        answer = await self.ask(member, "status")
        return dict(json.loads(answer[1])) if answer is not None and answer[0] == 200 else None

    async def ready(self) -> None:
        """Returns when every member serves. Raises AssertionError with the end of a log."""
        end_s = asyncio.get_running_loop().time() + _READY_S
        for member in self.members:
            while (said := await self.status(member)) is None or said["state"] != "serving":
                if said is not None and said["state"] == "diverged":
                    raise AssertionError(f"{member.name} diverged: {self._last_words(member)}")
                if asyncio.get_running_loop().time() > end_s:
                    raise AssertionError(f"{member.name} does not serve: {said} {self._last_words(member)}")
                await asyncio.sleep(_LOOK_S)

    async def level(self) -> int:
        """Returns when all have one height and all of it is final: the height. Raises AssertionError."""
        end_s = asyncio.get_running_loop().time() + _READY_S
        while True:
            said = [await self.status(member) for member in self.members]
            found = [(each["height"], each["size"], each["final_size"]) for each in said if each is not None]
            if len(found) == MEMBERS and len(set(found)) == 1 and found[0][1] == found[0][2]:
                return int(found[0][0])
            if asyncio.get_running_loop().time() > end_s:
                raise AssertionError(f"the members do not agree on a final height: {found}")
            await asyncio.sleep(_LOOK_S)

    async def proposer(self) -> Member | None:
        """Who orders, as far as a member knows."""
        for member in self.members:
            said = await self.status(member)
            for each in self.members:
                if said is not None and said["proposer"] == each.name:
                    return each
        return None

    async def etcd_leader(self) -> Member | None:
        """Whose etcd leads, as far as a member knows."""
        for member in self.members:
            said = await self.status(member)
            for each in self.members:
                if said is not None and said["order"].get("leader") == each.label:
                    return each
        return None

    # ---- processes

    def replica(self, member: Member) -> int | None:
        """Process id of its replica."""
        return living(self.layout.run_dir / f"replica-{member.label}.lock")

    def etcd(self, member: Member) -> int | None:
        """Process id of its etcd."""
        return living(self.layout.run_dir / f"etcd-{member.label}.lock")

    def postgres(self, member: Member) -> int | None:
        """Process id of its PostgreSQL."""
        for file in member.ledger_dir.glob("postgres/**/postmaster.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(file.read_text().split("\n", 1)[0])
                if Path(f"/proc/{pid}/cwd").samefile(file.parent):
                    return pid
        return None

    def send(self, number: int, pid: int | None) -> bool:
        """A signal to a process, if it lives."""
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    # ---- starting and ending

    async def _lay_ways(self) -> None:
        for member in self.members:
            ways = [Proxy(each.ports.etcd) for each in [member, *(m for m in self.members if m is not member)]]
            (behind,) = free_ports(1)
            peer = Proxy(behind, member.ports.peer)
            for way in ways:
                await way.start()
            scheme = "https" if self.layout.tls else "http"
            text = member.config.read_text(encoding="utf-8")
            endpoints = ",".join(f"{scheme}://127.0.0.1:{way.port}" for way in ways)
            text = re.sub(r"(?m)^etcd_endpoints = .*$", f"etcd_endpoints = {json.dumps(endpoints)}", text)
            text = re.sub(r"(?m)^peer_port = .*$", f"peer_port = {behind}", text)
            member.config.write_text(text, encoding="utf-8")
            self.order_ways[member.name], self.peer_ways[member.name] = ways, peer

    async def _open_peer_ways(self) -> None:
        """Once `cluster up` found the addresses of the members free: what starts listens behind them."""
        while not any(map(self.etcd, self.members)):
            if self._up is not None and self._up.poll() is not None:
                raise AssertionError(self._last_words(self.members[0]))
            await asyncio.sleep(_LOOK_S)
        for way in self.peer_ways.values():
            await way.start()

    def _start(self) -> None:
        command = [*program(), "cluster", "up", "--data-dir", str(self.layout.folder)]
        with (self.layout.folder / "up.log").open("ab") as log:
            self._up = subprocess.Popen(command, stdout=log, stderr=log, env=environment(os.environ))

    def _end(self) -> None:
        for pid in self._pids():
            self.send(signal.SIGCONT, pid)
        if self._up is None:
            return
        self._up.terminate()
        try:
            self._up.wait(60)
        except subprocess.TimeoutExpired:
            self._up.kill()
            self._up.wait()
            subprocess.run([*program(), "cluster", "down", "--data-dir", str(self.layout.folder)], check=False)

    def _pids(self) -> Iterator[int | None]:
        for member in self.members:
            yield from (self.replica(member), self.etcd(member), self.postgres(member))

    def _last_words(self, member: Member) -> str:
        log = self.layout.logs_dir / f"replica-{member.label}.log"
        up = self.layout.folder / "up.log"
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in (log, up) if path.exists())


if sys.platform == "win32":
    raise ImportError("processes are stopped and continued by POSIX signals")
