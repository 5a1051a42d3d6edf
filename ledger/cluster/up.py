"""`dr-ledger cluster up`: starts a local consortium in order, keeps it running, and stops it in order.

etcd of every member ─▶ their users ─▶ replica of every member ─▶ ready      stop: the same backwards
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ledger.cluster import order
from ledger.cluster.binaries import find_etcd
from ledger.cluster.layout import RUN_DIR, ClusterError, Layout, Member
from ledger.cluster.processes import Supervised, end, held, living
from runtime.errors import DataFolderLocked
from runtime.logs import get_logger
from runtime.postgres import EmbeddedPostgres
from runtime.tls import Certificate, client_context

UP_LOCK = "up.lock"
READY_S = 90.0
_LOOK_S = 0.1
_FOLLOW_S = 1.0

_log = get_logger("ledger.cluster")


async def up(layout: Layout, *, announce: Callable[[], None]) -> None:
    """Runs the consortium until SIGTERM or SIGINT; `announce` is called once every member is ready. To be called by
    who has it `alone`. Raises ClusterError if a member is not ready in time (with the end of its log)."""
    stop = _stop_signal()
    async with _running(layout, stop) as started:
        if started is not None:
            announce()
            await _follow(layout, started, stop)


def alone(folder: Path) -> AbstractContextManager[None]:
    """For as long as the block lasts nobody else founds or runs the consortium in the folder. Raises ClusterError if
    somebody does."""
    return held(folder / RUN_DIR / UP_LOCK)


def down(folder: Path) -> list[str]:
    """Ends what runs of the consortium in the folder, whoever started it, also where it was never founded to the end;
    returns the names of what was ended. Raises ClusterError where there is nothing that could run."""
    if not (folder / RUN_DIR).exists():
        Layout.read(folder)
    ended = ["cluster up"] if end(folder / RUN_DIR / UP_LOCK, timeout_s=60.0) else []
    return [*ended, *(lock.stem for lock in _locks(folder) if end(lock)), *asyncio.run(_end_postgres(folder))]


def require_nothing_left(folder: Path) -> None:
    """Raises ClusterError for processes of a `cluster up` that was killed: they hold ports and data."""
    left = [lock.stem for lock in _locks(folder) if living(lock) is not None]
    if left:
        raise ClusterError(
            f"{', '.join(left)} still run, left by a `cluster up` that was killed: end them with "
            f"`dr-ledger cluster down --data-dir {folder}`"
        )


def states(layout: Layout) -> list[dict[str, Any]]:
    """For each member: name, addresses, process ids (None: it does not run), and what its replica says of itself."""
    found = []
    for page, member in zip(layout.as_page()["members"], layout.members, strict=True):
        said = _ask(layout, member, f"/v1/channels/{layout.as_page()['channel']}/status")
        found.append(
            {
                "name": page["name"],
                "api_url": page["api_url"],
                "peer_url": page["peer_url"],
                "etcd": page["etcd"] and page["etcd"]["endpoint"],
                "replica_pid": living(layout.run_dir / f"replica-{member.label}.lock"),
                "etcd_pid": living(layout.run_dir / f"etcd-{member.label}.lock"),
                "not_ready": _not_ready(_ask(layout, member, "/readyz")),
                "status": said,
            }
        )
    return found


@contextlib.asynccontextmanager
async def _running(layout: Layout, stop: asyncio.Event) -> AsyncIterator[list[Supervised] | None]:
    """What was started, all ready; None where `stop` was asked for meanwhile. Stopped at the end, backwards."""
    started: list[Supervised] = []
    try:
        starting = asyncio.create_task(_start(layout, started))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            yield None
            return
        starting.result()
        yield started
    finally:
        for process in reversed(started):
            await process.stop()
        await _end_postgres(layout.folder)


async def _follow(layout: Layout, started: list[Supervised], stop: asyncio.Event) -> None:
    """Starts and stops processes of members that come and go, until `stop`."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FOLLOW_S):
                await stop.wait()
        now = Layout.read(layout.folder)
        if now == layout or stop.is_set():
            continue
        wanted = [*await _etcds(now), *(_replica(now, member) for member in now.members)]
        running = {process.name: process for process in started}
        for process in wanted:
            if process.name not in running:
                _log.warning("a member came", process=process.name)
                started.append(process)
                await process.start()
        for name in running.keys() - {process.name for process in wanted}:
            _log.warning("a member left", process=name)
            started.remove(running[name])
            await running[name].stop()
        layout = now


async def _start(layout: Layout, started: list[Supervised]) -> None:
    """Starts all; each is in `started` before it begins, so that it is stopped whatever happens."""
    etcds = await _etcds(layout)
    for process in etcds:
        started.append(process)
        await process.start()
    if etcds:
        await order.wait_for_leader(layout, etcds)
    replicas = [_replica(layout, member) for member in layout.members]
    for process in replicas:
        started.append(process)
        await process.start()
    await asyncio.gather(
        *(_ready(layout, member, process) for member, process in zip(layout.members, replicas, strict=True))
    )


async def _etcds(layout: Layout) -> list[Supervised]:
    if layout.orderer != "etcd":
        return []
    program = await asyncio.to_thread(find_etcd)
    return await asyncio.to_thread(order.supervised, layout, program)


def _replica(layout: Layout, member: Member) -> Supervised:
    command = [*program(), "serve", "--config", str(member.config)]
    if member.secrets_dir.exists():
        command += ["--secrets-dir", str(member.secrets_dir)]
    name = f"replica-{member.label}"
    return Supervised(name, command, layout.run_dir, layout.logs_dir / f"{name}.log")


def program() -> Sequence[str]:
    """How `dr-ledger` is run by the interpreter of this process."""
    script = Path(sys.executable).with_name("dr-ledger")
    return [str(script)] if script.exists() else [sys.executable, "-c", "from ledger.cli import main; main()"]


async def _ready(layout: Layout, member: Member, process: Supervised) -> None:
    deadline = asyncio.get_running_loop().time() + READY_S
    said = None
    while asyncio.get_running_loop().time() < deadline:
        said = await asyncio.to_thread(_ask, layout, member, "/readyz")
        if said is not None and said.get("ready"):
            return
        if process.restarts > 1:
            raise ClusterError(f"{process.name} cannot be started:\n{process.last_words()}")
        await asyncio.sleep(_LOOK_S)
    waits = _not_ready(said) or ["no answer"]
    raise ClusterError(
        f"{process.name} is not ready after {READY_S:.0f} s ({'; '.join(waits)}):\n{process.last_words()}"
    )


def _ask(layout: Layout, member: Member, path: str) -> dict[str, Any] | None:
    """What a member's replica answers, also with an error status; None without an answer."""
    url = layout.api_url(member) + path
    context = client_context(layout.ca, Certificate(*member.replica_pair)) if layout.api_tls else None
    try:
        with urllib.request.urlopen(url, timeout=2.5, context=context) as answer:  # noqa: S310 (loopback, our own port)
            return dict(json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        with contextlib.suppress(ValueError, OSError):
            return dict(json.loads(error.read()))
    except (OSError, ValueError):
        pass
    return None


def _not_ready(said: dict[str, Any] | None) -> list[str]:
    """What a replica's /readyz lacks."""
    if said is None:
        return ["no answer"]
    return [
        f"{name}: {each.get('reason', 'not ready')}"
        for name, each in said.get("dependencies", {}).items()
        if not each.get("ready")
    ]


def _locks(folder: Path) -> list[Path]:
    """Of all processes there ever were: replicas first, so that they can still take leave of etcd."""
    run = folder / RUN_DIR
    return [*sorted(run.glob("replica-*.lock")), *sorted(run.glob("etcd-*.lock"))]


async def _end_postgres(folder: Path) -> list[str]:
    """Ends servers that replicas left behind which were killed and not started again."""
    found = []
    for data in sorted((folder / "members").glob("*/ledger/postgres")):
        with contextlib.suppress(DataFolderLocked):
            if await EmbeddedPostgres(data).end_left():
                found.append(f"postgres-{data.parents[1].name}")
    return found


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
