"""The home's registration, in its store."""

from __future__ import annotations

from openadr.client.registration import Registration
from ven.home.store import Store

_NOTE = "registration"


class HomeShelf:
    """A `openadr.client.registration.Shelf`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> Registration | None:
        return self._store.notes.read(_NOTE, Registration)

    def write(self, registration: Registration) -> None:
        self._store.notes.write(_NOTE, registration)

    def drop(self, *, ended: bool) -> None:
        with self._store.transaction():
            self._store.notes.drop(_NOTE)
            if ended:
                self._store.reports.end_all()
