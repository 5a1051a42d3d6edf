"""The container of a bundle: a ZIP without compression, in one canonical form.

Same files, same bytes: names in the order given, every time 1980-01-01, no extra fields, no comments. A reader writes
again what it read and requires equal bytes, so the corners that ZIP readers skip (flags, times, gaps) hold nothing.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping

from ..errors import VerificationError

MAX_BYTES = 256 << 20
MAX_FILES = 65_000

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION, _UNIX, _DATE = 20, 3 << 8, 0x21
_MODE = 0o100644 << 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)


def write_container(files: Mapping[str, bytes]) -> bytes:
    """The container of these files, in their order. Raises VerificationError(container_malformed) if it cannot be."""
    if len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_BYTES:
        raise _malformed(f"a bundle has at most {MAX_FILES} files and {MAX_BYTES >> 20} MiB")
    body, central = bytearray(), bytearray()
    for name, data in files.items():
        if not _NAME.fullmatch(name) or len(name) > 200:
            raise _malformed(f"{name[:80]!r} is no name of a file in a bundle")
        raw, sum_, size, at = name.encode(), zlib.crc32(data), len(data), len(body)
        body += _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _DATE, sum_, size, size, len(raw), 0) + raw + data
        central += _CENTRAL.pack(
            b"PK\1\2", _UNIX | _VERSION, _VERSION, 0, 0, 0, _DATE, sum_, size, size, len(raw), 0, 0, 0, 0, _MODE, at
        )
        central += raw
    end = _END.pack(b"PK\5\6", 0, 0, len(files), len(files), len(central), len(body), 0)
    return bytes(body + central) + end


def read_container(data: bytes) -> dict[str, bytes]:
    """The files by name, in order. Raises VerificationError(container_malformed), naming the file or the byte."""
    if len(data) > MAX_BYTES + (MAX_FILES << 10):
        raise _malformed(f"{len(data)} bytes, at most {MAX_BYTES >> 20} MiB are read")
    files: dict[str, bytes] = {}
    starts: list[tuple[int, str]] = []
    at = 0
    while data[at : at + 4] == b"PK\3\4" and at + _LOCAL.size <= len(data):
        size, name_length = _LOCAL.unpack_from(data, at)[8:10]
        start = at + _LOCAL.size
        name = data[start : start + name_length].decode("ascii", errors="replace")
        end = start + name_length + size
        if end > len(data) or name in files or not _NAME.fullmatch(name):
            raise _malformed(f"the file at byte {at} is cut off, there twice, or has a name that none has")
        files[name] = data[start + name_length : end]
        starts.append((at, name))
        at = end
    if not files:
        raise _malformed("this is no bundle: it does not begin as a ZIP file")
    _require_equal(write_container(files), data, starts, at)
    return files


def _require_equal(canonical: bytes, data: bytes, starts: list[tuple[int, str]], end: int) -> None:
    if canonical == data:
        return
    pairs = enumerate(zip(canonical, data, strict=False))
    at = next((place for place, (wanted, found) in pairs if wanted != found), min(len(canonical), len(data)))
    inside = [name for start, name in starts if start <= at < end]
    where = f"the file {inside[-1]}" if inside else "its table of contents"
    raise _malformed(f"{where} is not as it was written (first difference at byte {at})")


def _malformed(message: str) -> VerificationError:
    return VerificationError("container_malformed", message)
