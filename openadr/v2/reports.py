"""Reports of the 2.0b wire: reading, writing, and energy readings in and out of them.

A VEN says once what it can measure (METADATA, one description with a unit for each rID); later values refer to it by
rID. So readings can only be taken out of a report together with the descriptions of that VEN.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from openadr.errors import InvalidReport, ResponseCode
from openadr.model import SCALE_EXPONENTS, Quality, Reading, Report, Target, Unit, decimal
from openadr.v2 import fields
from openadr.v2.document.feeds import read_feed
from openadr.v2.document.schema import EI, EMIX, OADR, POWER, STRM, XCAL
from openadr.v2.events import read_targets, targets_context
from openadr.v2.messages import (
    ControlValue,
    GreenButton,
    LoadControlState,
    OadrReport,
    ReportDescription,
    ReportInterval,
    ReportPayload,
    ReportRequest,
    ResourceStatus,
    SamplingRate,
    SpecifierPayload,
)
from openadr.v2.units import read_unit, unit_context

_QUALITY_TEXT: dict[Quality, str] = {
    "ok": "Quality Good - Non Specific",
    "estimated": "Quality Uncertain - Non Specific",
    "bad": "Quality Bad - Non Specific",
    "missing": "No Quality - No Value",
}

_NO_NUMBER = "NaN"
"""A value the schema allows, where a meter has none: such a reading is missing."""


def usage_metadata(
    report_specifier_id: str, r_ids: Iterable[str], *, period_s: int, created_ms: int, resource_ids: Mapping[str, str]
) -> OadrReport:
    """METADATA_TELEMETRY_USAGE for points that deliver integer Wh each `period_s`; `resource_ids` by rID, if known."""
    return OadrReport(
        report_request_id="0",  # rule 311
        report_specifier_id=report_specifier_id,
        created_ms=created_ms,
        report_name="METADATA_TELEMETRY_USAGE",
        duration_s=86_400,
        descriptions=tuple(
            ReportDescription(
                r_id=r_id,
                report_type="usage",
                reading_type="Net",
                unit=Unit("energy_real", "Wh"),
                sampling_rate=SamplingRate(period_s, period_s),
                sources=(Target("resource", resource_ids[r_id]),) if r_id in resource_ids else (),
            )
            for r_id in r_ids
        ),
    )


def from_report(report: Report) -> OadrReport:
    """Readings as a data report, values in Wh. Readings of one interval share it."""
    grouped: dict[tuple[int, int], list[Reading]] = {}
    for reading in report.readings:
        grouped.setdefault((reading.start_ms, reading.duration_s), []).append(reading)
    return OadrReport(
        report_request_id=report.report_request_id,
        report_specifier_id=report.report_specifier_id,
        created_ms=report.created_ms,
        report_name=report.name,
        report_id=report.report_id,
        start_ms=min((reading.start_ms for reading in report.readings), default=None),
        intervals=tuple(
            ReportInterval(
                payloads=tuple(
                    ReportPayload(reading.r_id, str(reading.value_wh), quality=reading.quality) for reading in readings
                ),
                start_ms=start_ms,
                duration_s=duration_s,
            )
            for (start_ms, duration_s), readings in grouped.items()
        ),
    )


def to_report(report: OadrReport, descriptions: Mapping[str, ReportDescription], granularity_s: int = 0) -> Report:
    """The readings of a usage report, in Wh (rounded half to even where a peer sends fractions).

    `granularity_s` is that of the report request; it stands in for a missing interval duration. A missing start is the
    report's (rules 314, 342) for the first interval and the end of the interval before for the others. Raises
    InvalidReport: 452 for an rID without description, 461 for what is no real energy.
    """
    readings = []
    for start_ms, duration_s, payload in placed(report, granularity_s):
        value_wh = energy_wh(payload, descriptions.get(payload.r_id))
        readings.append(Reading(payload.r_id, start_ms, duration_s, value_wh, payload.quality))
    return Report(
        report_id=report.report_id or "",
        report_request_id=report.report_request_id,
        report_specifier_id=report.report_specifier_id,
        created_ms=report.created_ms,
        readings=tuple(readings),
        name=report.report_name or "TELEMETRY_USAGE",
    )


def placed(report: OadrReport, granularity_s: int = 0) -> Iterator[tuple[int, int, ReportPayload]]:
    """Each payload of a report with the start (ms) and length (s) of its interval, inherited as `to_report` says.

    Raises InvalidReport where neither the interval nor its report has a start.
    """
    next_ms = report.start_ms
    for interval in report.intervals:
        start_ms = interval.start_ms if interval.start_ms is not None else next_ms
        if start_ms is None:
            raise InvalidReport("neither the interval nor its report has a start")
        duration_s = interval.duration_s if interval.duration_s is not None else granularity_s
        for payload in interval.payloads:
            yield start_ms, duration_s, payload
        next_ms = start_ms + 1000 * duration_s


def energy_wh(payload: ReportPayload, description: ReportDescription | None) -> int:
    """Energy of a payload in Wh, rounded half to even; 0 where it is marked missing.

    Raises InvalidReport: 452 for an rID without description, 461 for what is no real energy.
    """
    if description is None:
        raise InvalidReport(f"rID {payload.r_id} was never described", ResponseCode.INVALID_ID)
    unit = description.unit
    if unit is None or unit.kind != "energy_real" or payload.status is not None:
        raise InvalidReport(f"rID {payload.r_id} is no real energy", ResponseCode.REPORT_NOT_SUPPORTED)
    if payload.quality == "missing" or payload.value is None:
        return 0
    value = Decimal(payload.value).scaleb(SCALE_EXPONENTS[unit.scale])
    return int(value.to_integral_value(rounding=ROUND_HALF_EVEN))


def read_report(element: Any) -> OadrReport:
    """An oadrReport element as data."""
    return OadrReport(
        report_request_id=fields.text(element, EI + "reportRequestID"),
        report_specifier_id=fields.text(element, EI + "reportSpecifierID"),
        created_ms=fields.time_ms(element, EI + "createdDateTime"),
        report_name=fields.optional_token(element, EI + "reportName"),
        report_id=fields.optional_text(element, EI + "eiReportID"),
        start_ms=fields.dtstart_ms(element),
        duration_s=fields.duration_s(element),
        descriptions=tuple(_read_description(child) for child in element.findall(OADR + "oadrReportDescription")),
        intervals=tuple(_read_interval(child) for child in element.findall(f"{STRM}intervals/{EI}interval")),
    )


def read_report_request(element: Any) -> ReportRequest:
    """An oadrReportRequest element as data."""
    specifier = element.find(EI + "reportSpecifier")
    period = specifier.find(f"{EI}reportInterval/{XCAL}properties")
    return ReportRequest(
        report_request_id=fields.text(element, EI + "reportRequestID"),
        report_specifier_id=fields.text(specifier, EI + "reportSpecifierID"),
        granularity_s=fields.duration_s(specifier, XCAL + "granularity") or 0,
        report_back_s=fields.duration_s(specifier, EI + "reportBackDuration") or 0,
        payloads=tuple(
            SpecifierPayload(fields.text(child, EI + "rID"), fields.token(child, EI + "readingType"))
            for child in specifier.findall(EI + "specifierPayload")
        ),
        start_ms=None if period is None else fields.dtstart_ms(period),
        duration_s=None if period is None else fields.duration_s(period),
    )


def report_context(report: OadrReport) -> dict[str, Any]:
    """A report in the words of openleadr's templates."""
    return {
        "report_id": report.report_id,
        "report_name": report.report_name or "",
        "report_request_id": report.report_request_id,
        "report_specifier_id": report.report_specifier_id,
        "created_date_time": report.created_ms,
        "dtstart": report.start_ms,
        "duration": report.duration_s,
        "report_descriptions": [_description_context(description) for description in report.descriptions],
        "intervals": [_interval_context(interval) for interval in report.intervals],
    }


def report_request_context(request: ReportRequest) -> dict[str, Any]:
    """A report request in the words of openleadr's templates."""
    period = {"dtstart": request.start_ms, "duration": request.duration_s or 0}
    return {
        "report_request_id": request.report_request_id,
        "report_specifier": {
            "report_specifier_id": request.report_specifier_id,
            "granularity": request.granularity_s,
            "report_back_duration": request.report_back_s,
            "report_interval": None if request.start_ms is None else period,
            "specifier_payloads": request.payloads,
        },
    }


def _read_description(element: Any) -> ReportDescription:
    rate = element.find(OADR + "oadrSamplingRate")
    return ReportDescription(
        r_id=fields.text(element, EI + "rID"),
        report_type=fields.token(element, EI + "reportType"),
        reading_type=fields.token(element, EI + "readingType"),
        unit=read_unit(element),
        market_context=fields.optional_token(element, EMIX + "marketContext"),
        sampling_rate=None
        if rate is None
        else SamplingRate(
            period_s_min=fields.rough_duration_s(rate, OADR + "oadrMinPeriod"),
            period_s_max=fields.rough_duration_s(rate, OADR + "oadrMaxPeriod"),
            on_change=fields.boolean(rate, OADR + "oadrOnChange"),
        ),
        subject_device=fields.optional_text(element, f"{EI}reportSubject/{POWER}endDeviceAsset/{POWER}mrid"),
        sources=read_targets(element.find(EI + "reportDataSource")),
        green_button=_read_green_button(element.find(OADR + "oadrGBDataDescription")),
    )


def _read_interval(element: Any) -> ReportInterval:
    payloads = element.findall(OADR + "oadrReportPayload")
    feeds = tuple(GreenButton(read_feed(each)) for each in element.findall(OADR + "oadrGBPayload"))
    if not payloads and not feeds:
        raise InvalidReport("an interval without oadrReportPayload", ResponseCode.REPORT_NOT_SUPPORTED)
    return ReportInterval(
        payloads=tuple(_read_payload(payload) for payload in payloads),
        start_ms=fields.dtstart_ms(element),
        duration_s=fields.duration_s(element),
        green_button=feeds,
    )


def _read_green_button(element: Any) -> GreenButton | None:
    return None if element is None else GreenButton(read_feed(element))


def _read_payload(element: Any) -> ReportPayload:
    value = element.find(EI + "payloadFloat")
    status = element.find(OADR + "oadrPayloadResourceStatus")
    if value is None and status is None:
        raise InvalidReport("a payload that is neither a number nor a status", ResponseCode.REPORT_NOT_SUPPORTED)
    written = None if value is None else fields.token(value, EI + "value")
    number = None if written is None or written == _NO_NUMBER else decimal(written)
    quality_text = fields.optional_token(element, OADR + "oadrDataQuality")
    confidence = fields.optional_token(element, EI + "confidence")
    accuracy = fields.optional_token(element, EI + "accuracy")
    return ReportPayload(
        r_id=fields.text(element, EI + "rID"),
        value=number,
        status=None
        if status is None
        else ResourceStatus(
            online=fields.boolean(status, OADR + "oadrOnline"),
            manual_override=fields.boolean(status, OADR + "oadrManualOverride"),
            load_control=_read_load_control(status.find(OADR + "oadrLoadControlState")),
        ),
        quality="missing" if written == _NO_NUMBER else _read_quality(quality_text),
        quality_text=quality_text,
        confidence=None if confidence is None else int(confidence),
        accuracy=None if accuracy is None else decimal(accuracy),
    )


def _read_load_control(element: Any) -> LoadControlState | None:
    if element is None:
        return None
    return LoadControlState(
        capacity=_read_control(element.find(OADR + "oadrCapacity")),
        level_offset=_read_control(element.find(OADR + "oadrLevelOffset")),
        percent_offset=_read_control(element.find(OADR + "oadrPercentOffset")),
        set_point=_read_control(element.find(OADR + "oadrSetPoint")),
    )


def _read_control(element: Any) -> ControlValue | None:
    if element is None:
        return None
    found = {name: fields.optional_token(element, f"{OADR}oadr{name}") for name in ("Min", "Max", "Normal")}
    bounds = {name.lower(): None if value is None else decimal(value) for name, value in found.items()}
    return ControlValue(decimal(fields.token(element, OADR + "oadrCurrent")), **bounds)


def _read_quality(text: str | None) -> Quality:
    if text is None or text.startswith("Quality Good"):
        return "ok"
    if text == "No Quality - No Value":
        return "missing"
    return "bad" if text.startswith("Quality Bad") else "estimated"


def _description_context(description: ReportDescription) -> dict[str, Any]:
    rate = description.sampling_rate
    subject = description.subject_device
    return {
        "r_id": description.r_id,
        "report_subject": None if subject is None else {"end_device_asset": {"mrid": subject}},
        "report_data_source": _source_context(description),
        "report_type": description.report_type,
        "measurement": unit_context(description.unit),
        "green_button": description.green_button,
        "reading_type": description.reading_type,
        "market_context": description.market_context,
        "sampling_rate": None
        if rate is None
        else {"min_period": rate.period_s_min, "max_period": rate.period_s_max, "on_change": rate.on_change},
    }


def _source_context(description: ReportDescription) -> dict[str, str]:
    sources = targets_context(description.sources)
    merged = {name: value for source in sources for name, value in source.items()}
    if len(merged) != len(sources):
        raise InvalidReport(f"rID {description.r_id} names two sources of one kind")
    return merged


def _interval_context(interval: ReportInterval) -> dict[str, Any]:
    return {
        "dtstart": interval.start_ms,
        "duration": interval.duration_s,
        "green_button": interval.green_button,
        "payloads": [
            {
                "r_id": payload.r_id,
                "value": payload.value,
                "status": payload.status,
                "confidence": payload.confidence,
                "accuracy": payload.accuracy,
                "data_quality": payload.quality_text or _QUALITY_TEXT[payload.quality],
            }
            for payload in interval.payloads
        ],
    }
