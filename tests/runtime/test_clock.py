"""Domain time is the same in every process and goes on after a restart."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from runtime.clock import DomainClock, ManualClock, SystemClock, clock_from_file, happened, write_clock
from runtime.errors import ClockFileError
from tests.builders import START_MS, a_clock


def test_domain_time_runs_at_its_speed_from_the_epochs():
    wall_ms = SystemClock().wall_ms()
    clock = DomainClock(epoch_wall_ms=wall_ms - 10_000, epoch_domain_ms=START_MS, speed=240)
    assert START_MS + 2_400_000 <= clock.now_ms() < START_MS + 2_400_000 + 240 * 1000
    assert clock.wall_seconds(240) == 1


def test_now_is_aware_utc():
    assert a_clock().now() == datetime(2026, 1, 1, tzinfo=UTC)
    assert SystemClock().now().tzinfo is UTC


def test_the_system_clock_is_wall_time():
    clock = SystemClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1000
    assert clock.now_ms() - clock.wall_ms() <= 0


async def test_sleep_until_never_returns_early():
    clock = DomainClock(SystemClock().wall_ms(), START_MS, speed=1000)
    for step_ms in (1, 7, 333, 20_000):
        target_ms = clock.now_ms() + step_ms
        await clock.sleep_until(target_ms)
        assert clock.now_ms() >= target_ms


async def test_a_time_that_has_passed_is_not_waited_for():
    clock = DomainClock(SystemClock().wall_ms(), START_MS, speed=1)
    await asyncio.wait_for(clock.sleep_until(START_MS - 1), timeout=1)
    await asyncio.wait_for(a_clock().sleep_until(START_MS), timeout=1)


async def test_advancing_a_manual_clock_wakes_exactly_those_who_are_due_in_order():
    clock = a_clock()
    woken: list[int] = []

    async def sleeper(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (30, 10, 20)]
    await asyncio.sleep(0)
    clock.advance(20_000)
    await asyncio.sleep(0)
    assert woken == [10, 20]
    clock.advance(10_000)
    await asyncio.gather(*tasks)
    assert woken == [10, 20, 30]


async def test_a_cancelled_sleeper_does_not_disturb_the_others():
    clock = a_clock()
    first, second = asyncio.create_task(clock.sleep(1)), asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    first.cancel()
    clock.advance(1000)
    await asyncio.wait_for(second, timeout=1)
    assert first.cancelled()


def test_a_manual_clock_does_not_run_backwards():
    with pytest.raises(ValueError, match="backwards"):
        ManualClock(START_MS).advance(-1)


def test_a_second_write_keeps_the_timeline_that_is_there(tmp_path):
    path = tmp_path / "run" / "clock.json"
    first = write_clock(path, epoch_domain_ms=START_MS, speed=240, epoch_wall_ms=1_000)
    second = write_clock(path, epoch_domain_ms=0, speed=1)
    again = clock_from_file(path)
    for clock in (first, second, again):
        assert isinstance(clock, DomainClock)
        assert (clock.epoch_wall_ms, clock.epoch_domain_ms, clock.speed) == (1_000, START_MS, 240)
    assert [entry.name for entry in path.parent.iterdir()] == ["clock.json"]


def test_without_a_file_the_clock_is_the_systems():
    assert isinstance(clock_from_file(None), SystemClock)


@pytest.mark.parametrize("text", ["", "[]", '{"speed": 1}', '{"epoch_wall_ms":0,"epoch_domain_ms":0,"speed":0}'])
def test_a_damaged_clock_file_is_named(tmp_path, text):
    path = tmp_path / "clock.json"
    path.write_text(text)
    with pytest.raises(ClockFileError, match=r"clock\.json is not a clock file"):
        clock_from_file(path)


def test_a_missing_clock_file_is_named(tmp_path):
    with pytest.raises(ClockFileError, match="no clock file"):
        clock_from_file(tmp_path / "clock.json")


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_that_is_no_speed_is_refused(tmp_path, speed):
    with pytest.raises(ValueError, match="speed"):
        write_clock(tmp_path / "clock.json", epoch_domain_ms=0, speed=speed)
    assert not (tmp_path / "clock.json").exists()


def test_a_clock_file_with_an_infinite_epoch_is_no_clock_file(tmp_path):
    path = tmp_path / "clock.json"
    path.write_text('{"epoch_wall_ms": Infinity, "epoch_domain_ms": 0, "speed": 1}')
    with pytest.raises(ClockFileError, match="not a clock file"):
        clock_from_file(path)


async def test_a_cancellation_in_the_moment_of_the_event_is_not_lost():
    """As it is by asyncio.wait_for of Python 3.11."""
    event, went_on = asyncio.Event(), []

    async def service() -> None:
        while True:
            await happened(event, 10)
            went_on.append(True)
            await asyncio.sleep(0)

    task = asyncio.create_task(service())
    await asyncio.sleep(0)
    event.set()
    await asyncio.sleep(0)  # the waiter was told, the service not yet
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=1)
    assert done
    assert task.cancelled()
    assert len(went_on) <= 1


async def test_waiting_for_an_event_ends_with_the_time_or_the_event():
    event = asyncio.Event()
    assert not await happened(event, 0.01)
    asyncio.get_running_loop().call_later(0.01, event.set)
    assert await happened(event, 5)
    assert await happened(event, 0)
