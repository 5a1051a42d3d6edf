"""The products' commands as processes: started, watched, killed, each with a log file of its own.

Every wait here ends: with what was waited for, or with CommandFailed and the last words of whoever did not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

_BIN = Path(sys.executable).parent
_STOP_S = 15.0
_CALL_S = 90.0
_LOOK_S = 0.1


class CommandFailed(Exception):
    """A command of the products ended with an error, or not at all; the message holds its last words."""


class Process:
    """A running command. `name` is what the story calls it; its log is `<logs>/<name>.log`."""

    def __init__(self, name: str, arguments: Sequence[str | Path], environment: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self._arguments = [str(argument) for argument in arguments]
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._ended_by_us = False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def died(self) -> bool:
        """It was started and ended, and nobody here asked for that."""
        return self._process is not None and self._process.returncode is not None and not self._ended_by_us

    async def start(self) -> None:
        """Starts it; what it prints is appended to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._ended_by_us = False
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_command(self._arguments), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self._environment}, start_new_session=True,
            )  # fmt: skip

    async def wait_ready(
        self, url: str, timeout_s: float = 60.0, tls: ssl.SSLContext | None = None, *, status: int = 200
    ) -> None:
        """Returns when `url` answers `status`. Raises CommandFailed when the process ends or the time is over."""
        deadline, said = time.monotonic() + timeout_s, "no answer"
        connector = aiohttp.TCPConnector(ssl=tls if tls is not None else True)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=3)) as session:
            while time.monotonic() < deadline:
                if not self.running:
                    raise CommandFailed(f"{self.name} ended at its start:\n{self.last_words()}")
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url) as answer:
                        if answer.status == status:
                            return
                        said = (await answer.text())[:500]
                await asyncio.sleep(_LOOK_S)
        raise CommandFailed(f"{self.name} is not ready after {timeout_s:.0f} s ({url}: {said}):\n{self.last_words()}")

    async def kill(self) -> None:
        """kill -9: no last word."""
        self._ended_by_us = True
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def stop(self, timeout_s: float = _STOP_S) -> None:
        """SIGTERM, and SIGKILL if that does not end it in time."""
        self._ended_by_us = True
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        return last_words(self.log, lines)


def last_words(log: Path, lines: int = 15) -> str:
    """The end of a log file; empty where there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


async def call(arguments: Sequence[str | Path], environment: Mapping[str, str], timeout_s: float = _CALL_S) -> str:
    """Runs a command to its end and returns what it printed. Raises CommandFailed."""
    shown = [str(argument) for argument in arguments]
    try:
        finished = await asyncio.to_thread(
            subprocess.run,
            _command(shown),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **environment},
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace").strip()
        raise CommandFailed(f"`{' '.join(shown)}` has not ended after {timeout_s:.0f} s:\n{said}") from None
    if finished.returncode:
        error_text = finished.stderr.decode(errors="replace").strip()
        raise CommandFailed(f"`{' '.join(shown)}` ended with {finished.returncode}:\n{error_text}")
    return finished.stdout.decode()


async def call_json(arguments: Sequence[str | Path], environment: Mapping[str, str]) -> Any:
    """As `call` with --json, read."""
    printed = await call([*arguments, "--json"], environment)
    try:
        return json.loads(printed)
    except ValueError as error:
        shown = " ".join(map(str, arguments))
        raise CommandFailed(f"`{shown} --json` printed {len(printed)} characters that are no JSON: {error}") from None


async def call_json_lines(arguments: Sequence[str | Path], environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """As `call_json` for commands that print one object a line."""
    return [json.loads(line) for line in (await call([*arguments, "--json"], environment)).splitlines()]


def _command(arguments: Sequence[str]) -> list[str]:
    return [str(_BIN / arguments[0]), *arguments[1:]]
