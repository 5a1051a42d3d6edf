"""The state a contract sees: records by kind and key over a reader, with an overlay of writes.

A record is a frozen Struct whose class names its `KIND`. `State` is a write set over whatever holds the records
(PostgreSQL, a dict in tests, another `State` for a nested call): nothing reaches the holder unless the caller
takes `writes` and stores them. Scans are ordered by key, bytewise.
"""

from typing import ClassVar, Final, Protocol, TypeVar

import msgspec

from contracts.core.codec import read
from contracts.core.errors import CodecError, Refusal
from contracts.core.records import reads_before, written

RECORD_BYTES_MAX: Final = 32_768
WRITES_MAX: Final = 4_096


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Base of everything kept on the ledger."""

    KIND: ClassVar[str]


R = TypeVar("R", bound=Record)
Writes = dict[tuple[str, str], bytes | None]
Records = dict[tuple[str, str], Record]
"""Records by (kind, key), each what its canonical bytes decode to."""


class Reader(Protocol):
    """Where committed records come from. Answers must not change while a block is executed."""

    def get(self, kind: str, key: str) -> bytes | None:
        """The canonical bytes of a record, or None."""

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        """Records of a kind with first <= key < last, in key order, at most `limit`."""


class State:
    """A reader with a write set on top; itself a reader, so that states stack.

    `records` holds what was written, decoded. A reader may have `find` too, and then gives records decoded before."""

    __slots__ = ("_find_below", "_reader", "records", "writes")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._find_below = getattr(reader, "find", None)
        self.writes: Writes = {}
        self.records: Records = {}

    def find(self, kind: type[R], key: str) -> R | None:
        """The record, or None."""
        at = (kind.KIND, key)
        if at in self.writes:
            data = self.writes[at]
            known = self.records.get(at)
            if data is None or type(known) is kind:
                return known  # type: ignore[return-value]  # None where it was dropped
        elif self._find_below is not None:
            return self._find_below(kind, key)  # type: ignore[no-any-return]
        else:
            data = self._reader.get(kind.KIND, key)
        return None if data is None else read(data, kind)

    def take(self, kind: type[R], key: str, missing: str) -> R:
        """The record; raises Refusal with the code `missing` where there is none."""
        record = self.find(kind, key)
        if record is None:
            raise Refusal(missing, key)
        return record

    def put(self, key: str, record: Record) -> None:
        """Writes a record. Raises Refusal (out_of_range, limit_exceeded)."""
        kind = type(record)
        before = self.find(kind, key) if reads_before(kind) else None
        try:
            data, known = written(record, before)  # what cannot be read again must never be written
        except (CodecError, msgspec.ValidationError) as error:
            raise Refusal("out_of_range", str(error)) from None
        if len(data) > RECORD_BYTES_MAX:
            raise Refusal("limit_exceeded", f"record {record.KIND}/{key} has {len(data)} bytes")
        at = self._write(kind.KIND, key, data)
        self.records[at] = known

    def drop(self, kind: type[Record], key: str) -> None:
        """Deletes a record."""
        self.records.pop(self._write(kind.KIND, key, None), None)

    def rows(self, kind: type[R], first: str, last: str, limit: int) -> list[tuple[str, R]]:
        """Records with first <= key < last, in key order, at most `limit`."""
        return [(key, read(data, kind)) for key, data in self.scan(kind.KIND, first, last, limit)]

    def merge(self, nested: "State") -> None:
        """Takes the writes of a call that succeeded."""
        for (kind, key), data in nested.writes.items():
            self._write(kind, key, data)
            if data is None:
                self.records.pop((kind, key), None)
        self.records.update(nested.records)

    def get(self, kind: str, key: str) -> bytes | None:
        at = (kind, key)
        return self.writes[at] if at in self.writes else self._reader.get(kind, key)

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        mine = {key: data for (k, key), data in self.writes.items() if k == kind and first <= key < last}
        dropped = sum(1 for data in mine.values() if data is None)
        rows = dict(self._reader.scan(kind, first, last, limit + dropped))
        rows.update({key: data for key, data in mine.items() if data is not None})
        kept = [(key, rows[key]) for key in sorted(rows) if mine.get(key, b"") is not None]
        return kept[:limit]

    def _write(self, kind: str, key: str, data: bytes | None) -> tuple[str, str]:
        at = (kind, key)
        if len(self.writes) >= WRITES_MAX and at not in self.writes:
            raise Refusal("limit_exceeded", f"more than {WRITES_MAX} records written")
        self.writes[at] = data
        return at
