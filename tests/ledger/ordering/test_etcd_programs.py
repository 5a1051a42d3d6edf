"""Finding etcd, fetching it without root, and its servers as members of a cluster."""

from __future__ import annotations

import asyncio
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.cluster.binaries import EtcdMissing, find_etcd, version_of
from ledger.cluster.servers import EtcdFailed, EtcdServer, EtcdServers, EtcdTls
from ledger.ordering.etcd.admin import EtcdAdmin
from ledger.ordering.etcd.client import EtcdClient
from ledger.ordering.etcd.connection import Connection
from ledger.ordering.etcd.errors import EtcdRefused
from ledger.ordering.etcd.messages import message
from ledger.ordering.etcd.settings import EtcdSettings
from runtime.ports import free_ports

PRINTS_VERSION = "#!/bin/sh\necho 'etcd Version: {}'\n"


def a_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose PATH has a shell's tools, and nothing of ours set."""
    for name in ("GRIDPACT_ETCD", "GRIDPACT_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cp", "mkdir", "sleep", "touch", "chmod", "env"):
        real = next(Path(folder) / name for folder in os.environ["PATH"].split(":") if (Path(folder) / name).exists())
        (tools / name).symlink_to(real)
    monkeypatch.setenv("PATH", str(tools))
    return tmp_path


def an_apt(machine: Path, *, has_lists: bool) -> Path:
    """apt-get and dpkg as far as they are used; each download leaves a line in the file that is returned."""
    journal, lists = machine / "journal", machine / "lists"
    if has_lists:
        lists.touch()
    a_program(
        machine / "tools" / "apt-get",
        f"""#!/bin/sh
case "$*" in
*update) touch {lists} ;;
*download*) [ -e {lists} ] || {{ echo "E: Unable to locate package" >&2; exit 100; }}
  sleep 0.2; echo download >> {journal}; touch etcd-server_3.4.30-1_amd64.deb ;;
esac
""",
    )
    a_program(
        machine / "tools" / "dpkg",
        '#!/bin/sh\nmkdir -p "$3/usr/bin"\n'
        'echo \'#!/bin/sh\necho "etcd Version: 3.4.30"\' > "$3/usr/bin/etcd"\nchmod +x "$3/usr/bin/etcd"\n',
    )
    return journal


def test_etcd_on_path_is_taken(machine):
    program = a_program(machine / "tools" / "etcd", PRINTS_VERSION.format("3.5.16"))
    assert find_etcd(cache=machine / "cache") == program
    assert version_of(program) == (3, 5, 16)


def test_the_program_that_is_named_is_the_only_one(machine, monkeypatch):
    a_program(machine / "tools" / "etcd", PRINTS_VERSION.format("3.5.16"))
    monkeypatch.setenv("GRIDPACT_ETCD", str(machine / "none"))
    with pytest.raises(EtcdMissing, match="none does not run"):
        find_etcd(cache=machine / "cache")


@pytest.mark.parametrize("version", ["3.5.0", "3.5.1", "3.5.5"])
def test_an_etcd_known_to_lose_consistency_is_never_used(machine, version):
    a_program(machine / "tools" / "etcd", PRINTS_VERSION.format(version))
    with pytest.raises(EtcdMissing, match=rf"etcd {version}, whose members can come to disagree"):
        find_etcd(fetch=False, cache=machine / "cache")


def test_without_etcd_the_error_says_both_ways_to_get_it(machine):
    with pytest.raises(EtcdMissing) as raised:
        find_etcd(cache=machine / "cache")
    assert "apt install etcd-server" in str(raised.value)
    assert "GRIDPACT_CACHE_DIR" in str(raised.value)


def test_etcd_is_fetched_once_though_many_ask_at_once(machine):
    journal = an_apt(machine, has_lists=True)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: find_etcd(cache=machine / "cache"), range(4)))
    assert found == {machine / "cache" / "etcd" / "etcd"}
    assert journal.read_text() == "download\n"
    assert find_etcd(fetch=False, cache=machine / "cache") in found


def test_a_machine_without_lists_of_packages_makes_its_own(machine):
    an_apt(machine, has_lists=False)
    assert version_of(find_etcd(cache=machine / "cache")) == (3, 4, 30)


def test_a_server_gets_the_flags_of_production(machine):
    program = a_program(machine / "etcd", PRINTS_VERSION.format("3.4.23"))
    tls = EtcdTls(Path("ca.pem"), Path("1.pem"), Path("1.key"))
    server = EtcdServer(
        name="1", data_dir=Path("data"), client_url="https://127.0.0.1:1", peer_url="https://127.0.0.1:2", tls=tls
    )
    command = server.command(program, [server], token="once")
    for flag in (
        "--heartbeat-interval=50", "--election-timeout=500", "--snapshot-count=1000", "--auto-compaction-mode=revision",
        "--quota-backend-bytes=8589934592", "--client-cert-auth=true", "--peer-client-cert-auth=true",
        "--experimental-initial-corrupt-check=true", "--initial-cluster-token=once", "--initial-cluster-state=new",
        "--initial-cluster=1=https://127.0.0.1:2",
    ):  # fmt: skip
        assert flag in command
    assert not [flag for flag in command if "fsync" in flag]
    newer = a_program(machine / "etcd36", PRINTS_VERSION.format("3.6.1"))
    assert "--feature-gates=InitialCorruptCheck=true" in server.command(newer, [server], token="once")


async def test_a_server_that_cannot_start_is_shown_with_its_last_words(tmp_path):
    servers = EtcdServers.on_loopback(tmp_path, 1)
    servers.servers[0].data_dir.write_text("in the way")
    with pytest.raises(EtcdFailed, match="ended at its start"):
        await servers.start()


async def test_a_member_is_added_as_a_learner_promoted_and_removed(tmp_path):
    servers = EtcdServers.on_loopback(tmp_path, 1)
    await servers.start()
    settings = EtcdSettings(endpoints=servers.endpoints, channel="main", member="a.example/1")
    client = EtcdClient(settings)
    admin = EtcdAdmin(client.connection)
    ports = free_ports(2)
    new = EtcdServer(
        name="2", data_dir=tmp_path / "2", client_url=f"http://127.0.0.1:{ports[0]}",
        peer_url=f"http://127.0.0.1:{ports[1]}",
    )  # fmt: skip
    try:
        unwanted = await admin.add(["http://127.0.0.1:9"])
        await admin.remove(unwanted)
        added = await admin.add([new.peer_url])
        with pytest.raises(EtcdRefused, match=r"in sync"):
            await admin.promote(added)
        await servers.join(new)
        async with asyncio.timeout(10):
            while True:
                try:
                    await admin.promote(added)
                    break
                except EtcdRefused:
                    await asyncio.sleep(0.05)
        assert {(each.name, each.learner) for each in await admin.members()} == {("1", False), ("2", False)}
        with pytest.raises(EtcdRefused, match="once all members have been in touch for 5 s"):
            await admin.remove(added)
    finally:
        await client.close()
        servers.kill_all()


@pytest.mark.parametrize(
    ("built", "wire"),
    [
        (message("RangeRequest", key=b"a", range_end=b"b", limit=2, keys_only=True), "0a0161 120162 1802 4001"),
        (message("PutRequest", key=b"a", value=b"v", lease=5), "0a0161 120176 1805"),
        (message("Compare", target=1, key=b"a", create_revision=0), "1001 1a0161 2800"),
        (message("LeaseGrantRequest", TTL=3), "0803"),
        (message("MemberAddRequest", peerURLs=["x"], isLearner=True), "0a0178 1001"),
        (message("Permission", permType=2, key=b"a", range_end=b"b"), "0802 120161 1a0162"),
    ],
)
def test_messages_have_the_bytes_of_the_published_protocol(built, wire):
    assert built.SerializeToString() == bytes.fromhex(wire)


def test_a_condition_of_zero_is_on_the_wire():
    """A one-of keeps its zero: "does not exist" must not become "no condition"."""
    assert message("Compare", create_revision=0).WhichOneof("one") == "create_revision"


def test_no_endpoint_is_an_error():
    with pytest.raises(EtcdRefused):
        Connection(EtcdSettings(endpoints=[], channel="main", member="a.example/1"))
