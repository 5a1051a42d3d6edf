"""What a virtual node knows of a member before calling it: baseline, forecast, what it can shed, reliability."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import date

import msgspec

from contracts.baseline import PRESETS, InsufficientHistory, LikeDay, commit, window_start_ms
from contracts.core.commands import BaselineCommitment
from contracts.core.units import MS_PER_S
from forecasting.likedays import like_day_slots
from vtn.aggregator.dispatch import BASIS_POINTS, Candidate
from vtn.aggregator.ports import HomeForecast, Member
from vtn.aggregator.virtual_nodes.members.track import TrackRecord
from vtn.flexibility.calls import Allowance, CallLimits, allowance, weariness
from vtn.flexibility.envelope import Envelope, Moment, declared, envelope_of, profile_wh, tireless
from vtn.services.programs import ProgramTerms

SILENT_AFTER_INTERVALS = 4
_DEVIATIONS_BETWEEN = 2.563


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """A member with its candidacy; `baseline` is None when the candidate is excluded for want of one."""

    member: Member
    candidate: Candidate
    baseline: BaselineCommitment | None


def evaluate(
    member: Member,
    readings_wh: Mapping[int, int],
    program: ProgramTerms,
    track: TrackRecord,
    *,
    need_id: str,
    need_start_ms: int,
    start_ms: int,
    count: int,
    now_ms: int,
    engaged: bool,
    forecast: HomeForecast | None,
    unavailable: str = "",
    mean_calls: float = 0.0,
    planned: Collection[date] = (),
) -> Evaluation:
    """Can this member be called for `count` intervals from `start_ms`, with how much, and on which baseline?
    `forecast`: of these intervals, None without any reading; `mean_calls`: what its group has been called this season;
    `planned`: days for which it is asked and has not answered yet."""
    learnt = track.learnt(member.party)
    envelope = flexibility(member, _moment(program, start_ms, count))
    accept_by_ms = min(now_ms + program.accept_window_s * MS_PER_S, start_ms)
    answers = track.answers(member.party, track.call(member.party, start_ms, accept_by_ms))
    made = track.calls(member.party, program.calendar.day_of(start_ms), member.events_per_week_max, planned)
    left = allowance(made, call_limits(program), mean_calls)
    excluded, baseline, spread = "", None, learnt.spread
    available: tuple[int, ...] = (0,) * count
    rested: tuple[int, ...] = ()
    try:
        baseline = committed_baseline(
            readings_wh, program, track.event_days(member.party), need_start_ms, start_ms, count
        )
    except InsufficientHistory as error:
        excluded = f"no baseline: {error}"
    if forecast is None:
        excluded = excluded or "no baseline: no reading had ended when it was asked for"
    elif baseline is not None:
        # What a home gives is known better after a few events; it is never asked for more than its owner allows.
        derate = int(program.derate_percent * min(1.0, learnt.part))
        available, rested = shed(forecast.values_wh, envelope, member.flexible_percent, program.interval_s, derate)
        unsure = load_spread(forecast, available, envelope, member.flexible_percent, program.interval_s)
        spread = math.hypot(spread, unsure)
    silent_from_ms = now_ms - SILENT_AFTER_INTERVALS * program.interval_s * MS_PER_S
    if unwanted := _unwanted(engaged, unavailable, track.declined(member.party, need_id), left):
        excluded = unwanted
    elif not excluded and max(readings_wh, default=0) < silent_from_ms:
        excluded = f"silent: no reading in the last {SILENT_AFTER_INTERVALS} intervals"
    elif not excluded and sum(available) < program.call_wh_min:
        excluded = f"forecast leaves {sum(available)} Wh to shed, a call is worth {program.call_wh_min} Wh at least"
    candidate = Candidate(
        candidate=member.ven_id,
        available_wh=available,
        forecast_wh=0 if forecast is None else int(sum(forecast.values_wh)),
        price_minor_per_mwh=program.device_price_minor_per_mwh,
        reliability_bp=track.reliability_bp(member.party, program),
        excluded=excluded,
        answers_bp=int(answers * BASIS_POINTS),
        spread_bp=int(min(1.0, spread) * BASIS_POINTS),
        comfort_minor=envelope.comfort_minor * count * program.interval_s // 3600,
        weariness_bp=int(weariness(made, call_limits(program)) * BASIS_POINTS),
        forecast_basis="" if forecast is None else forecast.basis,
        at_wh=rested,
        energy_wh=sum(available) if rested else 0,
        rebound_percent=envelope.rebound_percent,
        rebound_intervals=-(-envelope.rebound_s // program.interval_s),
    )
    return Evaluation(member=member, candidate=candidate, baseline=baseline)


def _unwanted(engaged: bool, unavailable: str, declined: bool, left: Allowance) -> str:
    """Why it is not called whatever it could give, or ""."""
    if engaged:
        return "under contract in this time already"
    if unavailable or declined:
        return unavailable or "declined this need already"
    return "" if left.calls else left.reason


def shed(
    load_wh: Sequence[float], envelope: Envelope, flexible_percent: int, interval_s: int, derate_percent: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a call from the first interval on is asked for; and, where its energy ends before the event, what a home
    that was not called before would be asked for in each interval."""
    called, rested = (
        tuple(wh * derate_percent // 100 for wh in profile_wh(each, load_wh, flexible_percent, interval_s))
        for each in (envelope, tireless(envelope))
    )
    return called, rested if rested != called else ()


def load_spread(
    forecast: HomeForecast, asked_wh: Sequence[int], envelope: Envelope, flexible_percent: int, interval_s: int
) -> float:
    """Coefficient of variation of what it gives of `asked_wh` because its load is not known.

    It gives no more than it is asked for: between the quantiles 0.1 and 0.9 of the load, 2.56 deviations of a normal
    error, lies what it cannot give at the lower one. 0 where its devices are the limit, or without quantiles."""
    if not forecast.low_wh or not any(asked_wh):
        return 0.0
    least = profile_wh(envelope, forecast.low_wh, flexible_percent, interval_s)
    missing = sum(max(0, asked - wh) for asked, wh in zip(asked_wh, least, strict=True))
    return missing / (_DEVIATIONS_BETWEEN * sum(asked_wh))


def call_limits(program: ProgramTerms) -> CallLimits:
    """How often a home of the programme may be called."""
    return CallLimits(
        day=program.calls_per_day,
        week=program.calls_per_week,
        season=program.calls_per_season,
        fair_extra=program.calls_above_mean,
    )


def flexibility(member: Member, at: Moment | None = None) -> Envelope:
    """What its devices can do together (at a time), within what its owner offers; of a home that names none, that
    alone."""
    if not member.devices:
        return declared(member.flexible_w)
    found = envelope_of(member.devices, at)
    return msgspec.structs.replace(found, down_w=min(found.down_w, member.flexible_w))


def _moment(program: ProgramTerms, start_ms: int, count: int) -> Moment:
    return Moment(start_ms=start_ms, end_ms=start_ms + count * program.interval_s * MS_PER_S, zone=program.zone)


def committed_baseline(
    readings_wh: Mapping[int, int],
    program: ProgramTerms,
    event_days: Collection[date],
    need_start_ms: int,
    start_ms: int,
    count: int,
) -> BaselineCommitment:
    """The baseline for `count` intervals from `start_ms` of a need that starts at `need_start_ms`.

    Raises InsufficientHistory."""
    preset = PRESETS[program.baseline_preset]
    step_ms = program.interval_s * MS_PER_S
    window_ms = window_start_ms(preset, need_start_ms)
    window = [window_ms + n * step_ms for n in range(preset.window_s // program.interval_s)]
    starts: Sequence[int] = [start_ms + n * step_ms for n in range(count)]
    rows = like_day_slots(
        readings_wh,
        program.calendar,
        program.interval_s,
        [*starts, *window],
        event_start_ms=need_start_ms,
        look_back_days=preset.lookback_days,
        excluded=event_days,
    )
    days = [LikeDay(date=day.isoformat(), event_wh=row[:count], window_wh=row[count:]) for day, row in rows]
    return commit(preset, days, need_start_ms)
