"""What the utility may be shown, and its values: sums over at least five homes, never a difference that shows fewer.

    portfolio     everybody in the program         ─┬─ energy per interval     TELEMETRY_USAGE, HISTORY_USAGE
    vn-F1, ..     one virtual node                 ─┘  does it report?         TELEMETRY_STATUS
    delivered     reduction of needs, as settled                               HISTORY_USAGE

Who knows the sum of all and those of the virtual nodes knows that of the rest. So where the rest would be fewer than
five homes, in an interval or altogether, the sum of all is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from contracts.core.units import MS_PER_S
from openadr.model import Reading, Target, Unit
from openadr.v2 import OadrReport, ReportDescription, SamplingRate
from vtn.auth.permissions import AGGREGATED_HOMES_MIN, Access, Role, Subject, access
from vtn.upstream.records import UpstreamNeed
from vtn.upstream.reports.sums import Sum

PORTFOLIO, DELIVERED = "portfolio", "delivered"
USAGE, HISTORY, STATUS = "usage", "history", "status"
NAMES = {USAGE: "TELEMETRY_USAGE", HISTORY: "HISTORY_USAGE", STATUS: "TELEMETRY_STATUS"}
"""reportSpecifierID -> name of the report."""
_DAY_S = 86_400


class Points(msgspec.Struct, frozen=True):
    """The data points that may be shown: `nodes`, virtual nodes; `portfolio`, the sum of all."""

    nodes: tuple[str, ...]
    portfolio: bool

    def r_ids(self, specifier: str) -> tuple[str, ...]:
        """The rIDs of a report; none where nothing may be shown."""
        shown = ((PORTFOLIO,) if self.portfolio else ()) + self.nodes
        return (*shown, DELIVERED) if specifier == HISTORY and shown else shown


def showable(members: Mapping[str | None, int]) -> Points:
    """What may be shown of virtual nodes with so many homes (None: homes in none)."""
    if access(Role.UTILITY, Subject.AGGREGATED_READINGS) is not Access.ALL:
        return Points((), False)
    nodes = tuple(sorted(node for node, homes in members.items() if node and homes >= AGGREGATED_HOMES_MIN))
    rest = sum(homes for node, homes in members.items() if node not in nodes)
    return Points(nodes, sum(members.values()) >= AGGREGATED_HOMES_MIN and not 0 < rest < AGGREGATED_HOMES_MIN)


def usage(points: Points, members: Mapping[str | None, int], found: Sequence[Sum], interval_s: int) -> list[Reading]:
    """Readings of all points, by time. One that not every home reported is marked as estimated."""
    by_start: dict[int, dict[str | None, Sum]] = {}
    for each in found:
        by_start.setdefault(each.start_ms, {})[each.virtual_node] = each
    readings = []
    for start_ms, sums in sorted(by_start.items()):
        shown = {node: sums[node] for node in points.nodes if node in sums and sums[node].homes >= AGGREGATED_HOMES_MIN}
        homes = sum(each.homes for each in sums.values())
        rest = homes - sum(each.homes for each in shown.values())
        if points.portfolio and homes >= AGGREGATED_HOMES_MIN and not 0 < rest < AGGREGATED_HOMES_MIN:
            energy_wh = sum(each.energy_wh for each in sums.values())
            readings.append(_reading(PORTFOLIO, start_ms, interval_s, energy_wh, homes, sum(members.values())))
        readings += [
            _reading(node, start_ms, interval_s, each.energy_wh, each.homes, members[node])
            for node, each in shown.items()
        ]
    return readings


def delivered(needs: Sequence[UpstreamNeed], first_ms: int, until_ms: int, settled_after_ms: int) -> list[Reading]:
    """What needs settled after `settled_after_ms` delivered, in intervals between `first_ms` and `until_ms`."""
    total: dict[tuple[int, int], int] = {}
    for need in needs:
        if need.delivered_wh is None or need.settled_ms is None or need.settled_ms <= settled_after_ms:
            continue
        step_s = need.request.interval_s
        for n, wh in enumerate(need.delivered_wh):
            start_ms = need.request.start_ms + n * step_s * MS_PER_S
            if first_ms <= start_ms and start_ms + step_s * MS_PER_S <= until_ms:
                total[start_ms, step_s] = total.get((start_ms, step_s), 0) + wh
    return [Reading(DELIVERED, start_ms, step_s, wh) for (start_ms, step_s), wh in sorted(total.items())]


def metadata(points: Points, interval_s: int, created_ms: int, market_context: str) -> tuple[OadrReport, ...]:
    """What is announced: one METADATA report for each specifier; none where nothing may be shown."""
    reports = []
    for specifier, name in NAMES.items():
        r_ids = points.r_ids(specifier)
        if r_ids:
            descriptions = tuple(_described(r_id, specifier, interval_s, market_context) for r_id in r_ids)
            reports.append(
                OadrReport(
                    report_request_id="0",  # rule 311
                    report_specifier_id=specifier,
                    created_ms=created_ms,
                    report_name=f"METADATA_{name}",
                    duration_s=_DAY_S if specifier != HISTORY else 365 * _DAY_S,
                    descriptions=descriptions,
                )
            )
    return tuple(reports)


def _described(r_id: str, specifier: str, interval_s: int, market_context: str) -> ReportDescription:
    if specifier == STATUS:
        kind, reading_type, unit = "x-resourceStatus", "x-notApplicable", None
    else:
        kind, reading_type = ("deltaUsage", "Derived") if r_id == DELIVERED else ("usage", "Summed")
        unit = Unit("energy_real", "Wh")
    return ReportDescription(
        r_id=r_id,
        report_type=kind,
        reading_type=reading_type,
        unit=unit,
        market_context=market_context,
        sampling_rate=SamplingRate(interval_s, interval_s),
        sources=() if r_id == DELIVERED else (Target("resource", r_id),),
    )


def _reading(r_id: str, start_ms: int, interval_s: int, energy_wh: int, homes: int, members: int) -> Reading:
    return Reading(r_id, start_ms, interval_s, energy_wh, "ok" if homes >= members else "estimated")
