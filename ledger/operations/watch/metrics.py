"""Metrics of a member beside those of its interface (ledger.metrics), for `/metrics`. All are read when asked for.

ledger_final_size                               leaves of the newest checkpoint that a quorum cosigned
ledger_order_tip                                highest ordered block, as last seen
ledger_behind_blocks{behind="order"|"members"}  how far this replica is behind the order, and its furthest member
ledger_member_height{member}, ledger_member_cosigned_size{member}
ledger_proposer_info{member}                    who orders blocks, as this replica knows
ledger_etcd_db_used_bytes, ledger_etcd_info{endpoint,leader,version}
ledger_clock_behind_seconds                     newest block time less this machine's clock, 0 where not behind
ledger_held_back                                1 while this member's clock is too far ahead for it to propose
ledger_uncosigned_block{member}                 the first block too far ahead of this clock, by who proposed it
ledger_audit_height, ledger_audit_seconds       of the newest recomputation that found everything equal
ledger_audit_timestamp_seconds                  when the newest recomputation ended
ledger_audit_result{result="equal"|"differs"|"failed"}  1 for what it found
ledger_store_seconds                            a query of PostgreSQL; absent while it does not answer
ledger_member_clock_ahead_seconds{member}       of this machine's
ledger_certificate_end_timestamp_seconds{file}  when a certificate ends, by setting

All but the last three have the label channel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger.cluster.certificates import CertificateError, read
from ledger.operations.watch.auditing import Done
from ledger.operations.watch.observation import Observer
from ledger.replica import Replica
from runtime.clock import Clock


class MemberMetrics(Collector):
    """Reads the replicas of a process whenever it is asked."""

    def __init__(
        self,
        registry: CollectorRegistry,
        observer: Observer,
        replicas: Callable[[], list[Replica]],
        certificates: Mapping[str, Path],
        clock: Clock,
        audited: Mapping[str, Done],
    ) -> None:
        self._observer = observer
        self._replicas = replicas
        self._certificates = certificates
        self._clock = clock
        self._audited = audited
        registry.register(self)

    def describe(self) -> list[Metric]:
        """Nothing is read at the registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families."""
        families: dict[str, GaugeMetricFamily] = {}
        for replica in self._replicas():
            for name, help_text, labels, value in self._of_channel(replica):
                labelled = {"channel": replica.channel, **labels}
                family = families.setdefault(name, GaugeMetricFamily(name, help_text))
                family.add_sample(name, labelled, value)
        yield from families.values()
        yield from self._of_process()

    def _of_channel(self, replica: Replica) -> Iterator[tuple[str, str, dict[str, str], float]]:
        status, tip = replica.status(), self._observer.seen.tip.get(replica.channel)
        rows: list[Mapping[str, Any]] = status["replicas"]
        height = status["height"]
        yield "ledger_final_size", "Leaves of the newest final checkpoint", {}, status["final_size"]
        if tip is not None:
            yield "ledger_order_tip", "Highest ordered block", {}, tip
            yield "ledger_behind_blocks", "Blocks behind", {"behind": "order"}, max(0, tip - height)
        ahead = max((row["height"] - height for row in rows), default=0)
        yield "ledger_behind_blocks", "Blocks behind", {"behind": "members"}, max(0, ahead)
        for row in rows:
            member = {"member": row["name"]}
            yield "ledger_member_height", "Blocks of a member", member, row["height"]
            yield "ledger_member_cosigned_size", "Leaves a member cosigned", member, row["cosigned_size"]
        yield "ledger_proposer_info", "Who orders blocks", {"member": str(status["proposer"] or "")}, 1.0
        behind_s = max(0, replica.head.time_ms - self._clock.now_ms()) / 1000
        yield "ledger_clock_behind_seconds", "Newest block time less this clock", {}, behind_s
        yield "ledger_held_back", "Clock too far ahead to propose", {}, float(bool(status["held_back"]))
        if status["uncosigned"]:
            block = status["uncosigned"]
            yield "ledger_uncosigned_block", "Too far ahead", {"member": block["proposer"]}, block["height"]
        yield from _etcd(status["order"])
        if replica.channel in self._audited:
            yield from _audit(self._audited[replica.channel])

    def _of_process(self) -> Iterator[Metric]:
        seen = self._observer.seen
        if seen.store_s is not None:
            yield GaugeMetricFamily("ledger_store_seconds", "A query of PostgreSQL", value=seen.store_s)
        apart = GaugeMetricFamily("ledger_member_clock_ahead_seconds", "Clock of a member", labels=["member"])
        for name, ahead_s in seen.ahead_s.items():
            apart.add_metric([name], ahead_s)
        yield apart
        ends = GaugeMetricFamily("ledger_certificate_end_timestamp_seconds", "When it ends", labels=["file"])
        for name, path in self._certificates.items():
            with contextlib.suppress(CertificateError):
                ends.add_metric([name], read(path).not_valid_after_utc.timestamp())
        yield ends


def _audit(done: Done) -> Iterator[tuple[str, str, dict[str, str], float]]:
    verdict = done.verdict
    result = "differs" if verdict.differs else "failed" if verdict.failed else "equal"
    yield "ledger_audit_timestamp_seconds", "When the recomputation ended", {}, done.at_ms / 1000
    for name in ("equal", "differs", "failed"):
        yield "ledger_audit_result", "1 for what it found", {"result": name}, float(name == result)
    if result == "equal":
        yield "ledger_audit_height", "Blocks found equal", {}, verdict.height
        yield "ledger_audit_seconds", "Seconds it took", {}, verdict.seconds


def _etcd(order: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, str], float]]:
    if order.get("db_used_bytes") is not None:
        yield "ledger_etcd_db_used_bytes", "Bytes in use in the etcd that answers", {}, order["db_used_bytes"]
    if "endpoint" in order:
        labels = {name: str(order.get(name) or "") for name in ("endpoint", "leader", "version")}
        yield "ledger_etcd_info", "The etcd that answers", labels, 1.0
