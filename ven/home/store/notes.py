"""Small values by name, each a Struct or bytes."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ven.errors import StoreError
from ven.home.store.database import Database

T = TypeVar("T")


class Notes:
    """Typed values that exist once in a home."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, name: str, kind: type[T]) -> T | None:
        """The value, None if it was never written. Raises StoreError if it is not of this kind."""
        data = self.read_bytes(name)
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as error:
            raise StoreError(f"{self._database.path}: the note {name} cannot be read: {error}") from error

    def write(self, name: str, value: Any) -> None:
        self.write_bytes(name, msgspec.json.encode(value))

    def read_bytes(self, name: str) -> bytes | None:
        found = self._database.row("SELECT value FROM note WHERE name = ?", (name,))
        return None if found is None else bytes(found[0])

    def write_bytes(self, name: str, value: bytes) -> None:
        statement = "INSERT INTO note VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        self._database.run(statement, (name, value))

    def drop(self, name: str) -> None:
        self._database.run("DELETE FROM note WHERE name = ?", (name,))
