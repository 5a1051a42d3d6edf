"""The life of one embedded PostgreSQL server: make, start, watch, stop.

Creating and starting are separate acts. The data folder is made under another name and renamed when complete, so a
crash during the first start leaves nothing half made. A start after `kill -9` covers both windows: of the owner (the
old server still runs: it is stopped cleanly) and of the server (its children linger: the start is repeated until they
are gone).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql
from sqlalchemy import URL

from runtime.database import connect
from runtime.errors import PostgresError
from runtime.logs import get_logger
from runtime.postgres import folder as layout
from runtime.postgres.account import Account, choose_account

_log = get_logger("runtime.postgres")

ROLE = "gridpact"
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.02
_WATCH_S = 0.2
_RELAUNCH_S = 5.0
_LOG_BYTES_MAX = 16 * 1024 * 1024
_INITDB = ("--locale=C", "--encoding=UTF8", "--data-checksums", "--auth=scram-sha-256", f"--username={ROLE}")
# Modest memory for a small machine; every acknowledged commit is on the disk. A loaded ledger writes 8 MB of WAL a
# second: with less room for it, checkpoints (and whole pages after them) would come twice a minute.
_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """A PostgreSQL server on a Unix socket, owned by this process.

    `data_dir` is made if absent. `options` override settings of the server. `briefly`: for one command.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binaries: Path | None = None,
        socket_base: Path | None = None,
        options: dict[str, str] | None = None,
        start_timeout_s: float = 60.0,
        briefly: bool = False,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self._briefly = briefly
        self._binaries = binaries
        self._socket_base = socket_base
        self._options = _OPTIONS | (options or {})
        self._account: Account | None = None
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._start_timeout_s = start_timeout_s
        self._stopping = False

    async def start(self) -> None:
        """Return when the server accepts connections. Raises PostgresError, and DataFolderLocked if it has an owner."""
        binaries = layout.find_binaries(self._binaries)
        sockets = layout.socket_folder(self.data_dir, self._socket_base)
        layout.make_data_folder(self.data_dir)
        self._lock = layout.take_lock(self.data_dir, briefly=self._briefly)
        self._stopping = False
        try:
            self._account = account = await asyncio.to_thread(choose_account, binaries, self.data_dir)
            self._remember(account)
            layout.make_socket_folder(sockets, account)
            await self._stop_orphan(account.folder / "pgdata", sockets)
            await self._create_if_absent(account)
            layout.read_password(account.folder)
            layout.check_version(account.folder / "pgdata", account.binaries)
            await self._launch(account)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the server after its running transactions were cut (fast shutdown) and free the folder."""
        self._stopping = True
        process, self._process = self._process, None
        if process is not None:
            await _end(process)
        with contextlib.suppress(OSError):
            layout.socket_folder(self.data_dir, self._socket_base).rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def end_left(self) -> bool:
        """End the server of an owner that died, if it still runs. Raises DataFolderLocked while it has an owner."""
        if not (self.data_dir / "folder").exists():
            return False
        with layout.take_lock(self.data_dir, briefly=True):
            pgdata = self._folder() / "pgdata"
            left = _postmaster(pgdata) is not None
            await self._stop_orphan(pgdata, layout.socket_folder(self.data_dir, self._socket_base))
        return left

    async def supervise(self) -> None:
        """Start the server again whenever it dies; runs until cancelled, and tries on while it cannot be started."""
        while True:
            await asyncio.sleep(_WATCH_S)
            process, account = self._process, self._account
            if process is None or account is None or process.poll() is None or self._stopping:
                continue
            _log.warning("postgres died, starting it again", pid=process.pid, returncode=process.returncode)
            try:
                await self._launch(account)
            except (PostgresError, OSError) as error:  # no room on the disk, for instance
                _log.error("postgres cannot be started", error=str(error))
                await asyncio.sleep(_RELAUNCH_S)

    async def ensure_database(self, name: str) -> str:
        """The URL of database `name`, made if absent; also for a server that another process owns."""
        async with await self._connect("postgres") as connection:
            known = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if await known.fetchone() is None:
                with contextlib.suppress(
                    psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation
                ):  # somebody was first
                    await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return URL.create(
            "postgresql+psycopg",
            username=ROLE,
            password=layout.read_password(self._folder()),
            database=database,
            query={"host": str(layout.socket_folder(self.data_dir, self._socket_base))},
        ).render_as_string(hide_password=False)

    @property
    def pid(self) -> int | None:
        """The server's process id while this process runs it."""
        return self._process.pid if self._process is not None else None

    async def _connect(self, database: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
        try:
            return await connect(
                host=str(layout.socket_folder(self.data_dir, self._socket_base)),
                user=ROLE,
                password=layout.read_password(self._folder()),
                dbname=database,
                connect_timeout=5,
                autocommit=True,
                application_name="gridpact-lifecycle",
            )
        except (OSError, psycopg.OperationalError) as error:
            raise PostgresError(f"the PostgreSQL on {self.data_dir} does not answer: {error}") from error

    def _remember(self, account: Account) -> None:
        """Note where the server's folder is, for processes that attach."""
        (self.data_dir / "folder").write_text(f"{account.folder}\n", encoding="utf-8")

    def _folder(self) -> Path:
        if self._account is not None:
            return self._account.folder
        try:
            return Path((self.data_dir / "folder").read_text(encoding="utf-8").strip())
        except FileNotFoundError:
            raise PostgresError(f"the PostgreSQL on {self.data_dir} is only being made: try again") from None

    async def _create_if_absent(self, account: Account) -> None:
        pgdata, partial = account.folder / "pgdata", account.folder / "pgdata.new"
        if pgdata.exists():
            return
        layout.read_password(account.folder, account)
        if partial.exists():
            await asyncio.to_thread(shutil.rmtree, partial)
        command = account.command("initdb", *_INITDB, f"--pwfile={account.folder / 'password'}", f"--pgdata={partial}")
        options = account.popen_options() | {"env": _environment(), "timeout": self._start_timeout_s}
        result = await asyncio.to_thread(
            lambda: subprocess.run(command, capture_output=True, text=True, check=False, **options)
        )
        if result.returncode != 0:
            raise PostgresError(f"initdb failed on {partial}: {result.stderr.strip()}")
        partial.rename(pgdata)

    async def _launch(self, account: Account) -> None:
        """Start the server and wait for it; again with back-off while processes of an old one linger."""
        log = account.folder / "server.log"
        sockets = layout.socket_folder(self.data_dir, self._socket_base)
        options = self._options | {"unix_socket_directories": str(sockets)}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = account.command("postgres", "-D", str(account.folder / "pgdata"), *flags)
        deadline = time.monotonic() + self._start_timeout_s
        pause_s = 0.1
        while True:
            _forget_dead(account.folder / "pgdata", sockets)
            offset = _rotate(log)
            with log.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: ASYNC220 - outlives no await: a few milliseconds
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=_environment(),
                    **account.popen_options(),
                )
            if await self._wait_until_ready(self._process, deadline):
                return
            said = log.read_bytes()[offset:].decode(errors="replace").strip()
            lingering = "pre-existing shared memory block" in said or (
                'lock file "' in said and "already exists" in said
            )
            if not lingering or time.monotonic() + pause_s > deadline:
                damaged = "PANIC:" in said or "invalid checkpoint" in said
                hint = "; its data is damaged: restore a backup into another folder" if damaged else ""
                raise PostgresError(f"PostgreSQL on {account.folder} did not start{hint}; {log} says: {said[-2000:]}")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)

    async def _wait_until_ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """True once the server answers, False if it ended instead. Raises PostgresError after the deadline."""
        while process.poll() is None:
            try:
                connection = await self._connect("postgres")
                await connection.close()
                return True
            except PostgresError as error:
                if "password authentication failed" in str(error):
                    raise PostgresError(
                        f"{self._folder() / 'password'} is not the password of the PostgreSQL beside it: "
                        "restore the two from the same backup"
                    ) from error
                if time.monotonic() > deadline:
                    waited = f"after {self._start_timeout_s:g} s"
                    raise PostgresError(f"PostgreSQL on {self.data_dir} does not answer {waited}: {error}") from error
            await asyncio.sleep(_POLL_S)
        return False

    async def _stop_orphan(self, pgdata: Path, sockets: Path) -> None:
        """End a server that outlived its owner. We hold the lock, so nobody else may run one on this folder."""
        pid = _postmaster(pgdata)
        if pid is None:
            _forget_dead(pgdata, sockets)
            return
        _log.warning("stopping a postgres whose owner died", pid=pid)
        for number in (signal.SIGINT, signal.SIGQUIT):
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            while time.monotonic() < deadline:
                if not _works_in(pid, pgdata) and not _is_ending(pid):  # its pid file goes a moment before it does
                    return
                await asyncio.sleep(_POLL_S)
        raise PostgresError(f"the PostgreSQL process {pid} on {pgdata} does not end: stop it and start again")


def _postmaster(pgdata: Path) -> int | None:
    """The id of the server running on `pgdata`, or None.

    The pid file alone proves nothing: after a crash its number may belong to any process. A postmaster works in its
    data folder, so that is compared.
    """
    try:
        pid = int((pgdata / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if _works_in(pid, pgdata) else None


def _works_in(pid: int, pgdata: Path) -> bool:
    """Whether this process is alive and its folder is that one."""
    try:
        same = Path(f"/proc/{pid}/cwd").samefile(pgdata)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return same and state != "Z"


def _is_ending(pid: int) -> bool:
    """Whether this process has left its folder, as the kernel lets it first, and is not gone yet."""
    try:
        Path(f"/proc/{pid}/cwd").readlink()
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            return state not in "ZX"
    except OSError:
        pass
    return False


def _forget_dead(pgdata: Path, sockets: Path) -> None:
    """Remove the lock files of a server that is gone, beside its data and beside its socket.

    Their number may belong to a bystander by now, or to a dead process nobody has buried: PostgreSQL would take either
    for a running server.
    """
    if _postmaster(pgdata) is None and not _is_used(pgdata):
        for path in (pgdata / "postmaster.pid", sockets / layout.SOCKET_LOCK_NAME):
            path.unlink(missing_ok=True)


def _is_used(pgdata: Path) -> bool:
    """Whether a process works in the data folder: a server, or what is left of one and holds its shared memory."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's, which cannot be ours
            if (process / "cwd").samefile(pgdata):
                return True
    return False


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Fast shutdown, then immediate, then the kernel's."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        if process.poll() is None:
            process.send_signal(number)
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return
            await asyncio.sleep(_POLL_S)


def _rotate(log: Path) -> int:
    """Keep one older log; the size of the current one in bytes."""
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return 0
    if size > _LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
        return 0
    return size


def _environment() -> dict[str, str]:
    """Our environment without PostgreSQL's own variables, which would change what its programs do."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
