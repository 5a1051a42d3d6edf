"""Whose certificate a request comes with: read from TLS or from a trusted proxy's header, looked up in memory.

    TLS connection ──────────────┐
                                 ├─▶ fingerprint ──▶ bindings of this worker ──▶ VEN   (database where not remembered)
    header, from a trusted proxy ┘

A binding is remembered while this worker can be sure of it: a notification drops it at once, and every few seconds the
worker asks the database itself what changed. Where that fails for long it remembers nothing and asks every time, so a
revoked certificate is refused everywhere within `SURE_S`, also on connections that are open.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import ssl
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web
from sqlalchemy import func, select, text

from openadr.v2 import fingerprint
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.auth.certificates import ACTIVE, certificates
from vtn.errors import InvalidInput
from vtn.records.database import Database
from vtn.records.lookups import Lookups
from vtn.records.tables import vens

LOOK_S, SURE_S = 10.0, 45.0
_OVERLAP_S = 120
"""Changes of the last two minutes are looked at again each time: a transaction commits later than its time says."""
_REMEMBERED_MAX = 100_000
_HEADER_CHARACTERS_MAX = 16_384
FORWARDING_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP")

_log = get_logger("vtn.fingerprints")


class Proxies:
    """Proxies that end TLS for us: from their addresses alone the header is believed."""

    def __init__(self, addresses: Sequence[str], header: str) -> None:
        """`addresses` are IP addresses or networks. Raises ValueError."""
        self.header = header
        self._networks = [ipaddress.ip_network(address, strict=False) for address in addresses]

    def trusts(self, address: str | None) -> bool:
        """Is this the address of a trusted proxy?"""
        try:
            found = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)


def presented(request: web.BaseRequest, proxies: Proxies | None) -> str | None:
    """Fingerprint of the certificate a request comes with, None without one.

    Raises InvalidInput for a header that holds no certificate. A header from anywhere but a trusted proxy counts for
    nothing, and is logged.
    """
    if proxies is None:
        transport = request.transport
        tls: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert(binary_form=True)
        return fingerprint(certificate) if certificate else None
    value = request.headers.get(proxies.header)
    if not value:
        return None
    if not proxies.trusts(request.remote):
        _log.warning("certificate header from an address that is no trusted proxy", address=request.remote)
        return None
    if len(request.headers.getall(proxies.header)) > 1:
        raise InvalidInput("certificate_header_invalid", f"{proxies.header} came twice: the proxy has to replace it")
    return _fingerprint_in_header(value)


class Binding(msgspec.Struct, frozen=True):
    """The VEN a certificate is bound to, the states of both, and when the certificate ends (wall clock)."""

    ven_id: str
    status: str
    ven_status: str
    not_after_ms: int | None


class Bindings:
    """Bindings in the memory of one worker, who calls `look` every `LOOK_S`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lookups = Lookups(self._fetch)
        self._known: dict[str, Binding] = {}
        self._generation = 0
        self._sure_until_s = 0.0

    @property
    def sure(self) -> bool:
        """Does what is remembered count?"""
        return asyncio.get_running_loop().time() < self._sure_until_s

    async def find(self, printed: str) -> Binding | None:
        """The binding of a certificate, None if it has none."""
        sure = self.sure
        if sure and (known := self._known.get(printed)) is not None:
            return known
        generation = self._generation
        found = await self._lookups.find(printed)
        if found is None:
            return None
        # what is not active is not remembered: it is rare, and may not fill the memory
        if sure and generation == self._generation and found.status == ACTIVE:
            if len(self._known) >= _REMEMBERED_MAX:
                self._known.clear()
            self._known[printed] = found
        return found

    async def _fetch(self, printed: list[str]) -> dict[str, Binding]:
        c = certificates.c
        query = (
            select(c.fingerprint, c.ven_id, c.status, vens.c.status, c.not_after_ms)
            .join(vens, vens.c.ven_id == c.ven_id)
            .where(c.fingerprint == func.any(printed))
        )
        async with self._database.reading() as connection:
            return {row[0]: Binding(*row[1:]) for row in await connection.execute(query)}

    def forget(self, printed: str) -> None:
        """The binding of a certificate changed."""
        self._generation += 1
        self._known.pop(printed, None)

    async def look(self) -> None:
        """Forget what changed lately, all of it after a long time without a look."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        since = func.now() - text(f"interval '{_OVERLAP_S} seconds'")
        async with self._database.reading() as connection:
            query = select(certificates.c.fingerprint).where(certificates.c.changed_at > since)
            changed = list((await connection.execute(query)).scalars())
        if began_s >= self._sure_until_s:
            self._generation += 1
            self._known.clear()
        for printed in changed:
            self.forget(printed)
        self._sure_until_s = began_s + SURE_S


@lru_cache(maxsize=1024)
def _fingerprint_in_header(value: str) -> str:
    """Of nginx's `$ssl_client_escaped_cert` (PEM, URL-encoded) or RFC 9440's `Client-Cert` (`:base64 of the DER:`)."""
    try:
        if len(value) > _HEADER_CHARACTERS_MAX:
            raise ValueError("too long")
        if value.startswith(":") and value.endswith(":") and len(value) > 2:
            return fingerprint(base64.b64decode(value[1:-1], validate=True))
        pem = unquote_to_bytes(value).decode("ascii")
        return fingerprint(ssl.PEM_cert_to_DER_cert(pem.strip()))
    except (ValueError, binascii.Error):
        raise InvalidInput("certificate_header_invalid", "the proxy's header holds no certificate") from None
