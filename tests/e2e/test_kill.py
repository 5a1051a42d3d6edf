"""Services killed while the best plan's homes shed load: nothing accepted is lost, and the event ends settled."""

from __future__ import annotations

import asyncio

import pytest

from demo.consortium import AGGREGATOR
from demo.data.series import EVENT_END_MS, EVENT_START_MS
from demo.stage import Stage
from runtime.clock import Clock
from tests.e2e.arithmetic import expected_payments
from tests.e2e.conftest import Evening, play_once

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]

SPEED = 240.0


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Evening:
    folder = tmp_path_factory.mktemp("killed") / "demo"
    return play_once(folder, 3, SPEED, members=3, dispatch="optimal", disturb=_kill_members_and_vtn)


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


def test_every_member_caught_up_and_the_end_is_final(evening: Evening) -> None:
    ledger = evening.summary["ledger"]
    assert min(each["height"] for each in ledger["replicas"].values()) >= ledger["height"]
    assert len(ledger["final"]["cosigners"]) >= 2
    assert ledger["final"]["size"] >= max(record["index"] for record in evening.facts)


async def _kill_members_and_vtn(stage: Stage, clock: Clock) -> None:
    """kill -9 of the replica that orders blocks at one quarter of the event, of the aggregator's replica and the VTN at
    one half, and of the one that then orders together with the VTN at three quarters."""
    length_ms = EVENT_END_MS - EVENT_START_MS
    for quarter in (1, 2, 3):
        await clock.sleep_until(EVENT_START_MS + quarter * length_ms // 4)
        seat = stage.consortium.seat(AGGREGATOR) if quarter == 2 else await stage.consortium.proposer()
        await stage.consortium.kill(seat)
        if quarter > 1:
            await stage.processes["vtn"].kill()
            await asyncio.sleep(1)
            await stage.start("vtn", ["dr-vtn", "serve"], f"{stage.vtn_url}/readyz")
