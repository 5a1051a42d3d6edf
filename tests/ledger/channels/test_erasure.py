"""What is erased is gone from the tables, everything else still verifies, and nothing young or unknown is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.core import commands as c
from ledger.channels.erasure import DAY_MS, Erased, ErasureRefused, erase_before, erase_transactions
from ledger.client import Refused
from ledger.errors import Erased as BodyErased
from ledger.store import tables
from ledger.verify import verify_proof
from runtime.clock import SystemClock
from runtime.database import create_engine
from tests.builders import START_MS, a_clock
from tests.ledger.replicas import Ledger, a_replica, a_transfer, an_issue
from tests.ledger.running import UTILITY_ID, a_client, a_running_ledger

MARK = "marker-that-occurs-nowhere-else"
LATER_MS = START_MS + 200 * DAY_MS


@pytest.fixture
def url(new_database: Callable[..., str]) -> str:
    """A migrated database."""
    return new_database("ledger")


async def an_old_ledger(ledger: Ledger) -> tuple[str, str]:
    """Two transactions in different blocks; their ids. The second is 100 days younger."""
    (old,) = await ledger.run(an_issue(1000, MARK))
    ledger.clock.advance(100 * DAY_MS)  # type: ignore[attr-defined]
    (young,) = await ledger.run(a_transfer(f"{MARK} too", not_after_ms=LATER_MS))
    assert old.id is not None
    assert young.id is not None
    return old.id, young.id


async def found(ledger: Ledger, mark: str) -> list[str]:
    """Tables in which the text occurs, as text or as bytes."""
    names = []
    for name in tables.metadata.tables:
        rows = await ledger.sql(f"SELECT * FROM {name}")
        values = [bytes(value) if isinstance(value, memoryview) else value for row in rows for value in row]
        if any(mark.encode() in (value if isinstance(value, bytes) else str(value).encode()) for value in values):
            names.append(name)
    return sorted(names)


async def erased(ledger: Ledger, **given: Any) -> Erased:
    defaults: dict[str, Any] = {"now_ms": LATER_MS, "wall_ms": 7}
    return await erase_before(ledger.engine, "main", given.pop("before_ms"), **{**defaults, **given})


async def test_salt_command_and_facts_are_gone_and_the_rest_is_there(url: str, tmp_path: Path) -> None:
    async with a_replica(url, tmp_path) as ledger:
        old, young = await an_old_ledger(ledger)
        assert await found(ledger, MARK) == ["bodies"]
        before = await ledger.sql("SELECT data FROM entries ORDER BY log_index")
        done = await erased(ledger, before_ms=START_MS + DAY_MS)
        assert done == Erased("main", transactions=1, facts=1)
        rows = await ledger.sql("SELECT t.id FROM bodies b JOIN transactions t USING (channel, log_index)")
        assert [row.id for row in rows] == [young]
        rows = await ledger.sql("SELECT t.id, erased_ms FROM erasures JOIN transactions t USING (channel, log_index)")
        assert [tuple(row) for row in rows] == [(old, 7)]
        assert await ledger.sql("SELECT data FROM entries ORDER BY log_index") == before
        assert (await erased(ledger, before_ms=START_MS + DAY_MS)).transactions == 0, "once is enough"
        await erased(ledger, before_ms=START_MS + 101 * DAY_MS, now_ms=START_MS + 300 * DAY_MS)
        assert await found(ledger, MARK) == []


async def test_proofs_of_the_entry_still_verify_and_say_that_the_rest_is_erased(url: str, tmp_path: Path) -> None:
    async with a_replica(url, tmp_path) as ledger:
        old, young = await an_old_ledger(ledger)
        policy = ledger.replica.policy()
        await erased(ledger, before_ms=START_MS + DAY_MS)
        proved = await ledger.replica.proof(old, None)
        assert proved is not None
        verified = verify_proof(proved[0], policy, proved[1], strict=True)
        assert verified.receipt is not None
        assert (verified.receipt["code"], verified.body, verified.fact) == ("ok", None, None)
        with pytest.raises(BodyErased, match="was erased"):
            await ledger.replica.proof(old, 0)
        intact = await ledger.replica.proof(young, None)
        assert intact is not None
        assert verify_proof(intact[0], policy, intact[1], strict=True).body["reference"] == f"{MARK} too"
        known = await ledger.replica.transaction(old)
        assert known is not None
        assert (known.status, known.code, list(known.facts)) == ("committed", "ok", [])


async def test_a_replica_starts_again_and_goes_on_after_an_erasure(url: str, tmp_path: Path) -> None:
    clock = a_clock()
    async with a_replica(url, tmp_path, clock=clock) as ledger:
        old, _ = await an_old_ledger(ledger)
        await erased(ledger, before_ms=START_MS + DAY_MS)
    async with a_replica(url, tmp_path, clock=clock) as ledger:
        (again,) = await ledger.submit(an_issue(1000, MARK))
        assert (again.id, again.status) == (old, "committed"), "an erased transaction still has its first result"
        await ledger.run(a_transfer("later", not_after_ms=LATER_MS))
        assert await found(ledger, MARK) == ["bodies"], "the young one"


async def test_what_may_still_be_disputed_is_not_erased(url: str, tmp_path: Path) -> None:
    async with a_replica(url, tmp_path) as ledger:
        old, young = await an_old_ledger(ledger)
        with pytest.raises(ErasureRefused, match="may still be disputed"):
            await erased(ledger, before_ms=LATER_MS - 119 * DAY_MS)
        with pytest.raises(ErasureRefused, match=young):
            await erase_transactions(ledger.engine, "main", [old, young], now_ms=LATER_MS, wall_ms=7)
        with pytest.raises(ErasureRefused, match="holds no transaction"):
            await erase_transactions(ledger.engine, "main", [old, "0" * 64], now_ms=LATER_MS, wall_ms=7)
        assert (await ledger.sql("SELECT count(*) AS n FROM bodies"))[0].n == 2
        one = await erase_transactions(ledger.engine, "main", [old], now_ms=LATER_MS, wall_ms=7)
        assert one == Erased("main", transactions=1, facts=1)
        assert (await erase_transactions(ledger.engine, "other", [], now_ms=LATER_MS, wall_ms=7)).transactions == 0


async def test_a_reader_is_told_that_a_body_was_erased(url: str, tmp_path: Path) -> None:
    async with a_running_ledger(url, tmp_path) as address:
        engine = create_engine(url)
        try:
            async with a_client(address) as client:
                result = await client.submit(c.Issue(to=UTILITY_ID, amount_minor=5, reference=MARK))
                now_ms = SystemClock().now_ms()
                done = await erase_transactions(
                    engine, "main", [result.id], now_ms=now_ms + 200 * DAY_MS, wall_ms=now_ms
                )
                assert done.transactions == 1
                with pytest.raises(Refused) as raised:
                    await client.proof(result.id, 0)
                assert raised.value.code == "erased"
                bundle = await client.proof(result.id)
                assert verify_proof(bundle.proof, await client.policy(), bundle.opening, strict=True).body is None
        finally:
            await engine.dispose()
