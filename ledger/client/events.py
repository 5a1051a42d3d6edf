"""Server-sent events as bytes in, events out (WHATWG HTML, section 9.2.6), without I/O."""

from __future__ import annotations

from typing import NamedTuple

from ledger.client.errors import AnswerInvalid

BUFFER_BYTES_MAX = 1024 * 1024


class Event(NamedTuple):
    """One event: its id (the cursor) and data. A heartbeat that only moves the cursor has no data."""

    id: str
    data: bytes


class EventParser:
    """Feed it what arrives; it gives each event once it is complete. Comments (heartbeats) vanish."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._moved = False
        self._data: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events completed by `chunk`. Raises AnswerInvalid for one longer than 1 MiB."""
        events = []
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = self._line(line.removesuffix(b"\r"))
            if event is not None:
                events.append(event)
        if len(self._rest) + self._held > BUFFER_BYTES_MAX:
            raise AnswerInvalid("the ledger sent an event of more than 1 MiB")
        return events

    def _line(self, line: bytes) -> Event | None:
        if not line:
            data, self._data, self._held = b"\n".join(self._data), [], 0
            moved, self._moved = self._moved, False
            return Event(self._id, data) if data or moved else None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._held += len(value)
        elif field == b"id":
            self._id, self._moved = value.decode("utf-8", "replace"), True
        return None
