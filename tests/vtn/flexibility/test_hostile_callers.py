"""Homes that try to be counted on without ever answering, and more calls than one look can go through."""

from __future__ import annotations

import random
import time

import pytest

from vtn.flexibility.answering import Answering, Call
from vtn.flexibility.history import History, Trial

EVENING = Call(hour=18, weekend=False, notice_s=7_200, lately=0)


@pytest.mark.parametrize("reason", ["capability: too much", "clock: mine is off", "deadline: too late"])
def test_a_home_that_excuses_itself_every_time_is_not_counted_on(reason: str) -> None:
    history = History()
    before = history.answering.probability("h")
    for n in range(3):
        history.asked(f"c{n}", EVENING)
        history.refused("h", f"c{n}", reason)
    assert history.answering.probability("h") == before, "what happens now and then is excused"
    for n in range(3, 30):
        history.asked(f"c{n}", EVENING)
        history.refused("h", f"c{n}", reason)
    assert history.answering.probability("h") < 0.5


def test_who_answers_in_between_is_excused_again() -> None:
    history = History()
    for n in range(30):
        history.refused("h", f"r{n}", "capability: too much")
        history.ended("h", f"e{n}", Trial(n, 100, 100, 200))
    assert history.answering.probability("h") > 0.95


def test_twenty_thousand_calls_are_learnt_from_without_holding_up_the_event_loop_and_what_comes_later_as_well() -> None:
    """Each call was gone through thirty times: 1.2 s on the event loop; and once 20,000 were known, never again."""
    known, chance, slowest = Answering(), random.Random(1), 0.0
    for n in range(28_000):
        night = n % 4 == 0
        call = Call(hour=2 if night else 18, weekend=False, notice_s=7_200, lately=0)
        # late in the history nobody answers at night any more
        answered = chance.random() < (0.05 if night and n > 20_000 else 0.9)
        begun = time.process_time()
        known.observe(f"h{n % 499}", answered, call)
        slowest = max(slowest, time.process_time() - begun)
    at_night = Call(hour=2, weekend=False, notice_s=7_200, lately=0)
    assert known.probability("h1", at_night) < 0.75 < known.probability("h1", EVENING)
    assert slowest < 0.6, f"{slowest:.2f} s of one core"
