"""A replica running in the test's own process, on loopback, with the parties that tests sign as."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from contracts.core.commands import Enrolment
from contracts.core.parties import Role
from ledger.app import build
from ledger.client import LedgerClient, party_id
from ledger.config import LedgerSettings
from ledger.founding import Founded, contracts_root, found, load
from runtime.clock import SystemClock
from runtime.keys import PrivateKey
from runtime.ports import free_ports
from tests.builders import START_MS, a_key

UTILITY, AGGREGATOR, AUDITOR = a_key(101), a_key(102), a_key(103)
UTILITY_ID = party_id(Role.UTILITY, UTILITY.public)
AGGREGATOR_ID = party_id(Role.AGGREGATOR, AGGREGATOR.public)


def an_enrolment(role: Role, key: PrivateKey) -> Enrolment:
    party = party_id(role, key.public)
    return Enrolment(party=party, role=role, key=key.public, sponsor=party, area="portfolio")


def founded(settings: LedgerSettings) -> Founded:
    """The ledger in the settings' folder, founded at the first call."""
    if settings.genesis_file.exists():
        return load(settings)
    parties = [an_enrolment(Role.UTILITY, UTILITY), an_enrolment(Role.AGGREGATOR, AGGREGATOR)]
    return found(
        settings,
        parties=[*parties, an_enrolment(Role.AUDITOR, AUDITOR)],
        channel="main",
        origin="ledger.example/main",
        member="member.example/1",
        contracts_root=contracts_root(),
        created_ms=START_MS,
    )


@contextlib.asynccontextmanager
async def a_running_ledger(database_url: str, folder: Path, **settings: Any) -> AsyncIterator[str]:
    """The address of a replica over a migrated database."""
    merged = LedgerSettings(database_url=database_url, data_dir=folder, **settings)
    runner = web.AppRunner(build(merged, founded(merged)), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def a_client(url: str, role: Role = Role.UTILITY, **options: Any) -> LedgerClient:
    """A client that signs as one of the founders."""
    key = {Role.UTILITY: UTILITY, Role.AGGREGATOR: AGGREGATOR, Role.AUDITOR: AUDITOR}[role]
    return LedgerClient(url, key=key, party=party_id(role, key.public), clock=SystemClock(), **options)


class Served:
    """`dr-ledger serve` as a process that a test may kill; it keeps its port."""

    def __init__(self, folder: Path, *, database_url: str | None = None, **environment: str) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.url = f"{'https' if 'DR_LEDGER_CERTIFICATE' in environment else 'http'}://127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DR_LEDGER_", "DATABASE_"))}
        self.environment = {**kept, "DR_LEDGER_DATA_DIR": str(folder), "DR_LEDGER_PORT": str(self.port), **environment}
        if database_url is not None:
            self.environment["DATABASE_URL"] = database_url
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when it has printed its address."""
        with (self.folder / "serve.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from ledger.cli import main; main()", "serve"],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == f"dr-ledger ready at {self.url}\n", (line, (self.folder / "serve.log").read_text()[-2000:])

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ends it cleanly; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        assert process.stdout is not None
        process.stdout.close()
        return process.wait(timeout=30)


@contextlib.contextmanager
def a_served_ledger(folder: Path, **options: Any) -> Iterator[Served]:
    """A founded ledger, served by a process of its own."""
    founded(LedgerSettings(data_dir=folder))
    served = Served(folder, **options)
    try:
        served.start()
        yield served
    finally:
        served.stop()
