"""The home's registration, in its store, and what its owner wants of it."""

from __future__ import annotations

import msgspec

from openadr.client.registration import Registration
from ven.faces.openadr2.reporting.desk import ANNOUNCED_NOTE
from ven.faces.openadr2.reporting.sourced import ask_again
from ven.faces.openadr2.reporting.statuses import STATUS_REPORTS_NOTE
from ven.home.store import Notes, Store

_NOTE = "registration"
_WISH_NOTE = "registration_wish"
_NONCES_NOTE = "nonces"
_NONCES_MAX = 2_000  # of four minutes: no VTN that is sound says so much


class Wish(msgspec.Struct, frozen=True):
    """Shall the home be registered, and shall it register again now?"""

    registered: bool = True
    again: bool = False


def read_wish(notes: Notes) -> Wish:
    """The owner's wish; without one the home is to be registered."""
    return notes.read(_WISH_NOTE, Wish) or Wish()


def write_wish(notes: Notes, wish: Wish) -> None:
    """A running agent follows within a poll."""
    notes.write(_WISH_NOTE, wish)


class HomeShelf:
    """A `openadr.client.registration.Shelf`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> Registration | None:
        return self._store.notes.read(_NOTE, Registration)

    def write(self, registration: Registration) -> None:
        with self._store.transaction():
            self._store.notes.write(_NOTE, registration)
            # a VTN that is registered with, also under the old id, may know nothing of what it was told before
            self._store.notes.drop(ANNOUNCED_NOTE)
            self._store.schedules.tell_again()
            ask_again(self._store.notes)

    def drop(self, *, ended: bool) -> None:
        with self._store.transaction():
            self._store.notes.drop(_NOTE)
            if ended:
                self._store.reports.end_all()
                self._store.notes.drop(STATUS_REPORTS_NOTE)


class HomeNonces:
    """An `openadr.client.signing.Nonces` that a restart does not forget: a message that was believed before it is not
    believed again after it."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def admit(self, nonce: str, expires_ms: int, now_ms: int) -> bool:
        known = self._notes.read(_NONCES_NOTE, dict[str, int]) or {}
        kept = {each: until_ms for each, until_ms in known.items() if until_ms >= now_ms}
        if nonce in kept or len(kept) >= _NONCES_MAX:
            return False
        self._notes.write(_NONCES_NOTE, kept | {nonce: expires_ms})
        return True
