"""What the VTN lets us know about its clock: bounds of how far ours is off, true ones, whatever it says."""

from __future__ import annotations

from runtime.clock import DomainClock
from tests.builders import START_MS
from tests.ven.faces.scripted import distribute, event, time_text
from tests.ven.faces.ven import SPEED, until
from ven.faces.openadr2.face import VtnTime

HOUR_MS = 3_600_000


class Skew:
    """Bounds as they come: the clock is off (ahead > 0) by low to high."""

    def __init__(self, speed: float = 1.0) -> None:
        self.clock = DomainClock(DomainClock(0, 0, 1).wall_ms(), START_MS, speed)
        self.bounds: list[tuple[int, int]] = []
        self.time = VtnTime(
            self.clock, lambda theirs, before, after: self.bounds.append((before - theirs, after - theirs))
        )


def test_the_date_of_an_answer_bounds_the_skew_on_both_sides():
    skew = Skew()
    wall_ms = skew.clock.wall_ms()
    skew.time.answered(wall_ms + 60_000, wall_ms - 100, wall_ms + 100)
    [(low_ms, high_ms)] = skew.bounds
    assert low_ms <= -60_000 <= high_ms
    assert high_ms - low_ms < 1300


def test_a_second_of_doubt_lasts_longer_where_time_runs_faster():
    skew = Skew(SPEED)
    wall_ms = skew.clock.wall_ms()
    skew.time.answered(wall_ms, wall_ms, wall_ms)
    [(low_ms, high_ms)] = skew.bounds
    assert low_ms <= -500 * SPEED < 0 < 500 * SPEED <= high_ms


def test_what_was_made_before_now_bounds_the_skew_on_one_side():
    skew = Skew()
    skew.time.created(skew.clock.now_ms() + HOUR_MS)
    skew.time.signed(skew.clock.wall_ms() - HOUR_MS)
    (low_ms, high_ms), (_, signed_ms) = skew.bounds
    assert -HOUR_MS <= high_ms <= -HOUR_MS + 10_000, "behind by an hour at least"
    assert low_ms < -(2**49), "and nobody knows how much more"
    assert HOUR_MS <= signed_ms <= HOUR_MS + 10_000


async def test_every_answer_and_every_event_is_looked_at(vtn, ven):
    late_ms = START_MS + 20 * HOUR_MS
    vtn.queued.append(
        distribute(event(start_ms=START_MS + 24 * HOUR_MS).replace("2026-01-01T00:00:00Z", time_text(late_ms)))
    )
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 2)
    assert late_ms in [theirs_ms for theirs_ms, _, _ in ven.clocks]
    answers = [each for each in ven.clocks if each[0] != late_ms]
    assert len(answers) >= 6
    assert all(before_ms <= theirs_ms <= after_ms for theirs_ms, before_ms, after_ms in answers), (
        "one machine, one clock"
    )
