"""What `/readyz` and `/metrics` say of a member, and that each sentence tells what, why and what to do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ledger.errors import CatchingUp, Diverged, PeerUnavailable, StoreUnavailable
from ledger.operations.errors import CertificateEnded, ClockBehind
from ledger.operations.watch import metrics, readiness
from ledger.operations.watch.observation import Observation, Observer
from ledger.replication.peers import PeerStatus
from runtime.clock import ManualClock
from runtime.database import create_engine
from runtime.errors import Attention
from tests.builders import START_MS, a_clock
from tests.ledger.replicas import a_replica, an_issue, execute
from tests.ledger.running import a_running_ledger

NewDatabase = Callable[..., str]


@pytest.fixture(autouse=True)
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


class Member:
    """A replica as far as it is watched, in whatever state a test needs."""

    channel = "main"

    def __init__(self, **given: Any) -> None:
        self.head = SimpleNamespace(height=7, time_ms=START_MS)
        self.fault: Exception | None = None
        self.quorum = True
        self.away: dict[str, str] = {}
        self.clocks_ms: dict[str, int] = {}
        self.alarms: list[dict[str, Any]] = []
        self.order: dict[str, Any] = {"proposer": "b", "lease": False}
        self.held_back: str | None = None
        self.uncosigned: dict[str, Any] | None = None
        self.__dict__ |= given
        self.peers = SimpleNamespace(names=("b", "c"), status=self._peer)

    async def _peer(self, name: str) -> PeerStatus:
        if name in self.away:
            raise PeerUnavailable(self.away[name])
        wall_ms = self.clocks_ms.get(name, START_MS)
        return PeerStatus(member=name, height=9, size=20, note="", final="", wall_ms=wall_ms)

    async def check_log(self) -> None:
        if self.fault:
            raise self.fault

    async def check_quorum(self) -> None:
        if not self.quorum:
            raise PeerUnavailable("nothing becomes final")

    async def tip(self) -> int:
        return 12

    def status(self) -> dict[str, Any]:
        rows = [
            {"name": name, "height": height, "size": 20, "cosigned_size": 15, "reachable": name not in self.away,
             "error": self.away.get(name, "")}
            for name, height in (("a", 7), ("b", 9), ("c", 9))
        ]  # fmt: skip
        return {
            "member": "a", "height": 7, "size": 16, "final_height": 6, "final_size": 14, "replicas": rows,
            "proposer": "b", "forwarded": 3, "alarms": self.alarms, "state": "serving", "order": self.order,
            "held_back": self.held_back, "uncosigned": self.uncosigned,
        }  # fmt: skip


async def seen(member: Any, database: str, clock: ManualClock) -> Observer:
    engine = create_engine(database)
    observer = Observer(engine, lambda: [member], clock)
    await observer.look()
    await engine.dispose()
    return observer


async def test_a_clock_behind_the_log_is_not_ready(database: str) -> None:
    clock, member = a_clock(), Member()
    observer = await seen(member, database, clock)
    await readiness.check_clock(member, observer, clock)  # type: ignore[arg-type]
    member.head.time_ms += 5_000
    await readiness.check_clock(member, observer, clock)  # type: ignore[arg-type]
    member.head.time_ms += 3_600_000
    with pytest.raises(ClockBehind, match=r"block 7 is of 2026-01-01T01:00:05Z.*Set the clock"):
        await readiness.check_clock(member, observer, clock)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clocks_s", "says"),
    [
        ({"b": 1, "c": -1}, None),
        ({"b": 30, "c": 30}, r"b 30\.0 s ahead, c 30\.0 s ahead.*Check this machine's clock"),
        ({"b": -30}, r"b 30\.0 s behind of this one.*Check the clock there"),
    ],
)
async def test_clocks_of_members_are_compared(database: str, clocks_s: dict[str, int], says: str | None) -> None:
    clock = a_clock()
    member = Member(clocks_ms={name: clock.wall_ms() + 1000 * ahead for name, ahead in clocks_s.items()})
    member.clocks_ms = {"b": clock.wall_ms(), "c": clock.wall_ms()} | member.clocks_ms
    observer = await seen(member, database, clock)
    if says is None:
        await readiness.check_clock(member, observer, clock)  # type: ignore[arg-type]
        return
    with pytest.raises(Attention, match=says):
        await readiness.check_clock(member, observer, clock)  # type: ignore[arg-type]


async def test_the_log_says_why_it_is_not_current() -> None:
    behind = Member(fault=CatchingUp("catching up with the order: at block 7 of 12"))
    with pytest.raises(CatchingUp, match=r"block 7 of 12.*writes are refused until then"):
        await readiness.check_log(behind)  # type: ignore[arg-type]
    halted = Member(fault=Diverged("block 5, transaction 1234 differs in its write-set hash"))
    with pytest.raises(Diverged, match=r"block 5, transaction 1234.*keep its folder.*`dr-ledger verify`"):
        await readiness.check_log(halted)  # type: ignore[arg-type]
    alarmed = Member(alarms=[{"member": "c", "size": 20, "what": "block 6, transaction abcd"}])
    with pytest.raises(Attention, match=r"c signed another tree of 20 leaves.*block 6, transaction abcd"):
        await readiness.check_log(alarmed)  # type: ignore[arg-type]
    await readiness.check_log(Member())  # type: ignore[arg-type]


async def test_members_that_do_not_answer_are_named_with_the_effect() -> None:
    await readiness.check_members(Member())  # type: ignore[arg-type]
    with pytest.raises(Attention, match=r"c \(connection refused\); what is written still becomes final"):
        await readiness.check_members(Member(away={"c": "connection refused"}))  # type: ignore[arg-type]
    with pytest.raises(Attention, match="the quorum is not complete: what is written stays committed"):
        await readiness.check_members(Member(away={"b": "", "c": ""}, quorum=False))  # type: ignore[arg-type]


def a_certificate(path: Path, *, days: float) -> Path:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "member")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, SHA256())
    )
    path.write_bytes(made.public_bytes(Encoding.PEM))
    return path


async def test_certificates_warn_before_they_end(tmp_path: Path) -> None:
    fresh = a_certificate(tmp_path / "fresh.pem", days=100)
    soon = a_certificate(tmp_path / "soon.pem", days=10)
    over = a_certificate(tmp_path / "over.pem", days=-1)
    await readiness.check_certificates({"certificate": fresh})
    with pytest.raises(Attention, match=r"peer_certificate .*soon\.pem ends at 20.*put a new one in its place"):
        await readiness.check_certificates({"certificate": fresh, "peer_certificate": soon})
    with pytest.raises(CertificateEnded, match=r"etcd_certificate .*over\.pem ended at"):
        await readiness.check_certificates({"certificate": soon, "etcd_certificate": over})
    with pytest.raises(Attention, match=r"none\.pem"):
        await readiness.check_certificates({"certificate": tmp_path / "none.pem"})


async def test_a_database_that_does_not_answer_is_explained(tmp_path: Path) -> None:
    engine = create_engine(f"postgresql+psycopg://nobody@/none?host={tmp_path}")
    observer = Observer(engine, list, a_clock())
    with pytest.raises(StoreUnavailable, match=r"PostgreSQL does not answer \(.*\): nothing can be read.*Start it"):
        await readiness.check_store(observer)
    await observer.look()
    assert observer.seen.store_s is None
    assert observer.seen.store_error
    await engine.dispose()


def samples(text: str) -> dict[str, float]:
    """`name{label=value,...}` without the channel -> value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()) if name != "channel")
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_metrics_tell_lag_members_order_and_certificates(database: str, tmp_path: Path) -> None:
    clock = a_clock()
    order = {"db_bytes": 2_000, "db_used_bytes": 1_000, "alarms": ["NOSPACE"], "endpoint": "h:1", "leader": "e2"}
    member = Member(away={"c": "gone"}, order=order, clocks_ms={"b": clock.wall_ms() + 4_000})
    member.held_back, member.uncosigned = "ahead", {"height": 8, "proposer": "b", "ahead_s": 60.0}
    observer = await seen(member, database, clock)
    registry = CollectorRegistry()
    files = {"certificate": a_certificate(tmp_path / "c.pem", days=10)}
    metrics.MemberMetrics(registry, observer, lambda: [member], files, clock, {})  # type: ignore[list-item, return-value]
    found = samples(generate_latest(registry).decode())
    expected = {
        "ledger_final_size": 14, "ledger_order_tip": 12, "ledger_behind_blocks{behind=order}": 5,
        "ledger_behind_blocks{behind=members}": 2, "ledger_member_height{member=b}": 9,
        "ledger_member_cosigned_size{member=c}": 15, "ledger_proposer_info{member=b}": 1,
        "ledger_etcd_db_used_bytes": 1_000,
        "ledger_etcd_info{endpoint=h:1,leader=e2,version=}": 1, "ledger_clock_behind_seconds": 0,
        "ledger_member_clock_ahead_seconds{member=b}": 4, "ledger_held_back": 1,
        "ledger_uncosigned_block{member=b}": 8,
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected
    assert 0 < found["ledger_store_seconds"] < 5
    ends = found["ledger_certificate_end_timestamp_seconds{file=certificate}"] - datetime.now(UTC).timestamp()
    assert 9 < ends / 86_400 < 10


def test_every_metric_is_explained_where_they_are_listed() -> None:
    source = Path(metrics.__file__).read_text()
    listed, made = source.split('"""', 2)[1], source.split('"""', 2)[2]
    names = set(re.findall(r'"(ledger_[a-z_]+)"', made))
    assert len(names) > 10
    assert {name for name in names if name not in listed} == set()


def test_an_observation_begins_empty() -> None:
    assert Observation() == Observation(None, "", None, {}, {})


@pytest.fixture
async def running(database: str, tmp_path: Path) -> AsyncIterator[str]:
    async with a_running_ledger(database, tmp_path / "member") as url:
        yield url


async def test_a_replica_whose_clock_was_set_back_says_so(database: str, tmp_path: Path) -> None:
    """It served until it was stopped; now its machine believes to be in the past."""
    late = a_clock(int(datetime.now(UTC).timestamp() * 1000) + 86_400_000)
    async with a_replica(database, tmp_path / "member", late) as ledger:
        await ledger.run(an_issue(not_after_ms=late.now_ms() + 1_000))
    async with a_running_ledger(database, tmp_path / "member") as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/readyz") as response:
            answer = await response.json()
            assert response.status == 503
        assert "cosigns nothing" in answer["dependencies"]["clock"]["reason"]
        assert answer["dependencies"]["postgres"] == {"ready": True}


async def test_a_running_member_is_ready_and_measured(running: str, database: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{running}/readyz") as response:
            answer = await response.json()
        assert (response.status, answer["ready"]) == (200, True), answer
        assert {"postgres", "schema", "orderer", "log", "clock", "members", "certificates"} <= set(
            answer["dependencies"]
        )
        async with session.get(f"{running}/metrics") as response:
            found = samples(await response.text())
        assert found["ledger_proposer_info{member=member.example/1}"] == 1
        assert found["ledger_behind_blocks{behind=members}"] == 0


async def test_tables_of_another_version_are_noticed_while_running(database: str) -> None:
    engine = create_engine(database)
    observer = Observer(engine, list, a_clock())
    await observer.look()
    await readiness.check_schema(observer)
    await execute(engine, "UPDATE alembic_version_ledger SET version_num = '0001'")
    for _ in range(12):
        await observer.look()
    with pytest.raises(Exception, match="run `dr-ledger migrate`"):
        await readiness.check_schema(observer)
    await engine.dispose()
