"""Metrics of the VTN, on the registry of its application."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class VtnMetrics:
    """What `/metrics` shows besides the process itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.openadr2_answers = Counter(
            "gridpact_vtn_openadr2_answers_total",
            "Answers of the 2.0b face by service and OpenADR response code",
            ["service", "code"],
            registry=registry,
        )
        self.openadr2_seconds = Histogram(
            "gridpact_vtn_openadr2_seconds",
            "Time from the request to the answer of the 2.0b face",
            ["service"],
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )
        self.openadr2_leniencies = Counter(
            "gridpact_vtn_openadr2_leniencies_total",
            "Repairs of messages that devices got slightly wrong, by kind",
            ["kind"],
            registry=registry,
        )
        self.openadr2_pushes = Counter(
            "gridpact_vtn_openadr2_pushes_total",
            "Messages posted to VENs in push mode, by outcome: delivered, failed",
            ["outcome"],
            registry=registry,
        )
        self.ledger_outbox_failures = Counter(
            "gridpact_vtn_ledger_outbox_failures_total",
            "Tries to bring waiting transactions to the ledger that failed",
            registry=registry,
        )
        self.enrolments = Counter(
            "gridpact_vtn_enrolments_total", "Requests to enrol by outcome", ["outcome"], registry=registry
        )
        self.listening = Gauge(
            "gridpact_vtn_listening",
            "1 while notifications of the database arrive; otherwise every poll asks it",
            registry=registry,
        )
