"""What an owner looks at and changes after joining: the certificate, and who may see the readings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from openadr.v2 import fingerprint
from runtime.errors import SettingsError
from runtime.service import run
from runtime.tls.certificates import read_chain
from ven.account.consents import (
    GRANTEES,
    ConsentChoice,
    mark_revoked,
    read_consents,
    revocation,
    signed_consents,
)
from ven.account.credentials import Credentials
from ven.account.enrolment import post, renew
from ven.account.identity import Identity, read_identity
from ven.account.wallet import Wallet
from ven.app import surroundings
from ven.config import VenSettings
from ven.errors import NotEnrolled
from ven.home.store import Store
from ven.home.store.store import FILE_NAME

T = TypeVar("T")


def certificate_of(settings: VenSettings) -> dict[str, Any]:
    """The certificate of the home. Raises SettingsError where it has none."""
    client = Credentials(settings.data_dir).client
    if client is None:
        raise SettingsError(
            f"there is no certificate in {settings.data_dir}: its VTN issues none, or it is not enrolled"
        )
    found = read_chain(client)[0]
    return {
        "fingerprint": fingerprint(found.public_bytes(Encoding.DER)),
        "subject": found.subject.rfc4514_string(),
        "not_after": f"{found.not_valid_after_utc:%Y-%m-%d %H:%MZ}",
        "file": str(client),
    }


def renew_certificate(settings: VenSettings) -> dict[str, Any]:
    """Get a new certificate now. Raises EnrolmentRefused, VtnUnreachable, NotEnrolled."""
    credentials = Credentials(settings.data_dir)
    wallet = Wallet.open(settings.data_dir)

    async def work() -> None:
        async with _joined(settings) as (identity, _, session):
            at_ms = int(datetime.now(UTC).timestamp() * 1000)
            await renew(identity, wallet, credentials, session, at_ms)

    run(work())
    return certificate_of(settings)


def change_consents(settings: VenSettings, *, revoke: str | None, grant: str | None) -> list[dict[str, Any]]:
    """The home's consents, after one was taken back or given. Raises SettingsError, EnrolmentRefused,
    VtnUnreachable, NotEnrolled."""
    if grant is not None and grant not in GRANTEES:
        raise SettingsError(f"a consent goes to one of {', '.join(GRANTEES)}")

    async def work() -> list[dict[str, Any]]:
        async with _joined(settings) as (identity, store, session):
            wallet, credentials = Wallet.open(settings.data_dir), Credentials(settings.data_dir)
            body: dict[str, Any] = {"ven_id": identity.ven_id}
            if revoke is not None:
                if revoke not in {each.consent_id for each in read_consents(store.notes)}:
                    raise SettingsError(f"this home gave no consent {revoke}")
                asked = body | {"revocation": revocation(wallet, revoke)}
                await post(session, identity.vtn_url, "/enrolment/consents", asked, dict, credentials)
                mark_revoked(store.notes, revoke)
            if grant is not None:
                choice = ConsentChoice(grant, settings.consent_purpose, settings.consent_days)
                [signed] = signed_consents(wallet, store.notes, identity.sponsor, [choice])
                asked = body | {"grant": signed}
                await post(session, identity.vtn_url, "/enrolment/consents", asked, dict, credentials)
            return [_shown(msgspec.to_builtins(each)) for each in read_consents(store.notes)]

    return run(work())


@asynccontextmanager
async def _joined(settings: VenSettings) -> AsyncIterator[tuple[Identity, Store, aiohttp.ClientSession]]:
    if not (settings.data_dir / FILE_NAME).exists():
        raise NotEnrolled(f"there is no home in {settings.data_dir}: run `dr-ven enrol` first")
    with closing(Store(settings.data_dir / FILE_NAME)) as store:
        identity = read_identity(store.notes)
        async with surroundings(settings, settings.clock(), 1) as around:
            yield identity, store, around.session


def _shown(consent: dict[str, Any]) -> dict[str, Any]:
    until = datetime.fromtimestamp(consent["until_ms"] / 1000, UTC)
    return consent | {"until": f"{until:%Y-%m-%d}"}
