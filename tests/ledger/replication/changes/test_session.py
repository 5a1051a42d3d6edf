"""A data folder that was copied to another machine: one of the two processes runs, the younger says why it does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.core.parties import Role
from ledger.cluster.servers import EtcdServers
from ledger.config import LedgerSettings
from ledger.errors import AlreadyRuns
from ledger.founding import contracts_root, found
from ledger.ordering.etcd.client import EtcdClient, delete, get, put
from ledger.ordering.etcd.settings import EtcdSettings
from ledger.replication.membership.session import Session
from runtime.ports import free_ports
from tests.builders import START_MS
from tests.ledger.running import AGGREGATOR, UTILITY, an_enrolment

MEMBER = "member.example/1"

ELSEWHERE = """
import contextlib, ledger.app
ledger.app.sole_signer = lambda member, public: contextlib.nullcontext()  # that machine knows nothing of this one
from ledger.cli import main
main()
"""


def a_session(servers: EtcdServers, channel: str, folder: Path, lease_s: int = 1) -> Session:
    folder.mkdir(exist_ok=True)
    settings = EtcdSettings(endpoints=servers.endpoints, channel=channel, member=MEMBER)
    return Session(settings, folder, lease_s=lease_s)


async def test_the_younger_of_two_does_not_begin_and_may_once_the_older_has_ended(
    etcd_servers: EtcdServers, channel: str, tmp_path: Path
) -> None:
    older = a_session(etcd_servers, channel, tmp_path / "older", lease_s=6)  # a busy machine is slow to renew
    younger = a_session(etcd_servers, channel, tmp_path / "younger")
    try:
        await older.begin()
        keeping = asyncio.create_task(older.keep())
        with pytest.raises(AlreadyRuns, match=rf"keys of {MEMBER} are in use by another process, on .* since 20"):
            await younger.begin()
        assert not keeping.done(), "the older one goes on"
        keeping.cancel()
        await older.end()
        async with asyncio.timeout(30):
            await younger.begin()
    finally:
        await older.end()
        await younger.end()


async def test_a_process_that_was_killed_holds_up_its_successor_nowhere_and_a_moved_member_for_one_lease(
    etcd_servers: EtcdServers, channel: str, tmp_path: Path
) -> None:
    killed, again = (a_session(etcd_servers, channel, tmp_path / "here", lease_s=600) for _ in range(2))
    try:
        await killed.begin()
        async with asyncio.timeout(30):
            await again.begin()
    finally:
        await again.end()
    killed, moved = (a_session(etcd_servers, channel, tmp_path / name) for name in ("here", "there"))
    try:
        await killed.begin()
        async with asyncio.timeout(30):
            await moved.begin()
    finally:
        await killed.end()
        await moved.end()


async def test_who_lost_its_session_takes_it_again_or_ends_where_another_has_it(
    etcd_servers: EtcdServers, channel: str, tmp_path: Path
) -> None:
    session = a_session(etcd_servers, channel, tmp_path / "one", lease_s=3)
    client = EtcdClient(EtcdSettings(endpoints=etcd_servers.endpoints, channel=channel, member=MEMBER))
    try:
        await session.begin()
        keeping = asyncio.create_task(session.keep())
        await client.revoke(session._lease)
        async with asyncio.timeout(30):
            while not (await client.read(get(session._key))).found[0].kvs:
                await asyncio.sleep(0.05)
        assert not keeping.done()
        await client.txn([], [put(session._key, b"whatever somebody wrote")])
        await client.revoke(session._lease)
        with pytest.raises(AlreadyRuns, match="on an unknown machine since an unknown time"):
            async with asyncio.timeout(60):
                await keeping
    finally:
        await client.txn([], [delete(session._key)])
        await session.end()
        await client.close()


@pytest.fixture
def folder(tmp_path: Path, channel: str) -> Path:
    folder = tmp_path / "member"
    parties = [an_enrolment(Role.UTILITY, UTILITY), an_enrolment(Role.AGGREGATOR, AGGREGATOR)]
    found(
        LedgerSettings(data_dir=folder), parties=parties, channel=channel, origin=f"ledger.example/{channel}",
        member=MEMBER, contracts_root=contracts_root(), created_ms=START_MS, peer_url="http://127.0.0.1:9001",
    )  # fmt: skip
    return folder


@contextlib.contextmanager
def a_process(folder: Path, database: str, etcd: EtcdServers, code: str) -> Iterator[subprocess.Popen[str]]:
    port, peer_port = free_ports(2)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DR_LEDGER_", "DATABASE_"))},
        "DR_LEDGER_DATA_DIR": str(folder), "DR_LEDGER_PORT": str(port), "DATABASE_URL": database,
        "DR_LEDGER_ETCD_ENDPOINTS": ",".join(etcd.endpoints), "DR_LEDGER_PEER_PORT": str(peer_port),
    }  # fmt: skip
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "serve"], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow
def test_a_copied_folder_that_runs_on_another_machine_is_refused_and_the_original_goes_on(
    etcd_servers: EtcdServers, folder: Path, tmp_path: Path, new_database
) -> None:
    """Two real processes; the second does not know that the first is on the same machine."""
    shutil.copytree(folder, tmp_path / "copy")
    own = "from ledger.cli import main; main()"
    with a_process(folder, new_database("ledger"), etcd_servers, own) as original:
        assert original.stdout is not None
        assert original.stdout.readline().startswith("dr-ledger ready")
        with a_process(tmp_path / "copy", new_database("ledger"), etcd_servers, ELSEWHERE) as copy:
            assert copy.wait(120) == 7
            assert copy.stdout is not None
            assert copy.stdout.read() == "", "it was never ready"
        said = " ".join((tmp_path / "copy" / "serve.log").read_text().split())
        assert f"the keys of {MEMBER} are in use by another process" in said
        assert "run only one of the two, ever" in said
        assert original.poll() is None
