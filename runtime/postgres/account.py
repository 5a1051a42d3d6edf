"""Who runs PostgreSQL: it refuses root, and the folders above the data are often closed to anybody else.

A user namespace in which root appears as user 1000 keeps the rights of root's own files without touching the
permissions of any folder above them. Where namespaces are refused, a system user runs a copy of the binaries on data of
its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import PostgresUnavailable

SYSTEM_USER = "gridpact"
SYSTEM_HOME = Path("/var/lib/gridpact")
_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--")


@dataclass(frozen=True)
class Account:
    """How programs of PostgreSQL are started, from which binaries and on which folder."""

    binaries: Path
    folder: Path
    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def command(self, program: str, *arguments: str) -> list[str]:
        return [*self.prefix, str(self.binaries / program), *arguments]

    def popen_options(self) -> dict[str, Any]:
        """What subprocess needs: a session of its own, and the other user where there is one."""
        options: dict[str, Any] = {"start_new_session": True, "cwd": self.folder}
        if self.uid is not None:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def give(self, path: Path) -> None:
        """Make `path` belong to the account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def choose_account(binaries: Path, folder: Path) -> Account:
    """The account for a server on `folder`, which exists. Raises PostgresUnavailable when root finds no way."""
    if os.geteuid() != 0:
        return Account(binaries, folder)
    namespace = Account(binaries, folder, prefix=_NAMESPACE)
    reason = _why_unusable(namespace)
    if reason is None:
        return namespace
    try:
        return system_account(binaries, folder)
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        raise PostgresUnavailable(
            "PostgreSQL does not run as root, and neither way round worked: "
            f"a user namespace ({' '.join(_NAMESPACE)}): {reason}; "
            f"the system user {SYSTEM_USER} with data under {SYSTEM_HOME}: {error}. "
            "Run as an ordinary user, or set DATABASE_URL to a PostgreSQL server"
        ) from error


def system_account(binaries: Path, folder: Path, user: str = SYSTEM_USER, home: Path = SYSTEM_HOME) -> Account:
    """The account of a system user, made if absent, with a copy of the binaries and the data of `folder` in `home`."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        options = [
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            str(home),
            "--shell",
            "/usr/sbin/nologin",
        ]
        subprocess.run(["useradd", *options, user], check=True, capture_output=True, timeout=30)
        entry = pwd.getpwnam(user)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    data = home / "data" / name
    data.parent.mkdir(exist_ok=True)
    data.parent.chmod(0o755)
    data.mkdir(mode=0o700, exist_ok=True)
    os.chown(data, entry.pw_uid, entry.pw_gid)
    account = Account(_copy_binaries(binaries, home), data, uid=entry.pw_uid, gid=entry.pw_gid)
    reason = _why_unusable(account)
    if reason is not None:
        raise PostgresUnavailable(f"{user} cannot run {account.binaries / 'postgres'}: {reason}")
    return account


def _copy_binaries(binaries: Path, home: Path) -> Path:
    """A copy of the installation around `binaries` that other users can read, made once per installation."""
    installation = binaries.parent
    stamp = (binaries / "postgres").stat()
    name = hashlib.sha256(f"{installation.resolve()} {stamp.st_size} {stamp.st_mtime_ns}".encode()).hexdigest()[:12]
    target = home / "postgresql" / name
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        target.parent.chmod(0o755)
        partial = target.with_name(f".{name}-{os.getpid()}")
        shutil.copytree(installation, partial / installation.name)
        # the wheel keeps the libraries its programs need beside the package, and finds them by a relative path
        libraries = installation.parent.with_name(f"{installation.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial.parent / libraries.name, dirs_exist_ok=True)
        subprocess.run(["chmod", "-R", "a+rX", str(partial)], check=True, timeout=60)
        with contextlib.suppress(OSError):  # another process was first: its copy is the same
            partial.rename(target)
        shutil.rmtree(partial, ignore_errors=True)
    return target / installation.name / binaries.name


def _why_unusable(account: Account) -> str | None:
    """None if the account can run the programs and write its folder, else why not."""
    probe = 'test -w "$1" && "$2" --version'
    command = [*account.prefix, "sh", "-c", probe, "sh", str(account.folder), str(account.binaries / "postgres")]
    options = account.popen_options() | {"cwd": "/"}
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **options)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if result.returncode == 0:
        return None
    return result.stderr.strip() or f"{account.folder} cannot be written"
