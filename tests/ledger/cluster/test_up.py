"""Three members on this machine: founded, killed in parts, stopped, continued; real etcd and PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.core.commands import Issue
from contracts.core.parties import Role
from ledger.client import LedgerClient, party_id
from ledger.cluster.certificates import check_signed_by, named
from ledger.cluster.processes import living
from ledger.verify import parse_policy, verify_checkpoint
from runtime.clock import SystemClock
from runtime.keys import PrivateKey
from runtime.tls import Certificate, client_context
from tests.ledger.interface.commands import CLEAN, dr_ledger, output, refusal
from tests.runtime.test_postgres import is_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NAMES = ("utility", "aggregator", "auditor")


class Up:
    """`dr-ledger cluster up` as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.parent / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> subprocess.Popen[bytes]:
        """Starts it, and returns at once."""
        command = [sys.executable, "-c", "from ledger.cli import main; main()", "cluster", "up"]
        names = [part for name in NAMES for part in ("--name", f"member.example/{name}")]
        command += ["--data-dir", str(self.folder), "--port", "0", *names]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=CLEAN)
        return self._process

    def start(self) -> None:
        """Returns when every member is ready."""
        size = self.log.stat().st_size if self.log.exists() else 0
        process = self.begin()
        soon(lambda: b"cluster ready" in self.log.read_bytes()[size:] or process.poll() is not None, 120)
        assert process.poll() is None, self.log.read_text()[-4000:]

    def end(self, number: int) -> int:
        """Sends a signal and returns the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(60)

    def clear(self) -> None:
        """Whatever went wrong, nothing goes on running."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGTERM)

    @property
    def page(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "cluster.json").read_text())
        return found

    def url(self, name: str) -> str:
        [url] = [each["api_url"] for each in self.page["members"] if each["label"] == name]
        return str(url)

    def states(self) -> dict[str, dict[str, Any]]:
        found = output("cluster", "status", "--data-dir", self.folder)
        return {each["name"].rpartition("/")[2]: each for each in found["members"]}

    def issue(self, name: str) -> dict[str, Any]:
        """A transaction through one member's replica."""
        key = self.folder / "keys" / "utility.key"
        to = party_id(Role.UTILITY, PrivateKey.load(key).public)
        options = ["--key", key, "--to", to, "--amount-minor", 1, "--url", self.url(name), "--wait", 30]
        result: dict[str, Any] = output("issue", *options)
        return result

    async def pay(self, name: str, count: int) -> int:
        """Makes so many blocks, one after the other; the height of the last."""
        key = PrivateKey.load(self.folder / "keys" / "utility.key")
        party, height = party_id(Role.UTILITY, key.public), 0
        async with LedgerClient(self.url(name), key=key, party=party, clock=SystemClock()) as client:
            for _ in range(count):
                height = (await client.submit(Issue(to=party, amount_minor=1, reference=""))).height or 0
        return height

    def etcd(self) -> dict[str, bool]:
        """Servers of the order by name: does it vote?"""
        first, root = self.page["members"][0], self.folder / "keys" / "etcd-root.password"
        pair = self.folder / "members" / first["label"] / "tls"
        shown = ("--endpoint", first["etcd"]["endpoint"], "--ca", self.page["ca"])
        shown += ("--certificate", pair / "replica.pem", "--certificate-key", pair / "replica.key")
        asked = output("etcd", *shown, "--user", "root", "--password-file", root, "members")
        return {each["name"]: not each["learner"] for each in asked["members"]}

    def get(self, name: str, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url(name)}/v1/channels/main/{path}", timeout=5) as answer:
            return bytes(answer.read())


def soon(happened: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    consortium = Up(tmp_path_factory.mktemp("consortium") / "cluster")
    try:
        consortium.start()
        yield consortium
    finally:
        dr_ledger("cluster", "down", "--data-dir", consortium.folder)


def test_what_one_member_commits_becomes_final_by_the_cosignatures_of_the_others(up: Up):
    result = up.issue("utility")
    assert result["status"] == "committed"
    policy = parse_policy(up.get("auditor", "policy"), strict=True)
    soon(lambda: verify_checkpoint(up.get("auditor", "checkpoint"), policy).checkpoint.size > result["index"])
    attested = verify_checkpoint(up.get("auditor", "checkpoint"), policy)
    assert len(attested.cosigned_at_s) >= 2


def test_each_member_has_keys_and_certificates_of_its_own(up: Up):
    ca = Path(up.page["ca"])
    keys = set()
    for name in NAMES:
        folder = up.folder / "members" / name
        assert named(folder / "tls" / "replica.pem").subject == f"member.example/{name}"
        for kind in ("replica", "etcd"):
            check_signed_by(folder / "tls" / f"{kind}.pem", ca)
            keys.add((folder / "tls" / f"{kind}.key").read_bytes())
        keys.add((folder / "ledger" / "cosigner.key").read_bytes())
        assert (folder / "secrets" / "etcd_password").stat().st_mode & 0o077 == 0
    assert len(keys) == 3 * len(NAMES)


def test_etcd_lets_nobody_in_without_certificate_and_password(up: Up):
    member = up.page["members"][0]
    tls = up.folder / "members" / "utility" / "tls"
    shown = ("--endpoint", member["etcd"]["endpoint"], "--ca", up.page["ca"])
    refusal(7, "etcd", *shown, "members")
    certificate = ("--certificate", tls / "replica.pem", "--certificate-key", tls / "replica.key")
    wrong = up.folder / "wrong"
    wrong.write_text("no password of anybody")
    refusal(7, "etcd", *shown, *certificate, "--user", "root", "--password-file", wrong, "members")
    right = up.folder / "keys" / "etcd-root.password"
    asked = output("etcd", *shown, *certificate, "--user", "root", "--password-file", right, "members")
    assert {each["name"] for each in asked["members"]} == set(NAMES)


def test_no_certificate_but_an_etcd_server_s_own_opens_the_port_of_etcd_s_peers(up: Up):
    member = up.page["members"][0]
    tls = up.folder / "members" / "utility" / "tls"

    def ask(kind: str) -> int:
        context = client_context(Path(up.page["ca"]), Certificate(tls / f"{kind}.pem", tls / f"{kind}.key"))
        with urllib.request.urlopen(f"{member['etcd']['peer_url']}/members", timeout=5, context=context) as answer:
            return int(answer.status)

    assert ask("etcd") == 200
    with pytest.raises(OSError):
        ask("replica")


async def test_a_member_comes_with_its_etcd_and_leaves_again(up: Up):
    """Added as etcd's learner, promoted, a member of the ledger; removed from the ledger, then from etcd."""
    added = dr_ledger("cluster", "add", "member.example/fourth", "--data-dir", up.folder)
    assert added.returncode == 0, added.stderr
    from_height = int(added.stdout.rpartition("from block ")[2].partition(" ")[0])
    assert up.etcd() == dict.fromkeys((*NAMES, "fourth"), True)
    assert await up.pay("fourth", 14) >= from_height
    soon(lambda: len(json.loads(up.get("fourth", "status"))["members"]) == 4)
    policy = parse_policy(up.get("fourth", "policy"), strict=True)
    size = json.loads(up.get("fourth", "status"))["size"]
    soon(lambda: verify_checkpoint(up.get("auditor", "checkpoint"), policy).checkpoint.size >= size)
    pids = [up.states()["fourth"][kind] for kind in ("replica_pid", "etcd_pid")]
    assert "until block" in dr_ledger("cluster", "remove", "fourth", "--data-dir", up.folder).stdout
    await up.pay("utility", 14)
    assert "is out" in dr_ledger("cluster", "remove", "fourth", "--data-dir", up.folder).stdout
    assert up.etcd() == dict.fromkeys(NAMES, True)
    soon(lambda: not any(is_running(pid) for pid in pids), 60)
    assert {each["label"] for each in up.page["members"]} == set(NAMES)
    assert up.issue("aggregator")["status"] == "committed"


def test_a_replica_that_is_killed_comes_back_and_catches_up_while_the_others_go_on(up: Up):
    [orders] = [name for name in NAMES if name in json.loads(up.get("utility", "status"))["order"]["proposer"]]
    others = [name for name in NAMES if name != orders]
    killed = up.states()[orders]["replica_pid"]
    os.kill(killed, signal.SIGKILL)
    result = up.issue(others[0])
    assert result["status"] == "committed"
    soon(lambda: (up.states()[orders]["status"] or {}).get("height", 0) >= result["height"])
    assert up.states()[orders]["replica_pid"] not in (None, killed)


def test_a_second_consortium_in_the_same_folder_is_refused(up: Up):
    assert "already up" in refusal(7, "cluster", "up", "--data-dir", up.folder)
    assert "members add" in refusal(2, "cluster", "up", "--members", 2, "--data-dir", up.folder)


def test_members_outlive_the_program_that_started_them_until_somebody_ends_them(up: Up):
    """kill -9 of `cluster up`; then `cluster down`, and the same folder continues where it was."""
    height = up.issue("aggregator")["height"]
    up.end(signal.SIGKILL)
    assert all(each["replica_pid"] and each["etcd_pid"] for each in up.states().values())
    assert "cluster down" in refusal(7, "cluster", "up", "--data-dir", up.folder)
    assert dr_ledger("cluster", "down", "--data-dir", up.folder).returncode == 0
    assert not any(each["replica_pid"] or each["etcd_pid"] for each in up.states().values())
    up.start()
    assert up.issue("auditor")["height"] == height + 1
    assert up.end(signal.SIGTERM) == 0
    assert not any(each["replica_pid"] or each["etcd_pid"] for each in up.states().values())


def _postmaster(member: dict[str, Any]) -> int:
    folder = (Path(member["data_dir"]) / "postgres" / "folder").read_text().strip()
    return int((Path(folder) / "pgdata" / "postmaster.pid").read_text().split()[0])


def test_a_second_founder_is_refused_and_what_killed_replicas_left_is_ended(
    tmp_path: Path, request: pytest.FixtureRequest
):
    """kill -9 while it founds, when etcd already runs; two `cluster up` in one moment; then replicas are killed so late
    that nobody starts them again."""
    first = Up(tmp_path / "consortium")
    request.addfinalizer(first.clear)
    run = first.folder / "run"
    killed = first.begin()
    soon(lambda: len([pid for lock in run.glob("etcd-*.lock") if (pid := living(lock))]) == 3, 90)
    killed.kill()
    killed.wait()
    left = [pid for lock in run.glob("etcd-*.lock") if (pid := living(lock))]
    assert left, "etcd outlives who started it"
    assert "etcd-aggregator, etcd-auditor, etcd-utility still run" in refusal(
        7, "cluster", "up", "--data-dir", first.folder
    )
    assert "etcd-utility" in dr_ledger("cluster", "down", "--data-dir", first.folder).stdout
    assert not any(is_running(pid) for pid in left)
    starting = threading.Thread(target=first.start)
    starting.start()
    soon(lambda: living(run / "up.lock") is not None, 60)
    assert "already up" in refusal(7, "cluster", "up", "--data-dir", first.folder)
    starting.join()
    replicas = [each["replica_pid"] for each in first.states().values()]
    servers = [_postmaster(each) for each in first.page["members"]]
    os.kill(int((first.folder / "run" / "up.lock").read_text()), signal.SIGSTOP)
    for pid in replicas:
        os.kill(pid, signal.SIGKILL)
    os.kill(int((first.folder / "run" / "up.lock").read_text()), signal.SIGCONT)
    assert first.end(signal.SIGTERM) == 0
    assert not any(is_running(pid) for pid in servers)
