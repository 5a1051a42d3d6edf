"""Enrolment: from an invitation to an identity. Repeating it is harmless: the code is bound to the key made once.

invitation.json ──▶ keys made here ──▶ POST {vtn_url}/enrolment ──▶ identity, policy.txt, (clock, certificate)

Where the invitation names authorities the home brings a request for a certificate, whose key stays here as the ledger
key does; the ledger key later signs for the next certificate, and for consents given or taken back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec

from runtime.clock import write_clock
from runtime.logs import get_logger
from ven.account.consents import ConsentChoice, signed_consents
from ven.account.credentials import Credentials, HandedCertificate
from ven.account.identity import Identity, is_enrolled, read_identity, write_identity
from ven.account.wallet import MAIN, Wallet
from ven.config import CLOCK_FILE
from ven.errors import ApprovalPending, EnrolmentRefused, VtnUnreachable
from ven.flexibility.describing import Offer
from ven.flexibility.told import Told, write_told
from ven.home.store import Store

POLICY_FILE = "policy.txt"
_NOT_READ = (400, 422)

T = TypeVar("T")

_log = get_logger("ven.account.enrolment")


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """The file a VTN's operator hands to a home (`dr-vtn vens invite`). `code` is good for one key; the contracts of
    the home will live in `channel` of the ledger."""

    vtn_url: str
    openadr2_url: str
    ledger_url: str
    code: str
    ven_name: str
    area: str
    sponsor: str
    channel: str = MAIN
    site_zone: str = "UTC"
    program: str = ""
    holidays: tuple[str, ...] = ()
    weekend: tuple[int, ...] = (5, 6)
    authorities: str | None = None


class _ClockAnswer(msgspec.Struct, frozen=True, kw_only=True):
    epoch_wall_ms: int
    epoch_domain_ms: int
    speed: float


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    ven_id: str
    party: str
    policy: str
    ledger_url: str | None = None
    openadr2_url: str | None = None
    holidays: tuple[str, ...] | None = None
    weekend: tuple[int, ...] | None = None
    clock: _ClockAnswer | None = None
    certificate: HandedCertificate | None = None


def read_invitation(path: Path) -> Invitation:
    """Raises EnrolmentRefused naming what is wrong with the file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Invitation)
    except (OSError, msgspec.MsgspecError) as error:
        raise EnrolmentRefused(f"{path} is not an invitation: {error}") from error


async def enrol(
    invitation: Invitation,
    folder: Path,
    store: Store,
    offer: Offer,
    session: aiohttp.ClientSession,
    consents: Sequence[ConsentChoice] = (),
) -> Identity:
    """Enrols the home in `folder`; one that is enrolled already is left as it is.

    Raises EnrolmentRefused (the VTN says no), ApprovalPending and VtnUnreachable (try again), KeyFileError."""
    if is_enrolled(store.notes):
        return read_identity(store.notes)
    wallet = Wallet.open_or_create(folder)
    credentials = Credentials(folder)
    body: dict[str, Any] = {
        "code": invitation.code,
        "ven_name": invitation.ven_name,
        "public_key": wallet.public,
        "proof": wallet.prove_enrolment(invitation.sponsor, invitation.area),
        "resource": msgspec.to_builtins(offer),
        "consents": signed_consents(wallet, store.notes, invitation.sponsor, consents),
    }
    if invitation.authorities is not None:
        credentials.trust(invitation.authorities)
        body["certificate_request"] = credentials.request(invitation.ven_name)
    answer, told = await _asked(session, invitation, body, credentials, offer)
    if answer.party != wallet.party:
        raise EnrolmentRefused(f"the VTN enrolled {answer.party}, the key of this home is {wallet.party}")
    identity = Identity(
        ven_name=invitation.ven_name,
        ven_id=answer.ven_id,
        vtn_url=invitation.vtn_url,
        openadr2_url=answer.openadr2_url or invitation.openadr2_url,
        ledger_url=answer.ledger_url or invitation.ledger_url,
        channel=invitation.channel,
        party=wallet.party,
        sponsor=invitation.sponsor,
        area=invitation.area,
        program=invitation.program,
        site_zone=invitation.site_zone,
        holidays=invitation.holidays if answer.holidays is None else answer.holidays,
        weekend=invitation.weekend if answer.weekend is None else answer.weekend,
    )
    identity.calendar()
    if answer.certificate is not None:
        credentials.install(answer.certificate)
    (folder / POLICY_FILE).write_text(answer.policy, encoding="utf-8")
    if answer.clock is not None:
        write_clock(
            folder / CLOCK_FILE,
            epoch_domain_ms=answer.clock.epoch_domain_ms,
            speed=answer.clock.speed,
            epoch_wall_ms=answer.clock.epoch_wall_ms,
        )
    with store.transaction():
        write_identity(store.notes, identity, answer.policy.encode())
        write_told(store.notes, told)
    _log.info("enrolled", home=identity.ven_name, ven_id=identity.ven_id, party=identity.party)
    return identity


async def _asked(
    session: aiohttp.ClientSession,
    invitation: Invitation,
    body: dict[str, Any],
    credentials: Credentials,
    offer: Offer,
) -> tuple[_Answer, Told]:
    """The answer, and what the VTN knows of the home after it: one that reads no devices is told the watts alone."""
    try:
        answer = await post(session, invitation.vtn_url, "/enrolment", body, _Answer, credentials)
        return answer, Told(offer=offer)
    except EnrolmentRefused as error:
        if error.status not in _NOT_READ or not (offer.devices or offer.corrected_percent):
            raise
        plain = Offer(
            flexible_w=offer.flexible_w,
            flexible_percent=offer.flexible_percent,
            max_events_per_week=offer.max_events_per_week,
        )
        body = body | {"resource": msgspec.to_builtins(plain)}
        answer = await post(session, invitation.vtn_url, "/enrolment", body, _Answer, credentials)
        _log.warning("enrolled without devices", home=invitation.ven_name, why=str(error))
        return answer, Told(offer=offer, refused=str(error))


async def renew(
    identity: Identity, wallet: Wallet, credentials: Credentials, session: aiohttp.ClientSession, at_ms: int
) -> None:
    """A new certificate for the home, on the word of its ledger key; `at_ms` is wall time.

    Raises EnrolmentRefused, VtnUnreachable, KeyFileError."""
    request = credentials.request(identity.ven_name)
    text = {
        "format": "gridpact.certificate-renewal.1",
        "ven_id": identity.ven_id,
        "request_digest": hashlib.sha256(request.encode()).hexdigest(),
        "at_ms": at_ms,
    }
    body = {"ven_id": identity.ven_id, "certificate_request": request, "signed": wallet.sign_text(text)}
    path = "/enrolment/certificate"
    credentials.install(await post(session, identity.vtn_url, path, body, HandedCertificate, credentials))


async def post(
    session: aiohttp.ClientSession,
    vtn_url: str,
    path: str,
    body: dict[str, Any],
    kind: type[T],
    credentials: Credentials,
) -> T:
    """What the VTN's enrolment answers. Raises EnrolmentRefused, ApprovalPending, VtnUnreachable."""
    url = f"{vtn_url.rstrip('/')}{path}"
    try:
        async with session.post(url, json=body, ssl=credentials.context() or True) as response:
            data = await response.read()
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise VtnUnreachable(f"no answer from {url}: {error or type(error).__name__}") from error
    if status == 202:
        raise ApprovalPending("the VTN's operator has to approve this home: run the same command again after that")
    if status >= 500 or status == 429:
        raise VtnUnreachable(f"{url} answered {status}: {_detail(data)}")
    if status >= 300:
        raise EnrolmentRefused(f"the VTN refused the request ({status}): {_detail(data)}", status)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise VtnUnreachable(f"{url} did not answer as an enrolment does: {error}") from error


def _detail(data: bytes) -> str:
    """What a problem document says to people."""
    try:
        problem = msgspec.json.decode(data, type=dict[str, object])
    except msgspec.MsgspecError:
        return data[:200].decode(errors="replace")
    return str(problem.get("detail") or problem.get("title") or problem)
