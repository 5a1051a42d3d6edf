"""What homes really give of what they say, and whether they answer."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from forecasting.capability import Capability
from tests.vtn.flexibility.callers import simulated
from vtn.flexibility.answering import Answering, Call
from vtn.flexibility.history import History, Trial
from vtn.flexibility.learning import Learnt

EVENING = Call(hour=18, weekend=False, notice_s=7_200, lately=0)
WEAK_WH = 1_000


def given(part: float, asked_wh: float, gives_all: bool) -> float:
    return part * WEAK_WH if gives_all else min(asked_wh, part * WEAK_WH)


def test_what_is_expected_of_homes_comes_near_what_they_can_over_twenty_events() -> None:
    """Homes that can give 60 to 140 % of what they say, measured with 10 % noise; those that give what they are asked
    for are right from the start as far as nobody asks for more."""
    rng = random.Random(4)
    errors: list[list[float]] = [[] for _ in range(21)]
    for n in range(40):
        part, gives_all, known = 0.6 + 0.8 * n / 39, n % 2 == 0, Capability()
        for event in range(21):
            right = part if gives_all else min(max(1.0, known.part), part)  # what is not asked for, nobody misses
            errors[event].append(abs(known.part - right))
            asked = known.part
            seen = given(part, asked * WEAK_WH, gives_all) / WEAK_WH + rng.gauss(0, 0.1)
            known = known.after(asked, seen, 0.1)
    assert mean(errors[0]) == pytest.approx(0.15, abs=0.01)
    assert mean(errors[5]) < 0.4 * mean(errors[0])
    assert mean(errors[20]) < 0.25 * mean(errors[0])


def test_a_home_that_gave_all_it_was_asked_for_does_not_look_weak() -> None:
    """Asked for half of what it said, thirty times, and it gave that: nothing is known against the other half."""
    known = Capability()
    for _ in range(30):
        known = known.after(0.5, 0.5, 0.1)
    assert 0.95 < known.part < 1.15


def test_one_broken_reading_moves_little_and_a_new_habit_gets_through() -> None:
    learnt = Learnt()
    for _ in range(10):
        learnt = learnt.after(1_000, 1_000)
    assert learnt.after(1_000, -50_000).part > 0.95
    for _ in range(40):
        learnt = learnt.after(1_000, 400)
    assert learnt.part == pytest.approx(0.45, abs=0.1)


def test_a_noisy_baseline_teaches_less_than_a_quiet_one() -> None:
    quiet = noisy = Learnt()
    for _ in range(5):
        quiet = quiet.after(1_000, 500, baseline_wh=1_000)
        noisy = noisy.after(1_000, 500, baseline_wh=6_000)
    assert quiet.part < 0.6 < noisy.part < 1.0
    assert quiet.doubt < noisy.doubt
    assert quiet.spread < noisy.spread + 0.1


def a_history() -> History:
    """A home that says 1,000 Wh, can 600, and is asked for 80 % of what is expected of it."""
    return History(derate_percent=80)


def an_event(history: History, day: int, part: float = 0.6, said_wh: float = WEAK_WH) -> float:
    """What was asked, Wh; what it gave is in the history."""
    asked = 0.8 * min(1.0, history.learnt("dev-1").part) * said_wh
    contract = f"sc2-{day}"
    history.asked(contract, EVENING)
    trial = Trial(day * 86_400_000, round(asked), round(given(part, 1.1 * asked, True)), round(asked))
    history.ended("dev-1", contract, trial)
    return asked


def test_what_is_asked_follows_what_is_given_and_stays_there() -> None:
    """Asking less because of what was learnt is no new weakness: the part does not go on falling."""
    history = a_history()
    asked = [an_event(history, day) for day in range(40)]
    assert asked[0] == 800
    assert all(460 < each < 500 for each in asked[10:])  # 80 % of what it can


def test_what_a_home_corrects_by_itself_is_not_corrected_here_again() -> None:
    """After ten events it says 600 Wh, as it has learnt: it is asked for 80 % of that at once, as if it had always
    said so; without a word both would have been taken off, and it would be asked for two thirds."""
    history, silent = a_history(), a_history()
    for day in range(10):
        an_event(history, day)
        an_event(silent, day)
    history.corrected("dev-1", 10 * 86_400_000)
    assert history.learnt("dev-1").part == 1.0
    asked = [an_event(history, day, said_wh=600) for day in range(10, 20)]
    assert all(430 < each < 520 for each in asked)
    assert an_event(silent, 10, said_wh=600) < 420


def test_the_same_facts_give_the_same_history_whenever_the_correction_is_told() -> None:
    before, after = a_history(), a_history()
    before.corrected("dev-1", 5 * 86_400_000)
    for day in range(12):
        trial = Trial(day * 86_400_000, 500, 420, 500)
        before.ended("dev-1", f"sc2-{day}", trial)
        after.ended("dev-1", f"sc2-{day}", trial)
    after.corrected("dev-1", 5 * 86_400_000)
    assert before.learnt("dev-1").part == after.learnt("dev-1").part
    assert before.learnt("dev-1").events == after.learnt("dev-1").events == 7


def test_an_opt_out_after_acceptance_counts_as_no_answer_and_says_nothing_of_what_it_can() -> None:
    history = a_history()
    for n in range(6):
        history.asked(f"sc2-{n}", EVENING)
        history.opted_out({f"sc2-{n}": "economic"})
        history.ended("dev-1", f"sc2-{n}", Trial(n, 800, 0, 800))
        history.ended("dev-2", f"other-{n}", None)
    assert history.learnt("dev-1").part == 1.0
    assert history.answering.probability("dev-1") < 0.8 < history.answering.probability("dev-2")
    assert history.reasons("dev-1") == {"economic": 6}


def test_a_rejection_keeps_its_reason_and_one_of_the_moment_does_not_make_a_home_unwilling() -> None:
    history = a_history()
    history.refused("dev-1", "sc2-1", "capability: 900 Wh, past events gave 500 of 1000 Wh")
    history.refused("dev-2", "sc2-2", "owner: outside the hours the owner allows")
    assert history.answering.probability("dev-1") > history.answering.probability("dev-2")
    assert (history.reasons("dev-1"), history.reasons("dev-2")) == ({"capability": 1}, {"owner": 1})


def test_homes_that_differ_are_told_apart() -> None:
    """Half of what the best constant lacks to the truth is gained, and hour or fatigue are not made up."""
    answering, scores = simulated(differ=True, by_call=False)
    assert scores["constant"] - scores["estimate"] > 0.4 * (scores["constant"] - scores["truth"])
    assert not answering.by_call


def test_hour_notice_and_fatigue_count_where_the_calls_bear_them_out() -> None:
    answering, scores = simulated(differ=True, by_call=True)
    assert answering.by_call
    assert scores["constant"] - scores["estimate"] > 0.5 * (scores["constant"] - scores["truth"])
    fresh, tired = (Call(hour=12, weekend=False, notice_s=7_200, lately=n) for n in (0, 6))
    assert answering.probability("home-1", tired) < answering.probability("home-1", fresh)


def test_homes_that_are_all_alike_are_not_told_apart_by_chance() -> None:
    """The prior becomes strong: a home of four refusals in four calls is still near the group."""
    answering, scores = simulated(differ=False, by_call=False)
    assert scores["estimate"] == pytest.approx(scores["constant"], abs=0.005)
    assert answering.group[1] > 25


def test_before_any_call_a_home_is_taken_for_the_prior() -> None:
    assert Answering(prior=0.97).probability("home-1", EVENING) == pytest.approx(0.97)
