"""A command prints everything for programs, or fails: whatever pipe it has and however slow its reader is."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PRINTERS = {
    "commands": "from runtime.output import print_whole; print_whole('\\n'.join([text] * 5_000))",
    "ledger.verify": "from ledger.verify.__main__ import _say; _say('\\n'.join([text] * 5_000))",
}
ROOT = Path(__file__).parents[3]
EACH = "x" * 100
MIN = 100 * 5_000


def printing(statement: str, stdout: int, *, unbuffered: bool = True) -> subprocess.Popen[bytes]:
    code = f"text = {EACH!r}\n{statement}\n"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    return subprocess.Popen([sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, env=environment)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def waiting(reader: int) -> int:
    """Bytes in the pipe."""
    return int.from_bytes(fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4), sys.byteorder)


def is_full(reader: int) -> bool:
    before = waiting(reader)
    time.sleep(0.05)
    return before >= 4096 and waiting(reader) == before


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("printer", PRINTERS)
def test_a_command_that_is_stopped_while_its_reader_is_slow_prints_everything(printer: str) -> None:
    """The system returns early from a write that a stop interrupts: an unbuffered stream forgets the rest."""
    reader, writer = os.pipe()
    with printing(PRINTERS[printer], writer) as process:
        os.close(writer)
        until(lambda: is_full(reader))
        process.send_signal(signal.SIGSTOP)
        until(lambda: stopped(process.pid))
        process.send_signal(signal.SIGCONT)
        read = os.read(reader, 4096)
        with os.fdopen(reader, "rb") as rest:
            read += rest.read()
        assert process.wait(60) == 0
    assert read.count(EACH.encode()) == 5_000
    assert len(read) > MIN


@pytest.mark.parametrize("unbuffered", [True, False])
def test_a_pipe_that_does_not_block_gets_everything(unbuffered: bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with printing(PRINTERS["commands"], writer, unbuffered=unbuffered) as process:
        os.close(writer)
        until(lambda: is_full(reader))
        with os.fdopen(reader, "rb") as all_of_it:
            read = all_of_it.read()
        assert process.wait(60) == 0
    assert read.count(EACH.encode()) == 5_000


def test_output_that_nobody_reads_to_its_end_is_an_error() -> None:
    reader, writer = os.pipe()
    with printing(PRINTERS["commands"], writer) as process:
        os.close(writer)
        until(lambda: is_full(reader))
        os.close(reader)
        assert process.wait(60) != 0
        assert process.stderr is not None
        assert b"not read to its end" in process.stderr.read()


def test_a_disk_without_room_is_an_error() -> None:
    with Path("/dev/full").open("wb") as full, printing(PRINTERS["commands"], full.fileno()) as process:
        assert process.wait(60) != 0
        assert process.stderr is not None
        assert b"No space left" in process.stderr.read()


def test_every_program_prints_json_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import ledger.cli.output
    import ven.cli.options
    import vtn.cli.options

    printed: list[str] = []
    for module in (ledger.cli.output, ven.cli.options, vtn.cli.options):
        monkeypatch.setattr(module, "print_whole", printed.append)
    ledger.cli.output.show({"a": 1}, as_json=True)
    ledger.cli.output.show_rows([{"a": 1}, {"a": 1}], as_json=True)
    ven.cli.options.print_json({"a": 1})
    vtn.cli.options.print_json({"a": 1})
    assert [json.loads(each) for each in printed] == [{"a": 1}] * 5


def test_no_command_prints_json_past_it() -> None:
    """`typer.echo` of JSON somewhere else would be cut again."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ("ledger", "vtn", "ven")
        for path in (ROOT / package).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"(echo|print)\((json|msgspec)\.", line)
    ]
    assert found == []
