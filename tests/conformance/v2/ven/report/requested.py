"""Report requests for what our VEN measures: its energy, as it described it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.conformance.v2 import reporting
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import Ven
from tests.conformance.v2.ven.judging import Heard, Judge

QUARTER_MS = 900_000
QUARTER_WH = 225
"""Energy of 900 W in a quarter of an hour."""


def energy(judge: Judge) -> tuple[str, str]:
    """reportSpecifierID and rID of the energy telemetry, from the description."""
    metadata = judge.of("oadrRegisterReport")[-1]
    for report in metadata.elements("./oadr:oadrReport[ei:reportName='METADATA_TELEMETRY_USAGE']"):
        [r_id] = metadata.texts("./oadr:oadrReportDescription[power:energyReal]/ei:rID", report)
        return metadata.text("./ei:reportSpecifierID", report) or "", r_id
    raise AssertionError("no energy is described")


async def ask(ven: Ven, request_id: str = "rr-1", **given: Any) -> Heard:
    """Ask for the energy; the VEN's oadrCreatedReport."""
    specifier, r_id = energy(ven.judge)
    request = reporting.report_request(request_id, specifier, **{"r_id": r_id, **given})
    return await ven.hear(reporting.create_report(said.VEN, request, request_id="create-7"), "oadrCreatedReport")


def values(heard: Heard) -> dict[int, str]:
    """Values by their start; an interval without one follows the one before (rules 314, 342)."""
    found: dict[int, str] = {}
    [report] = heard.elements("./oadr:oadrReport")
    start = heard.text("./xcal:dtstart/xcal:date-time", report)
    next_ms = None if start is None else _ms(start)
    for interval in heard.elements(".//ei:interval"):
        own = heard.text("./xcal:dtstart/xcal:date-time", interval)
        start_ms = next_ms if own is None else _ms(own)
        assert start_ms is not None, "an interval whose start nobody can tell"
        assert heard.text("./xcal:duration/xcal:duration", interval) in ("PT15M", "PT900S")
        found[start_ms] = heard.text(".//ei:payloadFloat/ei:value", interval) or ""
        next_ms = start_ms + QUARTER_MS
    return found


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
