"""When a home turns from one id to the next."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ven.account.pseudonyms.periods import (
    CLOSE_FROM_MS,
    CLOSE_WITHIN_MS,
    OPEN_WITHIN_MS,
    Period,
    drawn,
    due,
    period_at,
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "zone", "period"),
    [
        ("2026-01-31T23:30", "UTC", "2026-01"),
        ("2026-01-31T23:30", "Europe/Berlin", "2026-02"),  # half past midnight there
        ("2026-07-31T22:30", "Europe/Berlin", "2026-08"),
        ("2026-02-01T04:59", "America/New_York", "2026-01"),
    ],
)
def test_a_period_is_the_month_at_the_site(moment, zone, period):
    assert period_at(at(moment), zone) == period


def test_within_its_period_nothing_is_drawn():
    known = Period(period="2026-01")
    assert drawn(known, at("2026-01-31T23:59"), "UTC", lambda n: n) == known
    assert not due(known, at("2026-01-31T23:59"))


@settings(deadline=None, max_examples=60)
@given(first=st.integers(0, OPEN_WITHIN_MS), second=st.integers(0, CLOSE_WITHIN_MS), later=st.integers(0, 10**9))
def test_both_moments_are_drawn_once_and_the_old_id_ends_after_every_new_one_has_come(first, second, later):
    """The last to come comes before the first that goes: the order of the two tells nothing."""
    start_ms = at("2026-02-01T00:00")
    draws = iter((first, second))
    found = drawn(Period(period="2026-01"), start_ms, "UTC", lambda n: next(draws))
    assert start_ms <= found.open_ms <= start_ms + OPEN_WITHIN_MS < start_ms + CLOSE_FROM_MS <= found.close_ms
    assert drawn(found, start_ms + later, "UTC", lambda n: 0) == found
    assert due(found, found.open_ms)
    assert not due(found, found.open_ms - 1)


def test_a_home_that_was_away_for_months_turns_to_the_period_of_today():
    known = Period(period="2026-01", turning_to="2026-02", open_ms=1, close_ms=2)
    assert drawn(known, at("2026-05-03T00:00"), "UTC", lambda n: 0).turning_to == "2026-05"
