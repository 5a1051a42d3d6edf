"""Order, execute, commit, answer."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import msgspec
import pytest

from contracts.core.envelope import parse_transaction
from ledger.audit import audit
from ledger.errors import NotFinalYet, QueueFull
from ledger.log import merkle
from ledger.log.tiles import TileId
from ledger.ordering.block import make_block, render_block
from ledger.ordering.orderer import Unknown
from ledger.verify import parse_policy, verify_checkpoint, verify_consistency, verify_proof
from tests.builders import a_clock
from tests.ledger.replicas import (
    ACCEPT_BY_MS,
    HOUR_MS,
    START_MS,
    UTILITY,
    Ledger,
    a_proposal,
    a_replica,
    a_transfer,
    an_issue,
    readings,
    transfers,
    until_known,
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


async def test_a_member_that_was_removed_proposes_nothing_even_with_the_lease(url, tmp_path):
    """Its block would stop every replica."""
    async with a_replica(url, tmp_path, answer_timeout_s=0.3) as ledger:
        ledger.replica._following.machine.members.clear()
        (result,) = await ledger.submit(an_issue())
        assert (result.status, ledger.replica.head.height) == ("unknown", 0)
        await ledger.replica.check_log()


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
        assert (late.status, late.code, late.height) == ("refused", "transaction_expired", 2), "the order says so"
        (later,) = await ledger.submit(an_issue(reference="later"))
        assert (later.status, later.code, later.height) == ("refused", "transaction_expired", None)
        assert ledger.replica.head.height == 2, "every block to come is later than that one: this costs no leaf"


async def test_a_transaction_cut_in_time_is_not_called_expired_before_its_block_arrives(url, tmp_path):
    """Its sender would send the command anew, and both would be executed."""
    clock = a_clock()
    async with a_replica(url, tmp_path, clock) as ledger:
        paid = an_issue(not_after_ms=START_MS + 1_000)
        head, founded = ledger.replica.head, ledger.founded
        block = make_block(
            channel="main", height=1, previous=head.previous, time_ms=START_MS + 500, proposer=founded.member,
            contents=[paid], sign=founded.cosigner_key.sign,
        )  # fmt: skip
        clock.advance(HOUR_MS)
        asked = asyncio.create_task(ledger.submit(paid))
        await asyncio.sleep(0)  # judged before the block of another proposer comes
        await ledger.replica._orderer.propose(1, render_block(block))
        (result,) = await asked
        assert (result.status, result.code, result.height) == ("committed", "ok", 1)


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
        (result,) = await until_known(ledger, an_issue())
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
        (result,) = await ledger.run(*transfers(1))
        await _still_at(ledger, size=2, not_final=result.id)
        await asyncio.sleep(0.2)  # what was final before is written down
    async with a_replica(url, tmp_path, a_clock(START_MS - HOUR_MS)) as ledger:
        await _still_at(ledger, size=2, not_final=result.id)


async def _still_at(ledger: Ledger, size: int, not_final: str | None) -> None:
    note = await ledger.replica.checkpoint()
    assert verify_checkpoint(note, parse_policy(ledger.replica.policy())).checkpoint.size == size
    with pytest.raises(NotFinalYet):
        await ledger.replica.proof(not_final or "", None)


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
