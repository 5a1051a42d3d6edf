"""What can be wrong between a replica and etcd, each as one sentence: what, why and what to do.

OrderingUnavailable          (ledger.errors)
├── EtcdUnreachable          no endpoint answers at all
├── NoMajority               endpoints answer, but the cluster has no leader: fewer than a majority of members run
├── EtcdNoSpace              a member's database reached its quota: etcd takes no writes
├── EtcdRefused              certificate, user, password or rights are not accepted
├── WrongCluster             another cluster answers than the one that was joined
└── OrderBehind              the order ends below the height this replica has: it is not the order of its ledger

Unanswered, Compacted and LeaseGone say what one call met; they stay inside this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
from grpc.aio import AioRpcError

from ledger.errors import OrderingUnavailable


class EtcdUnreachable(OrderingUnavailable):
    """Nothing listens, names do not resolve, or the TLS handshake fails."""


class NoMajority(OrderingUnavailable):
    """Reads of this replica go on; writes work again as soon as a majority of etcd members does."""


class EtcdNoSpace(OrderingUnavailable):
    """Nothing is lost: compaction, defragmentation and disarming the alarm make etcd write again."""


class EtcdRefused(OrderingUnavailable):
    """etcd answers, and says no."""


class WrongCluster(OrderingUnavailable):
    """The endpoints lead to another etcd cluster; going on would begin another order."""


class OrderBehind(OrderingUnavailable):
    """Fault rule 13: an order that ends below the own height is not this ledger's order."""


NO_ANSWER: Final = "no answer in time"


class Unanswered(Exception):
    """One attempt at one endpoint brought nothing. `sent`: the request may have had its effect. `alive`: the endpoint
    was reached, so what is missing is not the endpoint."""

    def __init__(self, endpoint: str, reason: str, *, sent: bool, alive: bool) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason
        self.sent = sent
        self.alive = alive


class Compacted(Exception):
    """The revision asked for is older than what etcd keeps."""


class LeaseGone(Exception):
    """The lease ended or was revoked."""


class TokenStale(Exception):
    """The token of the user is no longer known: authenticate again."""


def explain(failures: Sequence[Unanswered], endpoints: Sequence[str]) -> OrderingUnavailable:
    """The error of a call that no endpoint answered; `failures` in the order they happened."""
    last = {failure.endpoint: failure for failure in failures}
    seen = "; ".join(str(failure) for failure in last.values())
    alive = sum(failure.alive for failure in last.values())
    if alive:
        return NoMajority(
            f"the order has no majority: {alive} of {len(endpoints)} etcd endpoints can be reached and none can get a "
            f"majority to agree ({seen}). Start the missing etcd members; reads go on, nothing acknowledged is lost"
        )
    hint = "start etcd, or correct the endpoints"
    if any(word in seen.lower() for word in ("handshake", "certificate", "ssl", "tsi_")):
        hint = "check that ca, certificate and key belong together and have not expired"
    return EtcdUnreachable(f"no etcd endpoint answers ({seen}): {hint}")


def judge(error: AioRpcError, endpoint: str, *, connected: bool) -> Exception:
    """What an error of gRPC means to us; `connected`: the endpoint was connected when the call failed."""
    code, details = error.code(), error.details() or error.code().name
    known = _by_text(details, endpoint)
    if known is not None:
        return known
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unanswered(endpoint, NO_ANSWER, sent=True, alive=connected)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.INTERNAL | grpc.StatusCode.UNKNOWN:
            return Unanswered(endpoint, details, sent=True, alive=details.startswith("etcdserver:"))
        case grpc.StatusCode.CANCELLED | grpc.StatusCode.ABORTED:
            return Unanswered(endpoint, details, sent=True, alive=False)
        case grpc.StatusCode.OUT_OF_RANGE:
            return Compacted(details)
        case _:
            return EtcdRefused(f"etcd at {endpoint} refuses: {details}. Check user, rights and version of etcd")


def no_space(where: str) -> EtcdNoSpace:
    """The error of an etcd (` at <endpoint>`) whose database is full."""
    return EtcdNoSpace(
        f"etcd{where} takes no writes: its database reached the quota (alarm NOSPACE). Trim the order, then compact, "
        "defragment member by member (the leader last) and disarm the alarm"
    )


def _by_text(details: str, endpoint: str) -> Exception | None:
    text = details.lower()
    if "failed to connect" in text or "connections to all backends failing" in text:
        return Unanswered(endpoint, _connecting(details), sent=False, alive=False)
    if "no leader" in text:
        return Unanswered(endpoint, "it knows no leader", sent=False, alive=True)
    if "too many requests" in text:
        return Unanswered(endpoint, "it has too many requests", sent=False, alive=True)
    if "space exceeded" in text:
        return no_space(f" at {endpoint}")
    if "invalid auth token" in text or "revision of auth store is old" in text or "revision in header is old" in text:
        return TokenStale(details)
    if "unhealthy cluster" in text:
        return EtcdRefused(
            f"etcd at {endpoint} refuses: it changes its members once all members have been in touch for 5 s. Try "
            "again, or start those that are missing"
        )
    if "lease not found" in text:
        return LeaseGone(details)
    if "permission denied" in text:
        return EtcdRefused(
            f"etcd at {endpoint} refuses: this user may not use the keys of the channel. Grant its role readwrite on "
            "the channel's prefix"
        )
    if "invalid user id or password" in text or "user name is empty" in text or "user name not found" in text:
        return EtcdRefused(f"etcd at {endpoint} does not know this user and password: correct user and password")
    return None


def _connecting(details: str) -> str:
    """gRPC's text without the list of addresses; its last part says why."""
    return details.rpartition("last error: ")[2] or details
