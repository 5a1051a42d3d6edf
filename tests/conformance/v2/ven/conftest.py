"""A judge and a VEN for each test; whatever the VEN said has to be valid in every one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.v2.ven.judged import Ven, a_ven
from tests.conformance.v2.ven.judging import Judge, a_judge


@pytest.fixture
async def judge() -> AsyncIterator[Judge]:
    """A VTN the test scripts."""
    async with a_judge() as judge:
        yield judge
    assert judge.faults == []


@pytest.fixture
async def ven(judge: Judge, tmp_path: Path) -> AsyncIterator[Ven]:
    """Our VEN, registered and polling."""
    async with a_ven(judge, tmp_path) as ven:
        yield ven
