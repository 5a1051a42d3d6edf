"""The reports a home can give, as it describes them (METADATA, rules 301, 306, 327).

usage    TELEMETRY_USAGE    meter   Wh of each metering interval, as it closes
history  HISTORY_USAGE      meter   the same of the past, as far as it is stored
status   TELEMETRY_STATUS   device  does the device answer, and did its owner take it out of control
"""

from __future__ import annotations

from openadr.errors import ResponseCode
from openadr.model import Target
from openadr.v2 import OadrReport, ReportDescription, ReportRequest, SamplingRate, usage_metadata

USAGE, HISTORY, STATUS = "usage", "history", "status"
METADATA = "METADATA"
"""In place of a reportSpecifierID it asks for the descriptions."""
METER, DEVICE = "meter", "device"
NAMES = {USAGE: "TELEMETRY_USAGE", HISTORY: "HISTORY_USAGE", STATUS: "TELEMETRY_STATUS"}
POINTS = {USAGE: METER, HISTORY: METER, STATUS: DEVICE}
_SLOWEST_STATUS_S = 86_400


def descriptions(resource: str, interval_s: int, created_ms: int) -> tuple[OadrReport, ...]:
    """All of them, for the resource as the VTN knows it."""
    usage = usage_metadata(USAGE, [METER], period_s=interval_s, created_ms=created_ms, resource_ids={METER: resource})
    history = OadrReport(
        report_request_id="0",  # rule 311
        report_specifier_id=HISTORY,
        created_ms=created_ms,
        report_name=f"METADATA_{NAMES[HISTORY]}",
        duration_s=86_400,
        descriptions=usage.descriptions,
    )
    state = ReportDescription(
        r_id=DEVICE,
        report_type="x-resourceStatus",
        reading_type="x-notApplicable",
        sampling_rate=SamplingRate(interval_s, _SLOWEST_STATUS_S),
        sources=(Target("resource", resource),),
    )
    status = OadrReport(
        report_request_id="0",
        report_specifier_id=STATUS,
        created_ms=created_ms,
        report_name=f"METADATA_{NAMES[STATUS]}",
        duration_s=86_400,
        descriptions=(state,),
    )
    return usage, history, status


def refusal(request: ReportRequest, resource: str) -> tuple[ResponseCode, str] | None:
    """Why a request cannot be followed; None if it can."""
    point = POINTS.get(request.report_specifier_id)
    if point is None:
        return ResponseCode.REPORT_NOT_SUPPORTED, f"{resource} has no report {request.report_specifier_id}"
    if any(payload.r_id != point for payload in request.payloads):
        return ResponseCode.REPORT_NOT_SUPPORTED, f"{request.report_specifier_id} has no rID but {point}"
    return None
