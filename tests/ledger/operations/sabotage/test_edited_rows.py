"""Rows edited behind a serving replica: whoever asks for a proof of them hears of it, and the replica stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.errors import Diverged
from tests.ledger.replicas import a_replica, a_transfer, an_issue, transfers
from tests.ledger.running import UTILITY_ID

NewDatabase = Callable[..., str]

EDITS = {
    "an entry that is no JSON any more": "UPDATE entries SET data = data || '\\x20' WHERE log_index = 0",
    "another entry": "UPDATE entries SET data = (SELECT data FROM entries WHERE log_index = 2) WHERE log_index = 0",
    "an entry gone": "DELETE FROM entries WHERE log_index = 0",
    "a hash in a tile": "UPDATE tiles SET data = set_byte(data, 40, get_byte(data, 40) # 1) WHERE level = 0",
    "a shorter tile": "UPDATE tiles SET data = substr(data, 1, 32) WHERE level = 0",
    "a tile gone": "DELETE FROM tiles WHERE level = 0",
}


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


@pytest.mark.parametrize("edit", EDITS)
async def test_a_proof_of_what_was_edited_stops_the_replica(database: str, tmp_path: Path, edit: str) -> None:
    async with a_replica(database, tmp_path / "member") as ledger:
        await ledger.run(an_issue())
        await ledger.run(*transfers(3))
        assert await ledger.replica.proof_at(0, None)
        await ledger.sql(EDITS[edit])
        with pytest.raises(Diverged, match=r"leaf 0, or a tile above it, was changed.*dr-ledger verify"):
            await ledger.replica.proof_at(0, None)
        assert ledger.replica.status()["state"] == "diverged"
        with pytest.raises(Diverged):
            await ledger.submit(a_transfer("later"))


RECORDS = {
    "edited": "UPDATE records SET body = body || '\\x20' WHERE kind = 'party' AND key = :key",
    "gone": "DELETE FROM records WHERE kind = 'party' AND key = :key",
}


@pytest.mark.parametrize("edit", RECORDS)
@pytest.mark.parametrize("cached", [True, False])
async def test_a_record_that_was_edited_is_shown_to_nobody(
    database: str, tmp_path: Path, edit: str, cached: bool
) -> None:
    async with a_replica(database, tmp_path / "member") as ledger:
        await ledger.run(an_issue())
    async with a_replica(database, tmp_path / "member") as ledger:
        assert (await ledger.replica.record("party", "nobody"))[0] is None
        assert (await ledger.replica.record("party", UTILITY_ID))[0]
        if cached:
            await ledger.run(an_issue(reference="once more"))
        await ledger.sql(RECORDS[edit], key=UTILITY_ID)
        with pytest.raises(Diverged, match=f"record party/{UTILITY_ID}"):
            await ledger.replica.record("party", UTILITY_ID)
        assert ledger.replica.status()["state"] == "diverged"


async def test_what_was_never_there_is_not_there(database: str, tmp_path: Path) -> None:
    async with a_replica(database, tmp_path / "member") as ledger:
        await ledger.run(an_issue())
        assert await ledger.replica.proof_at(ledger.replica.head.size, None) is None
        assert ledger.replica.status()["state"] == "serving"
