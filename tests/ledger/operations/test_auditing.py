"""The recomputation beside a serving replica: it finds the edited row that nobody reads, and stops the member."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from contracts.core.commands import Issue
from ledger.api import REPLICAS
from ledger.app import build
from ledger.audit.__main__ import Task, Verdict, program
from ledger.config import LedgerSettings
from ledger.errors import Diverged
from ledger.operations.watch import AUDITING
from ledger.operations.watch.auditing import Auditing, Done, judged_apart, next_ms
from runtime.clock import ManualClock
from runtime.database import create_engine
from runtime.errors import Attention
from tests.ledger.replicas import execute
from tests.ledger.running import UTILITY_ID, a_client, founded

NewDatabase = Callable[..., str]
HOUR_MS = 3_600_000
MIDNIGHT_MS = 1_767_225_600_000


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


@contextlib.asynccontextmanager
async def a_process(database: str, folder: Path, **given: object) -> AsyncIterator[tuple[web.Application, str]]:
    """As `dr-ledger serve` builds it, and its address."""
    settings = LedgerSettings.load(flags={"database_url": database, "data_dir": folder, **given})
    app = build(settings, founded(settings))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield app, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def get(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


async def test_an_edited_row_that_nobody_reads_is_found_by_the_clock_and_the_member_signs_nothing_more(
    database: str, tmp_path: Path
) -> None:
    settings = {"audit_at": "", "audit_interval_s": 0.5}
    async with a_process(database, tmp_path / "member", **settings) as (app, url):
        auditing, replica = app[AUDITING], app[REPLICAS]["main"]
        async with a_client(url) as client:
            issues = [Issue(to=UTILITY_ID, amount_minor=number, reference="") for number in range(1, 5)]
            assert {each.code for each in await client.submit_many(issues)} == {"ok"}
        await until(lambda: "main" in auditing.done and auditing.done["main"].verdict.transactions == 4)
        told = await get(f"{url}/metrics")
        assert 'ledger_audit_result{channel="main",result="equal"} 1.0' in told
        assert f'ledger_audit_height{{channel="main"}} {auditing.done["main"].verdict.height}.0' in told

        engine = create_engine(database)
        await execute(engine, "UPDATE bodies SET salt = set_byte(salt, 3, get_byte(salt, 3) # 1) WHERE log_index = 0")
        await engine.dispose()
        await until(lambda: replica.status()["state"] == "diverged")
        with pytest.raises(Diverged, match=r"the recomputation of the tables: block 1, transaction [0-9a-f]{64} "):
            await replica.submit([])
        assert 'ledger_audit_result{channel="main",result="differs"} 1.0' in await get(f"{url}/metrics")
        assert "the recomputation of the tables: block 1" in await get(f"{url}/readyz")


async def test_what_prevents_a_recomputation_is_no_difference(database: str, tmp_path: Path) -> None:
    async with a_process(database, tmp_path / "member") as (app, url):
        replica = app[REPLICAS]["main"]
        async with a_client(url) as client:
            await client.submit(Issue(to=UTILITY_ID, amount_minor=1, reference=""))
        folder = str(tmp_path / "member")
        sound = {"program": program(), "database_url": database, "data_dir": folder, "keys_dir": folder}
        assert (await judged_apart(Task(**sound, memory_mb=512))).height == 1
        for changed, said in (
            ({"program": "0" * 64}, "start it again"),
            ({"database_url": database.replace("/test_", "/gone_")}, "PostgreSQL: "),
            ({"keys_dir": str(tmp_path)}, "log.key"),
            ({"memory_mb": 1}, "memory"),
        ):
            verdict = await judged_apart(Task(**{"memory_mb": 512, **sound, **changed}))  # type: ignore[arg-type]
            assert (verdict.differs, said in verdict.failed) == ("", True), (changed, verdict)
        auditing = app[AUDITING]
        auditing._program = "0" * 64
        await auditing.audit_all()
        assert replica.status()["state"] == "serving"
        with pytest.raises(Attention, match="Nothing is known to be wrong with the tables"):
            await auditing.check(replica)


async def test_a_recomputation_that_does_not_come_is_noticed_after_two_intervals(tmp_path: Path) -> None:
    clock = ManualClock(MIDNIGHT_MS)
    auditing = Auditing(LedgerSettings.load(flags={"audit_interval_s": 3_600}), "", list, clock)
    replica = type("R", (), {"channel": "main"})()
    clock.advance(2 * HOUR_MS)
    await auditing.check(replica)
    clock.advance(1_000)
    with pytest.raises(Attention, match="no recomputation has ended since 2026-01-01T00:00:00Z"):
        await auditing.check(replica)
    auditing.done["main"] = Done(Verdict(height=3), clock.wall_ms())
    await auditing.check(replica)


@pytest.mark.parametrize(
    ("now_h", "at", "interval_h", "due_h"),
    [
        (0, "02:30", 24, 2.5), (2.4, "02:30", 24, 2.5), (2.5, "02:30", 24, 26.5), (23, "02:30", 24, 26.5),
        (3, "02:30", 6, 8.5), (0, "", 6, 6), (2, "23:59", 168, 2 + 0), (5, "", 0.5, 5.5),
    ],
)  # fmt: skip
def test_it_is_due_at_a_time_of_day_and_every_interval_from_there(
    now_h: float, at: str, interval_h: float, due_h: float
) -> None:
    now_ms = MIDNIGHT_MS + int(now_h * HOUR_MS)
    due_ms = next_ms(now_ms, at, interval_h * 3_600)
    assert now_ms < due_ms <= now_ms + interval_h * HOUR_MS
    if interval_h <= 24:
        assert due_ms == MIDNIGHT_MS + int(due_h * HOUR_MS)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not true():
            await asyncio.sleep(0.05)
