"""What a replica does when something is wrong: killed, cut off, edited, restored, started twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from ledger.audit import audit
from ledger.errors import Diverged, GenesisInvalid, OrderingUnavailable
from runtime.clock import SystemClock
from runtime.database import upgrade
from runtime.postgres import EmbeddedPostgres
from tests.ledger.replicas import (
    AGGREGATOR_ID,
    a_replica,
    a_transfer,
    an_issue,
    until_known,
)


@pytest.fixture
def url(new_database):
    return new_database("ledger")


async def test_a_second_replica_on_a_database_is_refused(url, tmp_path):
    async with a_replica(url, tmp_path):
        with pytest.raises(OrderingUnavailable, match="another replica"):
            async with a_replica(url, tmp_path):
                pass
    async with a_replica(url, tmp_path) as ledger:
        await ledger.replica.check_orderer()


async def test_a_database_of_another_genesis_is_refused(url, tmp_path):
    async with a_replica(url, tmp_path / "one"):
        pass
    with pytest.raises(GenesisInvalid, match="another genesis"):
        async with a_replica(url, tmp_path / "two"):
            pass


async def test_a_lost_database_is_not_founded_again(url, new_database, tmp_path):
    """The member signed checkpoints: a new log under the same keys would contradict them."""
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
    with pytest.raises(GenesisInvalid, match="restore the database"):
        async with a_replica(new_database("ledger"), tmp_path):
            pass


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records SET body = convert_to(replace(convert_from(body, 'UTF8'), '100000', '900000'), 'UTF8')",
        "UPDATE records SET value_hash = key_hash WHERE kind = 'account'",
        "DELETE FROM records WHERE kind = 'party' AND key LIKE 'agg-%'",
        "UPDATE entries SET data = data || ' ' WHERE log_index = 1",
        "UPDATE blocks SET state_root = summary_hash",
        "UPDATE tiles SET data = set_byte(data, 3, get_byte(data, 3) # 1)",
        "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 0)",
        "DELETE FROM blocks",
    ],
)
async def test_a_replica_does_not_serve_a_height_it_cannot_verify(url, tmp_path, change):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue(100_000))
        await ledger.sql(change)
    with pytest.raises(Diverged):
        async with a_replica(url, tmp_path):
            pass


async def test_an_edited_table_halts_a_running_replica_for_good(url, tmp_path):
    """It is restarted without caches of records; buckets tell it the truth."""
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
    async with a_replica(url, tmp_path) as ledger:
        change = "UPDATE records SET body = body || ' ' WHERE kind = 'account' AND key = :key"
        await ledger.sql(change, key=f"party/{AGGREGATOR_ID}")
        with pytest.raises(Diverged, match=f"account/party/{AGGREGATOR_ID}"):
            await ledger.submit(a_transfer())
        for asked in (ledger.submit(a_transfer()), ledger.replica.checkpoint(), ledger.replica.check_log()):
            with pytest.raises(Diverged):
                await asked
        assert ledger.replica.status()["state"] == "diverged"
        (row,) = await ledger.sql("SELECT count(*) FROM blocks")
        assert row[0] == 1


async def test_lost_connections_delay_and_lose_nothing(url, tmp_path):
    """All sessions of the replica are cut again and again under load."""
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
        name = make_url(url).database

        async def cut() -> None:
            admin_url = make_url(url).set(drivername="postgresql", database="postgres")
            with psycopg.connect(admin_url.render_as_string(hide_password=False), autocommit=True) as admin:
                for _ in range(5):
                    await asyncio.sleep(0.15)
                    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

        async def load(first: int) -> list[str]:
            committed = []
            for number in range(25):
                with contextlib.suppress(OrderingUnavailable):
                    (result,) = await until_known(ledger, a_transfer(f"{first} {number}"))
                    committed.append(result.id or "")
            return committed

        cutting = asyncio.create_task(cut())
        answered = [each for part in await asyncio.gather(*map(load, range(8))) for each in part]
        await cutting
        await asyncio.sleep(0.5)
        stored = {row.id for row in await ledger.sql("SELECT id FROM transactions WHERE code = 'ok'")}
        assert len(answered) > 20
        assert set(answered) <= stored
        await ledger.replica.check_log()
        assert (await audit(ledger.engine, ledger.founded)).transactions == len(stored)


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_when_the_replica_is_killed(tmp_path):
    """kill -9 of the process under load, three times; PostgreSQL waits for the disk."""
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    try:
        url = await server.ensure_database("ledger")
        await upgrade(url, "ledger")
        acknowledged: list[dict[str, object]] = []
        for round_number in range(3):
            acknowledged += _load_and_kill(url, tmp_path / "ledger", round_number)
        async with a_replica(url, tmp_path / "ledger", SystemClock()) as ledger:
            rows = await ledger.sql("SELECT id, height, log_index FROM transactions WHERE code = 'ok'")
            stored = {row.id: (row.height, row.log_index) for row in rows}
            assert len(acknowledged) > 100
            for each in acknowledged:
                assert stored[str(each["id"])] == (each["height"], each["index"])
            await ledger.run(an_issue(reference="after", not_after_ms=2**50))
            assert (await audit(ledger.engine, ledger.founded)).transactions >= len(acknowledged)
    finally:
        await server.stop()


_LOAD = """
import asyncio, json, sys
from pathlib import Path
from runtime.clock import SystemClock
from tests.ledger.replicas import a_replica, a_transfer, an_issue
async def main():
    url, folder, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    async with a_replica(url, folder, SystemClock()) as ledger:
        await ledger.submit(an_issue(reference=number, not_after_ms=2**50))
        async def load(task):
            for count in range(10**6):
                content = a_transfer(f"{number} {task} {count}", not_after_ms=2**50)
                (result,) = await ledger.submit(content)
                assert result.code == "ok", result
                line = json.dumps({"id": result.id, "height": result.height, "index": result.index})
                sys.stdout.write(line + "\\n")
                sys.stdout.flush()
        await asyncio.gather(*map(load, range(8)))
asyncio.run(main())
"""


def _load_and_kill(url: str, folder: Path, round_number: int) -> list[dict[str, object]]:
    """What a replica acknowledged on its standard output until it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LOAD, url, str(folder), str(round_number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    lines = []
    deadline = time.monotonic() + 30
    for line in process.stdout:
        if line.startswith("{"):
            lines.append(line)
        if len(lines) == 60 or time.monotonic() > deadline:
            process.send_signal(signal.SIGKILL)
            break
    lines += [line for line in process.stdout if line.startswith("{") and line.endswith("}\n")]
    process.stdout.close()
    assert process.wait(timeout=30) == -signal.SIGKILL
    return [json.loads(line) for line in lines]
