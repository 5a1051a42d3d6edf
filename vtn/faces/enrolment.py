"""POST /enrolment: a VEN with an invitation joins with its own key. Later the same key gets it a new certificate
(/enrolment/certificate), says who may see its readings (/enrolment/consents), what its devices can do
(/enrolment/resource) and brings its next key (/enrolment/pseudonym).
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from ledger.client import LedgerError
from runtime.clock import DomainClock
from runtime.service import ProblemError
from vtn.auth.audit import acting
from vtn.auth.certificates import Handed
from vtn.auth.consent import SignedText
from vtn.auth.fingerprints import presented
from vtn.auth.rates import Rate
from vtn.context import Vtn
from vtn.errors import VtnError
from vtn.metrics import VtnMetrics
from vtn.services.enrolment import DomainTime, Enrolled, EnrolmentRequest, RenewalRequest
from vtn.services.pseudonyms import TurnRequest
from vtn.services.vens import WAITING, DescriptionRequest, Ven

PATH = "/enrolment"
REFUSALS_MAX = 60
"""Requests of one address that one worker refuses in a minute before it looks at no more of them: codes and signatures
cannot be guessed, but each try costs a look into the database. Who is let in is not counted: many may join at once."""
_TRY_AGAIN_S = 2
_APPROVAL_S = 30
_REFUSED_S = 60

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ConsentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A consent given or taken back, signed by the VEN's ledger key."""

    ven_id: str
    grant: SignedText | None = None
    revocation: SignedText | None = None


class EnrolmentFace:
    """The routes on the VTN's enrolments. The same request again gets the same answer."""

    def __init__(self, vtn: Vtn, metrics: VtnMetrics) -> None:
        self._vtn = vtn
        self._metrics = metrics
        self._proxies = vtn.settings.proxies()
        self._refusals = Rate(vtn.clock, REFUSALS_MAX, "too_many_requests", "refused requests")

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_post(PATH, self._counted(self.enrol))
        app.router.add_post(f"{PATH}/certificate", self._counted(self.renew))
        app.router.add_post(f"{PATH}/consents", self._counted(self.consent))
        app.router.add_post(f"{PATH}/resource", self._counted(self.describe))
        app.router.add_post(f"{PATH}/pseudonym", self._counted(self.turn))

    def _counted(self, handler: Handler) -> Handler:
        """The handler, for who was not refused too often."""

        async def counted(request: web.Request) -> web.StreamResponse:
            sender = self._sender(request)
            try:
                self._refusals.check(sender)
            except VtnError as error:
                self._metrics.enrolments.labels(error.code).inc()
                title = "Too many requests of this address were refused"
                raise ProblemError("too-many-requests", title, 429, str(error), _REFUSED_S) from None
            try:
                return await handler(request)
            except ProblemError as error:
                if error.status < 500:
                    with contextlib.suppress(VtnError):
                        self._refusals.admit(sender)
                raise

        return counted

    def _sender(self, request: web.Request) -> str:
        """The address; behind a trusted proxy the one it names last, which it saw itself."""
        address = request.remote or ""
        if self._proxies is not None and self._proxies.trusts(address):
            return request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip() or address
        return address

    async def enrol(self, request: web.Request) -> web.Response:
        """Enrol; a certificate is issued if one is asked for, and one the caller shows is bound to the VEN.

        202 while the operator has not approved: the same request later goes on.
        """
        asked = await _read(request, EnrolmentRequest)
        with acting(f"ven:{asked.ven_name}"):
            ven = await self._done(lambda: self._vtn.enrolments.enrol(asked))
            if ven.status == WAITING:
                self._metrics.enrolments.labels("waiting").inc()
                body = msgspec.json.encode({"status": WAITING, "ven_id": ven.ven_id})
                return _json(body, status=202, headers={"Retry-After": str(_APPROVAL_S)})
            answer = await self._done(lambda: self._enrolled(request, asked, ven))
        self._metrics.enrolments.labels("enrolled").inc()
        return _json(msgspec.json.encode(answer))

    async def renew(self, request: web.Request) -> web.Response:
        """A new certificate on the word of the ledger key; also where the old one is over."""
        asked = await _read(request, RenewalRequest)
        with acting(f"ven:{asked.ven_id}"):
            handed = await self._done(lambda: self._vtn.enrolments.renew(asked))
        return _json(msgspec.json.encode(handed))

    async def turn(self, request: web.Request) -> web.Response:
        """Another id on the ledger, on the word of the present ledger key."""
        asked = await _read(request, TurnRequest)
        with acting(f"ven:{asked.ven_id}"):
            turned = await self._done(lambda: self._vtn.pseudonyms.turn(asked))
        return _json(msgspec.json.encode(turned))

    async def describe(self, request: web.Request) -> web.Response:
        """What the home's devices can do from now on; what is wrong with which of them, if they are not taken."""
        asked = await _read(request, DescriptionRequest)
        with acting(f"ven:{asked.ven_id}"):
            described = await self._done(lambda: self._vtn.vens.describe(asked))
        return _json(msgspec.json.encode(described))

    async def consent(self, request: web.Request) -> web.Response:
        """Keep a consent, or the end of one."""
        asked = await _read(request, ConsentRequest)
        with acting(f"ven:{asked.ven_id}"):
            if asked.grant is not None:
                grant = asked.grant
                await self._done(lambda: self._vtn.consents.grant(asked.ven_id, grant))
            if asked.revocation is not None:
                revocation = asked.revocation
                await self._done(lambda: self._vtn.consents.revoke_signed(asked.ven_id, revocation))
        return _json(b"{}")

    async def _enrolled(self, request: web.Request, asked: EnrolmentRequest, ven: Ven) -> Enrolled:
        vtn = self._vtn
        policy = await vtn.policy()
        handed: Handed | None = None
        if asked.certificate_request is not None:
            handed = await vtn.certificates.issue(ven.ven_id, asked.certificate_request.encode())
        else:
            printed = presented(request, self._proxies)
            if printed is not None and ven.fingerprint is None:
                ven = await vtn.vens.bind_fingerprint(ven.ven_id, printed)
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
            weekend=terms.weekend,
            clock=_domain_time(vtn),
            policy=policy,
            ledger_url=vtn.settings.ledger_url,
            openadr2_url=vtn.settings.openadr2_url,
            certificate=handed,
        )

    async def _done(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives; its errors become problems."""
        try:
            return await work()
        except VtnError as error:
            self._metrics.enrolments.labels(error.code).inc()
            raise ProblemError(
                error.code.replace("_", "-"), "The request was not carried out", error.status, str(error)
            ) from error
        except LedgerError as error:
            self._metrics.enrolments.labels("ledger_unavailable").inc()
            raise ProblemError(
                "ledger-unavailable", "The ledger gave no answer: repeat the request", 503, str(error), _TRY_AGAIN_S
            ) from error


async def _read(request: web.Request, kind: type[T]) -> T:
    data = await request.read()
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise ProblemError("request-invalid", "The request is not what is read here", 400, str(error)) from None


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def _domain_time(vtn: Vtn) -> DomainTime | None:
    clock = vtn.clock
    if vtn.settings.clock_file is None or not isinstance(clock, DomainClock):
        return None
    return DomainTime(epoch_wall_ms=clock.epoch_wall_ms, epoch_domain_ms=clock.epoch_domain_ms, speed=clock.speed)
