"""`/readyz` of a member: each thing it depends on, and where one fails a sentence: what, why, what to do.

not ready   postgres, schema, order (no majority, NOSPACE, wrong cluster), log (catching up, diverged), signing (the
            marker cannot be written), clock behind the log or ahead of most others, a block that nobody cosigns, a
            certificate that has ended or has not begun
warnings    clocks of members apart, members that do not answer, another tree that a member signed, a certificate
            about to end, a peer certificate of another authority
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ledger.cluster.certificates import CertificateError, expires_within, read, vouched_for
from ledger.config import LedgerSettings
from ledger.errors import CatchingUp, Diverged, PeerUnavailable, StoreUnavailable
from ledger.operations.errors import BlockAhead, CertificateEnded, ClockAhead, ClockBehind, SigningStopped
from ledger.operations.watch.observation import Observer
from ledger.replica import Replica
from ledger.store.reading import STORE_ERRORS, first_line
from runtime.clock import Clock
from runtime.errors import Attention, StaleSchema
from runtime.service import Readiness

WARN_DAYS: Final = 14.0
_BEHIND_MS: Final = 5_000
"""As far as a block may be ahead of a member's clock to be cosigned (ledger.ordering.following)."""
_APART_S: Final = 2.0


def register(
    readiness: Readiness, observer: Observer, replica: Replica, settings: LedgerSettings, clock: Clock
) -> None:
    """The checks of a process and of the replica of its first channel."""
    readiness.register("postgres", lambda: check_store(observer))
    readiness.register("schema", lambda: check_schema(observer))
    readiness.register("certificates", lambda: check_certificates(certificates(settings)))
    register_channel(readiness, observer, replica, clock)


def register_channel(
    readiness: Readiness, observer: Observer, replica: Replica, clock: Clock, suffix: str = ""
) -> None:
    """The checks of one channel; those of a further one have its name as suffix."""
    checks: Mapping[str, Callable[[], Awaitable[None]]] = {
        "orderer": lambda: check_order(replica, suffix.strip()),
        "log": lambda: check_log(replica),
        "signing": lambda: check_signing(replica),
        "clock": lambda: check_clock(replica, observer, clock),
        "members": lambda: check_members(replica),
    }
    for name, check in checks.items():
        readiness.register(name + suffix, check)


async def check_store(observer: Observer) -> None:
    """PostgreSQL answers now. Raises StoreUnavailable."""
    try:
        await observer.ping()
    except (TimeoutError, *STORE_ERRORS) as error:
        raise StoreUnavailable(
            f"PostgreSQL does not answer ({first_line(error)}): nothing can be read or written here until it does, and "
            "nothing acknowledged is lost. Start it, or correct database_url"
        ) from error


async def check_schema(observer: Observer) -> None:
    """The tables are those of this program. Raises StaleSchema."""
    if observer.seen.schema is not None:
        raise StaleSchema(observer.seen.schema)


async def check_order(replica: Replica, further: str = "") -> None:
    """Blocks can be ordered now. `further`: the channel's name, where it is not the first of the process. Raises
    OrderingUnavailable; Attention for a former member, who has no part in that."""
    if replica.status()["state"] == "retired":
        leave = f"`dr-ledger channels leave {further}`, and start it again" if further else "stop it"
        raise Attention(
            f"this member is none of channel {replica.channel} any more: its replica shows the log up to block "
            f"{replica.height}, its last, and takes nothing new. To have it no more, {leave}"
        )
    await replica.check_orderer()


async def check_log(replica: Replica) -> None:
    """The replica agrees with the log and has all of it. Raises Diverged, CatchingUp; Attention for an alarm."""
    try:
        await replica.check_log()
    except CatchingUp as error:
        raise CatchingUp(
            f"{error}. Reads show what is here, writes are refused until then; it ends by itself"
        ) from None
    except Diverged as error:
        raise Diverged(
            f"{error}. This replica has stopped and repairs nothing: keep its folder and database as evidence, find "
            "the first difference with `dr-ledger verify`, then restore a backup or join again from another member"
        ) from None
    alarms = replica.status()["alarms"]
    if alarms:
        newest = alarms[0]
        raise Attention(
            f"{newest['member']} signed another tree of {newest['size']} leaves than this replica: {newest['what']}. "
            "One of the two executes something else: compare with the other members"
        )


async def check_signing(replica: Replica) -> None:
    """What this member executes it also cosigns. Raises SigningStopped."""
    withheld = replica.status().get("withheld")
    if withheld is not None:
        raise SigningStopped(
            f"the file `signed` of this member's data folder cannot be written ({withheld}): no signature leaves "
            "before it is, so this member executes and cosigns nothing. Make room there; it goes on by itself"
        )


async def check_clock(replica: Replica, observer: Observer, clock: Clock) -> None:
    """This machine's clock is neither behind the log nor ahead of the others. Raises ClockBehind, ClockAhead,
    BlockAhead (another clock took the log's time away); Attention where the members' clocks differ."""
    status = replica.status()
    if status.get("held_back"):
        raise ClockAhead(status["held_back"])
    head, now_ms, apart = replica.head, clock.now_ms(), _apart(observer)
    behind, block = head.time_ms - now_ms > _BEHIND_MS * max(clock.speed, 1.0), status.get("uncosigned")
    agreeing = len(observer.seen.ahead_s) - len(apart)
    if behind and block and 2 * (agreeing + 1) > len(observer.seen.ahead_s) + 1:
        raise BlockAhead(
            f"block {block['height']}, which {block['proposer']} proposed, was {block['ahead_s']:.0f} s ahead of this "
            f"clock, and those of {agreeing} of {len(observer.seen.ahead_s)} other members agree with this one: no "
            f"member cosigns it or what follows, so nothing becomes final, until the clocks say {_time(head.time_ms)}. "
            f"Have the clock of {block['proposer']} set; if it does so again, remove it: `dr-ledger members propose "
            f"--remove {block['proposer']}`"
        )
    if behind:
        raise ClockBehind(
            f"this machine's clock says {_time(now_ms)}, but block {head.height} is of {_time(head.time_ms)}: this "
            "member cosigns nothing and may refuse what is valid until its clock has caught up. Set the clock (is time "
            "synchronisation running?), or correct the clock file"
        )
    if apart:
        shown = ", ".join(f"{name} {abs(s):.1f} s {'ahead' if s > 0 else 'behind'}" for name, s in apart.items())
        whose = "this machine's clock" if 2 * len(apart) > len(replica.peers.names) else "the clock there"
        raise Attention(
            f"the clocks of members differ ({shown} of this one): blocks more than {_BEHIND_MS // 1000} s ahead of a "
            f"member's clock are not cosigned by it. Check {whose}: is time synchronisation running?"
        )


def _apart(observer: Observer) -> dict[str, float]:
    """Members whose clocks differ from this one, with how far they are ahead in seconds."""
    return {name: ahead_s for name, ahead_s in sorted(observer.seen.ahead_s.items()) if abs(ahead_s) > _APART_S}


async def check_members(replica: Replica) -> None:
    """All other members answer. Raises Attention, also where too few do for anything to become final."""
    rows = replica.status()["replicas"]
    away = [row for row in rows if row["reachable"] is False]
    if not away:
        return
    shown = "; ".join(f"{row['name']} ({row['error'][:160] or 'no answer'})" for row in away)
    effect = "what is written still becomes final without them"
    try:
        await replica.check_quorum()
    except PeerUnavailable:
        effect = "the quorum is not complete: what is written stays committed and is not final until they are back"
    raise Attention(f"members do not answer: {shown}; {effect}. Look at their machines and at the network between")


def certificates(settings: LedgerSettings) -> dict[str, Path]:
    """Every certificate the process shows or trusts, by setting."""
    names = ("certificate", "client_ca", "peer_certificate", "peer_ca", "etcd_certificate", "etcd_ca")
    found = {name: getattr(settings, name) for name in names}
    return {name: path for name, path in found.items() if path is not None}


async def check_certificates(files: Mapping[str, Path]) -> None:
    """None has ended. Raises CertificateEnded; Attention for one that ends within 14 days or cannot be read."""
    warnings = []
    for name, path in files.items():
        try:
            end = expires_within(path, WARN_DAYS)
        except CertificateError as error:
            warnings.append(str(error))
            continue
        if (begin := read(path).not_valid_before_utc) > datetime.now(UTC):
            raise CertificateEnded(
                f"{name} {path} is valid from {begin:%Y-%m-%dT%H:%MZ} on: others refuse this member's connections "
                "until then. Put a valid one in its place and start the replica again, or set this machine's clock"
            )
        if end is not None and end <= datetime.now(UTC):
            raise CertificateEnded(
                f"{name} {path} ended at {end:%Y-%m-%dT%H:%MZ}: others refuse this member's connections. Put a new "
                "certificate in its place and start the replica again"
            )
        if end is not None:
            warnings.append(
                f"{name} {path} ends at {end:%Y-%m-%dT%H:%MZ}: put a new one in its place before, and start the "
                "replica again"
            )
    if {"peer_certificate", "peer_ca"} <= files.keys() and not vouched_for(files["peer_certificate"], files["peer_ca"]):
        warnings.append(
            f"peer_certificate {files['peer_certificate']} was not signed by an authority in peer_ca "
            f"{files['peer_ca']}: members that trust the same refuse this one. Take both from one consortium"
        )
    if warnings:
        raise Attention("; ".join(warnings))


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
