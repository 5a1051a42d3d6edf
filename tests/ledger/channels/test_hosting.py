"""Two channels in one process: money goes to the child, earns there, and comes back; an auditor sees the payment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from contracts.channels.registry import ChannelRecord
from contracts.core import commands as c
from contracts.core.parties import Role
from contracts.demand_response.contract import ContractRecord, Status
from ledger.channels.disclosing import DisclosureRefused, disclose
from ledger.channels.founding import found_child, opening
from ledger.client.transport import Transport
from ledger.errors import GenesisExists, GenesisInvalid
from ledger.operations.export import LogReader
from ledger.verify.disclosure import verify_disclosure
from tests.ledger.channels.hosted import CHILD, Hosted, an_evening, enrolment, hosting, until
from tests.ledger.replicas import DEVICE, DEVICE_ID, HOUR_MS, VIRTUAL_NODE
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, UTILITY_ID, founded


@pytest.fixture
def url(new_database: Callable[..., str]) -> str:
    """A migrated database."""
    return new_database("ledger")


async def opened(hosted: Hosted) -> None:
    """Parties are enrolled in both channels, the child is registered on main, and its first checkpoint anchored."""
    joining = (enrolment(Role.VIRTUAL_NODE, VIRTUAL_NODE), enrolment(Role.DEVICE, DEVICE))
    for channel in (CHILD, "main"):
        await hosted.run(AGGREGATOR_ID, *joining, channel=channel)
    await hosted.run(AGGREGATOR_ID, opening(hosted.child, hosted.policy), channel="main")
    await hosted.run(UTILITY_ID, c.Issue(to=UTILITY_ID, amount_minor=10_000, reference=""), channel="main")
    await until(lambda: known(hosted), lambda record: record is not None and record.size > 0)


async def known(hosted: Hosted) -> ChannelRecord | None:
    return await hosted.as_(UTILITY_ID, "main").record(ChannelRecord, CHILD)


async def lock(hosted: Hosted, amount_minor: int, recipient: str) -> None:
    by_ms = hosted.clock.now_ms() + HOUR_MS
    command = c.BridgeLock(channel=CHILD, recipient=recipient, amount_minor=amount_minor, mint_by_ms=by_ms)
    await hosted.run(UTILITY_ID, command, channel="main")


def a_burn(hosted: Hosted, amount_minor: int, recipient: str) -> c.BridgeBurn:
    by_ms = hosted.clock.now_ms() + HOUR_MS
    return c.BridgeBurn(recipient=recipient, amount_minor=amount_minor, release_by_ms=by_ms)


async def test_an_event_runs_in_a_child_on_money_of_main_and_an_auditor_checks_it_with_mains_policy(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(url, tmp_path, monkeypatch) as hosted:
        await opened(hosted)
        await lock(hosted, 2000, UTILITY_ID)
        await until(lambda: hosted.free(f"party/{UTILITY_ID}"), lambda free: free == 2000)
        await an_evening(hosted)
        ended = await hosted.as_(UTILITY_ID).record(ContractRecord, "s2")
        assert ended is not None
        assert (ended.status, ended.total_wh) == (Status.COMPLETED, 1000)
        earned = await hosted.free(f"party/{DEVICE_ID}")
        assert earned == 100 + 200, "1 kWh at 200,000 minor units a MWh, beside what it had"
        burning = a_burn(hosted, earned, DEVICE_ID)
        (burn,) = await hosted.run(DEVICE_ID, burning)
        assert await until(lambda: hosted.free(f"party/{DEVICE_ID}", "main"), lambda free: free > 0) == earned
        supply = -await hosted.free("issuance")
        assert await hosted.free(f"bridge/{CHILD}", "main") == supply == 2000 - earned
        main, child = hosted.as_(AGGREGATOR_ID, "main"), hosted.as_(AGGREGATOR_ID)
        transport = Transport(hosted.url, CHILD, session=None, ssl=None, deadline_s=5, key=AGGREGATOR)
        try:
            made = await disclose(main, child, LogReader(transport.get), contract="s2", transactions=[burn])
            with pytest.raises(DisclosureRefused, match="holds no facts"):
                await disclose(main, child, LogReader(transport.get), contract="s9")
        finally:
            await transport.close()
        policy = await main.policy()
    proved = verify_disclosure(made.disclosure, policy)
    facts = [item.fact for item in proved.items if item.fact is not None]
    completed = [fact for fact in facts if fact["fact"] == "DRCompleted"]
    assert [(fact["contract_id"], fact["amount_minor"]) for fact in completed] == [("s2", 200)]
    assert [item.body for item in proved.items if item.body] == [msgspec.to_builtins(burning)]


async def test_idle_channels_stay_idle_and_money_for_nobody_comes_back(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(url, tmp_path, monkeypatch) as hosted:
        await opened(hosted)
        await lock(hosted, 500, "dev-that-never-comes")
        await until(lambda: hosted.free(f"bridge/{CHILD}", "main"), lambda free: free == 500)
        hosted.clock.advance(2 * HOUR_MS)
        await until(lambda: hosted.free(f"party/{UTILITY_ID}", "main"), lambda free: free == 10_000)
        await lock(hosted, 300, UTILITY_ID)
        await until(lambda: hosted.free(f"party/{UTILITY_ID}"), lambda free: free == 300)
        await hosted.run(UTILITY_ID, a_burn(hosted, 300, "nobody-there"))
        hosted.clock.advance(2 * HOUR_MS)
        await until(lambda: hosted.free(f"party/{UTILITY_ID}"), lambda free: free == 300)
        await until(lambda: height_of_both(hosted), seen_before())
        before = await height_of_both(hosted)
        await until(lambda: height_of_both(hosted), counted(30))
        assert await height_of_both(hosted) == before


async def test_a_channel_can_be_funded_before_anything_happened_in_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(url, tmp_path, monkeypatch) as hosted:
        await hosted.run(AGGREGATOR_ID, opening(hosted.child, hosted.policy), channel="main")
        await hosted.run(UTILITY_ID, c.Issue(to=UTILITY_ID, amount_minor=10_000, reference=""), channel="main")
        await until(lambda: known(hosted), lambda record: record is not None and record.size > 0)
        await lock(hosted, 700, AGGREGATOR_ID)
        await until(lambda: hosted.free(f"party/{AGGREGATOR_ID}"), lambda free: free == 700)


def seen_before() -> Callable[[object], bool]:
    """True for an answer that was the same ten times in a row."""
    last: list[object] = []

    def same(answer: object) -> bool:
        last.append(answer)
        return len(last) > 10 and len({repr(each) for each in last[-10:]}) == 1

    return same


def counted(times: int) -> Callable[[object], bool]:
    left = [times]

    def count(_: object) -> bool:
        left[0] -= 1
        return left[0] < 0

    return count


async def height_of_both(hosted: Hosted) -> tuple[int, ...]:
    return tuple([(await hosted.as_(UTILITY_ID, name).status())["height"] for name in ("main", CHILD)])


async def test_a_child_is_founded_once_and_under_a_name_of_its_own(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(url, tmp_path, monkeypatch) as hosted:
        main = founded(hosted.settings)
        with pytest.raises(GenesisExists):
            found_child(hosted.settings, main, CHILD, parties=hosted.child.parties, created_ms=0)
        with pytest.raises(GenesisInvalid, match="name of its own"):
            found_child(hosted.settings, main, "main", parties=hosted.child.parties, created_ms=0)
