"""Metrics of a replica, for `/metrics`.

ledger_height                   blocks committed
ledger_size                     leaves of the log
ledger_queue                    transactions waiting to be ordered
ledger_streams                  streams of facts open
ledger_transactions_total       transactions answered, by status (committed, refused, unknown)
ledger_submit_seconds           from a batch's arrival to its answer
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Counts what the interface answers; gauges are read from the replica when they are asked for."""

    def __init__(
        self, registry: CollectorRegistry, status: Callable[[], dict[str, Any]], streams: Callable[[], int]
    ) -> None:
        for name, help_text in (("height", "Blocks committed"), ("size", "Leaves"), ("queue", "Transactions waiting")):
            gauge = Gauge(f"ledger_{name}", help_text, registry=registry)
            gauge.set_function(lambda name=name: float(status()[name]))  # type: ignore[misc]
        Gauge("ledger_streams", "Streams of facts open", registry=registry).set_function(streams)
        self._transactions = Counter("ledger_transactions", "Transactions answered", ["status"], registry=registry)
        self._seconds = Histogram(
            "ledger_submit_seconds", "Arrival to answer of a batch", buckets=_BUCKETS, registry=registry
        )

    def answered(self, statuses: Sequence[str], seconds: float) -> None:
        """A batch was answered."""
        for status, count in Tally(statuses).items():
            self._transactions.labels(status).inc(count)
        self._seconds.observe(seconds)
