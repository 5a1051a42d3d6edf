"""What an orderer on etcd must be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSettings:
    """How to reach the etcd cluster, and what for.

    endpoints: `https://host:port` or `http://host:port`, the own member's first: it is asked until it fails.
    ca, certificate, certificate_key: PEM files; with https `ca` alone verifies the server, all three identify us too.
    user, password: where etcd has authentication switched on and does not take the name from the certificate.
    channel: of the ledger. member: the name under which the others know the holder of the lease.
    lease_s: how long after its death a proposer blocks the others. deadline_s: of one attempt at one endpoint, on a
    LAN; more where a round trip takes more than a few milliseconds.
    patience_s: after which a call that no endpoint answers is given up. cluster: id of the only cluster to accept, in
    hexadecimal; None accepts the first that answers and keeps to it.
    """

    endpoints: Sequence[str]
    channel: str
    member: str
    ca: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    user: str | None = None
    password: str | None = None
    lease_s: int = 3
    deadline_s: float = 0.15
    patience_s: float = 1.6
    cluster: str | None = None
    prefix: str = "/gridpact"
