"""What a home accepts: exactly what it was told over OpenADR, on a baseline it computes itself, within its limits."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from contracts.baseline import TEN_OF_TEN, LikeDay, commit
from forecasting.calendar import SiteCalendar
from tests.builders import START_MS, a_baseline, a_dr_event, device_terms
from tests.ven.homes import DAY_MS, STEP_MS, UTC, a_stored_contract, a_stored_event
from ven.account.proposal import Accept, Reject, View, Wait, judge
from ven.home.baseline import recompute
from ven.home.owner import Owner
from ven.home.store import ContractState

HISTORY = {START_MS - n * STEP_MS: 400 + 7 * (n % 96) + n // 96 for n in range(1, 30 * 96)}
"""30 days, each quarter of an hour and each day with another value."""

HONEST = recompute(HISTORY, UTC, device_terms(), ())


def proposal(**given):
    return a_stored_contract(terms=device_terms(**{"baseline": HONEST, **given}), state=ContractState.PROPOSED)


def a_view(**given) -> View:
    defaults = {
        "now_ms": START_MS - 3_600_000,
        "owner": Owner(),
        "calendar": UTC,
        "max_shed_w": 1500,
        "interval_s": 900,
        "event": a_stored_event(),
        "readings_wh": HISTORY,
        "reported_from_ms": None,
        "event_days": (),
        "agreed": (),
    }
    return View(**{**defaults, **given})


def code(verdict) -> str:
    assert isinstance(verdict, Reject), verdict
    return verdict.code


def test_terms_that_fit_the_event_the_owner_and_the_meter_are_accepted():
    assert judge(proposal(), a_view()) == Accept()


def test_the_recomputed_baseline_is_the_plain_mean_of_the_last_ten_like_days():
    """1 January 2026 is a Thursday: the ten working days before it end with 31 December."""
    days = [date(2025, 12, day) for day in (31, 30, 29, 26, 25, 24, 23, 22, 19, 18)]
    curve = []
    for slot in range(4):
        values = [HISTORY[START_MS - (date(2026, 1, 1) - day).days * DAY_MS + slot * STEP_MS] for day in days]
        curve.append(sum(values) // 10)
    assert HONEST.curve_wh == tuple(curve)
    assert HONEST.adjustment_start_ms == START_MS - 4 * 3_600_000


def test_a_holiday_is_no_like_day_on_either_side():
    calendar = SiteCalendar("UTC", frozenset({date(2025, 12, 25), date(2025, 12, 26)}))
    committed = recompute(HISTORY, calendar, device_terms(), ())
    assert committed != HONEST
    assert judge(proposal(baseline=committed), a_view(calendar=calendar)) == Accept()
    assert code(judge(proposal(), a_view(calendar=calendar))) == "baseline"


def test_a_day_under_contract_is_no_like_day():
    committed = recompute(HISTORY, UTC, device_terms(), {date(2025, 12, 30)})
    assert judge(proposal(baseline=committed), a_view(event_days={date(2025, 12, 30)})) == Accept()
    assert code(judge(proposal(), a_view(event_days={date(2025, 12, 30)}))) == "baseline"


@pytest.mark.parametrize(
    "forged",
    [
        {"curve_wh": tuple(value - 1 for value in HONEST.curve_wh)},
        {"adjustment_wh": tuple(value + 1 for value in HONEST.adjustment_wh)},
        {"history_digest": "0" * 64},
        {"adjustment_cap_percent": 50},
        {"preset_version": 2},
        {"preset": "other"},
        {"adjustment_start_ms": HONEST.adjustment_start_ms + STEP_MS},
    ],
)
def test_a_baseline_that_differs_in_anything_is_rejected(forged):
    assert code(judge(proposal(baseline=msgspec.structs.replace(HONEST, **forged)), a_view())) == "baseline"


def test_terms_without_a_baseline_are_rejected():
    assert code(judge(proposal(baseline=None), a_view())) == "baseline"


def test_one_wrong_reading_of_the_other_side_shows():
    theirs = HISTORY | {START_MS - DAY_MS: HISTORY[START_MS - DAY_MS] + 10}
    committed = recompute(theirs, UTC, device_terms(), ())
    assert code(judge(proposal(baseline=committed), a_view())) == "baseline"


def test_the_readings_both_hold_are_enough_when_the_other_side_asked_for_fewer():
    """The VTN asked for eight days back: it knows six like-days, the home more than ten."""
    from_ms = START_MS - 8 * DAY_MS
    shared = {start_ms: value for start_ms, value in HISTORY.items() if start_ms >= from_ms}
    committed = recompute(shared, UTC, device_terms(), ())
    assert committed != HONEST
    assert judge(proposal(baseline=committed), a_view(reported_from_ms=from_ms)) == Accept()
    assert code(judge(proposal(baseline=committed), a_view())) == "baseline"


def test_a_home_without_enough_history_rejects():
    few = {start_ms: value for start_ms, value in HISTORY.items() if start_ms >= START_MS - 4 * DAY_MS}
    verdict = judge(proposal(baseline=a_baseline()), a_view(readings_wh=few))
    assert code(verdict) == "baseline"
    assert "needs 5 eligible like-days" in verdict.reason


def test_an_event_that_is_not_the_one_named_is_rejected():
    other = a_stored_event(a_dr_event(priority=1))
    assert code(judge(proposal(), a_view(event=other))) == "event_mismatch"


def test_a_cancelled_or_vanished_event_is_rejected():
    assert code(judge(proposal(), a_view(event=a_stored_event(gone=True)))) == "event_cancelled"


def test_terms_outside_their_event_are_rejected():
    late = proposal(start_ms=START_MS + STEP_MS)
    assert code(judge(late, a_view())) == "time_frame"


def test_an_event_that_has_not_come_is_waited_for_but_not_past_the_deadline():
    contract = proposal()
    received_ms, accept_by_ms = contract.received_ms, contract.terms.accept_by_ms
    give_up_ms = received_ms + (accept_by_ms - received_ms) * 9 // 10
    assert judge(contract, a_view(event=None, now_ms=give_up_ms - 1)) == Wait(give_up_ms)
    assert code(judge(contract, a_view(event=None, now_ms=give_up_ms))) == "event_unknown"
    assert give_up_ms < accept_by_ms


def test_a_passed_deadline_is_left_alone():
    contract = proposal()
    assert judge(contract, a_view(now_ms=contract.terms.accept_by_ms)) == Accept()
    assert code(judge(contract, a_view(now_ms=contract.terms.accept_by_ms + 1))) == "deadline"


@pytest.mark.parametrize(
    "owner",
    [
        Owner(opt_out=True),
        Owner(max_shed_w=399),  # the terms ask for 100 Wh in a quarter of an hour: 400 W
        Owner(max_duration_s=3599),
        Owner(hours=(60, 120)),
        Owner(price_min_minor_per_mwh=100_001),
        Owner(deposit_max_minor=49),
    ],
)
def test_the_owners_limits_come_first(owner):
    assert code(judge(proposal(), a_view(owner=owner))) == "owner"


def test_the_owners_limits_are_met_exactly():
    owner = Owner(
        max_shed_w=400, max_duration_s=3600, hours=(0, 60), price_min_minor_per_mwh=100_000, deposit_max_minor=50
    )
    assert judge(proposal(), a_view(owner=owner)) == Accept()


def test_events_a_day_count_what_was_agreed():
    earlier = a_stored_contract("sc2-0", device_terms(start_ms=START_MS + 7_200_000))
    limited = Owner(max_events_per_day=1)
    assert code(judge(proposal(), a_view(owner=limited, agreed=[earlier]))) == "owner"
    assert judge(proposal(), a_view(agreed=[earlier])) == Accept()


def test_more_than_the_device_can_shed_is_rejected():
    assert code(judge(proposal(), a_view(max_shed_w=399))) == "device"


def test_intervals_the_meter_does_not_have_are_rejected():
    assert code(judge(proposal(), a_view(interval_s=1800))) == "device"


def test_two_contracts_in_one_time_are_rejected():
    assert code(judge(proposal(), a_view(agreed=[a_stored_contract("sc2-0")]))) == "device"


def test_the_reason_fits_its_record():
    assert len(Reject("owner", "x" * 500).text) == 200


def test_both_sides_commit_alike_from_the_same_days():
    """The commitment is the contracts' own function of like-days cut to the wall clock."""
    rows = [
        LikeDay(
            date=day.isoformat(),
            event_wh=tuple(HISTORY[START_MS - back * DAY_MS + n * STEP_MS] for n in range(4)),
            window_wh=tuple(HISTORY[START_MS - back * DAY_MS - 4 * 3_600_000 + n * STEP_MS] for n in range(12)),
        )
        for back in range(1, 30)
        if (day := date.fromordinal(date(2026, 1, 1).toordinal() - back)).weekday() < 5
        and START_MS - back * DAY_MS - DAY_MS > min(HISTORY)
    ]
    assert commit(TEN_OF_TEN, rows, START_MS) == HONEST
