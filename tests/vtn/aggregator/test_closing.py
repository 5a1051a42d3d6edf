"""A need has ended when its last payment is final, not when one replica has executed it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from contracts.demand_response.needs import NeedRecord
from ledger.client import LedgerClient
from runtime.clock import ManualClock
from tests.builders import START_MS
from tests.vtn.aggregator.test_cycle import a_request
from vtn.aggregator import closing


class Ledger:
    """Height 20, and a final height that grows by `step` at each look."""

    def __init__(self, final_height: int, step: int) -> None:
        self.final_height = final_height
        self.step = step
        self.submitted: list[str] = []

    async def status(self) -> dict[str, int]:
        self.final_height = min(20, self.final_height + self.step)
        return {"height": 20, "final_height": self.final_height}

    async def submit(self, command: Any) -> None:
        self.submitted.append(type(command).__name__)


async def close(ledger: Ledger, *, closed: bool) -> bool:
    need = NeedRecord(request=a_request(), utility="utl", open_contracts=0, delivered_wh=0, closed=closed)
    return await closing.close(cast("LedgerClient", ledger), ManualClock(START_MS), need, [])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "_FINAL_LOOK_S", 0.001)


@pytest.mark.parametrize("closed", [False, True])
async def test_a_need_ends_when_everything_is_final(closed: bool) -> None:
    ledger = Ledger(final_height=17, step=1)
    assert await close(ledger, closed=closed)
    assert ledger.final_height == 20
    assert ledger.submitted == ([] if closed else ["CloseRequest"])


@pytest.mark.parametrize("closed", [False, True])
async def test_a_need_stays_open_while_no_quorum_cosigns(closed: bool) -> None:
    assert not await close(Ledger(final_height=17, step=0), closed=closed)
