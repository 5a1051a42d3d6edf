"""What a virtual node knows of a member before it calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from contracts.baseline import InsufficientHistory
from contracts.core import facts
from tests.vtn.aggregator.test_monitoring import some_terms
from vtn.aggregator.ports import HomeForecast, Member
from vtn.aggregator.virtual_nodes.members import group
from vtn.aggregator.virtual_nodes.members.candidacy import Evaluation, committed_baseline, evaluate
from vtn.aggregator.virtual_nodes.members.forecasts import NaiveForecasts, naive_forecast
from vtn.aggregator.virtual_nodes.members.track import TrackRecord
from vtn.flexibility.envelope import Device, Kind
from vtn.services.programs import ProgramTerms

TERMS = ProgramTerms(zone="Europe/Paris")
STEP_MS = 900_000
EVENT_MS = int(datetime(2026, 3, 19, 16, tzinfo=UTC).timestamp() * 1000)
"""Thursday 17:00 in Paris, ten days before the clocks change."""
NOW_MS = EVENT_MS - 3_600_000


def readings(days: int, wh: int = 400, until_ms: int = NOW_MS) -> dict[int, int]:
    return dict.fromkeys(range(until_ms - days * 86400000, until_ms, STEP_MS), wh)


def a_member(**changes: object) -> Member:
    fields = {"ven_id": "ven-1", "ven_name": "home", "party": "dev-1", "area": "F1", "flexible_w": 2000}
    return Member(**{**fields, "flexible_percent": 50, **changes})  # type: ignore[arg-type]


def evaluated(
    wh: dict[int, int],
    track: TrackRecord | None = None,
    engaged: bool = False,
    forecast: HomeForecast | None = None,
    planned: Sequence[date] = (),
    **changes: object,
) -> Evaluation:
    track = track or TrackRecord(TERMS.calendar)
    member = a_member(**changes)
    days = track.event_days(member.party)
    return evaluate(
        member,
        wh,
        TERMS,
        track,
        forecast=forecast or naive_forecast(wh, days, TERMS.calendar, 900, EVENT_MS, 4, NOW_MS),
        need_id="need-1",
        need_start_ms=EVENT_MS,
        start_ms=EVENT_MS,
        count=4,
        now_ms=NOW_MS,
        engaged=engaged,
        planned=planned,
    )


def test_a_home_with_history_offers_its_derated_flexible_part() -> None:
    """400 Wh an interval, half flexible, 80 % of that: 160 Wh; the baseline is the constant load."""
    found = evaluated(readings(20))
    assert found.candidate.available_wh == (160,) * 4
    assert found.candidate.excluded == ""
    assert found.baseline is not None
    assert found.baseline.curve_wh == (400,) * 4


@pytest.mark.parametrize(
    ("wh", "reason"),
    [
        (readings(3), "no baseline"),
        ({}, "no baseline"),
        (readings(20, until_ms=NOW_MS - 5 * STEP_MS), "silent"),
        (readings(20, wh=10), "Wh to shed"),
        (readings(20, wh=-300), "Wh to shed"),
    ],
)
def test_a_home_that_cannot_help_is_excluded_with_the_reason(wh: dict[int, int], reason: str) -> None:
    assert reason in evaluated(wh).candidate.excluded


def test_a_home_under_contract_or_one_that_declined_is_not_asked_again() -> None:
    assert "under contract" in evaluated(readings(20), engaged=True).candidate.excluded
    track = TrackRecord(TERMS.calendar)
    terms = some_terms()
    track.observe(facts.DRSetUp(contract_id="sc2", parent="sc1", payer="vn", payee="dev-1", terms=terms))
    track.observe(
        facts.ReductionRejected(contract_id="sc2", parent="sc1", payer="vn", payee="dev-1", reason="owner: no")
    )
    assert "declined" in evaluated(readings(20), track).candidate.excluded


def test_days_under_contract_are_no_like_days() -> None:
    """An evening of 0 Wh under contract last Tuesday does not lower the baseline; without the contract it does."""
    tuesday = datetime.fromtimestamp(EVENT_MS / 1000, UTC) - timedelta(days=2)
    start_ms = int(tuesday.timestamp() * 1000)
    wh = readings(20) | {start_ms + n * STEP_MS: 0 for n in range(4)}
    assert committed_baseline(wh, TERMS, (), EVENT_MS, EVENT_MS, 4).curve_wh == (360,) * 4
    track = TrackRecord(TERMS.calendar)
    terms = some_terms(start_ms=start_ms)
    track.observe(facts.DRSetUp(contract_id="sc2", parent="sc1", payer="vn", payee="dev-1", terms=terms))
    track.observe(
        facts.ReductionAccepted(contract_id="sc2", parent="sc1", payer="vn", payee="dev-1", terms_digest="0" * 64)
    )
    assert committed_baseline(wh, TERMS, track.event_days("dev-1"), EVENT_MS, EVENT_MS, 4).curve_wh == (400,) * 4


def test_too_little_history_says_how_much_there_is() -> None:
    with pytest.raises(InsufficientHistory, match="needs 5 eligible like-days"):
        committed_baseline(readings(4), TERMS, (), EVENT_MS, EVENT_MS, 4)


def settled(contract_id: str, delivered_wh: int, outcome: str = "success", missing: int = 0) -> list[facts.Fact]:
    """A contract of dev-1 from its proposal to its end."""
    terms = some_terms(start_ms=EVENT_MS - 86_400_000)
    names = {"contract_id": contract_id, "parent": "sc1", "payer": "vn", "payee": "dev-1"}
    return [
        facts.DRSetUp(**names, terms=terms),
        facts.ReductionAccepted(**names, terms_digest="0" * 64),
        facts.DRSettled(
            **names, outcome=outcome, obligation_wh=400, delivered_wh=delivered_wh, shortfall_wh=0, missing=missing,
            adjustment_wh=0,
        ),
    ]  # fmt: skip


def a_track(*happened: facts.Fact, released: tuple[str, ...] = ()) -> TrackRecord:
    track = TrackRecord(TERMS.calendar)
    track.release(released)
    for fact in happened:
        track.observe(fact)
    return track


def test_a_home_that_gives_half_of_its_offers_is_asked_for_less() -> None:
    """Five events with half of what was offered: its part falls below 0.75, and so does what it is asked for."""
    track = a_track(*(fact for n in range(5) for fact in settled(f"sc2-{n}", 200)))
    found = evaluated(readings(20), track)
    assert track.learnt("dev-1").part < 0.75
    assert 80 <= found.candidate.available_wh[0] < 120


def test_silence_and_release_say_nothing_of_what_a_home_gives() -> None:
    silent = a_track(*settled("sc2-1", 0, outcome="failure", missing=2))
    assert silent.learnt("dev-1").part == 1.0
    released = a_track(*settled("sc2-1", 50, outcome="failure"), released=("sc2-1",))
    assert released.learnt("dev-1").part == 1.0
    assert released.reliability_bp("dev-1", TERMS) == TERMS.reliability_prior_bp


def test_a_rejected_call_makes_the_next_answer_less_likely() -> None:
    names = {"contract_id": "sc2-1", "parent": "sc1", "payer": "vn", "payee": "dev-1"}
    setup = facts.DRSetUp(**names, terms=some_terms())
    rejected = facts.ReductionRejected(**names, reason="busy")
    before, after = evaluated(readings(20)), evaluated(readings(20), a_track(setup, rejected))
    assert after.candidate.answers_bp < before.candidate.answers_bp


def test_calls_of_day_and_week_keep_a_home_out() -> None:
    """Contracts on the day before count for the week, not for the day."""
    six = [fact for n in range(6) for fact in settled(f"sc2-{n}", 400)]
    assert evaluated(readings(20), a_track(*six)).candidate.excluded == ""
    found = evaluated(readings(20), a_track(*six), events_per_week_max=6).candidate
    assert found.excluded == "its calls of the week are used up"


def test_a_call_that_is_not_answered_yet_counts() -> None:
    """Two needs of one day that come together would both call a home that is to be called once."""
    track, day = a_track(), TERMS.calendar.day_of(EVENT_MS)
    assert (track.calls("dev-1", day).day, track.calls("dev-1", day, planned=[day]).day) == (0, 1)
    found = evaluated(readings(20), events_per_week_max=1, planned=[day - timedelta(days=2)]).candidate
    assert found.excluded == "its calls of the week are used up"


def test_calls_of_later_days_count_in_the_weeks_they_share() -> None:
    """The needs of Thursday to Sunday are there before that of Wednesday: the week that ends on Sunday holds five."""
    wednesday = date(2026, 3, 18)
    later = [wednesday + timedelta(days=n) for n in range(1, 5)]
    assert a_track().calls("dev-1", wednesday, planned=later).week == 4
    assert a_track().calls("dev-1", wednesday, planned=[wednesday + timedelta(days=7)]).week == 0
    spread = [wednesday - timedelta(days=6), wednesday + timedelta(days=6)]
    assert a_track().calls("dev-1", wednesday, planned=spread).week == 1


def test_what_shifts_and_for_how_long_comes_from_the_devices_a_home_names() -> None:
    """A heater of 800 W sheds 200 Wh a quarter-hour, 160 derated; 300 Wh to go without end in the second."""
    heater = Device(kind=Kind.WATER_HEATER, power_w=800, energy_wh=300)
    found = evaluated(readings(20, wh=1_000), devices=(heater,)).candidate
    assert found.available_wh == (160, 80, 0, 0)
    assert evaluated(readings(20, wh=1_000), devices=(heater,), flexible_w=400).candidate.available_wh[0] == 80


@pytest.mark.parametrize(("flexible_w", "spread"), [(20_000, 60 / 160 / 2.563), (400, 0.0)])
def test_a_load_that_is_hard_to_tell_counts_where_it_is_what_limits_the_home(flexible_w: int, spread: float) -> None:
    """80 % of half of 400 Wh is asked for; at the quantile 0.1 there are 100 of these 160 Wh, 2.56 deviations away. A
    device of 400 W gives its 100 Wh in any case."""
    load = HomeForecast(values_wh=(400.0,) * 4, low_wh=(200.0,) * 4, high_wh=(600.0,) * 4, model="m", reason="why")
    known = evaluated(readings(20), flexible_w=flexible_w).candidate
    unsure = evaluated(readings(20), flexible_w=flexible_w, forecast=load).candidate
    assert (unsure.spread_bp / 10_000) ** 2 == pytest.approx((known.spread_bp / 10_000) ** 2 + spread**2, abs=0.002)
    assert unsure.available_wh == known.available_wh
    assert unsure.forecast_basis == "m: why"


# ---- one home that says what cannot be: it alone is not called, and no other notices

Wh = dict[int, int]


async def of_group(wh: dict[str, Wh]) -> dict[str, Evaluation]:
    members = [a_member(ven_id=each, party=each) for each in wh]
    found = await group.evaluated(
        members, wh, TERMS, TrackRecord(TERMS.calendar), NaiveForecasts(), need_id="need-1",
        need_start_ms=EVENT_MS, start_ms=EVENT_MS, count=4, now_ms=NOW_MS, engaged=(), unavailable={},
    )  # fmt: skip
    return {each.candidate.candidate: each for each in found}


@pytest.mark.parametrize(
    "lies",
    [
        lambda wh: dict.fromkeys(wh, 9 * 10**18),
        lambda wh: dict.fromkeys(wh, -(9 * 10**18)),
        lambda wh: {at: 9 * 10**18 * (1 if at // STEP_MS % 2 else -1) for at in wh},
        lambda wh: dict.fromkeys(wh, 10**9),
    ],
    ids=["more than the ledger counts", "less", "both", "a power station"],
)
async def test_readings_no_meter_can_have_made_exclude_one_home_and_not_its_group(lies: Callable[[Wh], Wh]) -> None:
    """The baseline of such readings was none the ledger's codec takes: the whole need was called by nobody."""
    found = await of_group({"liar": lies(readings(20)), "other": readings(20)})
    assert found["liar"].candidate.excluded.startswith("no baseline")
    assert (found["other"].candidate.excluded, found["other"].candidate.available_wh) == ("", (160,) * 4)


async def test_one_reading_that_cannot_be_is_left_out_of_a_home_s_baseline() -> None:
    wh = readings(20)
    wh[EVENT_MS - 86_400_000] = 10**17
    found = (await of_group({"glitch": wh}))["glitch"]
    assert found.baseline is not None
    assert found.baseline.curve_wh == (400,) * 4


async def test_whatever_goes_wrong_with_one_home_the_others_are_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(member: Member, *given: object, **named: object) -> Evaluation:
        if member.ven_id == "odd":
            raise OverflowError("of a kind nobody thought of")
        return evaluate(member, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(group, "evaluate", fails)
    found = await of_group({"odd": readings(20), "other": readings(20)})
    assert "nobody thought of" in found["odd"].candidate.excluded
    assert found["other"].candidate.excluded == ""
