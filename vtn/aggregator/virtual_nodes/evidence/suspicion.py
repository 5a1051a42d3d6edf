"""What a home's readings cannot well have measured: exact checks, shown to the operator, deciding nothing.

    range      more than its connection carries
    frozen     the same value again and again
    replay     an earlier day's readings once more
    copied     its baseline less its obligation, to the watt-hour
    export     it feeds in, and never did before

A plausible delivery that was made up cannot be told from a real one by one home's load (analytics.md, section 4), so
nobody is left out, judged or paid less for these words; readings beyond the connection count as none anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.core.commands import Terms
from contracts.core.units import MS_PER_S
from vtn.aggregator.virtual_nodes.evidence.watched import Watched

HISTORY_DAYS = 7
DAY_MS = 86_400_000
#: quarter-hours are often quarters of a measured hour: four alike say nothing
FROZEN_INTERVALS = 6
#: so many intervals alike with another day, or with what was to be delivered, are no coincidence
ALIKE_INTERVALS = 4


def suspicions(terms: Terms, readings_wh: Mapping[int, int]) -> tuple[str, ...]:
    """What is odd about the readings (interval start ms -> Wh) of a contract's window, held against those of the days
    before it; in words without a value, or nothing."""
    step_ms = terms.interval_s * MS_PER_S
    starts = [terms.start_ms + n * step_ms for n in range(len(terms.obligation_wh))]
    told = {start: readings_wh[start] for start in starts if start in readings_wh}
    before = [value for start, value in readings_wh.items() if start < terms.start_ms]
    found = []
    if beyond := sum(abs(value) > terms.meter_limit_wh for value in told.values()):
        found.append(f"{beyond} readings beyond what its connection carries")
    if (alike := _longest_run(list(told.values()))) >= FROZEN_INTERVALS:
        found.append(f"the same value in {alike} intervals")
    for days in range(1, HISTORY_DAYS + 1):
        earlier = [readings_wh.get(start - days * DAY_MS) for start in told]
        if len(told) >= ALIKE_INTERVALS and earlier == list(told.values()) and len(set(earlier)) > 1:
            found.append(f"the readings of {days} days before once more")
    if _copies(terms, readings_wh, told):
        found.append("exactly its baseline less what it was asked for")
    exports = sum(-terms.meter_limit_wh <= value < 0 for value in told.values())
    if exports and before and min(before) >= 0:
        found.append(f"it feeds in in {exports} intervals, and never did before")
    return tuple(found)


def _longest_run(values: Sequence[int]) -> int:
    """The longest row of one value, zero apart: a home may be empty, or its meter stand on what PV covers."""
    longest = run = 0
    previous: int | None = None
    for value in values:
        run = run + 1 if value == previous and value else 1 if value else 0
        previous, longest = value, max(longest, run)
    return longest


def _copies(terms: Terms, readings_wh: Mapping[int, int], told: Mapping[int, int]) -> bool:
    if terms.baseline is None or len(told) < ALIKE_INTERVALS:
        return False
    home = Watched(contract_id="", device="", terms=terms, readings_wh=readings_wh, opted_out=False)
    step_ms = terms.interval_s * MS_PER_S
    curves = ((start - terms.start_ms) // step_ms for start in told)
    expected = [terms.baseline.curve_wh[n] - terms.obligation_wh[n] for n in curves]
    found = list(told.values())
    return any(found == [value + shift for value in expected] for shift in {0, home.adjustment()})
