"""What the homes can give, seen from the utility's side: enough for a need or not, and what they usually draw.

    flexible power of the homes that can be called, less what is kept in reserve and what other needs claim

This is an upper bound: a need within it may still be covered in part, which its virtual nodes decide with forecasts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from contracts.core.commands import RequestReduction
from contracts.core.units import MS_PER_S
from contracts.demand_response.needs import PORTFOLIO
from forecasting.errors import ForecastError
from forecasting.naive import SeasonalNaive
from forecasting.series import IntervalSeries
from vtn.aggregator.records import AggregatorRecords
from vtn.aggregator.terms import request_end_ms
from vtn.context import Vtn
from vtn.services.programs import Program
from vtn.services.vens import ENROLLED, Ven
from vtn.upstream import records
from vtn.upstream.mapping import Wanted
from vtn.upstream.reports.sums import sums

_DAY_MS = 86_400_000


class Capacity:
    """The homes of one program. `area`: a feeder, or "portfolio" for all."""

    def __init__(self, vtn: Vtn, program: Program) -> None:
        self._vtn = vtn
        self._program = program

    async def homes(self, area: str) -> list[Ven]:
        """Homes that can be called: with a ledger party, in a virtual node."""
        found = await self._vtn.vens.list(area=None if area == PORTFOLIO else area, status=ENROLLED)
        return [
            ven
            for ven in found
            if ven.program == self._program.name and ven.party is not None and ven.virtual_node is not None
        ]

    async def lacking(self, wanted: Wanted, area: str, *, but: Collection[str] = ()) -> str:
        """Why the homes cannot give what is wanted; empty if they may. What the needs `but` claim is let go."""
        terms = self._program.terms
        flexible_w = sum(ven.resource.flexible_w for ven in await self.homes(area))
        offered_w = flexible_w * terms.derate_percent * (100 - min(terms.reserve_percent, 100)) // 10_000
        claims = [each for each in await self._claims(area) if each.need_id not in but]
        for start_ms, wh in zip(wanted.starts_ms, wanted.target_wh, strict=True):
            end_ms = start_ms + wanted.interval_s * MS_PER_S
            free_wh = offered_w * wanted.interval_s // 3600 - sum(_within(each, start_ms, end_ms) for each in claims)
            if wh > free_wh:
                at = datetime.fromtimestamp(start_ms / MS_PER_S, UTC).strftime("%Y-%m-%dT%H:%MZ")
                free = f"{max(free_wh, 0)} Wh free of {offered_w} W"
                return f"{wh} Wh asked for in the interval at {at}, the homes have {free}"
        return ""

    async def usual_wh(self, area: str, starts_ms: Sequence[int]) -> list[int] | None:
        """What the homes usually draw in these intervals: the mean of the last like days; None without history."""
        if not starts_ms:
            return []
        terms, now_ms = self._program.terms, self._vtn.clock.now_ms()
        step_ms = terms.interval_s * MS_PER_S
        node = None if area == PORTFOLIO else area
        async with self._vtn.database.reading() as connection:
            from_ms = now_ms - terms.history_days * _DAY_MS
            found = await sums(connection, self._program.name, terms.interval_s, from_ms, now_ms, area=node)
        readings: dict[int, float] = {}
        for each in found:
            readings[each.start_ms] = readings.get(each.start_ms, 0) + each.energy_wh
        first, last = min(starts_ms), max(starts_ms)
        try:
            fitted = SeasonalNaive().fit(IntervalSeries(terms.interval_s, readings), terms.calendar)
            forecast = fitted.forecast(first, (last - first) // step_ms + 1, min(now_ms, first))
        except ForecastError:
            return None
        return [max(0, int(forecast.values[(start_ms - first) // step_ms])) for start_ms in starts_ms]

    async def _claims(self, area: str) -> list[RequestReduction]:
        """Other needs that hold homes of this area."""
        async with self._vtn.database.reading() as connection:
            own = await records.list_needs(connection, records.REQUESTED, records.TAKEN)
        seen = await AggregatorRecords(self._vtn.database).open_needs()
        claims = {each.need_id: each for each in [*seen, *(need.request for need in own)]}
        return [each for each in claims.values() if PORTFOLIO in (area, each.area) or each.area == area]


def _within(request: RequestReduction, start_ms: int, end_ms: int) -> int:
    """Wh of a need between two moments, spread evenly over each of its intervals."""
    if request_end_ms(request) <= start_ms or request.start_ms >= end_ms:
        return 0
    step_ms, total = request.interval_s * MS_PER_S, 0
    for n, wh in enumerate(request.target_wh):
        from_ms = request.start_ms + n * step_ms
        overlap_ms = min(end_ms, from_ms + step_ms) - max(start_ms, from_ms)
        if overlap_ms > 0:
            total += wh * overlap_ms // step_ms
    return total
