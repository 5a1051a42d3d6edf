"""POST /enrolment: a VEN with an invitation joins with its own key."""

from __future__ import annotations

import msgspec
from aiohttp import web

from ledger.client import LedgerError
from openadr.v2 import fingerprint
from runtime.clock import DomainClock
from runtime.logs import get_logger
from runtime.service import ProblemError
from vtn.context import Vtn
from vtn.errors import VtnError
from vtn.metrics import VtnMetrics
from vtn.services.enrolment import DomainTime, Enrolled, EnrolmentRequest

PATH = "/enrolment"
_TRY_AGAIN_S = 2
_log = get_logger("vtn.enrolment")


class EnrolmentFace:
    """The route on the VTN's enrolments. The same request again gets the same answer."""

    def __init__(self, vtn: Vtn, metrics: VtnMetrics) -> None:
        self._vtn = vtn
        self._metrics = metrics

    def add_to(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_post(PATH, self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """Enrol; with mutual TLS the caller's certificate is bound to the VEN."""
        try:
            asked = msgspec.json.decode(await request.read(), type=EnrolmentRequest)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ProblemError("request-invalid", "The request is not an enrolment", 400, str(error)) from None
        try:
            answer = await self._enrol(asked, _certificate(request))
        except VtnError as error:
            self._metrics.enrolments.labels(error.code).inc()
            raise ProblemError(
                error.code.replace("_", "-"), "The VEN was not enrolled", error.status, str(error)
            ) from error
        except LedgerError as error:
            self._metrics.enrolments.labels("ledger_unavailable").inc()
            raise ProblemError(
                "ledger-unavailable", "The ledger gave no answer: repeat the request", 503, str(error), _TRY_AGAIN_S
            ) from error
        self._metrics.enrolments.labels("enrolled").inc()
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    async def _enrol(self, asked: EnrolmentRequest, certificate: bytes | None) -> Enrolled:
        vtn = self._vtn
        policy = await vtn.policy()
        ven = await vtn.enrolments.enrol(asked)
        if certificate is not None and ven.fingerprint is None:
            ven = await vtn.vens.bind_fingerprint(ven.ven_id, fingerprint(certificate))
        terms = (await vtn.programs.get(ven.program)).terms
        assert ven.party is not None
        return Enrolled(
            ven_id=ven.ven_id,
            ven_name=ven.ven_name,
            party=ven.party,
            sponsor=vtn.party,
            area=ven.area,
            program=ven.program,
            interval_s=terms.interval_s,
            site_zone=terms.zone,
            holidays=terms.holidays,
            clock=_domain_time(vtn),
            policy=policy,
            ledger_url=vtn.settings.ledger_url,
            openadr2_url=vtn.settings.openadr2_url,
        )


def _domain_time(vtn: Vtn) -> DomainTime | None:
    clock = vtn.clock
    if vtn.settings.clock_file is None or not isinstance(clock, DomainClock):
        return None
    return DomainTime(epoch_wall_ms=clock.epoch_wall_ms, epoch_domain_ms=clock.epoch_domain_ms, speed=clock.speed)


def _certificate(request: web.Request) -> bytes | None:
    tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    return None if tls is None else tls.getpeercert(binary_form=True)
