"""Devices with keys and certificates of the VTN's authorities, and a VTN that knows them by those."""

from __future__ import annotations

import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.serialization import Encoding

from openadr import v2
from openadr.v2.document.signature import load_key, sign
from runtime.clock import Clock
from runtime.tls import Certificate, client_context
from runtime.tls.certificates import new_key, read_chain, request_certificate, write_key
from tests.builders import START_MS
from tests.vtn.faces.peer import SERVICES, heard
from tests.vtn.opened import PROGRAM, opened
from vtn.app import build_app
from vtn.auth.pki import Pki
from vtn.context import Vtn
from vtn.faces.openadr2 import PREFIX
from vtn.services.registrations import RegistrationRequest


@dataclass(frozen=True)
class Device:
    """A VEN's files, and what follows from them."""

    ven_id: str
    files: Certificate
    tls: ssl.SSLContext

    @property
    def fingerprint(self) -> str:
        return v2.fingerprint(read_chain(self.files.chain)[0].public_bytes(Encoding.DER))

    def signed(self, message: v2.Message, *, nonce: str | None = None, at_ms: int | None = None) -> bytes:
        """The message with this device's signature, by default fresh at the start of the tests' clock."""
        moment = START_MS if at_ms is None else at_ms
        key = load_key(self.files.key.read_bytes())
        chain = self.files.chain.read_bytes()
        return sign(v2.render(message), key, chain, nonce or secrets.token_hex(8), moment)


async def a_device(
    vtn: Vtn, folder: Path, name: str = "home-1", *, rsa: bool = False, registered: bool = True
) -> Device:
    """A VEN with a certificate from its own request, as `dr-ven enrol` leaves it."""
    ven = await vtn.vens.add(name, "F1", PROGRAM, virtual_node="vn-1")
    key = new_key(rsa_bits=2048 if rsa else None)
    handed = await vtn.certificates.issue(ven.ven_id, request_certificate(key, name))
    files = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    files.chain.write_text(handed.chain)
    write_key(files.key, key)
    (folder / "ca.pem").write_text(handed.authorities)
    device = Device(ven.ven_id, files, client_context(folder / "ca.pem", files))
    if registered:
        asked = RegistrationRequest(ven_id=ven.ven_id, ven_name=None, fingerprint=device.fingerprint)
        await vtn.registrations.register(asked)
    return device


@contextlib.asynccontextmanager
async def a_worker(vtn: Vtn) -> AsyncIterator[str]:
    """The address of one worker of the VTN, with TLS where its settings have it."""
    tls = vtn.settings.tls()
    app = build_app(vtn, tls=tls)
    server = TestServer(app, scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        await heard(app)
        yield str(server.make_url("/")).rstrip("/")
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def a_secured_vtn(url: str, clock: Clock, folder: Path, pki: Pki, **settings: Any) -> AsyncIterator[Vtn]:
    """A VTN with authorities of its own."""
    async with opened(url, clock, folder, pki_dir=pki.folder, **settings) as found:
        yield found.vtn


async def post(
    session: aiohttp.ClientSession,
    url: str,
    message: v2.Message | bytes,
    device: Device | None = None,
    *,
    service: str = "OadrPoll",
    headers: dict[str, str] | None = None,
) -> tuple[bytes, Any]:
    """Bytes of the answer, and the message in it."""
    if not isinstance(message, bytes):
        service = SERVICES[type(message)]
        message = v2.render(message)
    tls: ssl.SSLContext | bool = device.tls if device is not None else True
    headers = {"Content-Type": "application/xml"} | (headers or {})
    async with session.post(f"{url}{PREFIX}/{service}", data=message, ssl=tls, headers=headers) as response:
        body = await response.read()
    return body, v2.parse(body)


def code(answer: Any) -> int:
    """The response code of an answer."""
    return int(answer.response.response_code)
