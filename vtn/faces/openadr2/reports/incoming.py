"""EiReport from VENs: METADATA in, requests out, data of every kind in."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec

from openadr.errors import InvalidReport, OpenAdrError, ResponseCode
from openadr.model import Reading
from openadr.v2 import (
    EiResponse,
    OadrCanceledReport,
    OadrCreatedReport,
    OadrCreateReport,
    OadrRegisteredReport,
    OadrRegisterReport,
    OadrReport,
    OadrResponse,
    OadrUpdatedReport,
    OadrUpdateReport,
    ReportDescription,
    ReportRequest,
    SpecifierPayload,
    energy_wh,
    placed,
)
from runtime.logs import get_logger
from vtn.errors import VtnError
from vtn.faces.openadr2.answers import failure
from vtn.services.reports import (
    GREEN_BUTTON_METADATA,
    METADATA,
    REQUESTED,
    Collected,
    Measurement,
    MeteringPoint,
    Reports,
    RequestedReport,
    ResourceState,
    Specifier,
)
from vtn.services.telemetry import Telemetry
from vtn.services.vens import Ven

_log = get_logger("vtn.openadr2.reports")


class Reporting:
    """The service on the VTN's reports, telemetry and what else is reported."""

    def __init__(self, reports: Reports, telemetry: Telemetry, collected: Collected) -> None:
        self._reports = reports
        self._telemetry = telemetry
        self._collected = collected

    async def register(self, message: OadrRegisterReport, ven: Ven) -> OadrRegisteredReport:
        """Take over what the VEN can report; the answer asks for its energy, from its history on."""
        specifiers = [_specifier(report) for report in message.reports]
        try:
            requests = await self._reports.register(ven.ven_id, specifiers)
        except VtnError as error:
            return OadrRegisteredReport(failure(error, message.request_id), (), ven.ven_id)
        _log.info("reports registered", ven_id=ven.ven_id, reports=len(specifiers), requested=len(requests))
        response = EiResponse(request_id=message.request_id)
        return OadrRegisteredReport(response, tuple(_request(each) for each in requests), ven.ven_id)

    async def create(self, ven: Ven, keys: Sequence[str]) -> OadrCreateReport | None:
        """The requests with these ids as a message for a poll; None if none of them runs any more."""
        requests = [each for each in await self._reports.requests(ven.ven_id) if each.report_request_id in keys]
        if not requests:
            return None
        return OadrCreateReport(f"req-{secrets.token_hex(8)}", tuple(map(_request, requests)), ven.ven_id)

    def ask_metadata(self, ven: Ven) -> OadrCreateReport:
        """The request to describe reports again: METADATA in place of a specifier (rule 306)."""
        request = ReportRequest(METADATA, METADATA, 0, 0, (SpecifierPayload(METADATA, "x-notApplicable"),))
        return OadrCreateReport(f"req-{secrets.token_hex(8)}", (request,), ven.ven_id)

    async def created(self, message: OadrCreatedReport, ven: Ven) -> OadrResponse:
        """The VEN names the requests it follows; with an error it refuses the others it was sent."""
        await self._reports.confirm(ven.ven_id, message.pending_report_request_ids)
        if message.response.response_code >= 300:
            refused = await self._reports.refuse(ven.ven_id)
            reason = f"{message.response.response_code} {message.response.response_description}"[:200]
            _log.warning("report requests refused", ven_id=ven.ven_id, requests=refused, reason=reason)
        await self._reports.confirm_metadata(ven.ven_id)
        return OadrResponse(EiResponse(request_id=message.response.request_id), ven.ven_id)

    async def canceled(self, message: OadrCanceledReport, ven: Ven) -> OadrResponse:
        """The VEN confirms the end of requests."""
        await self._reports.confirm_cancelled(ven.ven_id)
        return OadrResponse(EiResponse(request_id=message.response.request_id), ven.ven_id)

    async def update(self, message: OadrUpdateReport, ven: Ven) -> OadrUpdatedReport:
        """Keep readings; one report that cannot be taken does not spoil the others.

        452 for a request this VEN was not given (rule 304) or an rID it never described.
        """
        failures = []
        for report in message.reports:
            try:
                await self._store(report, ven)
            except (OpenAdrError, VtnError) as error:
                failures.append(failure(error, message.request_id))
        if not failures:
            return OadrUpdatedReport(EiResponse(request_id=message.request_id), None, ven.ven_id)
        description = "; ".join(each.response_description for each in failures)[:500]
        _log.warning("report refused", ven_id=ven.ven_id, reason=description)
        response = EiResponse(failures[0].response_code, description, message.request_id)
        return OadrUpdatedReport(response, None, ven.ven_id)

    async def _store(self, report: OadrReport, ven: Ven) -> None:
        request, specifier = await self._reports.request(ven.ven_id, report.report_request_id)
        descriptions = {
            point.r_id: ReportDescription(point.r_id, point.report_type, point.reading_type, point.unit)
            for point in specifier.points
        }
        sorted_out = _sort(report, descriptions, request.granularity_s)
        stored = await self._telemetry.store(ven.ven_id, sorted_out.readings)
        await self._collected.store(ven.ven_id, sorted_out.values, sorted_out.states)
        for feed in _feeds(report, specifier):
            await self._collected.store_feed(ven.ven_id, request.report_request_id, feed)
        if request.status == REQUESTED:
            await self._reports.confirm(ven.ven_id, [request.report_request_id])
        if not request.report_back_s:
            await self._reports.complete(ven.ven_id, request.report_request_id)
        if stored.corrected:
            _log.info("readings corrected", ven_id=ven.ven_id, corrected=stored.corrected)


def _feeds(report: OadrReport, specifier: Specifier) -> list[str]:
    """Raises InvalidReport 461 for feeds in a report that was described as something else."""
    found = [each.feed for interval in report.intervals for each in interval.green_button]
    if found and specifier.report_name != GREEN_BUTTON_METADATA:
        raise InvalidReport(
            f"{specifier.report_specifier_id} is no Green Button report", ResponseCode.REPORT_NOT_SUPPORTED
        )
    return found


class _Sorted(msgspec.Struct, frozen=True):
    """The payloads of a report by what they are."""

    readings: list[Reading]
    values: list[Measurement]
    states: list[ResourceState]


def _sort(report: OadrReport, descriptions: dict[str, ReportDescription], granularity_s: int) -> _Sorted:
    """Raises InvalidReport 452 for an rID that was never described."""
    found = _Sorted([], [], [])
    for start_ms, duration_s, payload in placed(report, granularity_s):
        description = descriptions.get(payload.r_id)
        if description is not None and payload.status is not None:
            status = payload.status
            found.states.append(
                ResourceState(payload.r_id, start_ms, status.online, status.manual_override, status.load_control)
            )
        elif description is None or (description.unit is not None and description.unit.kind == "energy_real"):
            energy = energy_wh(payload, description)
            found.readings.append(Reading(payload.r_id, start_ms, duration_s, energy, payload.quality))
        elif payload.value is not None:
            found.values.append(Measurement(payload.r_id, start_ms, duration_s, payload.value, payload.quality))
    return found


def _specifier(report: OadrReport) -> Specifier:
    return Specifier(
        report_specifier_id=report.report_specifier_id,
        report_name=report.report_name or "",
        points=tuple(
            MeteringPoint(
                r_id=each.r_id,
                report_type=each.report_type,
                reading_type=each.reading_type,
                unit=each.unit,
                period_s_min=0 if each.sampling_rate is None else each.sampling_rate.period_s_min,
                period_s_max=0 if each.sampling_rate is None else each.sampling_rate.period_s_max,
                resource=next((source.value for source in each.sources if source.kind == "resource"), None),
            )
            for each in report.descriptions
        ),
    )


def _request(request: RequestedReport) -> ReportRequest:
    return ReportRequest(
        report_request_id=request.report_request_id,
        report_specifier_id=request.report_specifier_id,
        granularity_s=request.granularity_s,
        report_back_s=request.report_back_s,
        payloads=tuple(SpecifierPayload(r_id, reading_type) for r_id, reading_type in request.payloads),
        start_ms=request.start_ms,
        duration_s=None if request.start_ms is None else request.duration_s or 0,
    )
