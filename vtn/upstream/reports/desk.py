"""Reports up: what is announced, what was asked for, and every value until the utility has it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openadr.client import reporting
from openadr.client.errors import VtnUnreachable
from openadr.client.link import Link, is_success
from openadr.client.registration import Registration, new_request_id
from openadr.errors import ResponseCode
from openadr.model import Reading, Report
from openadr.v2 import (
    EiResponse,
    OadrCanceledReport,
    OadrCancelReport,
    OadrCreatedReport,
    OadrCreateReport,
    OadrReport,
    OadrUpdatedReport,
    ReportInterval,
    ReportPayload,
    ReportRequest,
    ResourceStatus,
    from_report,
)
from runtime.logs import get_logger
from vtn.context import Vtn
from vtn.services.programs import Program
from vtn.upstream import records
from vtn.upstream.reports import requests
from vtn.upstream.reports.points import (
    HISTORY,
    NAMES,
    PORTFOLIO,
    STATUS,
    Points,
    delivered,
    metadata,
    showable,
    usage,
)
from vtn.upstream.reports.requests import RunningReport
from vtn.upstream.reports.sums import members, sums

METADATA = "METADATA"
_READINGS_MAX = 2_000
"""In one message; the next one goes on."""
_LATE_MS = 86_400_000
"""So far back readings that come late are sent once more."""
_COMMIT_MS = 60_000
"""A reading may be stamped so long before others can see it: it is looked at twice, and sent twice at worst."""
_SILENT_INTERVALS = 4
_AGAIN_MS = 60_000

_log = get_logger("vtn.upstream.reports")


class Announced(msgspec.Struct, frozen=True):
    """What was announced, and under which registration."""

    registration_id: str
    points: Points


class ReportDesk:
    """Reports of one program to one utility."""

    def __init__(self, link: Link, vtn: Vtn, program: Program) -> None:
        self._link = link
        self._vtn = vtn
        self._program = program
        self._announced: Announced | None = None

    async def announce(self, registration: Registration, *, again: bool = False) -> None:
        """Say what can be reported, where that is new: to this registration, or since a virtual node was formed; take
        requests from the answer."""
        points, _ = await self._points()
        wanted = Announced(registration.registration_id, points)
        if not again and (not points.r_ids(STATUS) or wanted == (self._announced or await self._read_announced())):
            return
        now_ms = self._vtn.clock.now_ms()
        offered = metadata(points, self._program.terms.interval_s, now_ms, self._program.market_context)
        answer = await reporting.offer(self._link, offered, registration)
        if answer.report_requests:
            response = await self._begin(answer.report_requests, answer.response.request_id)
            await self._link.ask(OadrCreatedReport(response, await self._running_ids(), registration.ven_id))
        await self._write_announced(wanted)
        _log.info("reports announced", r_ids=points.r_ids(STATUS), requested=len(answer.report_requests))

    async def create(self, message: OadrCreateReport, registration: Registration) -> None:
        """The utility asks for reports, or for the announcement once more (rule 306)."""
        response = await self._begin(message.report_requests, message.request_id)
        await self._link.ask(OadrCreatedReport(response, await self._running_ids(), registration.ven_id))
        if any(request.report_specifier_id == METADATA for request in message.report_requests):
            await self.announce(registration, again=True)

    async def cancel(self, message: OadrCancelReport, registration: Registration) -> None:
        """The utility wants no more of some reports; a last one first if it says so."""
        known = {report.report_request_id: report for report in await self._running()}
        if message.report_to_follow:
            for report_request_id in message.report_request_ids:
                if report_request_id in known:
                    await self._send(known[report_request_id], registration)
        async with self._vtn.database.transaction() as connection:
            await requests.end(connection, message.report_request_ids)
        response = EiResponse(request_id=message.request_id)
        if not known.keys() >= set(message.report_request_ids):
            response = EiResponse(ResponseCode.INVALID_ID, "a reportRequestID is not known", message.request_id)
        await self._link.ask(OadrCanceledReport(response, await self._running_ids(), registration.ven_id))

    async def send(self, registration: Registration) -> None:
        """Send what is due. What the VTN gives no answer to is tried again in a minute, and keeps nothing else back."""
        for report in await self._running(due_by_ms=self._vtn.clock.now_ms()):
            try:
                await self._send(report, registration)
            except VtnUnreachable as error:
                _log.warning("report not sent", report=report.report_request_id, error=str(error))
                async with self._vtn.database.transaction() as connection:
                    await requests.put_off(connection, report, self._vtn.clock.now_ms() + _AGAIN_MS, str(error)[:200])

    async def _send(self, report: RunningReport, registration: Registration) -> None:
        now_ms = self._vtn.clock.now_ms()
        if report.report_specifier_id == STATUS:
            until_ms, messages = now_ms, [await self._status(report, now_ms)]
        else:
            step_ms = 1000 * report.granularity_s
            until_ms = now_ms - 1000 * self._vtn.settings.upstream_report_delay_s
            until_ms -= until_ms % step_ms
            if report.end_ms is not None:
                until_ms = min(until_ms, report.end_ms)
            messages = self._messages(report, await self._readings(report, until_ms), now_ms)
        for data in messages:
            if not await self._deliver(report, data, registration):
                return
        async with self._vtn.database.transaction() as connection:
            if not messages and not report.report_back_s and (report.end_ms is None or until_ms < report.end_ms):
                # one report was asked for, and there is nothing in it yet
                await requests.put_off(connection, report, now_ms + 1000 * report.granularity_s, None)
            else:
                mark_ms = max(report.read_ms, now_ms - _COMMIT_MS)
                await requests.sent(connection, report, max(report.reported_ms, until_ms), mark_ms, now_ms)

    async def _deliver(self, report: RunningReport, data: OadrReport, registration: Registration) -> bool:
        answer = await reporting.deliver(self._link, data, registration)
        if not is_success(answer.response):
            await self._not_taken(report, answer.response, registration)
            return False
        cancel = answer.cancel_report if isinstance(answer, OadrUpdatedReport) else None
        if cancel is not None:
            await self.cancel(cancel, registration)
        return cancel is None

    async def _readings(self, report: RunningReport, until_ms: int) -> list[Reading]:
        """Values up to `until_ms` the utility lacks: newer intervals, and older ones in which readings came late."""
        points, homes = await self._points()
        step_ms = 1000 * report.granularity_s
        first_ms = max(report.start_ms, report.reported_ms - _LATE_MS)
        async with self._vtn.database.reading() as connection:
            found = await sums(connection, self._program.name, report.granularity_s, first_ms, until_ms)
            settled = await records.list_needs(connection, records.CLOSED)
        lacking = {
            each.start_ms
            for each in found
            if each.start_ms + step_ms > report.reported_ms or each.received_ms > report.read_ms
        }
        fresh = [each for each in found if each.start_ms in lacking and each.start_ms + step_ms <= until_ms]
        readings = usage(points, homes, fresh, report.granularity_s)
        if report.report_specifier_id == HISTORY:
            readings += delivered(settled, report.start_ms, until_ms, report.read_ms)
        return [each for each in readings if each.r_id in report.r_ids]

    def _messages(self, report: RunningReport, readings: Sequence[Reading], now_ms: int) -> list[OadrReport]:
        return [
            from_report(
                Report(
                    report_id=new_request_id(),
                    report_request_id=report.report_request_id,
                    report_specifier_id=report.report_specifier_id,
                    created_ms=now_ms,
                    readings=tuple(readings[first : first + _READINGS_MAX]),
                    name=NAMES[report.report_specifier_id],
                )
            )
            for first in range(0, len(readings), _READINGS_MAX)
        ]

    async def _status(self, report: RunningReport, now_ms: int) -> OadrReport:
        """Online: homes of it reported lately, at least as many as may be shown."""
        points, homes = await self._points()
        interval_s = self._program.terms.interval_s
        first_ms = now_ms - _SILENT_INTERVALS * 1000 * interval_s
        async with self._vtn.database.reading() as connection:
            found = await sums(connection, self._program.name, interval_s, first_ms, now_ms)
        online = {each.r_id for each in usage(points, homes, found, interval_s)}
        online |= {PORTFOLIO} if online else set()
        payloads = tuple(
            ReportPayload(r_id, status=ResourceStatus(online=r_id in online, manual_override=False))
            for r_id in points.r_ids(STATUS)
            if r_id in report.r_ids
        )
        return OadrReport(
            report_request_id=report.report_request_id,
            report_specifier_id=STATUS,
            created_ms=now_ms,
            report_name=NAMES[STATUS],
            report_id=new_request_id(),
            start_ms=now_ms,
            intervals=(ReportInterval(payloads, start_ms=now_ms, duration_s=interval_s),),
        )

    async def _not_taken(self, report: RunningReport, response: EiResponse, registration: Registration) -> None:
        """A VTN that forgot the request is told again what there is; anything else is tried later."""
        why = f"{response.response_code} {response.response_description}"[:200]
        _log.warning("report refused", report=report.report_request_id, why=why)
        forgotten = response.response_code == ResponseCode.INVALID_ID
        async with self._vtn.database.transaction() as connection:
            if forgotten:
                await requests.end(connection, [report.report_request_id], error=why)
            else:
                due_ms = self._vtn.clock.now_ms() + 1000 * report.granularity_s
                await requests.put_off(connection, report, due_ms, why)
        if forgotten:
            await self.announce(registration, again=True)

    async def _begin(self, asked: Sequence[ReportRequest], request_id: str) -> EiResponse:
        """Start what can be given; the answer says what cannot."""
        points, _ = await self._points()
        code, wrong = 200, ""
        async with self._vtn.database.transaction() as connection:
            for request in asked:
                specifier = request.report_specifier_id
                unknown = [each.r_id for each in request.payloads if each.r_id not in points.r_ids(specifier)]
                if specifier == METADATA:
                    continue
                if specifier not in NAMES:
                    code, wrong = ResponseCode.REPORT_NOT_SUPPORTED, f"there is no report {specifier}"
                elif unknown:
                    code, wrong = ResponseCode.INVALID_ID, f"{specifier} has no rID {', '.join(unknown)}"
                else:
                    await requests.begin(
                        connection,
                        request,
                        interval_s=self._program.terms.interval_s,
                        delay_s=0 if specifier == STATUS else self._vtn.settings.upstream_report_delay_s,
                        now_ms=self._vtn.clock.now_ms(),
                        history=specifier == HISTORY,
                    )
        return EiResponse(code, wrong, request_id) if wrong else EiResponse(request_id=request_id)

    async def _points(self) -> tuple[Points, dict[str | None, int]]:
        async with self._vtn.database.reading() as connection:
            homes = await members(connection, self._program.name)
        return showable(homes), homes

    async def _running(self, *, due_by_ms: int | None = None) -> list[RunningReport]:
        async with self._vtn.database.reading() as connection:
            return await requests.running(connection, due_by_ms=due_by_ms)

    async def _running_ids(self) -> tuple[str, ...]:
        return tuple(report.report_request_id for report in await self._running())

    async def _read_announced(self) -> Announced | None:
        async with self._vtn.database.reading() as connection:
            found = (await records.read_link(connection, self._vtn.settings.upstream_url or "")).announced
        return None if found is None else msgspec.json.decode(found, type=Announced)

    async def _write_announced(self, announced: Announced) -> None:
        self._announced = announced
        async with self._vtn.database.transaction() as connection:
            await records.change_link(
                connection, self._vtn.settings.upstream_url or "", announced=msgspec.json.encode(announced)
            )
