"""dr_events as received, and what the home answers to each."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from openadr.model import DrEvent, canonical, digest
from openadr.timeline import span
from ven.home.store.database import Database

_SELECT = (
    "SELECT event_id, body, digest, offset_s, request_id, gone, opt, opt_code, opt_reason, sent, received_ms FROM event"
)


class Opt(StrEnum):
    """The two answers of OpenADR, spelled as on the wire."""

    IN = "optIn"
    OUT = "optOut"


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The last form of an event. offset_s: this home's draw inside the startafter window; gone: it left the VTN's list
    before its end, which cancels it; opt: the home's answer, None while undecided; sent: the answer the VTN has."""

    event: DrEvent
    digest: str
    offset_s: int
    request_id: str
    gone: bool
    opt: Opt | None
    opt_code: int
    opt_reason: str
    sent: str | None
    received_ms: int

    @property
    def cancelled(self) -> bool:
        return self.gone or self.event.cancelled


class Events:
    """Events by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(self, event: DrEvent, *, request_id: str, offset_s: int, now_ms: int) -> bool:
        """Stores an event of a distribution and wants it answered (again, rule 12); True if it is new or changed.

        A changed event has to be decided anew, and keeps its draw as far as its window allows; an unchanged one keeps
        its answer too."""
        found = self.find(event.event_id)
        changed = found is None or found.digest != digest(event) or found.gone
        values = (canonical(event), digest(event), request_id, now_ms)
        if found is None:
            self._database.run(
                "INSERT INTO event (event_id, body, digest, request_id, received_ms, offset_s)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (event.event_id, *values, offset_s),
            )
        elif changed:
            self._database.run(
                "UPDATE event SET body = ?, digest = ?, request_id = ?, received_ms = ?, offset_s = ?, gone = 0,"
                " opt = NULL, opt_code = 200, opt_reason = '', sent = NULL WHERE event_id = ?",
                (*values, _redrawn(found, event, offset_s), event.event_id),
            )
        else:
            self._database.run(
                "UPDATE event SET request_id = ?, sent = NULL WHERE event_id = ?", (request_id, event.event_id)
            )
        return changed

    def decide(self, event_id: str, opt: Opt, code: int = 200, reason: str = "") -> bool:
        """Sets the home's answer; False if it is the one it had."""
        return (
            self._database.run(
                "UPDATE event SET opt = ?, opt_code = ?, opt_reason = ? WHERE event_id = ?"
                " AND (opt IS NOT ? OR opt_code <> ? OR opt_reason <> ?)",
                (opt, code, reason, event_id, opt, code, reason),
            )
            > 0
        )

    def mark_gone(self, event_id: str) -> None:
        self._database.run("UPDATE event SET gone = 1 WHERE event_id = ?", (event_id,))

    def mark_sent(self, event_id: str, answer: str) -> None:
        """`answer` as `answer_text` gave it when the answer was sent."""
        self._database.run("UPDATE event SET sent = ? WHERE event_id = ?", (answer, event_id))

    def find(self, event_id: str) -> StoredEvent | None:
        row = self._database.row(f"{_SELECT} WHERE event_id = ?", (event_id,))
        return None if row is None else _stored(row)

    def all(self) -> list[StoredEvent]:
        return [_stored(row) for row in self._database.rows(f"{_SELECT} ORDER BY event_id")]

    def unanswered(self) -> list[StoredEvent]:
        """Events with a decision the VTN does not have, of those it wants answered."""
        rows = self._database.rows(f"{_SELECT} WHERE opt IS NOT NULL ORDER BY event_id")
        found = [_stored(row) for row in rows]
        return [each for each in found if each.event.response_required and each.sent != answer_text(each)]

    def forget(self, before_ms: int, now_ms: int, keep: int) -> int:
        """Drops events received before `before_ms` and over, and of all that are over at `now_ms` those beyond the
        `keep` newest; returns how many. An answer that the VTN lacks keeps its event."""
        unsaid = {each.event.event_id for each in self.unanswered()}
        over = [each for each in self.all() if _over(each, now_ms) and each.event.event_id not in unsaid]
        over.sort(key=lambda each: (each.received_ms, each.event.event_id), reverse=True)
        gone = [(each.event.event_id,) for n, each in enumerate(over) if n >= keep or each.received_ms < before_ms]
        self._database.run_many("DELETE FROM event WHERE event_id = ?", gone)
        return len(gone)


def answer_text(stored: StoredEvent) -> str:
    """An answer as one text: modification, opt and code."""
    return f"{stored.event.modification_number}:{stored.opt}:{stored.opt_code}"


def _redrawn(found: StoredEvent, event: DrEvent, offset_s: int) -> int:
    """The draw of a changed event; `offset_s` is one in a window that was not there before."""
    return min(found.offset_s, event.start_after_s) if found.event.start_after_s else offset_s


def _over(stored: StoredEvent, before_ms: int) -> bool:
    end_ms = span(stored.event, stored.offset_s)[1]
    return stored.cancelled or (end_ms is not None and end_ms < before_ms)


def _stored(row: tuple[Any, ...]) -> StoredEvent:
    return StoredEvent(
        event=msgspec.json.decode(row[1], type=DrEvent),
        digest=row[2],
        offset_s=row[3],
        request_id=row[4],
        gone=bool(row[5]),
        opt=None if row[6] is None else Opt(row[6]),
        opt_code=row[7],
        opt_reason=row[8],
        sent=row[9],
        received_ms=row[10],
    )
