"""Fixtures of the tests of the link to a utility."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.core.parties import Role
from ledger.client import LedgerClient
from runtime.clock import ManualClock
from tests.vtn.opened import AGGREGATOR_KEY, UTILITY_KEY, Opened, opened
from tests.vtn.upstream.world import SETTINGS, UTILITY, Desks, WholeLedger, add_homes, fund_utility


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
