"""What a home cannot well have measured is named, and what it can is not."""

from __future__ import annotations

from tests.builders import START_MS, a_baseline, device_terms
from vtn.aggregator.virtual_nodes.evidence.suspicion import DAY_MS, suspicions

STEP_MS = 900_000
TERMS = device_terms(obligation_wh=(100,) * 8, baseline=a_baseline(curve_wh=tuple(500 + n for n in range(8))))


def told(*values: int, days: int = 0) -> dict[int, int]:
    return {START_MS - days * DAY_MS + n * STEP_MS: value for n, value in enumerate(values)}


USUAL = told(510, 490, 505, 488, 512, 499, 501, 507, days=1)


def test_honest_readings_are_not_odd() -> None:
    assert suspicions(TERMS, USUAL | told(410, 395, 402, 388, 415, 397, 404, 401)) == ()


def test_a_value_that_stands_still_is_odd_where_no_hour_explains_it() -> None:
    """Quarters of a measured hour are four alike; an empty home uses nothing for long."""
    assert suspicions(TERMS, told(400, 400, 400, 400, 410, 410, 410, 410)) == ()
    assert suspicions(TERMS, told(*(0,) * 8)) == ()
    assert suspicions(TERMS, told(410, *(400,) * 6, 390)) == ("the same value in 6 intervals",)


def test_an_earlier_day_once_more_is_odd() -> None:
    assert suspicions(TERMS, USUAL | told(*USUAL.values())) == ("the readings of 1 days before once more",)


def test_exactly_what_was_asked_for_is_odd() -> None:
    assert suspicions(TERMS, told(*(400 + n for n in range(8)))) == ("exactly its baseline less what it was asked for",)
    assert suspicions(TERMS, told(*(401 + n for n in range(8)))) == ()


def test_a_sign_that_turned_is_odd_of_a_home_that_never_fed_in() -> None:
    flipped = told(-410, -395, 402, 388)
    assert suspicions(TERMS, USUAL | flipped) == ("it feeds in in 2 intervals, and never did before",)
    assert suspicions(TERMS, USUAL | told(-20, days=2) | flipped) == ()


def test_a_thousandfold_reading_is_beyond_what_the_connection_carries() -> None:
    assert suspicions(TERMS, USUAL | told(410_000)) == ("1 readings beyond what its connection carries",)
