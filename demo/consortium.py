"""The ledger's members: one replica each for utility, aggregator and auditor, run by `dr-ledger cluster up`.

Whoever takes part talks to a member of its own: the utility to its replica, the VTN to the aggregator's, the homes to
all of them in turn. A replica that is killed is started again by the command that runs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from demo.processes import CommandFailed, Process, call_json, last_words
from runtime.tls import client_context

UTILITY, AGGREGATOR, AUDITOR = "utility", "aggregator", "auditor"
#: who runs a replica, for each number of members
SEATS = {1: (AGGREGATOR,), 2: (UTILITY, AGGREGATOR), 3: (UTILITY, AGGREGATOR, AUDITOR)}
_FOUNDING_S = 120.0
_STOP_S = 60.0
_LOOK_S = 0.1


@dataclass(frozen=True)
class Seat:
    """One member. `label` is who runs it."""

    label: str
    name: str
    url: str
    data_dir: Path
    log: Path


class Consortium:
    """Founds, starts, stops and kills. `members` is 1 (ordered by the replica itself), 2 or 3 (ordered by etcd)."""

    def __init__(
        self, folder: Path, members: int, environment: Mapping[str, str], logs: Path, *, api_tls: bool = False
    ) -> None:
        self.folder = folder
        self.api_tls = api_tls
        self.labels = SEATS[members]
        self.process: Process | None = None
        self._environment = environment
        self._logs = logs
        self._founders: list[str] = []

    def found(self, public_keys: Mapping[str, str], *options: str) -> None:
        """Names the founding parties by role, and further options of `cluster up`; `start` founds with them."""
        self._founders = [part for role, key in public_keys.items() for part in (f"--{role}", key)]
        self._founders += options

    async def start(self) -> None:
        """Founds the ledger the first time; returns when every member is ready. Raises CommandFailed."""
        names = [part for label in self.labels for part in ("--name", f"member.gridpact.local/{label}")]
        self.process = Process(
            "ledger",
            [
                "dr-ledger",
                "cluster",
                "up",
                "--data-dir",
                self.folder,
                "--port",
                "0",
                *names,
                *self._founders,
                *(["--api-tls"] if self.api_tls else []),
            ],
            self._environment,
            self._logs,
        )
        await self.process.start()
        deadline = time.monotonic() + _FOUNDING_S
        while not (self.folder / "cluster.json").exists():
            if not self.process.running:
                raise CommandFailed(f"the ledger was not founded:\n{self.process.last_words()}")
            if time.monotonic() > deadline:
                raise CommandFailed(f"no ledger after {_FOUNDING_S:.0f} s:\n{self.report()}")
            await asyncio.sleep(_LOOK_S)
        for seat in self.seats:
            try:
                await self.process.wait_ready(f"{seat.url}/readyz", tls=self.tls)
            except CommandFailed as error:
                raise CommandFailed(f"{error}\n{self.report()}") from None

    @property
    def tls(self) -> ssl.SSLContext | None:
        """How clients check a replica; None: over plain HTTP on loopback."""
        return client_context(self.folder / "ca" / "ca.pem") if self.api_tls else None

    async def stop(self) -> None:
        """Stops every member in order."""
        if self.process is not None:
            await self.process.stop(_STOP_S)

    @property
    def seats(self) -> list[Seat]:
        """The members, in the order of their labels. Only once the ledger is founded."""
        page = json.loads((self.folder / "cluster.json").read_text())
        return [
            Seat(each["label"], each["name"], each["api_url"], Path(each["data_dir"]), Path(each["log"]))
            for each in page["members"]
        ]

    def seat(self, label: str) -> Seat:
        """Who runs it by role; with fewer members, the aggregator's serves everybody."""
        found = {seat.label: seat for seat in self.seats}
        return found.get(label, found[AGGREGATOR])

    @property
    def urls(self) -> list[str]:
        """The members' addresses for clients."""
        return [seat.url for seat in self.seats]

    async def status(self) -> list[dict[str, Any]]:
        """What `dr-ledger cluster status` says of each member."""
        found = await call_json(["dr-ledger", "cluster", "status", "--data-dir", self.folder], self._environment)
        members: list[dict[str, Any]] = found["members"]
        return members

    async def proposer(self) -> Seat:
        """The member that orders blocks now. Raises CommandFailed if nobody does for a while."""
        for _ in range(50):
            for seat in self.seats:
                name = (await self._status(seat.url)).get("proposer")
                found = [each for each in self.seats if name in (each.name, each.label)]
                if found:
                    return found[0]
            await asyncio.sleep(_LOOK_S)
        raise CommandFailed(f"nobody orders blocks:\n{self.report()}")

    async def kill(self, seat: Seat) -> None:
        """kill -9 of a member's replica; it is started again by itself."""
        [pid] = [each["replica_pid"] for each in await self.status() if each["name"] == seat.name]
        if pid is None:
            raise CommandFailed(f"the replica of {seat.label} does not run:\n{self.report()}")
        os.kill(pid, signal.SIGKILL)

    async def restart(self, path: str, *, status: int = 200) -> None:
        """Ends every replica; returns when those started in their place answer `path` with `status`, which none did
        before. Raises CommandFailed."""
        assert self.process is not None
        for each in await self.status():
            os.kill(each["replica_pid"], signal.SIGTERM)
        for seat in self.seats:
            await self.process.wait_ready(f"{seat.url}{path}", tls=self.tls, status=status)
        await self.wait_ready()

    async def wait_ready(self, seats: Sequence[Seat] | None = None) -> None:
        """Returns when these members (all of them) are ready. Raises CommandFailed."""
        assert self.process is not None
        for seat in seats if seats is not None else self.seats:
            await self.process.wait_ready(f"{seat.url}/readyz", tls=self.tls)

    def report(self, lines: int = 8) -> str:
        """The end of every member's log."""
        return "\n".join(
            f"--- {path.name}\n{last_words(path, lines)}" for path in sorted((self.folder / "logs").glob("*.log"))
        )

    async def _status(self, url: str) -> dict[str, Any]:
        """What a replica says of itself; empty while it does not answer."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
            connector = aiohttp.TCPConnector(ssl=self.tls if self.tls is not None else True)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=2)) as session,
                session.get(f"{url}/v1/channels/main/status") as answer,
            ):
                found: dict[str, Any] = await answer.json()
                return found
        return {}


async def etcd_missing(environment: Mapping[str, str]) -> str | None:
    """Why several members cannot be had on this machine; None if they can."""
    try:
        await call_json(["dr-ledger", "etcd", "find"], environment)
    except CommandFailed as error:
        return str(error).partition("\n")[2] or str(error)
    return None
