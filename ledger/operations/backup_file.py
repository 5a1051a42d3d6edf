"""The format of a backup: one file, written and read front to back, each frame checked before it is believed.

    "gridpact/backup/v1" LF
    frame*          type (1 byte) || uint32be length || payload || chain (32 bytes)
    chain           SHA-256(chain before || type || length || payload); before the first frame: SHA-256(first line)

    H  header       JSON: format, created_ms, program, schema, channels {name: {height, size, genesis}}, cipher, keys
    P  part         JSON: {"kind": "file", "path"} or {"kind": "table", "channel", "table", "columns"}
    D  data         of the part, at most 1 MiB: the file's bytes, or PostgreSQL's binary COPY stream of the columns
    E  end of part  JSON: {"bytes", "sha256"} of its data
    Z  end of file  JSON: {"parts", "bytes"}; nothing follows

So a cut, a changed byte, a frame left out or moved is found at the frame where it happens. With a cipher every payload
but the header's is AES-256-GCM under the file's own key, nonce = number of the frame (12 bytes, big-endian), additional
data = chain before || type || length; "sha256" and "bytes" are those of the plain data.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import struct
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.operations.backup_key import SUITE, BackupKey, Recipient
from ledger.operations.errors import BackupDamaged, BackupKeyWrong

FORMAT: Final = "gridpact/backup/v1"
DATA_BYTES: Final = 1 << 20
_MAGIC: Final = FORMAT.encode() + b"\n"
_HEAD: Final = struct.Struct(">cI")
_TAG_BYTES: Final = 16
_CIPHER: Final = "AES-256-GCM"


class WrappedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file key for one recipient; `key` is the fingerprint of the recipient's key."""

    key: str
    suite: str
    wrapped: str


class ChannelAt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a channel stood; genesis: hex SHA-256 of the canonical genesis."""

    height: int
    size: int
    genesis: str


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be read without a key."""

    format: str
    created_ms: int
    program: str
    schema: str
    channels: dict[str, ChannelAt]
    cipher: str | None
    keys: tuple[WrappedKey, ...]


class FilePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="file"):
    """A small file of the data folder; `path` below the folder, with slashes."""

    path: str


class TablePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="table"):
    """The rows of a table that belong to a channel."""

    channel: str
    table: str
    columns: tuple[str, ...]


class _PartEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bytes: int
    sha256: str


class _FileEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parts: int
    bytes: int


Part = FilePart | TablePart


class BackupWriter:
    """Writes parts in order; the caller makes the file durable. `digest` after `close` is the last chain value."""

    def __init__(
        self,
        file: IO[bytes],
        *,
        created_ms: int,
        program: str,
        schema: str,
        channels: Mapping[str, ChannelAt],
        recipients: Sequence[Recipient],
    ) -> None:
        self._file = file
        self._chain = sha256(_MAGIC).digest()
        self._frames = self._parts = self._bytes = 0
        self._cipher: AESGCM | None = None
        keys: tuple[WrappedKey, ...] = ()
        if recipients:
            key = secrets.token_bytes(32)
            keys = tuple(WrappedKey(each.fingerprint, SUITE, _base64(each.wrap(key))) for each in recipients)
        file.write(_MAGIC)
        header = Header(
            format=FORMAT, created_ms=created_ms, program=program, schema=schema, channels=dict(channels),
            cipher=_CIPHER if recipients else None, keys=keys,
        )  # fmt: skip
        self._frame(b"H", msgspec.json.encode(header))
        if recipients:
            self._cipher = AESGCM(key)

    def begin(self, part: Part) -> None:
        """A part begins; `write` its data and `end` it."""
        self._frame(b"P", msgspec.json.encode(part))
        self._held, self._hash, self._length = bytearray(), sha256(), 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Data of the part, in pieces of any size."""
        self._held += data
        while len(self._held) >= DATA_BYTES:
            self._data(bytes(self._held[:DATA_BYTES]))
            del self._held[:DATA_BYTES]

    def end(self) -> None:
        """The part is complete."""
        if self._held:
            self._data(bytes(self._held))
        self._frame(b"E", msgspec.json.encode(_PartEnd(self._length, self._hash.hexdigest())))
        self._parts += 1
        self._bytes += self._length

    def close(self) -> str:
        """Writes the end; hex SHA-256 chain over the whole file."""
        self._frame(b"Z", msgspec.json.encode(_FileEnd(self._parts, self._bytes)))
        return self._chain.hex()

    def _data(self, data: bytes) -> None:
        self._hash.update(data)
        self._length += len(data)
        self._frame(b"D", data)

    def _frame(self, type_: bytes, payload: bytes) -> None:
        length = len(payload) + (_TAG_BYTES if self._cipher else 0)
        head = _HEAD.pack(type_, length)
        if self._cipher is not None:
            payload = self._cipher.encrypt(self._frames.to_bytes(12, "big"), payload, self._chain + head)
        self._chain = sha256(self._chain + head + payload).digest()
        self._frames += 1
        self._file.write(head + payload + self._chain)


class BackupReader:
    """Reads front to back. Every method raises BackupDamaged for bytes that were not written so."""

    def __init__(self, file: IO[bytes], key: BackupKey | None) -> None:
        """Raises BackupDamaged, BackupKeyWrong."""
        self._file = file
        self._frames = self._parts = self._bytes = 0
        self._cipher: AESGCM | None = None
        if file.read(len(_MAGIC)) != _MAGIC:
            raise BackupDamaged("this is no backup of a ledger: its first line is not gridpact/backup/v1")
        self._chain = sha256(_MAGIC).digest()
        self.header = self._json(b"H", Header)
        if self.header.format != FORMAT or self.header.cipher not in (None, _CIPHER):
            raise BackupDamaged("the header names a format or a cipher that this program does not know")
        if self.header.cipher is not None:
            self._cipher = AESGCM(_file_key(self.header, key))

    def parts(self) -> Iterator[tuple[Part, Iterator[bytes]]]:
        """Each part with its data, which must be read to its end before the next one; the file's end is checked."""
        while True:
            type_, payload = self._next()
            if type_ == b"Z":
                self._finish(payload)
                return
            part = self._decode(payload, FilePart | TablePart) if type_ == b"P" else None
            if part is None:
                raise self._damaged("a part or the end of the file belongs here")
            yield part, self._data()

    @property
    def digest(self) -> str:
        """Hex SHA-256 chain over all that was read."""
        return self._chain.hex()

    def _data(self) -> Iterator[bytes]:
        hashed, length = sha256(), 0
        while True:
            type_, payload = self._next()
            if type_ == b"D":
                hashed.update(payload)
                length += len(payload)
                yield payload
                continue
            if type_ != b"E" or self._decode(payload, _PartEnd) != _PartEnd(length, hashed.hexdigest()):
                raise self._damaged("the part's length or SHA-256 is not that of its data")
            self._parts += 1
            self._bytes += length
            return

    def _finish(self, payload: bytes) -> None:
        if self._decode(payload, _FileEnd) != _FileEnd(self._parts, self._bytes) or self._file.read(1):
            raise self._damaged("the file does not end as it was written")

    def _next(self) -> tuple[bytes, bytes]:
        head = self._read(_HEAD.size)
        type_, length = _HEAD.unpack(head)
        if length > DATA_BYTES + _TAG_BYTES:
            raise self._damaged(f"a frame of {length} bytes, at most {DATA_BYTES} are written")
        payload = self._read(length)
        chain = sha256(self._chain + head + payload).digest()
        if self._read(len(chain)) != chain:
            raise self._damaged("its SHA-256 is not that of its bytes")
        if self._cipher is not None:
            try:
                plain = self._cipher.decrypt(self._frames.to_bytes(12, "big"), payload, self._chain + head)
            except (InvalidTag, ValueError):
                raise self._damaged("it was not sealed under the file's key") from None
        else:
            plain = payload
        self._chain = chain
        self._frames += 1
        return type_, plain

    def _read(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise self._damaged("the file is cut off here")
        return data

    def _json(self, type_: bytes, form: Any) -> Any:
        found, payload = self._next()
        if found != type_:
            raise self._damaged(f"a frame {type_.decode()} belongs here")
        return self._decode(payload, form)

    def _decode(self, payload: bytes, form: Any) -> Any:
        try:
            return msgspec.json.decode(payload, type=form)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise self._damaged("it cannot be read") from None

    def _damaged(self, why: str) -> BackupDamaged:
        try:
            at = self._file.tell()
        except (OSError, ValueError):  # a pipe has no place
            at = -1
        where = f"frame {self._frames}" + (f", before byte {at}" if at >= 0 else "")
        return BackupDamaged(f"the backup is damaged ({where}): {why}; take another copy of it")


def _file_key(header: Header, key: BackupKey | None) -> bytes:
    wanted = " or ".join(each.key for each in header.keys)
    if key is None:
        raise BackupKeyWrong(f"the backup is sealed for the key {wanted}: name its private half with --key FILE")
    for each in header.keys:
        if each.key == key.recipient.fingerprint and each.suite == SUITE:
            try:
                opened = key.unwrap(base64.b64decode(each.wrapped, validate=True))
            except (binascii.Error, ValueError):
                break
            if len(opened) == 32:
                return opened
    raise BackupKeyWrong(f"the backup is sealed for the key {wanted}, not for {key.recipient.fingerprint}")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sync(file: IO[bytes]) -> None:
    """What was written survives the loss of power."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """A name that was given in it survives the loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
