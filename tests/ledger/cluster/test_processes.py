"""Processes that are kept running, and found again by whoever comes later."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.cluster.layout import ClusterError
from ledger.cluster.processes import Supervised, end, environment, held, living

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


async def soon(happened: Callable[[], bool]) -> None:
    """Waits until it did, 10 s at most."""
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.02)


def a_process(folder: Path, command: list[str] = SLEEPER) -> Supervised:
    return Supervised("replica-1", command, folder / "run", folder / "logs" / "replica-1.log")


async def test_a_process_that_is_killed_is_started_again(tmp_path: Path):
    process = a_process(tmp_path)
    await process.start()
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await soon(lambda: process.restarts == 1)
    assert process.pid not in (None, first)
    await process.stop()
    assert process.pid is None


async def test_a_process_that_was_stopped_stays_down(tmp_path: Path):
    process = a_process(tmp_path)
    await process.start()
    await process.stop()
    await asyncio.sleep(0.7)
    assert (process.pid, process.restarts) == (None, 0)


async def test_whoever_comes_later_finds_a_living_process_and_can_end_it(tmp_path: Path):
    """As if the program that started it had been killed: only the files are left to know it by."""
    process, lock = a_process(tmp_path), tmp_path / "run" / "replica-1.lock"
    await process.start()
    assert living(lock) == process.pid
    assert process._watch is not None
    process._watch.cancel()
    assert await asyncio.to_thread(end, lock)
    assert living(lock) is None
    assert not end(lock)
    await process.stop()


async def test_a_process_that_ignores_the_polite_request_is_killed(tmp_path: Path):
    process, lock = a_process(tmp_path, STUBBORN), tmp_path / "run" / "replica-1.lock"
    await process.start()
    await soon(lambda: "up" in process.last_words())
    assert process._watch is not None
    process._watch.cancel()
    assert await asyncio.to_thread(end, lock, 0.5)
    assert living(lock) is None
    await process.stop()


async def test_a_second_one_of_a_name_is_refused_while_the_first_lives(tmp_path: Path):
    process = a_process(tmp_path)
    await process.start()
    with pytest.raises(ClusterError, match=f"replica-1 already runs .process {process.pid}"):
        await a_process(tmp_path).start()
    await process.stop()


async def test_a_process_id_in_a_free_lock_means_nothing(tmp_path: Path):
    lock = tmp_path / "replica-1.lock"
    lock.write_text(str(os.getpid()))
    assert living(lock) is None
    assert not end(lock)


def test_a_consortium_is_up_once(tmp_path: Path):
    with held(tmp_path / "run" / "up.lock"):
        with (
            pytest.raises(ClusterError, match=f"already up .process {os.getpid()}"),
            held(tmp_path / "run" / "up.lock"),
        ):
            pytest.fail("two programs hold one lock")
        assert living(tmp_path / "run" / "up.lock") == os.getpid()
    assert living(tmp_path / "run" / "up.lock") is None


async def test_the_last_words_of_a_process_that_cannot_start_are_kept(tmp_path: Path):
    process = a_process(tmp_path, [sys.executable, "-c", "raise SystemExit('no such database')"])
    await process.start()
    await soon(lambda: "no such database" in process.last_words())
    await process.stop()


def test_variables_that_would_set_every_member_alike_are_not_passed_on():
    given = {"PATH": "x", "GRIDPACT_CLOCK": "c", "DR_LEDGER_PORT": "1", "DATABASE_URL": "d", "ETCD_NAME": "e"}
    assert environment(given) == {"PATH": "x", "GRIDPACT_CLOCK": "c"}
