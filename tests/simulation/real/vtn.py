"""A VTN on the consortium, to be killed for good: the ledger needs none."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from demo.processes import Process, call, call_json
from ledger.cluster.layout import Layout
from runtime.ports import free_ports


class Vtn:
    """`dr-vtn`, an aggregator of the consortium."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_ports(1)[0]
        self._process: Process | None = None
        self.environment = {
            "GRIDPACT_VTN_DATA_DIR": str(folder / "vtn"),
            "GRIDPACT_VTN_PORT": str(self._port),
        }

    async def init(self) -> str:
        """Makes its key and returns the public half."""
        made = await call_json(["dr-vtn", "init"], self.environment)
        return str(made["public_key"])

    async def start(self, layout: Layout) -> None:
        """Returns when it is ready."""
        self.environment["GRIDPACT_VTN_LEDGER_URL"] = layout.api_url(layout.members[0])
        self.environment["GRIDPACT_VTN_LEDGER_POLICY"] = str(layout.members[0].ledger_dir / "policy.txt")
        await call(["dr-vtn", "migrate"], self.environment)
        self._process = Process("vtn", ["dr-vtn", "serve"], self.environment, self._folder / "logs")
        await self._process.start()
        await self._process.wait_ready(f"http://127.0.0.1:{self._port}/readyz")

    async def kill(self) -> None:
        """kill -9 of it and of its database, for good."""
        if self._process is not None and self._process.running:
            await self._process.kill()
        for file in (self._folder / "vtn").glob("postgres/**/postmaster.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(file.read_text().split("\n", 1)[0])
                if Path(f"/proc/{pid}/cwd").samefile(file.parent):
                    os.kill(pid, signal.SIGQUIT)
