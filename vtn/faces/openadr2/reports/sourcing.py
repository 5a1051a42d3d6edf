"""EiReport to VENs: what the VTN can report, requests of VENs, and the reports themselves."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from openadr.model import Report, Unit
from openadr.v2 import (
    EiResponse,
    OadrCanceledReport,
    OadrCancelReport,
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
    SamplingRate,
    from_report,
)
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.errors import VtnError
from vtn.faces.openadr2.answers import failure
from vtn.services.reports import R_ID, SPECIFIERS, ReportSource, SourceRequest
from vtn.services.vens import Ven

_log = get_logger("vtn.openadr2.sourcing")


class Sourcing:
    """The service on the VTN as a source of reports."""

    def __init__(self, source: ReportSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock

    async def offer(self, ven: Ven) -> OadrRegisterReport:
        """METADATA of all reports the VTN has for this VEN (rules 301, 311)."""
        period_s = await self._source.interval_s(ven.ven_id)
        description = ReportDescription(
            R_ID, "usage", "Net", Unit("energy_real", "Wh"), sampling_rate=SamplingRate(period_s, 86_400)
        )
        now_ms = self._clock.now_ms()
        reports = tuple(
            OadrReport("0", specifier_id, now_ms, f"METADATA_{name}", descriptions=(description,))
            for specifier_id, name in SPECIFIERS.items()
        )
        return OadrRegisterReport(f"req-{secrets.token_hex(8)}", reports, ven.ven_id, "0")

    async def update(self, ven: Ven, report_request_id: str) -> OadrUpdateReport | None:
        """The report that is due; None if nobody wants it any more."""
        report = await self._source.report(ven.ven_id, report_request_id)
        if report is None:
            return None
        request_id = f"upd-{secrets.token_hex(8)}"
        await self._source.sent(ven.ven_id, report_request_id, report.until_ms, request_id)
        written = from_report(
            Report(
                report_id=f"rep-{secrets.token_hex(8)}",
                report_request_id=report_request_id,
                report_specifier_id=report.report_specifier_id,
                created_ms=self._clock.now_ms(),
                readings=report.readings,
                name=SPECIFIERS[report.report_specifier_id],
            )
        )
        return OadrUpdateReport(request_id, (written,), ven.ven_id)

    async def create(self, message: OadrCreateReport, ven: Ven) -> OadrCreatedReport:
        """A VEN asks for reports, or for the METADATA (rule 306): 461 for a report there is not, 452 for an rID."""
        try:
            pending = await self._source.create(ven.ven_id, _requests(message.report_requests))
        except VtnError as error:
            running = await self._source.running(ven.ven_id)
            return OadrCreatedReport(failure(error, message.request_id), tuple(running), ven.ven_id)
        _log.info("reports asked for", ven_id=ven.ven_id, running=len(pending))
        return OadrCreatedReport(EiResponse(request_id=message.request_id), tuple(pending), ven.ven_id)

    async def cancel(self, message: OadrCancelReport, ven: Ven) -> OadrCanceledReport:
        """A VEN wants no more of a report."""
        try:
            pending = await self._source.cancel(
                ven.ven_id, message.report_request_ids, report_to_follow=message.report_to_follow
            )
        except VtnError as error:
            running = await self._source.running(ven.ven_id)
            return OadrCanceledReport(failure(error, message.request_id), tuple(running), ven.ven_id)
        return OadrCanceledReport(EiResponse(request_id=message.request_id), tuple(pending), ven.ven_id)

    async def registered(self, message: OadrRegisteredReport, ven: Ven) -> OadrResponse:
        """The VEN has the METADATA, and perhaps asks for reports at once."""
        await self._source.offered(ven.ven_id)
        response = EiResponse(request_id=message.response.request_id)
        if message.report_requests:
            try:
                await self._source.create(ven.ven_id, _requests(message.report_requests))
            except VtnError as error:
                response = failure(error, message.response.request_id)
        return OadrResponse(response, ven.ven_id)

    async def updated(self, message: OadrUpdatedReport, ven: Ven) -> OadrResponse:
        """The VEN has a report; it may end requests in the same breath. One it refuses is not sent again either."""
        await self._source.confirm(ven.ven_id, message.response.request_id)
        response = EiResponse(request_id=message.response.request_id)
        if message.cancel_report is not None:
            canceled = await self.cancel(message.cancel_report, ven)
            response = canceled.response
        return OadrResponse(response, ven.ven_id)


def _requests(requests: Sequence[ReportRequest]) -> list[SourceRequest]:
    return [
        SourceRequest(
            report_request_id=each.report_request_id,
            report_specifier_id=each.report_specifier_id,
            granularity_s=each.granularity_s,
            report_back_s=each.report_back_s,
            start_ms=each.start_ms,
            duration_s=each.duration_s,
            payloads=tuple((payload.r_id, payload.reading_type) for payload in each.payloads),
        )
        for each in requests
    ]
