"""The VTN as a source of reports: what it offers, what this home asked for, and the values that came.

oadrRegisterReport ──▶ Offer      owner asks ──▶ Wanted ── oadrCreateReport ──▶ oadrUpdateReport ──▶ values
                                  owner ends it ─────────── oadrCancelReport ──▶ gone
"""

from __future__ import annotations

import msgspec

from openadr.client.link import Link, demand_success, is_success
from openadr.client.registration import Registration, new_request_id
from openadr.errors import OpenAdrError, ResponseCode
from openadr.model import Quality
from openadr.v2 import (
    EiResponse,
    OadrCanceledReport,
    OadrCancelReport,
    OadrCreatedReport,
    OadrCreateReport,
    OadrRegisteredReport,
    OadrRegisterReport,
    OadrReport,
    OadrUpdatedReport,
    OadrUpdateReport,
    ReportRequest,
    SpecifierPayload,
    placed,
)
from runtime.errors import SettingsError
from runtime.logs import get_logger
from ven.home.store import Notes, Store

VALUES_MAX = 672
"""Values kept of one report: a week of quarter-hours of one point."""

_OFFERS_NOTE, _WANTED_NOTE, _VALUES_NOTE = "vtn_report_offers", "vtn_reports_wanted", "vtn_report_values"
_OFFERS_MAX = 64

_log = get_logger("ven.faces.openadr2.reporting.sourced")


class OfferedPoint(msgspec.Struct, frozen=True):
    """A data point: its rID, what it measures and how."""

    r_id: str
    report_type: str
    reading_type: str
    unit: str


class Offer(msgspec.Struct, frozen=True):
    """A report that can be asked for."""

    specifier: str
    name: str
    points: tuple[OfferedPoint, ...]


class Wanted(msgspec.Struct, frozen=True):
    """A report that is to be asked for. `told`: the VTN knows of it; `ending`: it is to be cancelled; `done`: it was
    wanted once, and came."""

    request: ReportRequest
    told: bool = False
    ending: bool = False
    done: bool = False


class Value(msgspec.Struct, frozen=True):
    """One value, a decimal string, of [start, start + duration)."""

    r_id: str
    start_ms: int
    duration_s: int
    value: str
    quality: Quality


def offers(notes: Notes) -> list[Offer]:
    """What the VTN offered last."""
    return notes.read(_OFFERS_NOTE, list[Offer]) or []


def wanted(notes: Notes) -> list[Wanted]:
    """What this home asked for."""
    return notes.read(_WANTED_NOTE, list[Wanted]) or []


def values(notes: Notes) -> dict[str, list[Value]]:
    """What came, by reportRequestID, the newest last."""
    return notes.read(_VALUES_NOTE, dict[str, list[Value]]) or {}


def want(
    notes: Notes,
    specifier: str,
    *,
    granularity_s: int,
    report_back_s: int,
    start_ms: int | None,
    duration_s: int | None,
) -> Wanted:
    """Ask for every point of a report that the VTN offers, once (`report_back_s` 0) or each `report_back_s`; a running
    agent tells the VTN. Raises SettingsError where the VTN offers no such report."""
    offer = next((each for each in offers(notes) if each.specifier == specifier), None)
    if offer is None:
        known = ", ".join(each.specifier for each in offers(notes)) or "none"
        raise SettingsError(f"the VTN offers no report {specifier}: it offers {known}")
    request = ReportRequest(
        report_request_id=f"ven-{new_request_id()}",
        report_specifier_id=specifier,
        granularity_s=granularity_s,
        report_back_s=report_back_s,
        payloads=tuple(SpecifierPayload(each.r_id, each.reading_type) for each in offer.points),
        start_ms=start_ms,
        duration_s=duration_s,
    )
    found = Wanted(request)
    notes.write(_WANTED_NOTE, [*wanted(notes), found])
    return found


def end(notes: Notes, report_request_id: str) -> bool:
    """Want a report no more; False if it was not asked for."""
    known = wanted(notes)
    if all(each.request.report_request_id != report_request_id for each in known):
        return False
    _change(notes, report_request_id, ending=True)
    return True


def ask_again(notes: Notes) -> None:
    """The VTN may know nothing of what it was asked."""
    if known := wanted(notes):
        notes.write(_WANTED_NOTE, [msgspec.structs.replace(each, told=False) for each in known])


class SourcedDesk:
    """Tells the VTN what is wanted of it, and takes what comes."""

    def __init__(self, link: Link, store: Store, *, home: str) -> None:
        self._link = link
        self._store = store
        self._home = home

    def offered(self, message: OadrRegisterReport, registration: Registration) -> OadrRegisteredReport:
        """The VTN says what it can report; it replaces what it said before."""
        found = [_offer(each) for each in message.reports[:_OFFERS_MAX]]
        self._store.notes.write(_OFFERS_NOTE, found)
        _log.info("reports offered", home=self._home, specifiers=[each.specifier for each in found])
        return OadrRegisteredReport(EiResponse(request_id=message.request_id), (), registration.ven_id)

    def updated(self, message: OadrUpdateReport, registration: Registration) -> OadrUpdatedReport:
        """Values of the VTN's reports. One that was not asked for is refused (rule 304), the others are taken."""
        running = {each.request.report_request_id: each for each in wanted(self._store.notes) if not each.ending}
        response = EiResponse(request_id=message.request_id)
        with self._store.transaction():
            for report in message.reports:
                asked = running.get(report.report_request_id)
                if asked is None:
                    detail = f"no report was asked for under reportRequestID {report.report_request_id}"
                    response = EiResponse(ResponseCode.INVALID_ID, detail[:200], message.request_id)
                    continue
                try:
                    self._keep(report, asked.request)
                except OpenAdrError as error:
                    response = EiResponse(error.code, error.detail[:200], message.request_id)
        if not is_success(response):
            _log.warning("report of the VTN refused", home=self._home, why=response.response_description)
        return OadrUpdatedReport(response, None, registration.ven_id)

    async def say(self, registration: Registration) -> None:
        """Asks for what is wanted and not told yet, and cancels what is not wanted any more."""
        for each in wanted(self._store.notes):
            if each.ending:
                await self._cancel(each, registration)
            elif not each.told and not each.done:
                await self._ask(each, registration)

    async def _ask(self, asked: Wanted, registration: Registration) -> None:
        message = OadrCreateReport(new_request_id(), (asked.request,), registration.ven_id)
        answer = await self._link.ask_for(message, OadrCreatedReport)
        self._check(answer.response, asked)
        with self._store.transaction():  # the owner's commands write beside
            _change(self._store.notes, asked.request.report_request_id, told=True)

    async def _cancel(self, asked: Wanted, registration: Registration) -> None:
        request_id = asked.request.report_request_id
        if asked.told:
            message = OadrCancelReport(new_request_id(), (request_id,), ven_id=registration.ven_id)
            answer = await self._link.ask_for(message, OadrCanceledReport)
            self._check(answer.response, asked)
        self._drop(request_id)

    def _check(self, response: EiResponse, asked: Wanted) -> None:
        """A refusal is final and logged; that this VEN is not known is another matter. Raises VtnRefused."""
        if response.response_code == ResponseCode.NOT_REGISTERED_OR_AUTHORIZED:
            demand_success(response)
        if not is_success(response):
            _log.warning(
                "report not given",
                home=self._home,
                report=asked.request.report_request_id,
                code=response.response_code,
                why=response.response_description,
            )

    def _keep(self, report: OadrReport, request: ReportRequest) -> None:
        """Raises InvalidReport for one whose intervals have no place in time."""
        found = [
            Value(payload.r_id, start_ms, duration_s, payload.value, payload.quality)
            for start_ms, duration_s, payload in placed(report, request.granularity_s)
            if payload.value is not None
        ]
        known = values(self._store.notes)
        kept = {(each.r_id, each.start_ms): each for each in known.get(request.report_request_id, [])}
        kept |= {(each.r_id, each.start_ms): each for each in found}
        newest = sorted(kept.values(), key=lambda each: (each.start_ms, each.r_id))[-VALUES_MAX:]
        self._store.notes.write(_VALUES_NOTE, known | {request.report_request_id: newest})
        if not request.report_back_s:  # rule 324: it was asked for once
            _change(self._store.notes, request.report_request_id, done=True)

    def _drop(self, request_id: str) -> None:
        notes = self._store.notes
        with self._store.transaction():
            notes.write(_WANTED_NOTE, [each for each in wanted(notes) if each.request.report_request_id != request_id])
            notes.write(_VALUES_NOTE, {key: found for key, found in values(notes).items() if key != request_id})


def _change(notes: Notes, report_request_id: str, **changes: object) -> None:
    known = wanted(notes)
    changed = [
        msgspec.structs.replace(each, **changes) if each.request.report_request_id == report_request_id else each
        for each in known
    ]
    notes.write(_WANTED_NOTE, changed)


def _offer(report: OadrReport) -> Offer:
    points = tuple(
        OfferedPoint(each.r_id, each.report_type, each.reading_type, "" if each.unit is None else each.unit.symbol)
        for each in report.descriptions
    )
    return Offer(report.report_specifier_id, report.report_name or "", points)
