"""What a home must not lose, in one SQLite file: a noun a module, one transaction for what belongs together."""

from ven.home.store.contracts import Contract, Contracts, ContractState
from ven.home.store.database import Database
from ven.home.store.events import Events, Opt, StoredEvent
from ven.home.store.meter import Meter
from ven.home.store.notes import Notes
from ven.home.store.outbox import Outbox, Sealed
from ven.home.store.proofs import Proofs, ProofWanted
from ven.home.store.reports import Reports, RunningReport
from ven.home.store.schedules import OptSchedule, Schedules
from ven.home.store.store import Store

__all__ = [
    "Contract",
    "ContractState",
    "Contracts",
    "Database",
    "Events",
    "Meter",
    "Notes",
    "Opt",
    "OptSchedule",
    "Outbox",
    "ProofWanted",
    "Proofs",
    "Reports",
    "RunningReport",
    "Schedules",
    "Sealed",
    "Store",
    "StoredEvent",
]
