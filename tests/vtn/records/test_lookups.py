"""Lookups: few queries for many who ask, each of a moment after they asked."""

from __future__ import annotations

import asyncio

import pytest

from vtn.records.lookups import Lookups


class Table:
    """Rows that answer when they are let."""

    def __init__(self) -> None:
        self.rows = {"a": 1, "b": 2}
        self.asked: list[list[str]] = []
        self.let = asyncio.Event()

    async def fetch(self, keys: list[str]) -> dict[str, int]:
        self.asked.append(sorted(keys))
        found = {key: self.rows[key] for key in keys if key in self.rows}
        await self.let.wait()
        return found


async def test_those_who_ask_during_a_query_go_together_into_the_next():
    table = Table()
    lookups = Lookups(table.fetch)
    asking = [asyncio.create_task(lookups.find("a"))]
    await asyncio.sleep(0.01)
    asking += [asyncio.create_task(lookups.find(key)) for key in ("a", "b", "b", "none")]
    await asyncio.sleep(0.01)
    table.rows["a"] = 3
    table.let.set()
    assert await asyncio.gather(*asking) == [1, 3, 2, 2, None]
    assert table.asked == [["a"], ["a", "b", "none"]]


async def test_one_who_gives_up_takes_nothing_from_the_others():
    table = Table()
    lookups = Lookups(table.fetch)
    first, second = (asyncio.create_task(lookups.find("b")) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    table.let.set()
    assert await second == 2


async def test_an_error_reaches_all_who_asked_and_nobody_after_them():
    calls = 0

    async def fetch(keys: list[str]) -> dict[str, int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("no database")
        return dict.fromkeys(keys, 1)

    lookups = Lookups(fetch)
    with pytest.raises(OSError, match="no database"):
        await lookups.find("a")
    assert await lookups.find("a") == 1
