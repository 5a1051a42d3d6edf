"""Services killed in the middle of the event: nothing accepted is lost, and the event ends settled."""

from __future__ import annotations

import asyncio

import pytest

from demo.data.series import EVENT_END_MS, EVENT_START_MS
from demo.stage import Stage
from runtime.clock import Clock
from tests.e2e.arithmetic import expected_payments
from tests.e2e.conftest import Evening, play_once

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]

SPEED = 120.0


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Evening:
    return play_once(tmp_path_factory.mktemp("killed") / "demo", 3, SPEED, disturb=_kill_ledger_and_vtn)


def test_the_event_ends_settled_and_paid(evening: Evening) -> None:
    states = {each["state"] for each in evening.summary["contracts"]["SC1"]}
    assert states == {"completed"}
    assert evening.summary["escrow_left_minor"] == 0


def test_payments_still_follow_from_signed_readings(evening: Evening) -> None:
    recorded = evening.recorded
    expected = expected_payments(recorded)
    assert {key: each.amount_minor for key, each in expected.items()} == {
        key: fact["amount_minor"] for key, fact in recorded.completed.items()
    }


def test_no_reading_was_lost_but_those_of_the_faults(evening: Evening) -> None:
    """Homes that stayed up recorded every interval of their contracts, in spite of both services' deaths."""
    faults = evening.summary["faults"]
    missing = {each["name"] for each in evening.statements if each["level"] == "SC2" and each["missing"]}
    assert missing <= {faults["killed"], faults["forged"]}


def test_the_ledger_verifies_from_the_genesis(evening: Evening) -> None:
    assert evening.verified["height"] >= evening.summary["ledger"]["height"]


async def _kill_ledger_and_vtn(stage: Stage, clock: Clock) -> None:
    """kill -9 of the ledger at one quarter, of the VTN at one half, of both at three quarters; each restarted."""
    length_ms = EVENT_END_MS - EVENT_START_MS
    for quarter, names in ((1, ["ledger"]), (2, ["vtn"]), (3, ["ledger", "vtn"])):
        await clock.sleep_until(EVENT_START_MS + quarter * length_ms // 4)
        for name in names:
            await stage.processes[name].kill()
        await asyncio.sleep(1)
        for name in names:
            url = stage.ledger_url if name == "ledger" else stage.vtn_url
            await stage.start(name, [f"dr-{name}", "serve"], f"{url}/readyz")
