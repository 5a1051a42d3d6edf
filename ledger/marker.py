"""The largest tree this member ever signed, kept outside PostgreSQL: a restored backup knows less than the member did.

    signed      "<digest of the genesis> <size, 20 digits> <root, hex> <check, hex>\\n"      one record, always as long

It is made durable before a signature leaves this member, and only ever grows. After a restore the replica executes as
always and signs nothing until its log is larger than the marker says, so that it cannot sign a second tree of a size.

A copy of a data folder has a marker of its own: so the keys themselves are held, by one process of a machine at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from ledger.errors import AlreadyRuns, Diverged, GenesisInvalid

_SIZE_DIGITS: Final = 20
_CHECK_CHARACTERS: Final = 16


class Marker(Protocol):
    """Where the largest signed tree is kept; `size` and `root` are of that one (0 and b"" before the first)."""

    @property
    def exists(self) -> bool:
        """Has this member ever signed for this ledger?"""

    @property
    def size(self) -> int: ...

    @property
    def root(self) -> bytes: ...

    def record(self, size: int, root: bytes) -> None:
        """Make it durable, unless a larger one is. Blocks; to be called away from the event loop. Raises Diverged for
        another root of the size that is marked: nothing may be signed then."""


@contextlib.contextmanager
def sole_signer(member: str, public: str) -> Iterator[None]:
    """For the time of the block no other process of this machine signs with the key. Raises AlreadyRuns.

    An address without a file: it is free the moment its process ends, however it ends."""
    if sys.platform != "linux":
        yield
        return
    with socket.socket(socket.AF_UNIX) as held:
        try:
            held.bind("\0gridpact/signs/" + sha256(public.encode()).hexdigest())
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise AlreadyRuns(
                f"another process of this machine runs with the keys of {member}: stop it first. If this folder is a "
                "copy of that one's, run only one of the two, ever: each would sign blocks of its own"
            ) from None
        yield


def may_sign(marker: Marker, size: int, root: bytes) -> bool:
    """Is a signature of this tree no second one of its size, and none of a size that was passed already?"""
    return size > marker.size or not marker.root or (size == marker.size and root == marker.root)


def require_unmarked(marker: Marker, size: int, root: bytes) -> None:
    """Raises Diverged where this member signed another tree of the very size."""
    if marker.root and size == marker.size and root != marker.root:
        raise Diverged(
            f"this member signed another tree of {size} leaves before: its database and its data folder do not belong "
            "together, or the order is another one; going on would contradict what was signed"
        )


class MemoryMarker:
    """For a simulation, whose disks are its own."""

    def __init__(self) -> None:
        self.exists = False
        self.size = 0
        self.root = b""

    def record(self, size: int, root: bytes) -> None:
        require_unmarked(self, size, root)
        self.exists = True
        if size >= self.size:
            self.size, self.root = size, root


class FileMarker:
    """One small file, overwritten in place: a record is shorter than a disk's sector, so it is never torn, and a check
    tells if something else happened to it. Raises GenesisInvalid for a damaged file or one of another genesis."""

    def __init__(self, path: Path, genesis_digest: str) -> None:
        self._path = path
        self._digest = genesis_digest
        self.exists = path.exists()
        self.size, self.root = self._read() if self.exists else (0, b"")

    def record(self, size: int, root: bytes) -> None:
        require_unmarked(self, size, root)
        if self.root and size <= self.size:
            return
        content = self._render(size, root)
        try:
            _overwrite(self._path, content)
        except FileNotFoundError:
            _make(self._path, content)
        self.exists, self.size, self.root = True, size, root

    def _render(self, size: int, root: bytes) -> bytes:
        text = f"{self._digest} {size:0{_SIZE_DIGITS}d} {root.hex()}"
        return f"{text} {_check(text)}\n".encode()

    def _read(self) -> tuple[int, bytes]:
        text = self._path.read_text(encoding="ascii", errors="replace").partition("\n")[0]
        parts = text.split(" ")
        if parts == [self._digest]:  # written before the first signature, or by an older version
            return 0, b""
        body = text[: -_CHECK_CHARACTERS - 1]
        if len(parts) != 4 or _check(body) != parts[3] or not parts[1].isdecimal():
            raise GenesisInvalid(
                f"{self._path} is damaged: it says up to which tree this member has signed. Restore it, or take the "
                "size of the newest checkpoint the other members have from this one"
            )
        if parts[0] != self._digest:
            raise GenesisInvalid(f"{self._path} is of another ledger than the genesis beside it")
        return int(parts[1]), bytes.fromhex(parts[2])


def _check(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:_CHECK_CHARACTERS]


def _overwrite(path: Path, content: bytes) -> None:
    """In place: that needs no room, so a full disk does not stop who has signed before."""
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        _write(handle, content)
    finally:
        os.close(handle)


def _make(path: Path, content: bytes) -> None:
    """There whole or not at all: an empty file would be taken for a damaged one at the next start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.new")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(handle, content)
    finally:
        os.close(handle)
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(handle: int, content: bytes) -> None:
    if os.pwrite(handle, content, 0) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fdatasync(handle)
