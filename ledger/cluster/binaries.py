"""The program `etcd`: on the machine already, or fetched once from Debian without root.

    GRIDPACT_ETCD ─▶ PATH ─▶ cache folder ─▶ apt-get download etcd-server, dpkg -x ─▶ cache folder

Several processes may ask at once (tests do): one fetches, under a lock, the others wait and find it. The package's
signature is checked by apt. Versions with etcd's known loss of consistency (3.5.0 to 3.5.5) are never used.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger.errors import ReplicaError

PROGRAM_VARIABLE: Final = "GRIDPACT_ETCD"
"""Path of the program to use; nothing else is tried."""
CACHE_VARIABLE: Final = "GRIDPACT_CACHE_DIR"
"""Folder for fetched programs; default: gridpact in the user's cache folder."""

_PACKAGE: Final = "etcd-server"
_FETCH_TIMEOUT_S: Final = 300.0
_VERSION_MIN: Final = (3, 4, 0)
_INCONSISTENT: Final = ((3, 5, 0), (3, 5, 6))


class EtcdMissing(ReplicaError):
    """There is no usable etcd and none could be fetched; the message says both ways to get one."""

    exit_code = 4


def find_etcd(*, fetch: bool = True, cache: Path | None = None) -> Path:
    """The program, fetched if need be and allowed; takes seconds then, so not in an event loop. Raises EtcdMissing."""
    named = os.environ.get(PROGRAM_VARIABLE)
    if named:
        return _checked(Path(named))
    on_path = shutil.which("etcd")
    reasons = []
    if on_path:
        try:
            return _checked(Path(on_path))
        except EtcdMissing as error:
            reasons.append(str(error))
    folder = cache or cache_folder()
    program = folder / "etcd" / "etcd"
    if program.is_file():
        return _checked(program)
    if not fetch:
        raise EtcdMissing(_both_ways("; ".join(reasons) or f"etcd is neither on PATH nor in {folder}"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "etcd.lock"):
            if not program.is_file():
                _fetch(program)
    except (OSError, subprocess.SubprocessError) as error:
        raise EtcdMissing(_both_ways("; ".join([*reasons, _last_words(error)]))) from None
    return _checked(program)


def cache_folder() -> Path:
    """Where fetched programs are kept."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gridpact"


def version_of(program: Path) -> tuple[int, int, int]:
    """Such as (3, 4, 23). Raises EtcdMissing if it does not run."""
    try:
        answer = subprocess.run(
            [*architecture_prefix(), str(program), "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EtcdMissing(_both_ways(f"{program} does not run: {error}")) from None
    found = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", answer.stdout)
    if found is None:
        raise EtcdMissing(_both_ways(f"{program} --version answered {answer.stdout[:80]!r}"))
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


def architecture_prefix() -> list[str]:
    """etcd 3.4 wants a word before it runs on ARM, where it is no less sound since."""
    machine = os.uname().machine
    return ["env", "ETCD_UNSUPPORTED_ARCH=arm64"] if machine in {"aarch64", "arm64"} else []


def _checked(program: Path) -> Path:
    version = version_of(program)
    text = ".".join(map(str, version))
    if version < _VERSION_MIN:
        raise EtcdMissing(_both_ways(f"{program} is etcd {text}, too old"))
    if _INCONSISTENT[0] <= version < _INCONSISTENT[1]:
        raise EtcdMissing(_both_ways(f"{program} is etcd {text}, whose members can come to disagree after a crash"))
    return program.resolve()


def _both_ways(reason: str) -> str:
    return (
        f"no usable etcd: {reason}. Either install it (Debian: `apt install etcd-server`; elsewhere etcd 3.4, or 3.5.6 "
        f"and later, on PATH or named by {PROGRAM_VARIABLE}), or let it be fetched: apt-get and dpkg on PATH, a "
        f"reachable Debian mirror, and a cache folder that can be written ({CACHE_VARIABLE})"
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(program: Path) -> None:
    """Download and unpack beside the cache's own folder, then rename: what is there is whole."""
    # apt may work as a user of its own, who can write below the folder for temporary files but hardly below a home
    with tempfile.TemporaryDirectory(prefix="gridpact-etcd-") as scratch:
        work = Path(scratch)
        work.chmod(0o755)
        package = _download(work)
        _run(["dpkg", "-x", str(package), str(work / "unpacked")], work)
        unpacked = work / "unpacked" / "usr" / "bin" / "etcd"
        if not unpacked.is_file():
            raise OSError(f"{package.name} holds no usr/bin/etcd")
        program.parent.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(".partial")
        shutil.copy2(unpacked, partial)
        partial.chmod(0o755)
        partial.rename(program)


def _download(work: Path) -> Path:
    sandbox = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    try:
        _run(["apt-get", *sandbox, "download", _PACKAGE], work)
    except subprocess.CalledProcessError:
        private = sandbox + _private_lists(work)  # the machine has no lists of packages, or old ones
        _run(["apt-get", *private, "update"], work)
        _run(["apt-get", *private, "download", _PACKAGE], work)
    packages = sorted(work.glob(f"{_PACKAGE}_*.deb"))
    if not packages:
        raise OSError(f"apt-get downloaded no {_PACKAGE}")
    return packages[0]


def _private_lists(work: Path) -> list[str]:
    """Options that let anybody make lists of packages, without touching the machine's."""
    for part in ("lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True, exist_ok=True)
    places = {"Dir::State": work, "Dir::State::lists": work / "lists", "Dir::Cache": work / "cache"}
    places["Dir::State::status"] = Path("/var/lib/dpkg/status")
    return [part for name, path in places.items() for part in ("-o", f"{name}={path}")]


def _run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=True
    )


def _last_words(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stderr).splitlines() if line.startswith("E:")] or [str(error)]
        return f"`{error.cmd[0]} {error.cmd[-2]} {error.cmd[-1]}` failed: {lines[-1]}"
    return str(error)
