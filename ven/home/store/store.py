"""All of a home's records together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ven.home.store.contracts import Contracts
from ven.home.store.database import Database
from ven.home.store.events import Events
from ven.home.store.meter import Meter
from ven.home.store.notes import Notes
from ven.home.store.outbox import Outbox
from ven.home.store.proofs import Proofs
from ven.home.store.reports import Reports
from ven.home.store.schedules import Schedules

FILE_NAME = "ven.sqlite"


class Store:
    """The store in `path`, made if it is not there. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self.notes = Notes(self.database)
        self.meter = Meter(self.database)
        self.events = Events(self.database)
        self.contracts = Contracts(self.database)
        self.outbox = Outbox(self.database)
        self.reports = Reports(self.database)
        self.proofs = Proofs(self.database)
        self.schedules = Schedules(self.database)

    def close(self) -> None:
        self.database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        with self.database.transaction():
            yield
