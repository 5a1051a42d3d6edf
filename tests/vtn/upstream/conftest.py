"""Fixtures of the tests of the link to a utility."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from contracts.core.parties import Role
from ledger.client import LedgerClient
from runtime.clock import ManualClock
from tests.conftest import Databases
from tests.vtn.opened import AGGREGATOR_KEY, UTILITY_KEY, Opened, opened
from tests.vtn.upstream.world import SETTINGS, UTILITY, Desks, WholeLedger, add_homes, fund_utility
from vtn.auth.audit import audit_entries
from vtn.records.tables import metadata


@pytest.fixture(scope="module")
def shared_urls(databases: Databases) -> Iterator[tuple[str, str]]:
    """Two databases for the tests of a module: to empty one takes a tenth of the time to make one."""
    urls = databases.new("vtn"), databases.new("vtn")
    yield urls
    for url in urls:
        databases.drop(url)


@pytest.fixture
def urls(shared_urls: tuple[str, str]) -> tuple[str, str]:
    """Empty databases of a utility and of the aggregator."""
    for url in shared_urls:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                if table is not audit_entries:  # it can only grow
                    connection.execute(table.delete())
        engine.dispose()
    return shared_urls


@pytest.fixture
def vtn_url(urls: tuple[str, str]) -> str:
    """An empty database with the tables of the VTN."""
    return urls[1]


@pytest.fixture
async def aggregator(vtn_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Opened]:
    """An aggregator with ten homes of 2 kW in one virtual node, and a utility with money."""
    ledger = WholeLedger(clock, (Role.AGGREGATOR, AGGREGATOR_KEY), (Role.UTILITY, UTILITY_KEY))
    async with opened(vtn_url, clock, tmp_path, ledger, **SETTINGS) as found:
        await add_homes(found.vtn, 10)
        fund_utility(found.ledger, 1_000_000)
        yield found


@pytest.fixture
async def desks(aggregator: Opened, clock: ManualClock) -> AsyncIterator[Desks]:
    """What the leading worker of the aggregator does."""
    url = aggregator.vtn.settings.ledger_url
    async with LedgerClient(url, key=UTILITY_KEY, party=UTILITY, clock=clock, deadline_s=0.3) as ledger:
        yield Desks(aggregator, ledger, (await aggregator.vtn.programs.list())[0])
