"""Processes of a local consortium: started with a log each, started again when they die, found again by anybody.

Each process holds a lock on `run/<name>.lock`, which has its process id inside. The lock was taken before the process
began and is inherited by it alone, so it is held exactly as long as the process lives: whoever finds it free knows that
the id in it means nothing any more, whatever happened to the program that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ledger.cluster.layout import ClusterError
from runtime.logs import get_logger

STOP_S = 20.0
_RESTART_S = (0.5, 1.0, 2.0, 5.0, 10.0)
#: a process that lived so long starts over with the shortest wait
_SETTLED_S = 60.0
_LOOK_S = 0.1
#: variables that would speak to every member at once
_PRIVATE = ("DR_LEDGER_", "DATABASE_URL", "ETCD")

_log = get_logger("ledger.cluster")


class Supervised:
    """A process that runs until `stop`. `name` is unique in its consortium, such as `replica-1`."""

    def __init__(self, name: str, command: Sequence[str], run_dir: Path, log: Path) -> None:
        self.name = name
        self.log = log
        self.restarts = 0
        self._command = list(command)
        self._lock = run_dir / f"{name}.lock"
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Starts it and keeps it running. Raises ClusterError if an older one still lives."""
        await self._launch()
        self._watch = asyncio.create_task(self._keep())

    async def stop(self, patience_s: float = STOP_S) -> None:
        """SIGTERM, and SIGKILL if that does not end it in so many seconds."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(patience_s):
                await process.wait()
        except TimeoutError:
            _log.warning("killed, because it did not end", process=self.name, seconds=patience_s)
            process.kill()
            await process.wait()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def _launch(self) -> None:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ClusterError(
                    f"{self.name} already runs (process {_read_pid(self._lock) or 'unknown'}): "
                    "end it with `dr-ledger cluster down`"
                ) from None
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment(os.environ),
                    pass_fds=(descriptor,),
                    start_new_session=True,  # Ctrl-C in a terminal reaches only who stops all in order
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(self._process.pid).encode(), 0)
        finally:
            os.close(descriptor)

    async def _keep(self) -> None:
        failures = 0
        while True:
            assert self._process is not None
            began = time.monotonic()
            code = await self._process.wait()
            failures = 0 if time.monotonic() - began > _SETTLED_S else failures
            while True:
                pause_s = _RESTART_S[min(failures, len(_RESTART_S) - 1)]
                _log.warning("ended by itself, is started again", process=self.name, code=code, after_s=pause_s)
                await asyncio.sleep(pause_s)
                failures += 1
                try:
                    await self._launch()
                    break
                except (ClusterError, OSError) as error:
                    _log.warning("cannot be started", process=self.name, reason=str(error))
            self.restarts += 1


@contextlib.contextmanager
def held(lock: Path) -> Iterator[None]:
    """Holds a lock as the calling process. Raises ClusterError if another one does, or if it cannot be made."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ClusterError(f"{lock} cannot be made ({error}): choose another folder with --data-dir") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError(
                f"this consortium is already up (process {_read_pid(lock) or 'unknown'}): "
                "see `dr-ledger cluster status`, end it with `dr-ledger cluster down`"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def living(lock: Path) -> int | None:
    """The id of the process that holds a lock; None if nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(lock)
    finally:
        os.close(descriptor)
    return None


def end(lock: Path, timeout_s: float = STOP_S) -> bool:
    """Ends the process that holds a lock: SIGTERM, then SIGKILL. False if there was none."""
    pid = living(lock)
    if pid is None:
        return False
    for number, wait_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if living(lock) is None:
                return True
            time.sleep(_LOOK_S)
    raise ClusterError(f"process {pid} does not end: see {lock.stem}'s log")


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """What a member's process gets of this one's variables: all but those that would set every member alike."""
    return {name: value for name, value in variables.items() if not name.startswith(_PRIVATE)}


def _read_pid(lock: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(lock.read_text())
    return None
