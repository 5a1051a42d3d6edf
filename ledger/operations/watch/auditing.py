"""The nightly recomputation: every row of this replica's tables, held against what was hashed and signed.

    audit_at, audit_interval_s ─▶ for each channel: python -m ledger.audit (own process, lowest priority, own snapshot)
                     │ equal   ─▶ metrics, log
                     │ differs ─▶ the replica halts: it signs nothing more; /readyz, log and peers say why
                     └ failed  ─▶ a warning in /readyz, and again at the next time

A replica checks what it reads; a row that nobody reads is found here, at the latest.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from ledger.audit.__main__ import Task, Verdict, program
from ledger.config import LedgerSettings
from ledger.errors import Diverged
from ledger.replica import Replica
from runtime.clock import Clock
from runtime.errors import Attention
from runtime.logs import get_logger

_log = get_logger("ledger.audit")

_LOOK_S: Final = 30.0
_LATE: Final = 2
"""Intervals without a result, after which somebody should look."""


class Done(NamedTuple):
    """A result, and when it came (wall clock, ms)."""

    verdict: Verdict
    at_ms: int


class Auditing:
    """One for a process; `run` it for as long as the replicas run. done: by channel the newest result."""

    def __init__(
        self, settings: LedgerSettings, database_url: str, replicas: Callable[[], list[Replica]], clock: Clock
    ) -> None:
        self._settings = settings
        self._database_url = database_url
        self._replicas = replicas
        self._clock = clock
        self._started_ms = clock.wall_ms()
        self._program = program()
        self.done: dict[str, Done] = {}

    async def run(self) -> None:
        """For ever, or not at all where the interval is 0."""
        interval_s = self._settings.audit_interval_s
        while interval_s:
            due_ms = next_ms(self._clock.wall_ms(), self._settings.audit_at, interval_s)
            while (left_s := (due_ms - self._clock.wall_ms()) / 1000) > 0:
                await asyncio.sleep(min(left_s, _LOOK_S))  # in parts: the machine may sleep, or its clock be set
            await self.audit_all()

    async def audit_all(self) -> None:
        """Each channel, one after the other."""
        for replica in self._replicas():
            if replica.status()["state"] != "diverged":
                await self._audit(replica)

    async def check(self, replica: Replica) -> None:
        """Raises Attention where the newest recomputation failed, or none ended for two intervals."""
        interval_s = self._settings.audit_interval_s
        if not interval_s:
            return
        done = self.done.get(replica.channel)
        if done is not None and done.verdict.failed:
            raise Attention(
                f"the recomputation of {_time(done.at_ms)} failed: {done.verdict.failed}. Nothing is known to be wrong "
                "with the tables; it is tried again, or run `dr-ledger verify`"
            )
        since_ms = self._started_ms if done is None else done.at_ms
        if self._clock.wall_ms() - since_ms > _LATE * interval_s * 1000:
            raise Attention(
                f"no recomputation has ended since {_time(since_ms)}, although one is due every {interval_s:g} s: the "
                "machine has too little time for it, or the log is too long. Raise audit_interval_s"
            )

    async def _audit(self, replica: Replica) -> None:
        channel = replica.channel
        first = self._replicas()[0] is replica
        settings = self._settings if first else self._settings.of_channel(channel)
        task = Task(
            program=self._program,
            database_url=self._database_url,
            data_dir=str(settings.data_dir),
            keys_dir=str(settings.keys_dir or settings.data_dir),
            memory_mb=settings.audit_memory_mb,
        )
        verdict = await judged_apart(task)
        self.done[channel] = Done(verdict, self._clock.wall_ms())
        if verdict.differs:
            _log.error("the recomputation found a difference", channel=channel, reason=verdict.differs)
            replica.found_changed(Diverged(f"the recomputation of the tables: {verdict.differs}"))
        elif verdict.failed:
            _log.warning("the recomputation failed", channel=channel, reason=verdict.failed)
        else:
            shown = {"height": verdict.height, "transactions": verdict.transactions, "seconds": verdict.seconds}
            _log.info("the recomputation found everything equal", channel=channel, **shown)


async def judged_apart(task: Task) -> Verdict:
    """The verdict of a process of its own; it ends with this call."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ledger.audit",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said, _ = await process.communicate(msgspec.json.encode(task))
        return msgspec.json.decode(said, type=Verdict)
    except msgspec.MsgspecError:
        return Verdict(failed=f"its process ended with {process.returncode} and said nothing")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def next_ms(now_ms: int, at: str, interval_s: float) -> int:
    """When the next one is due: `at` is a time of day (UTC, HH:MM), from which intervals count; empty: from now."""
    if not at:
        return now_ms + int(interval_s * 1000)
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    hour, _, minute = at.partition(":")
    due = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0) - timedelta(days=1)
    steps = (now - due) // timedelta(seconds=interval_s) + 1
    return int((due + steps * timedelta(seconds=interval_s)).timestamp() * 1000)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
