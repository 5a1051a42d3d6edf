"""Order, execute, commit, answer; and what a replica does when something is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import msgspec
import psycopg
import pytest
from sqlalchemy import make_url

from contracts.core.envelope import parse_transaction
from ledger.audit import audit
from ledger.errors import Diverged, GenesisInvalid, OrderingUnavailable, QueueFull
from ledger.log import merkle
from ledger.log.tiles import TileId
from ledger.ordering.orderer import Unknown
from ledger.verify import VerificationError, parse_policy, verify_checkpoint, verify_consistency, verify_proof
from runtime.clock import SystemClock
from runtime.database import upgrade
from runtime.postgres import EmbeddedPostgres
from tests.builders import a_clock
from tests.ledger.replicas import (
    ACCEPT_BY_MS,
    AGGREGATOR_ID,
    HOUR_MS,
    START_MS,
    UTILITY,
    a_proposal,
    a_replica,
    a_transfer,
    an_issue,
    readings,
    transfers,
)
from tests.ledger.test_machine import forged


@pytest.fixture
def url(new_database):
    return new_database("ledger")


async def test_an_answer_names_the_place_of_what_is_committed(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        (issued,) = await ledger.run(an_issue(500))
        assert (issued.status, issued.height, issued.index) == ("committed", 1, 0)
        assert [(fact["fact"], fact["amount_minor"]) for fact in issued.facts] == [("TransferPosted", 500)]
        (refused,) = await ledger.submit(a_transfer(amount_minor=501))
        assert (refused.status, refused.code, refused.height, refused.index) == ("refused", "funds_insufficient", 2, 2)
        (row,) = await ledger.sql("SELECT height, code FROM transactions WHERE id = :id", id=refused.id)
        assert tuple(row) == (2, "funds_insufficient")


async def test_a_known_transaction_gets_its_first_result(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        first = await ledger.run(an_issue(), *transfers(3))
        again = await ledger.submit(an_issue(), *transfers(3))
        assert [(r.id, r.height, r.index, r.code, list(r.facts)) for r in again] == [
            (r.id, r.height, r.index, r.code, list(r.facts)) for r in first
        ]
        assert ledger.replica.head.height == 1, "nothing new was ordered"
        assert await ledger.replica.transaction(first[2].id) == again[2]
        assert await ledger.replica.transaction("0" * 64) is None


async def test_a_transaction_twice_in_a_batch_and_at_once_is_executed_once(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
        batches = await asyncio.gather(*(ledger.submit(a_transfer(), a_transfer()) for _ in range(10)))
        assert {(r.code, r.index) for batch in batches for r in batch} == {("ok", 2)}
        (row,) = await ledger.sql("SELECT count(*) FROM transactions")
        assert row[0] == 2


async def test_an_executed_transaction_keeps_its_result_after_its_time(url, tmp_path):
    clock = a_clock()
    async with a_replica(url, tmp_path, clock) as ledger:
        (first,) = await ledger.run(an_issue())
        clock.advance(48 * HOUR_MS)
        known, late = await ledger.submit(an_issue(), an_issue(reference="late"))
        assert (known.index, known.code) == (first.index, "ok")
        assert (late.status, late.code, late.height) == ("refused", "transaction_expired", None)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "form_invalid"),
        (b"\xff\x00", "form_invalid"),
        (an_issue() + b" ", "form_invalid"),
        (forged(an_issue(), signature="00" * 64), "bad_signature"),
        (forged(an_issue(), salt="00" * 32), "commitment_mismatch"),
        (forged(an_issue(), body=parse_transaction(an_issue(7)).body), "commitment_mismatch"),
        (a_transfer(channel="other"), "wrong_channel"),
        (a_transfer(contract="parties"), "command_unknown"),
        (a_transfer(not_after_ms=START_MS - 1), "transaction_expired"),
        (a_transfer(sign=UTILITY.sign), "bad_signature"),
        (readings(1), "party_unknown"),
    ],
)
async def test_what_is_forged_or_malformed_is_refused_before_it_costs_a_leaf(url, tmp_path, content, code):
    async with a_replica(url, tmp_path) as ledger:
        genuine, (refused,) = await ledger.run(an_issue(reference="x")), await ledger.submit(content)
        assert (refused.status, refused.code, refused.height) == ("refused", code, None)
        assert ledger.replica.head.height == genuine[0].height
        (row,) = await ledger.replica.refusals(10)
        assert (row["code"], row["transaction_id"]) == (code, refused.id)


async def test_the_genuine_transaction_goes_through_after_a_forged_one(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        results = await ledger.submit(forged(an_issue(), signature="00" * 64), an_issue())
        assert [(r.status, r.code) for r in results] == [("refused", "bad_signature"), ("committed", "ok")]


async def test_a_full_queue_takes_nothing_and_says_when_to_come_back(url, tmp_path):
    async with a_replica(url, tmp_path, queue_max=5) as ledger:
        with pytest.raises(QueueFull) as full:
            await ledger.submit(*transfers(6))
        assert full.value.retry_after_s >= 1
        assert ledger.replica.status()["queue"] == 0
        await ledger.run(an_issue(), *transfers(4))


async def test_what_arrives_while_a_block_is_under_way_makes_the_next_block(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
        results = await asyncio.gather(*(ledger.submit(content) for content in transfers(200)))
        heights = {result.height for (result,) in results}
        assert len(heights) < 40
        order = await ledger.sql("SELECT id FROM transactions ORDER BY log_index OFFSET 1")
        assert [row.id for row in order] == [result.id for (result,) in results], "in the order of arrival"


async def test_a_block_holds_no_more_than_its_limit(url, tmp_path):
    async with a_replica(url, tmp_path, block_bytes_max=65_536) as ledger:
        await ledger.run(an_issue())
        contents = transfers(200)
        await ledger.run(*contents)
        counts = [row.tx_count for row in await ledger.sql("SELECT tx_count FROM blocks ORDER BY height OFFSET 1")]
        assert sum(counts) == 200
        assert len(counts) > 1
        assert max(counts) <= 65_536 // min(map(len, contents))


async def test_an_unanswered_order_is_unknown_and_answered_later(url, tmp_path, monkeypatch):
    """The orderer answers Unknown for a while: the same bytes are proposed again until it is known."""
    async with a_replica(url, tmp_path, answer_timeout_s=0.3) as ledger:
        orderer, proposed = ledger.replica._orderer, list[bytes]()
        propose = orderer.propose

        async def slow(height: int, data: bytes):
            proposed.append(data)
            return Unknown("no answer") if len(proposed) < 4 else await propose(height, data)

        monkeypatch.setattr(orderer, "propose", slow)
        (unknown,) = await ledger.submit(an_issue())
        assert (unknown.status, unknown.height) == ("unknown", None)
        (result,) = await _until_known(ledger, an_issue())
        assert (result.status, result.height) == ("committed", 1)
        assert len(set(proposed)) == 1


async def test_an_idle_ledger_makes_no_block_until_a_deadline_is_due(url, tmp_path):
    clock = a_clock()
    async with a_replica(url, tmp_path, clock) as ledger:
        await ledger.run(*a_proposal())
        height = ledger.replica.head.height
        clock.advance(ACCEPT_BY_MS - clock.now_ms() - 1)
        await asyncio.sleep(0.1)
        assert ledger.replica.head.height == height
        async with ledger.replica.subscribe() as grown:
            clock.advance(1)
            await asyncio.wait_for(grown.wait(), 5)
        assert (ledger.replica.head.height, ledger.replica.head.time_ms) == (height + 1, ACCEPT_BY_MS)
        (expired, *_) = await ledger.replica.facts((height, 10**9, 0), None, None, 10)
        assert (expired.fact["fact"], expired.transaction_id, expired.contract) == ("DRExpired", None, "sc1-1")
        await asyncio.sleep(0.1)
        assert ledger.replica.head.height == height + 1
        await audit(ledger.engine, ledger.founded)


async def test_a_deadline_that_fell_due_while_the_replica_was_away_is_worked_off_at_its_start(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(*a_proposal())
    async with a_replica(url, tmp_path, a_clock(ACCEPT_BY_MS + 5)) as ledger:
        async with ledger.replica.subscribe() as grown:
            if ledger.replica.head.next_due_ms is not None:
                await asyncio.wait_for(grown.wait(), 5)
        body, _ = await ledger.replica.record("contract", "sc1-1")
        assert msgspec.json.decode(body or b"")["status"] == "expired"


async def test_block_time_never_stands_or_goes_back(url, tmp_path):
    clock = a_clock()
    async with a_replica(url, tmp_path, clock) as ledger:
        await ledger.run(an_issue())
        await ledger.run(*transfers(1))
    async with a_replica(url, tmp_path, a_clock(START_MS - HOUR_MS)) as ledger:
        await ledger.run(*transfers(1, first=1))
        times = [row.time_ms for row in await ledger.sql("SELECT time_ms FROM blocks ORDER BY height")]
        assert times == sorted(set(times))


async def test_a_block_far_ahead_of_ones_own_clock_is_not_cosigned(url, tmp_path):
    """A clock set back by an hour: the block follows the log's time, but this member does not vouch for it."""
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
        assert verify_checkpoint(await ledger.replica.checkpoint(), parse_policy(ledger.replica.policy()))
    async with a_replica(url, tmp_path, a_clock(START_MS - HOUR_MS)) as ledger:
        await ledger.run(*transfers(1))
        with pytest.raises(VerificationError):
            verify_checkpoint(await ledger.replica.checkpoint(), parse_policy(ledger.replica.policy()))


async def test_proofs_verify_offline_and_show_no_more_than_asked(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(*a_proposal(), an_issue())
        await ledger.run(*transfers(300))
        (result,) = await ledger.run(readings(100, 200))
        policy = ledger.replica.policy()
        proof, opening = await ledger.replica.proof(result.id, None) or (b"", b"")
        body = verify_proof(proof, policy, opening, strict=True).body
        assert body["energy_wh"] == [100, 200]
        proof, opening = await ledger.replica.proof(result.id, 0) or (b"", b"")
        verified = verify_proof(proof, policy, opening, strict=True)
        assert (verified.fact["fact"], verified.body) == ("MeasurementsRecorded", None)
        assert await ledger.replica.proof(result.id, 1) is None
        assert await ledger.replica.proof("0" * 64, None) is None


async def test_each_checkpoint_is_consistent_with_the_one_before(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        policy = parse_policy(ledger.replica.policy())
        seen = [verify_checkpoint(await ledger.replica.checkpoint(), policy).checkpoint]
        await ledger.run(an_issue())
        for number in range(4):
            await ledger.run(*transfers(90, first=90 * number))
            seen.append(verify_checkpoint(await ledger.replica.checkpoint(), policy).checkpoint)
        rows = await ledger.sql("SELECT level, number, data FROM tiles")
        tiles = {TileId(row.level, row.number): row.data for row in rows}
        for old, new in pairwise(seen):
            proof = merkle.consistency_proof(old.size, new.size, tiles)
            verify_consistency(old.size, new.size, proof, old.root, new.root)
        assert [checkpoint.size for checkpoint in seen] == [0, 93, 184, 275, 366]


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
                    (result,) = await _until_known(ledger, a_transfer(f"{first} {number}"))
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


async def _until_known(ledger, content: bytes):
    """Submits the same transaction until its outcome is known, as the client does."""
    for _ in range(100):
        try:
            results = await ledger.submit(content)
        except OrderingUnavailable:
            await asyncio.sleep(0.1)
            continue
        if results[0].status != "unknown":
            return results
        await asyncio.sleep(0.05)
    raise AssertionError("still unknown")
