"""The products' commands as processes: started, watched, killed, each with a log file of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

_BIN = Path(sys.executable).parent
_STOP_S = 10.0


class CommandFailed(Exception):
    """A command of the products ended with an error; the message holds its last words."""


class Process:
    """A running command. `name` is what the story calls it; its log is `<logs>/<name>.log`."""

    def __init__(self, name: str, arguments: Sequence[str | Path], environment: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self._arguments = [str(argument) for argument in arguments]
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts it; what it prints is appended to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_command(self._arguments), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self._environment}, start_new_session=True,
            )  # fmt: skip

    async def wait_ready(self, url: str, timeout_s: float = 60.0) -> None:
        """Returns when `url` answers 200. Raises CommandFailed when the process ends or the time is over."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            for _ in range(int(timeout_s / 0.1)):
                if not self.running:
                    raise CommandFailed(f"{self.name} ended at its start:\n{self.last_words()}")
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)
        raise CommandFailed(f"{self.name} is not ready after {timeout_s:.0f} s:\n{self.last_words()}")

    async def kill(self) -> None:
        """kill -9: no last word."""
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it in time."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        except TimeoutError:
            await self.kill()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


async def call(arguments: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    """Runs a command to its end and returns what it printed. Raises CommandFailed."""
    shown = [str(argument) for argument in arguments]
    finished = await asyncio.to_thread(
        subprocess.run,
        _command(shown),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **environment},
    )
    if finished.returncode:
        error = finished.stderr.decode(errors="replace").strip()
        raise CommandFailed(f"`{' '.join(shown)}` ended with {finished.returncode}:\n{error}")
    return finished.stdout.decode()


async def call_json(arguments: Sequence[str | Path], environment: Mapping[str, str]) -> Any:
    """As `call` with --json, read."""
    return json.loads(await call([*arguments, "--json"], environment))


async def call_json_lines(arguments: Sequence[str | Path], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """As `call_json` for commands that print one object a line."""
    return [json.loads(line) for line in (await call([*arguments, "--json"], environment)).splitlines()]


def free_port() -> int:
    """A loopback port nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _command(arguments: Sequence[str]) -> list[str]:
    return [str(_BIN / arguments[0]), *arguments[1:]]
