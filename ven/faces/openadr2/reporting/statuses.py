"""TELEMETRY_STATUS: the state of the home's device, taken each granularity and sent each reportBackDuration.

What was taken is in the store until the VTN acknowledged it; while the VTN is not reached nothing is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from openadr.v2 import OadrReport, ReportInterval, ReportPayload, ReportRequest, ResourceStatus
from ven.faces.openadr2.reporting.catalogue import DEVICE, NAMES, STATUS
from ven.home.store import Notes

STATUS_REPORTS_NOTE = "status_reports"


class Taken(msgspec.Struct, frozen=True):
    """The state at a moment."""

    start_ms: int
    state: ResourceStatus


class StatusReport(msgspec.Struct, frozen=True):
    """A request that runs, when the next state is to be taken and the next report sent, and what waits to be sent."""

    request: ReportRequest
    take_ms: int
    send_ms: int
    taken: tuple[Taken, ...] = ()

    @property
    def granularity_ms(self) -> int:
        return 1000 * (self.request.granularity_s or self.request.report_back_s or 60)

    @property
    def end_ms(self) -> int | None:
        """When nothing more is taken; None: when it is cancelled."""
        request = self.request
        if request.start_ms is None or not request.duration_s:
            return None
        return request.start_ms + 1000 * request.duration_s


class StatusReports:
    """Those of one home. `state` says how the device is now; at most `kept` states of a report wait."""

    def __init__(self, notes: Notes, state: Callable[[], ResourceStatus], *, kept: int) -> None:
        self._notes = notes
        self._state = state
        self._kept = kept

    def running(self) -> list[StatusReport]:
        """In the order they were asked for."""
        return self._notes.read(STATUS_REPORTS_NOTE, list[StatusReport]) or []

    def begin(self, request: ReportRequest, now_ms: int) -> None:
        """Starts a report, or starts it anew if its terms changed."""
        known = self.running()
        if any(each.request == request for each in known):
            return
        first_ms = max(now_ms, request.start_ms or 0)
        self._write(
            [
                *[each for each in known if each.request.report_request_id != request.report_request_id],
                StatusReport(request, first_ms, first_ms),
            ]
        )

    def end(self, report_request_id: str) -> bool:
        """Ends a report; False if there is none of that id."""
        known = self.running()
        left = [each for each in known if each.request.report_request_id != report_request_id]
        if len(left) != len(known):
            self._write(left)
        return len(left) != len(known)

    def hurry(self, report_request_id: str, now_ms: int) -> None:
        """Take the state and send the report now."""
        changed = [
            msgspec.structs.replace(each, take_ms=now_ms, send_ms=now_ms)
            if each.request.report_request_id == report_request_id
            else each
            for each in self.running()
        ]
        self._write(changed)

    def take(self, now_ms: int) -> list[StatusReport]:
        """Takes the states that are due; returns the reports to send now. Those are not written down: they are by
        `keep` where sending fails, so that a state that is taken at once costs one write."""
        known = self.running()
        due = [self._taken(each, now_ms) for each in known]
        waiting = [after if after.send_ms > now_ms else before for before, after in zip(known, due, strict=True)]
        if waiting != known:
            self._write(waiting)
        return [each for each in due if each.send_ms <= now_ms]

    def keep(self, report: StatusReport) -> None:
        """The report did not arrive: what is in it waits."""
        self._put(report)

    def acknowledged(self, report: StatusReport, now_ms: int) -> None:
        """The VTN has these states. A report that was asked for once, or whose time is over, ends."""
        request = report.request
        back_ms = 1000 * request.report_back_s
        over = report.end_ms is not None and report.end_ms <= now_ms
        if not back_ms or over:
            self.end(request.report_request_id)
        else:
            self._put(msgspec.structs.replace(report, taken=(), send_ms=(now_ms // back_ms + 1) * back_ms))

    def put_off(self, report: StatusReport, due_ms: int) -> None:
        """The VTN would not take it now: later again."""
        self._put(msgspec.structs.replace(report, send_ms=due_ms))

    def next_ms(self) -> int | None:
        """When something is to be taken or sent next."""
        return min((min(each.take_ms, each.send_ms) for each in self.running()), default=None)

    def _taken(self, report: StatusReport, now_ms: int) -> StatusReport:
        if report.end_ms is not None and report.end_ms <= now_ms and report.taken:
            return msgspec.structs.replace(report, take_ms=report.send_ms)
        if report.take_ms > now_ms:
            return report
        step_ms = report.granularity_ms
        return msgspec.structs.replace(
            report,
            taken=(*report.taken, Taken(now_ms, self._state()))[-self._kept :],
            take_ms=(now_ms // step_ms + 1) * step_ms,
        )

    def _put(self, report: StatusReport) -> None:
        """In the place of what is kept of it; not if it ended, or was asked for anew, meanwhile."""
        self._write([report if each.request == report.request else each for each in self.running()])

    def _write(self, reports: Sequence[StatusReport]) -> None:
        self._notes.write(STATUS_REPORTS_NOTE, reports)


def status_message(report: StatusReport, report_id: str, created_ms: int) -> OadrReport:
    """The states that wait, as a report."""
    return OadrReport(
        report_request_id=report.request.report_request_id,
        report_specifier_id=STATUS,
        created_ms=created_ms,
        report_name=NAMES[STATUS],
        report_id=report_id,
        start_ms=report.taken[0].start_ms if report.taken else created_ms,
        intervals=tuple(
            ReportInterval(
                payloads=(ReportPayload(DEVICE, status=each.state),),
                start_ms=each.start_ms,
                duration_s=report.granularity_ms // 1000,
            )
            for each in report.taken
        ),
    )
