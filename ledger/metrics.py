"""Metrics of a replica, for `/metrics`; gauges have the label `channel`.

ledger_height, ledger_final_height      blocks committed here; of them final: cosigned by a quorum
ledger_size                             leaves of the log
ledger_queue                            transactions waiting to be ordered, forwarded ones among them
ledger_lag_blocks                       blocks a member is behind this replica, by `member`
ledger_member_reachable                 1 if a member answered when it was asked last, by `member`
ledger_proposer                         1 on the member that orders blocks, as this replica knows
ledger_forwarded_total                  transactions sent to the proposer
ledger_alarms                           other trees that members signed
ledger_etcd_db_bytes, ledger_etcd_alarms   of the etcd member this replica talks to
ledger_state                            1 for the state it is in: serving, waiting, catching-up, retired, diverged
ledger_streams                          streams of facts open
ledger_transactions_total               transactions answered, by status (committed, refused, unknown)
ledger_submit_seconds                   from a batch's arrival to its answer
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Counts what the interface answers; what a replica's status says is read when it is asked for."""

    def __init__(
        self,
        registry: CollectorRegistry,
        statuses: Mapping[str, Callable[[], dict[str, Any]]],
        streams: Callable[[], int],
    ) -> None:
        registry.register(_Statuses(statuses))
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


class _Statuses(Collector):
    """Each channel's status as gauges."""

    def __init__(self, statuses: Mapping[str, Callable[[], dict[str, Any]]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterable[Metric]:
        families = {
            name: GaugeMetricFamily(f"ledger_{name}", meaning, labels=["channel"]) for name, meaning in _PLAIN.items()
        }
        lag = GaugeMetricFamily("ledger_lag_blocks", "Blocks a member is behind", labels=["channel", "member"])
        reachable = GaugeMetricFamily("ledger_member_reachable", "Does it answer", labels=["channel", "member"])
        states = GaugeMetricFamily("ledger_state", "1 for the present state", labels=["channel", "state"])
        forwarded = CounterMetricFamily("ledger_forwarded", "Transactions sent to the proposer", labels=["channel"])
        for channel, read in self._statuses.items():
            status = read()
            order = status["order"]
            values = {**status, "proposer": status["proposer"] == status["member"], "alarms": len(status["alarms"])}
            values |= {"etcd_db_bytes": order.get("db_bytes"), "etcd_alarms": len(order.get("alarms") or ())}
            for name, family in families.items():
                if values.get(name) is not None:
                    family.add_metric([channel], float(values[name]))
            for row in status["replicas"]:
                lag.add_metric([channel, row["name"]], row["lag"])
                reachable.add_metric([channel, row["name"]], float(bool(row["reachable"])))
            for state in ("serving", "waiting", "catching-up", "retired", "diverged"):
                states.add_metric([channel, state], float(status["state"] == state))
            forwarded.add_metric([channel], status["forwarded"])
        return [*families.values(), lag, reachable, states, forwarded]


_PLAIN: Final = {
    "height": "Blocks committed",
    "final_height": "Blocks that are final",
    "size": "Leaves",
    "queue": "Transactions waiting",
    "proposer": "Does this member order blocks",
    "alarms": "Other trees that members signed",
    "etcd_db_bytes": "Size of etcd's database",
    "etcd_alarms": "Alarms of etcd",
}
