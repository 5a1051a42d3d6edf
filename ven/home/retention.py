"""What the store lets go, so that it does not grow without end: a home runs for years on one small disk.

readings, contracts that ended, what came of them,
schedules that are over                                     kept for `keep_days`; proofs for ever, as files
events that are over                                        60 days, and at most 2,000 of them
refused transactions                                        the last 1,000
not let go: what the ledger or the VTN has not answered, and what a contract that is open needs
"""

from __future__ import annotations

from runtime.logs import get_logger
from ven.flexibility.outcomes import Outcomes
from ven.home.store import Store

LOOK_MS = 6 * 3_600_000
"""Domain time between two looks."""

_DAY_MS = 86_400_000
_EVENT_DAYS = 60
_EVENTS = 2_000
_REFUSED = 1_000

_log = get_logger("ven.home.retention")


class Retention:
    """Lets go of old records now and then. `keep_days` is more than any contract waits for readings (120 days)."""

    def __init__(self, store: Store, *, home: str, keep_days: int) -> None:
        self._store = store
        self._home = home
        self._keep_ms = keep_days * _DAY_MS
        self._next_ms = 0

    def look(self, now_ms: int) -> int:
        """Lets go of what is due, if it is time; how many records."""
        if now_ms < self._next_ms:
            return 0
        self._next_ms = now_ms + LOOK_MS
        before_ms = now_ms - self._keep_ms
        store = self._store
        with store.transaction():
            gone = (
                store.meter.forget(before_ms)
                + store.contracts.forget(before_ms)
                + Outcomes(store.database).forget(before_ms)
                + store.schedules.forget(before_ms)
                + store.outbox.forget(_REFUSED)
                + store.events.forget(now_ms - _EVENT_DAYS * _DAY_MS, now_ms, _EVENTS)
            )
        if gone:
            _log.info("old records dropped", home=self._home, records=gone)
        return gone
