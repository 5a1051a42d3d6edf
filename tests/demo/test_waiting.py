"""The plays never wait without end, and whoever gives up says for what."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from pathlib import Path

import pytest

from demo import processes
from demo.processes import CommandFailed, Process, call
from demo.until import until, within


class Waiting:
    doing = "the last home to report"

    def report(self, lines: int = 8) -> str:
        return "--- vtn.log\nits last words"


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise CommandFailed("the VTN did not start again")


@pytest.fixture(autouse=True)
def _python_is_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Process(["python", ...])` runs the interpreter of the tests."""
    monkeypatch.setattr(processes, "_BIN", Path(sys.executable).parent)


def a_process(folder: Path, code: str) -> Process:
    return Process("vtn", [Path(sys.executable).name, "-c", code], {}, folder)


async def test_a_play_ends_with_its_story_and_takes_the_others_with_it():
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, done.set)
    async with asyncio.timeout(5):
        await until(done, for_ever(), for_ever())


async def test_whatever_fails_beside_the_story_ends_it_at_once():
    async with asyncio.timeout(5):
        with pytest.raises(CommandFailed, match="did not start again"):
            await until(asyncio.Event(), for_ever(), fail())


async def test_a_play_that_is_not_over_in_time_says_what_it_waited_for_and_how_the_logs_end():
    with pytest.raises(CommandFailed, match=r"(?s)not over after 0 s.*the last home to report.*its last words"):
        async with within(0.05, Waiting()):
            await for_ever()


async def test_a_time_out_of_something_inside_is_not_taken_for_the_end_of_the_play():
    with pytest.raises(TimeoutError):
        async with within(60, Waiting()), asyncio.timeout(0.01):
            await for_ever()


async def test_a_process_that_ends_by_itself_is_told_from_one_that_was_stopped(tmp_path: Path):
    ended, stopped = a_process(tmp_path, "print('no database')"), a_process(tmp_path, "import time; time.sleep(60)")
    await ended.start()
    await stopped.start()
    assert ended._process is not None
    await ended._process.wait()
    await stopped.stop()
    assert ended.died
    assert "no database" in ended.last_words()
    assert not stopped.died


async def test_a_service_that_takes_connections_and_never_answers_is_given_up(tmp_path: Path):
    silent = socket.socket()  # the kernel takes connections, nobody reads them
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    port = silent.getsockname()[1]
    process = a_process(tmp_path, "import time; print('starting', flush=True); time.sleep(60)")
    await process.start()
    started = time.monotonic()
    with pytest.raises(CommandFailed, match=r"(?s)vtn is not ready after 1 s.*starting"):
        await process.wait_ready(f"http://127.0.0.1:{port}/readyz", timeout_s=1)
    assert time.monotonic() - started < 10
    await process.stop()
    silent.close()


async def test_a_command_that_does_not_end_is_given_up_with_what_it_said():
    code = "import sys, time; print('waiting for the ledger', file=sys.stderr, flush=True); time.sleep(60)"
    with pytest.raises(CommandFailed, match=r"(?s)has not ended after 1 s.*waiting for the ledger"):
        await call([Path(sys.executable).name, "-c", code], {}, timeout_s=1)
