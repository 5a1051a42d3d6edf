"""What an operator sees of the homes in a process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """Counters of all homes of the process together: no label grows with the number of homes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.collector = registry
        self.requests = Counter(
            "gridpact_ven_requests_total",
            "Messages sent to the VTN, by message and result (ok, refused, unreachable)",
            ["message", "result"],
            registry=registry,
        )
        self.pushes = Counter(
            "gridpact_ven_pushes_total",
            "Messages the VTN posted here, by message and result (ok, refused)",
            ["message", "result"],
            registry=registry,
        )
        self.readings = Counter("gridpact_ven_readings_total", "Meter intervals stored", registry=registry)
        self.reported = Counter(
            "gridpact_ven_reported_intervals_total", "Intervals the VTN acknowledged", registry=registry
        )
        self.transactions = Counter(
            "gridpact_ven_transactions_total", "Answers of the ledger, by result", ["result"], registry=registry
        )
        self.proofs = Counter(
            "gridpact_ven_proofs_total", "Proofs fetched, by result (verified, refused)", ["result"], registry=registry
        )
        self.clock_skew = Gauge(
            "gridpact_ven_clock_skew_seconds",
            "How far the domain clock is ahead of the ledger's or the VTN's, as far as they said",
            registry=registry,
        )
        self.clocks_wrong = Gauge(
            "gridpact_ven_homes_clock_wrong", "Homes that stamp nothing because their clock is wrong", registry=registry
        )
        self.stores_full = Gauge(
            "gridpact_ven_homes_store_full", "Homes that stand still because their disk has no room", registry=registry
        )
        self.homes = Gauge("gridpact_ven_homes", "Homes in this process", registry=registry)

    def count_request(self, message: str, result: str) -> None:
        """A message to the VTN, by its name, and what came of it."""
        self.requests.labels(message=message, result=result).inc()

    def count_push(self, message: str, result: str) -> None:
        """A message posted here, by its name, and what came of it."""
        self.pushes.labels(message=message, result=result).inc()
