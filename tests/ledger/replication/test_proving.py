"""Proofs of records while the newest block is not final yet: three members under load, one whose table is edited."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from contracts.tokens import party_account
from ledger.errors import Diverged, NotFinalYet
from ledger.verify import Balance, verify_balance
from tests.ledger.replicas import a_replica, a_transfer, an_issue, transfers
from tests.ledger.replication.consortium import Member, a_consortium, name_of, until
from tests.ledger.running import AGGREGATOR_ID, UTILITY_ID

ACCOUNT = party_account(AGGREGATOR_ID)


@pytest.fixture
def url(new_database):
    return new_database("ledger")


@pytest.fixture
def members(tmp_path, new_database, etcd_servers):
    return a_consortium([new_database("ledger") for _ in range(3)], tmp_path, etcd_servers)


async def proved(member: Member) -> Balance:
    proof, opening = await member.replica.record_proof("account", ACCOUNT)
    return verify_balance(proof, member.founded.policy, opening)


@contextlib.asynccontextmanager
async def paying(member: Member) -> AsyncIterator[None]:
    """A block after the other, each of which changes the account, until it is left."""

    async def pay() -> None:
        for first in range(0, 1_000_000, 5):
            await member.submit(*transfers(5, first=first))

    task = asyncio.create_task(pay())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_member_proves_the_same_balance_of_the_same_block_under_load(members):
    async with members as three:
        await three.start()
        await three[1].submit(an_issue(100_000))
        await three.agreed()
        async with paying(three.proposer):
            shown: dict[int, Balance] = {}
            for _ in range(5):
                for each in await asyncio.gather(*(proved(three[number]) for number in (1, 2, 3, 1, 2, 3))):
                    first = shown.setdefault(each.height, each)
                    assert (each.free_minor, each.time_ms) == (first.free_minor, first.time_ms)
                    assert len(each.members) >= 2
        paid = [shown[height].free_minor for height in sorted(shown)]
        assert paid == sorted(set(paid), reverse=True), "every block took five from the account"
        assert len(paid) > 3


async def test_a_proof_waits_for_its_block_to_become_final_and_stays_of_that_block(members):
    async with members as three:
        await three.start()
        one = three.proposer
        await one.submit(an_issue(100_000))
        await three.agreed()
        final = one.replica.final_height
        three.ways.cut |= {name_of(number) for number in (1, 2, 3)}  # the order works, no cosignature travels
        await one.submit(a_transfer("first", 7))
        one.replica._patience_s = 0.2
        with pytest.raises(NotFinalYet, match="no quorum yet"):
            await proved(one)
        one.replica._patience_s = 20
        asked = asyncio.create_task(proved(one))
        await until(lambda: one.replica._waiting == 1)
        height = one.replica.height
        await one.submit(a_transfer("second", 11))
        assert (one.replica.final_height, height) == (final, final + 1)
        assert not asked.done()
        three.ways.cut.clear()
        shown = await asked
        assert (shown.height, shown.free_minor) == (height, 100_000 - 7)
        assert (await proved(one)).free_minor == 100_000 - 7 - 11
        assert one.replica._waiting == 0


async def test_before_the_first_block_no_state_is_in_the_log(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        with pytest.raises(NotFinalYet, match="no block yet"):
            await ledger.replica.record_proof("account", ACCOUNT)


async def test_an_edited_record_is_not_proved_and_halts_the_replica(url, tmp_path):
    async with a_replica(url, tmp_path) as ledger:
        await ledger.run(an_issue())
    async with a_replica(url, tmp_path) as ledger:  # nothing of the record is in a cache
        proof, opening = await ledger.replica.record_proof("party", AGGREGATOR_ID)
        assert proof.startswith(b"c2sp.org/tlog-proof@v1")
        assert json.loads(opening)["record"]["key"] == AGGREGATOR_ID
        statement = "UPDATE records SET body = set_byte(body, 0, 65) WHERE kind = 'party' AND key = :key"
        await ledger.sql(statement, key=UTILITY_ID)
        with pytest.raises(Diverged, match=f"party/{UTILITY_ID}"):
            await ledger.replica.record_proof("party", UTILITY_ID)
        assert ledger.replica.status()["state"] == "diverged"
