"""The home's reports over 2.0b: what is offered, what was asked for, and every interval until it is acknowledged."""

from __future__ import annotations

import msgspec

from openadr.client import reporting
from openadr.client.errors import VtnRefused, VtnUnreachable
from openadr.client.link import Link, is_success
from openadr.client.registration import NOT_REGISTERED, Registration, new_request_id
from openadr.errors import ResponseCode
from openadr.model import Report
from openadr.v2 import (
    EiResponse,
    OadrCanceledReport,
    OadrCancelReport,
    OadrCreatedReport,
    OadrCreateReport,
    OadrReport,
    OadrUpdatedReport,
    ReportRequest,
    from_report,
)
from runtime.clock import Clock
from runtime.logs import get_logger
from ven.account.desk import REPORTED_FROM_NOTE
from ven.faces.openadr2.reporting.catalogue import HISTORY, METADATA, METER, NAMES, STATUS, descriptions, refusal
from ven.faces.openadr2.reporting.statuses import StatusReport, StatusReports, status_message
from ven.faces.openadr2.reporting.usage import Batch, batch, bucket_ms, nothing
from ven.home.store import RunningReport, Store
from ven.home.telemetry import UNTIL_NOTE
from ven.metrics import Metrics

ANNOUNCED_NOTE = "reports_announced"
"""Under which registration the reports were described."""

_log = get_logger("ven.faces.openadr2.reporting.desk")


class ReportDesk:
    """Reports of one meter and one device. `resource` names them to the VTN; `chunk`: most intervals in a message."""

    def __init__(
        self,
        link: Link,
        store: Store,
        statuses: StatusReports,
        clock: Clock,
        metrics: Metrics,
        *,
        resource: str,
        interval_s: int,
        chunk: int,
    ) -> None:
        self._link = link
        self._store = store
        self._statuses = statuses
        self._clock = clock
        self._metrics = metrics
        self._resource = resource
        self._interval_s = interval_s
        self._chunk = chunk
        self._announce_again = False
        self._last_ones: set[str] = set()  # cancelled, with a last report to follow

    def running_ids(self) -> tuple[str, ...]:
        """reportRequestIDs of all that runs."""
        usage = [each.request.report_request_id for each in self._store.reports.running()]
        states = [each.request.report_request_id for each in self._statuses.running()]
        return tuple(each for each in (*usage, *states) if each not in self._last_ones)

    def next_ms(self) -> int | None:
        """When something is to be said that no new reading calls for."""
        return self._statuses.next_ms()

    def create(self, message: OadrCreateReport, registration: Registration) -> OadrCreatedReport:
        """The VTN asks for reports, or for their descriptions."""
        response = self._begin(message.report_requests, message.request_id)
        if any(request.report_specifier_id == METADATA for request in message.report_requests):
            self._announce_again = True
        return OadrCreatedReport(response, self.running_ids(), registration.ven_id)

    def cancel(self, message: OadrCancelReport, registration: Registration) -> OadrCanceledReport:
        """The VTN wants no more of some reports; a last one follows if it says so."""
        running = set(self.running_ids())
        for report_request_id in running.intersection(message.report_request_ids):
            if message.report_to_follow:
                self._last_ones.add(report_request_id)
                self._store.reports.put_off(report_request_id, 0)
                self._statuses.hurry(report_request_id, self._clock.now_ms())
            else:
                self._end(report_request_id)
        response = EiResponse(request_id=message.request_id)
        if unknown := set(message.report_request_ids) - running:
            detail = f"no report runs under {', '.join(sorted(unknown))}"[:200]
            response = EiResponse(ResponseCode.INVALID_ID, detail, message.request_id)
        return OadrCanceledReport(response, self.running_ids(), registration.ven_id)

    async def announce(self, registration: Registration, *, again: bool = False) -> None:
        """Says once per registration what can be reported, and takes requests from the answer. Raises VtnRefused,
        VtnUnreachable."""
        if not again and self._store.notes.read(ANNOUNCED_NOTE, str) == registration.registration_id:
            return
        self._announce_again = False
        offered = descriptions(self._resource, self._interval_s, self._clock.now_ms())
        try:
            answer = await reporting.offer(self._link, offered, registration)
        except (VtnRefused, VtnUnreachable) as error:
            if isinstance(error, VtnRefused) and error.code == NOT_REGISTERED:
                raise
            # there are VTNs that stumble over a kind of report they do not know: energy is what they are there for
            _log.warning("reports not taken, energy alone is offered", home=self._resource, error=str(error))
            answer = await reporting.offer(self._link, offered[:1], registration)
        if answer.report_requests:
            response = self._begin(answer.report_requests, answer.response.request_id)
            await self._link.ask(OadrCreatedReport(response, self.running_ids(), registration.ven_id))
        self._store.notes.write(ANNOUNCED_NOTE, registration.registration_id)

    async def send(self, registration: Registration) -> None:
        """Sends what is due. Raises VtnRefused, VtnUnreachable."""
        if self._announce_again:
            await self.announce(registration, again=True)
        now_ms = self._clock.now_ms()
        for report in self._store.reports.running():
            if report.due_ms <= now_ms:
                await self._send_owed(report, registration)
        for status in self._statuses.take(now_ms):
            await self._send_status(status, registration)

    async def _send_owed(self, report: RunningReport, registration: Registration) -> None:
        request, request_id = report.request, report.request.report_request_id
        end_ms = None if not request.duration_s else (request.start_ms or 0) + 1000 * request.duration_s
        last = request_id in self._last_ones
        over = last or (end_ms is not None and end_ms <= self._read_until_ms())
        wanted_once = last or not request.report_back_s  # rule 324: 0 asks for one report
        if wanted_once and end_ms is not None and not over:
            return  # once, when all of it is there
        sent = False
        while (found := self._batch(request, over=over)).readings:
            if not await self._deliver(self._usage(request, found), request, registration):
                return
            self._acknowledge(request_id, found)
            sent = True
            if self._ended(request_id):
                return
        now_ms = self._clock.now_ms()
        if wanted_once and over and not sent:
            found = nothing(request, self._interval_s, now_ms, METER)
            sent = await self._deliver(self._usage(request, found), request, registration)
        if over or (sent and wanted_once):
            self._end(request_id)
        elif sent:
            period_ms = request.report_back_s * 1000
            self._store.reports.put_off(request_id, (now_ms // period_ms + 1) * period_ms)

    async def _send_status(self, report: StatusReport, registration: Registration) -> None:
        request_id = report.request.report_request_id
        now_ms = self._clock.now_ms()
        message = status_message(report, new_request_id(), now_ms)
        taken: bool | None = None
        try:
            taken = await self._deliver(message, report.request, registration)
        finally:
            if taken is None:  # nobody knows whether it arrived: also where this program was told to stop
                self._statuses.keep(report)
        if not taken:
            self._statuses.put_off(report, now_ms + 1000 * self._interval_s)
        elif request_id in self._last_ones:
            self._end(request_id)
        else:
            self._statuses.acknowledged(report, now_ms)

    async def _deliver(self, report: OadrReport, request: ReportRequest, registration: Registration) -> bool:
        """Sends a report; False if the VTN does not take it. Raises VtnRefused, VtnUnreachable."""
        answer = await reporting.deliver(self._link, report, registration)
        if not is_success(answer.response):
            await self._not_taken(request, answer.response, registration)
            return False
        if isinstance(answer, OadrUpdatedReport) and answer.cancel_report is not None:
            await self._link.ask(self.cancel(answer.cancel_report, registration))
        return True

    async def _not_taken(self, request: ReportRequest, response: EiResponse, registration: Registration) -> None:
        """A VTN that forgot the request is offered the reports again and asks anew; anything else is tried later."""
        _log.warning(
            "report refused",
            home=self._resource,
            report=request.report_request_id,
            code=response.response_code,
            why=response.response_description,
        )
        if response.response_code == ResponseCode.INVALID_ID:
            self._end(request.report_request_id)
            await self.announce(registration, again=True)
        else:
            due_ms = self._clock.now_ms() + self._interval_s * 1000
            self._store.reports.put_off(request.report_request_id, due_ms)

    def _batch(self, request: ReportRequest, *, over: bool) -> Batch:
        step_ms = 1000 * self._interval_s
        rows_max = self._chunk * (bucket_ms(request, self._interval_s) // step_ms)
        rows = self._store.reports.owed(request.report_request_id, rows_max)
        if not rows:
            return Batch((), ())
        look_back_ms = max(step_ms * self._chunk, bucket_ms(request, self._interval_s))
        around = self._store.meter.between(rows[0][0] - look_back_ms, rows[-1][0] + look_back_ms)
        until_ms = rows[-1][0] + look_back_ms if over else self._read_until_ms()
        return batch(request, rows, around, until_ms, METER)

    def _read_until_ms(self) -> int:
        """To where the meter was read."""
        return self._store.notes.read(UNTIL_NOTE, int) or 0

    def _usage(self, request: ReportRequest, found: Batch) -> OadrReport:
        return from_report(
            Report(
                report_id=new_request_id(),
                report_request_id=request.report_request_id,
                report_specifier_id=request.report_specifier_id,
                created_ms=self._clock.now_ms(),
                readings=found.readings,
                name=NAMES[request.report_specifier_id],
            )
        )

    def _acknowledge(self, request_id: str, found: Batch) -> None:
        oldest = self._store.notes.read(REPORTED_FROM_NOTE, int)
        with self._store.transaction():
            self._store.reports.acknowledge(request_id, found.settled_ms)
            if oldest is None or found.settled_ms[0] < oldest:
                self._store.notes.write(REPORTED_FROM_NOTE, found.settled_ms[0])
        self._metrics.reported.inc(len(found.settled_ms))

    def _begin(self, requests: tuple[ReportRequest, ...], request_id: str) -> EiResponse:
        """Starts the reports that can be given; the answer says which could not."""
        response = EiResponse(request_id=request_id)
        now_ms = self._clock.now_ms()
        for request in requests:
            if request.report_specifier_id == METADATA:
                continue
            wrong = refusal(request, self._resource)
            self._last_ones.discard(request.report_request_id)
            if wrong is not None:
                response = EiResponse(wrong[0], wrong[1][:200], request_id)
            elif request.report_specifier_id == STATUS:
                self._statuses.begin(request, now_ms)
            else:
                self._begin_usage(request, now_ms)
        return response

    def _begin_usage(self, request: ReportRequest, now_ms: int) -> None:
        if request.report_specifier_id == HISTORY and request.start_ms is None:
            request = _from_the_beginning(request)
        self._store.reports.begin(request, now_ms)

    def _end(self, report_request_id: str) -> None:
        self._store.reports.end(report_request_id)
        self._statuses.end(report_request_id)
        self._last_ones.discard(report_request_id)

    def _ended(self, report_request_id: str) -> bool:
        """Has the VTN cancelled it in its answer?"""
        return report_request_id not in {each.request.report_request_id for each in self._store.reports.running()}


def _from_the_beginning(request: ReportRequest) -> ReportRequest:
    """History without a start is all of it."""
    return msgspec.structs.replace(request, start_ms=0)
