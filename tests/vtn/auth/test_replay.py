"""Nonces: once for all workers, no longer than they are needed, and not more than one sender may leave."""

from __future__ import annotations

import asyncio

import pytest

from runtime.database import create_engine
from tests.builders import START_MS
from vtn.auth.replay import Replay
from vtn.errors import NotAllowed
from vtn.records.database import Database

SKEW_S = 60


@pytest.fixture
async def workers(vtn_url, clock):
    """Two workers on one database."""
    engines = [create_engine(vtn_url), create_engine(vtn_url)]
    found = [Replay(Database(engine), clock, skew_s=SKEW_S) for engine in engines]
    yield found
    for engine, worker in zip(engines, found, strict=True):
        await worker.close()
        await engine.dispose()


async def admitted(worker, nonce, signer="AA", at_ms=START_MS):
    try:
        await worker.admit(signer, nonce, at_ms)
    except NotAllowed as error:
        return error.code
    return "admitted"


async def test_of_many_copies_that_arrive_at_once_one_passes(workers):
    results = await asyncio.gather(*(admitted(workers[n % 2], "nonce-1") for n in range(40)))
    assert sorted(results) == ["admitted"] + ["replayed"] * 39


async def test_many_messages_at_once_all_pass_in_few_transactions(workers):
    results = await asyncio.gather(*(admitted(workers[n % 2], f"nonce-{n}") for n in range(400)))
    assert set(results) == {"admitted"}
    assert await workers[0].count() == 400


async def test_the_same_nonce_of_another_signer_is_another(workers):
    assert [await admitted(workers[0], "n", signer) for signer in ("AA", "BB", "AA")] == [
        "admitted", "admitted", "replayed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("off_s", "result"), [(-61, "timestamp_off"), (-60, "admitted"), (60, "admitted"), (61, "timestamp_off")]
)
async def test_the_clock_may_differ_both_ways_but_not_by_more(workers, off_s, result):
    assert await admitted(workers[0], "n", at_ms=START_MS + 1000 * off_s) == result


async def test_a_nonce_is_kept_as_long_as_its_message_could_come_again(workers, clock):
    assert await admitted(workers[0], "n", at_ms=START_MS + 1000 * SKEW_S) == "admitted"
    clock.advance(1000 * 2 * SKEW_S)
    await workers[0].remove_expired()
    assert await admitted(workers[1], "n", at_ms=START_MS + 1000 * SKEW_S) == "replayed"
    clock.advance(61_000)
    assert await workers[0].remove_expired() == 1
    assert await admitted(workers[1], "n", at_ms=START_MS + 1000 * SKEW_S) == "timestamp_off"


async def test_one_sender_cannot_fill_the_store(workers, clock):
    workers[0]._rate.per_minute = 3
    assert [await admitted(workers[0], f"n{n}") for n in range(5)] == ["admitted"] * 3 + ["too_many_messages"] * 2
    assert await admitted(workers[0], "other", signer="BB") == "admitted"
    clock.advance(60_000)
    assert await admitted(workers[0], "later") == "admitted"


async def test_without_the_database_nothing_passes(workers, vtn_url):
    broken = create_engine(vtn_url.replace("test_", "no_such_"))
    worker = Replay(Database(broken), workers[0]._clock, skew_s=SKEW_S)
    with pytest.raises(Exception, match="no_such_"):
        await worker.admit("AA", "n", START_MS)
    await broken.dispose()
