"""From the forecast of the feeders to proposals: a limit that may be passed, and the event that is best for the day."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import numpy as np

from contracts.core.commands import RequestReduction
from contracts.core.units import MS_PER_S, charged_minor
from forecasting.errors import ForecastError
from runtime.logs import get_logger
from vtn.aggregator.gateway import member_of
from vtn.aggregator.ports import Member
from vtn.aggregator.virtual_nodes.members.candidacy import flexibility
from vtn.analytics.proposing.policies import Imbalance, Policy, bounds, imbalances
from vtn.analytics.proposing.policies import Proposal as Event
from vtn.analytics.proposing.policies import propose as best_event
from vtn.analytics.proposing.records import OPEN, Beyond, Proposal, Proposed, add, days_of
from vtn.analytics.proposing.scenarios import net_of, quantiles_of, scenario, signals_of
from vtn.analytics.runs import Run
from vtn.analytics.subjects import Subjects
from vtn.auth.audit import record
from vtn.config import VtnSettings
from vtn.context import Vtn
from vtn.services.programs import ProgramTerms
from vtn.services.vens import ENROLLED

ANY = "*"
"""In the limits: every area that has none of its own."""

_log = get_logger("vtn.proposals")


@dataclass(frozen=True)
class Limits:
    """Import and export an area bears, W; None where there is no limit."""

    import_w: int | None
    export_w: int | None


def limits_of(settings: VtnSettings, area: str) -> Limits:
    """Its own, or those of every area."""
    of_import, of_export = settings.proposal_import_w, settings.proposal_export_w
    return Limits(of_import.get(area, of_import.get(ANY)), of_export.get(area, of_export.get(ANY)))


async def proposed(vtn: Vtn, subject: Subjects, run: Run, day: date) -> list[str]:
    """Ids of new proposals for a local day of a run of the feeders; an area that has one for it gets no other.

    Raises BadReadings where the signals do not cover the day."""
    terms = (await vtn.programs.get(subject.program)).terms
    async with vtn.database.reading() as connection:
        had = await days_of(connection, subject.program, day.isoformat(), run.series)
    ids = []
    for area in run.series:
        limits = limits_of(vtn.settings, area)
        if area in had or area in run.refused or limits == Limits(None, None):
            continue
        found = await vtn.vens.list(area=area, status=ENROLLED)
        homes = [member_of(ven) for ven in found if ven.party is not None and ven.program == subject.program]
        proposal = await asyncio.to_thread(_of_area, vtn, subject, run, day, area, limits, homes, terms)
        if proposal is None:
            continue
        async with vtn.database.transaction() as connection:
            if await add(connection, proposal):
                await record(connection, "event_proposed", proposal.proposal_id, area=area, day=proposal.day)
                ids.append(proposal.proposal_id)
        _log.info("event proposed", proposal=proposal.proposal_id, area=area, reason=proposal.proposal.reason)
    return ids


def _of_area(
    vtn: Vtn,
    subject: Subjects,
    run: Run,
    day: date,
    area: str,
    limits: Limits,
    homes: Sequence[Member],
    terms: ProgramTerms,
) -> Proposal | None:
    settings, step_ms = vtn.settings, run.interval_s * MS_PER_S
    ends = [(subject.calendar.start_ms(each) - run.start_ms) // step_ms for each in (day, day + timedelta(days=1))]
    of_day = slice(max(ends[0], 0), max(ends[1], 0))
    net = net_of(run, area)[of_day]
    start_ms = run.start_ms + of_day.start * step_ms
    if not len(net) or np.isnan(net).any():
        raise ForecastError(f"the forecast of {area} does not reach {day}")
    hours = run.interval_s / 3600
    quantiles = {level: rows[of_day] for level, rows in quantiles_of(run, area).items()}
    import_wh, export_wh = (np.inf if w is None else w * hours for w in (limits.import_w, limits.export_w))
    beyond = imbalances(net, quantiles, import_wh, export_wh)
    beyond = [each for each in beyond if round(100 * each.chance_min) >= settings.proposal_chance_percent]
    if not beyond:
        return None
    signals = settings.proposal_signals
    given = None if signals is None else signals_of(signals, start_ms, run.interval_s, len(net))
    flexible, most_wh, rebound = _flexible(homes, terms, hours)
    chance = settings.proposal_chance_percent / 100
    what = scenario(
        net, run.interval_s, given, flexible=flexible, most_wh=most_wh, rebound=rebound,
        bounds=bounds(net, quantiles, chance, import_wh, export_wh),
    )  # fmt: skip
    event = best_event(what, Policy(settings.proposal_policy))
    target = [max(0, -round(wh)) for wh in event.change_wh[event.first : event.first + event.count]]
    if not any(target):
        _log.info("an imbalance that no event makes better", area=area, day=day.isoformat(), reason=event.reason)
        return None
    return _proposal(vtn, subject, run, day, area, limits, beyond, event, start_ms, target)


def _proposal(
    vtn: Vtn,
    subject: Subjects,
    run: Run,
    day: date,
    area: str,
    limits: Limits,
    beyond: Sequence[Imbalance],
    event: Event,
    start_ms: int,
    target: Sequence[int],
) -> Proposal:
    settings, step_ms = vtn.settings, run.interval_s * MS_PER_S
    name = hashlib.sha256(f"{subject.program} {area} {day}".encode()).hexdigest()[:8]
    price = settings.proposal_price_minor_per_mwh or 0
    request = RequestReduction(
        need_id=f"need-{day}-{name}",
        aggregator=vtn.party,
        area=area,
        start_ms=start_ms + event.first * step_ms,
        interval_s=run.interval_s,
        target_wh=tuple(target),
        energy_price_minor_per_mwh=price,
        budget_minor=charged_minor(sum(target) * settings.proposal_budget_percent // 100, price),
    )
    worst = max(beyond, key=lambda each: (each.chance_min, each.beyond_wh))
    per_hour = 3600 / run.interval_s
    made = Proposed(
        run_id=run.run_id,
        model=run.model,
        issued_at_ms=run.issued_at_ms,
        known_until_ms=run.known_until_ms,
        import_w=limits.import_w,
        export_w=limits.export_w,
        beyond=tuple(
            Beyond(
                start_ms + each.position * step_ms, round(each.beyond_wh * 3600 / run.interval_s, 1), each.chance_min
            )
            for each in beyond
        ),
        policy=str(event.policy),
        signals="" if settings.proposal_signals is None else settings.proposal_signals.name,
        from_ms=start_ms,
        change_wh=tuple(round(each, 1) for each in event.change_wh),
        figures=asdict(event.figures),
        without=asdict(event.without),
        reason=f"{area} may pass its limit in {len(beyond)} intervals, by {worst.beyond_wh * per_hour:.0f} W with a "
        f"chance of {worst.chance_min:.0%} at least; {event.reason}",
        request=request,
    )
    return Proposal(
        proposal_id=f"event-{day}-{name}",
        program=subject.program,
        area=area,
        day=day.isoformat(),
        state=OPEN,
        expires_ms=request.start_ms - settings.proposal_notice_s * MS_PER_S,
        made_ms=vtn.clock.now_ms(),
        decided_ms=None,
        decided_by="",
        note="",
        proposal=made,
    )


def _flexible(homes: Sequence[Member], terms: ProgramTerms, hours: float) -> tuple[float, float, float]:
    """Share of the load that can be shed, Wh an interval at most, and how much of it comes back: what is offered of the
    homes, as an aggregator would count on it."""
    envelopes = [flexibility(home) for home in homes]
    counted = terms.derate_percent / 100 * (100 - min(terms.reserve_percent, 100)) / 100
    power_w = sum(each.down_w for each in envelopes)
    if not power_w:
        return 0.0, 0.0, 0.0
    energy_wh = sum(each.energy_wh for each in envelopes)
    share = (
        sum(home.flexible_percent * each.down_w for home, each in zip(homes, envelopes, strict=True)) / power_w / 100
    )
    back = sum(each.rebound_percent * each.energy_wh for each in envelopes) / energy_wh / 100 if energy_wh else 0.0
    return share * counted, power_w * counted * hours, min(back, 2.0)
