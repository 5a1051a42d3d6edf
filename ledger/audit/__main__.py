"""One audit in a process of its own, at the lowest priority, for a replica that serves beside it.

    stdin    Task as JSON                    stdout   Verdict as one line of JSON

A process, because an audit computes without pause: in the replica's own it would hold up every answer. Everything is
held against hashes and signatures (ledger.audit.hashes); what the contracts make of the commands is `dr-ledger verify`.
It takes a connection and a snapshot of its own, memory up to a limit, and ends with the process that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

import contracts
import ledger
from ledger.audit import audit
from ledger.audit.differences import LedgerDiffers
from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from ledger.founding import load
from ledger.genesis import check_contracts
from ledger.store.reading import STORE_ERRORS, first_line
from runtime.database import create_engine
from runtime.errors import GridpactError

NICE: Final = 19
_LOOK_S: Final = 2.0


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """data_dir: of the channel; keys_dir: of log.key and cosigner.key. program: `program()` of who asks: an upgrade on
    disk that it has not been restarted for would judge by other code."""

    program: str
    database_url: str
    data_dir: str
    keys_dir: str
    memory_mb: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """height, transactions, seconds: of what was found equal. differs: the first difference. failed: why nothing was
    found out."""

    height: int = 0
    transactions: int = 0
    seconds: float = 0.0
    differs: str = ""
    failed: str = ""


def main() -> None:
    os.nice(NICE)
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    if hasattr(resource, "RLIMIT_DATA"):
        resource.setrlimit(resource.RLIMIT_DATA, (task.memory_mb << 20, resource.RLIM_INFINITY))
    try:
        verdict = asyncio.run(_judged(task))
    except MemoryError:
        verdict = Verdict(failed=f"it needs more than {task.memory_mb} MB: raise audit_memory_mb")
    sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")


async def _judged(task: Task) -> Verdict:
    watching = asyncio.create_task(_end_with(os.getppid()))
    if task.program != program():
        return Verdict(failed="the program was replaced while the replica runs: start it again")
    try:
        founded = load(LedgerSettings.load(flags={"data_dir": Path(task.data_dir), "keys_dir": Path(task.keys_dir)}))
        check_contracts(founded)
    except GridpactError as error:  # of the folder, not of the tables
        return Verdict(failed=str(error))
    try:
        engine = create_engine(task.database_url, application_name="dr-ledger audit")
        try:
            found = await audit(engine, founded, execute=False)
        finally:
            await engine.dispose()
    except (LedgerDiffers, GenesisInvalid) as error:
        return Verdict(differs=str(error))
    except STORE_ERRORS as error:
        return Verdict(failed=f"PostgreSQL: {first_line(error)}")
    except GridpactError as error:
        return Verdict(failed=str(error))
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    return Verdict(height=found.height, transactions=found.transactions, seconds=found.seconds)


def program() -> str:
    """SHA-256 over the sources of ledger and contracts, as they are on disk now."""
    found = sha256()
    for package in (ledger, contracts):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            found.update(f"{path.relative_to(folder)} {sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


async def _end_with(parent: int) -> None:
    """A replica that was killed leaves nothing behind."""
    while os.getppid() == parent:
        await asyncio.sleep(_LOOK_S)
    os._exit(1)


if __name__ == "__main__":
    main()
