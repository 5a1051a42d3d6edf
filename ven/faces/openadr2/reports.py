"""Telemetry over 2.0b: what is offered, what was asked for, and every interval until it is acknowledged."""

from __future__ import annotations

from openadr.client.link import Link, demand_success
from openadr.client.registration import NOT_REGISTERED, Registration, new_request_id
from openadr.model import Reading, Report
from openadr.v2 import (
    EiResponse,
    OadrCanceledReport,
    OadrCancelReport,
    OadrCreatedReport,
    OadrCreateReport,
    OadrRegisteredReport,
    OadrRegisterReport,
    OadrResponse,
    OadrUpdatedReport,
    OadrUpdateReport,
    ReportRequest,
    from_report,
    usage_metadata,
)
from runtime.clock import Clock
from runtime.logs import get_logger
from ven.account.desk import REPORTED_FROM_NOTE
from ven.errors import VtnRefused, VtnUnreachable
from ven.home.store import RunningReport, Store
from ven.metrics import Metrics

R_ID = "meter"
SPECIFIER = "usage"
METADATA = "METADATA"
_ANNOUNCED_NOTE = "reports_announced"
_UNKNOWN_ID, _NOT_SUPPORTED = 452, 461

_log = get_logger("ven.faces.openadr2.reports")


class ReportDesk:
    """Reports of one meter. `resource` names it to the VTN."""

    def __init__(
        self, link: Link, store: Store, clock: Clock, metrics: Metrics, *, resource: str, interval_s: int, chunk: int
    ) -> None:
        self._link = link
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._resource = resource
        self._interval_s = interval_s
        self._chunk = chunk

    async def announce(self, registration: Registration, *, again: bool = False) -> None:
        """Says once per registration what can be reported, and takes requests from the answer."""
        if not again and self._store.notes.read(_ANNOUNCED_NOTE, str) == registration.registration_id:
            return
        offered = usage_metadata(
            SPECIFIER,
            [R_ID],
            period_s=self._interval_s,
            created_ms=self._clock.now_ms(),
            resource_ids={R_ID: self._resource},
        )
        request_id = new_request_id()
        answer = await self._link.ask(OadrRegisterReport(request_id, (offered,), registration.ven_id))
        if isinstance(answer, OadrResponse):
            demand_success(answer.response)
        if not isinstance(answer, OadrRegisteredReport):
            raise VtnUnreachable(f"the VTN answered oadrRegisterReport with {type(answer).__name__}")
        demand_success(answer.response)
        if answer.report_requests:
            response = self._begin(answer.report_requests, answer.response.request_id)
            await self._link.ask(OadrCreatedReport(response, self._running_ids(), registration.ven_id))
        self._store.notes.write(_ANNOUNCED_NOTE, registration.registration_id)

    async def create(self, message: OadrCreateReport, registration: Registration) -> None:
        """The VTN asks for reports."""
        response = self._begin(message.report_requests, message.request_id)
        await self._link.ask(OadrCreatedReport(response, self._running_ids(), registration.ven_id))
        if any(request.report_specifier_id == METADATA for request in message.report_requests):
            await self.announce(registration, again=True)

    async def cancel(self, message: OadrCancelReport, registration: Registration) -> None:
        """The VTN wants no more of some reports; a last one first if it says so."""
        if message.report_to_follow:
            for report in self._store.reports.running():
                if report.request.report_request_id in message.report_request_ids:
                    await self._send_owed(report, registration)
        known = set(self._running_ids())
        for report_request_id in message.report_request_ids:
            self._store.reports.end(report_request_id)
        response = EiResponse(request_id=message.request_id)
        if not known.issuperset(message.report_request_ids):
            response = EiResponse(_UNKNOWN_ID, "a reportRequestID is not known", message.request_id)
        await self._link.ask(OadrCanceledReport(response, self._running_ids(), registration.ven_id))

    async def send(self, registration: Registration) -> None:
        """Sends what is due."""
        for report in self._store.reports.running():
            if report.due_ms <= self._clock.now_ms():
                await self._send_owed(report, registration)

    async def _send_owed(self, report: RunningReport, registration: Registration) -> None:
        request_id = report.request.report_request_id
        sent = False
        while rows := self._store.reports.owed(request_id, self._chunk):
            answer = await self._link.ask(self._message(report, rows, registration))
            response = answer.response if isinstance(answer, OadrUpdatedReport | OadrResponse) else None
            if response is None:
                raise VtnUnreachable(f"the VTN answered oadrUpdateReport with {type(answer).__name__}")
            if response.response_code == NOT_REGISTERED:
                raise VtnRefused(NOT_REGISTERED, response.response_description)
            if not 200 <= response.response_code < 300:
                await self._not_taken(report, response, registration)
                return
            self._acknowledge(request_id, [start_ms for start_ms, _, _ in rows])
            sent = True
            cancel = answer.cancel_report if isinstance(answer, OadrUpdatedReport) else None
            if cancel is not None:
                await self.cancel(cancel, registration)
                return
        if sent:
            self._next(report)

    def _message(
        self, report: RunningReport, rows: list[tuple[int, int, int]], registration: Registration
    ) -> OadrUpdateReport:
        request = report.request
        data = Report(
            report_id=new_request_id(),
            report_request_id=request.report_request_id,
            report_specifier_id=request.report_specifier_id,
            created_ms=self._clock.now_ms(),
            readings=tuple(
                Reading(r_id=R_ID, start_ms=start_ms, duration_s=interval_s, value_wh=energy_wh)
                for start_ms, interval_s, energy_wh in rows
            ),
        )
        return OadrUpdateReport(new_request_id(), (from_report(data),), registration.ven_id)

    def _acknowledge(self, request_id: str, starts_ms: list[int]) -> None:
        oldest = self._store.notes.read(REPORTED_FROM_NOTE, int)
        with self._store.transaction():
            self._store.reports.acknowledge(request_id, starts_ms)
            if oldest is None or starts_ms[0] < oldest:
                self._store.notes.write(REPORTED_FROM_NOTE, starts_ms[0])
        self._metrics.reported.inc(len(starts_ms))

    async def _not_taken(self, report: RunningReport, response: EiResponse, registration: Registration) -> None:
        """A VTN that forgot the request is offered the reports again and asks anew; anything else is tried later."""
        _log.warning(
            "report refused",
            home=self._resource,
            report=report.request.report_request_id,
            code=response.response_code,
            why=response.response_description,
        )
        if response.response_code == _UNKNOWN_ID:
            self._store.reports.end(report.request.report_request_id)
            await self.announce(registration, again=True)
        else:
            self._store.reports.put_off(
                report.request.report_request_id, self._clock.now_ms() + self._interval_s * 1000
            )

    def _next(self, report: RunningReport) -> None:
        period_ms = report.request.report_back_s * 1000
        if not period_ms:
            self._store.reports.end(report.request.report_request_id)  # rule 324: 0 asks for one report
            return
        due_ms = (self._clock.now_ms() // period_ms + 1) * period_ms
        self._store.reports.put_off(report.request.report_request_id, due_ms)

    def _begin(self, requests: tuple[ReportRequest, ...], request_id: str) -> EiResponse:
        """Starts the reports that can be given; the answer says which could not."""
        wrong = ""
        for request in requests:
            if request.report_specifier_id == METADATA:
                continue
            if request.report_specifier_id != SPECIFIER:
                wrong = f"there is no report {request.report_specifier_id}"
            elif any(payload.r_id != R_ID for payload in request.payloads):
                wrong = f"there is no rID but {R_ID}"
            else:
                self._store.reports.begin(request, self._clock.now_ms())
        return EiResponse(_NOT_SUPPORTED, wrong, request_id) if wrong else EiResponse(request_id=request_id)

    def _running_ids(self) -> tuple[str, ...]:
        return tuple(report.request.report_request_id for report in self._store.reports.running())
