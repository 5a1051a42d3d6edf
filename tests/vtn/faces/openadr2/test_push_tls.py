"""With TLS a push goes to the server that shows the VEN's own certificate, and to no other."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec

from openadr import v2
from runtime.tls import client_context, server_context
from tests.vtn.faces.certificates import Authority
from tests.vtn.faces.openadr2.test_events import publish
from tests.vtn.faces.peer import Peer, heard
from tests.vtn.opened import PROGRAM, opened
from vtn.app import build_app
from vtn.errors import InvalidInput
from vtn.faces.openadr2.pushing import service_url


@pytest.fixture
async def secured(vtn_url, clock, tmp_path):
    """An open VTN behind mutual TLS, its address, and the authority."""
    authority = Authority(tmp_path)
    tls = authority.server()
    paths = {"certificate": tmp_path / "vtn-ecc.pem", "certificate_key": tmp_path / "vtn-ecc.key"}
    async with opened(vtn_url, clock, tmp_path, client_ca=authority.path, **paths) as found:
        app = build_app(found.vtn, tls=tls)
        server = TestServer(app, scheme="https")
        await server.start_server(ssl=tls)
        await heard(app)
        yield found.vtn, str(server.make_url("/")).rstrip("/"), authority
        await server.close()


class VenServer:
    """A VEN's HTTPS server under a certificate; `received` is what it was posted."""

    def __init__(self, certificate, authority):
        self.received = []
        app = web.Application()
        app.router.add_post("/ven/OpenADR2/Simple/2.0b/{service}", self._post)
        self._server = TestServer(app, scheme="https")
        self._tls = server_context([certificate], authority.path)

    async def __aenter__(self):
        await self._server.start_server(ssl=self._tls)
        self.address = str(self._server.make_url("/ven"))
        return self

    async def __aexit__(self, *_):
        await self._server.close()

    async def _post(self, request):
        message = v2.parse(await request.read())
        self.received.append((request.match_info["service"], message))
        body = v2.render(v2.OadrResponse(v2.EiResponse(request_id=message.request_id)))
        return web.Response(body=body, content_type="application/xml")


async def registered_for_push(vtn, url, authority, session, ven_name, certificate, printed, address):
    ven = await vtn.vens.add(ven_name, "F1", PROGRAM, fingerprint=printed)
    peer = Peer(session, url, ven_name, client_context(authority.path, certificate))
    registration = v2.OadrCreatePartyRegistration(
        request_id="reg-1", ven_name=ven_name, transport_address=address, http_pull_model=False
    )
    assert (await peer.send(registration)).response.response_code == 200
    peer.ven_id = ven.ven_id
    return peer


async def eventually(condition):
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_a_push_reaches_the_server_with_the_bound_certificate(secured):
    vtn, url, authority = secured
    certificate, printed = authority.issue("home-1", ec.generate_private_key(ec.SECP256R1()))
    async with VenServer(certificate, authority) as server, aiohttp.ClientSession() as session:
        peer = await registered_for_push(vtn, url, authority, session, "home-1", certificate, printed, server.address)
        await publish(vtn, peer)

        async def acknowledged():
            return [each.state for each in await vtn.dr_events.deliveries("evt-1")] == ["acknowledged"]

        await eventually(acknowledged)
        [(service, message)] = server.received
    assert (service, [each.dr_event.event_id for each in message.events]) == ("EiEvent", ["evt-1"])


async def test_a_server_with_another_certificate_gets_nothing(secured):
    """Also one of the same authority: a VEN must not have the events of another one sent to it."""
    vtn, url, authority = secured
    certificate, printed = authority.issue("home-1", ec.generate_private_key(ec.SECP256R1()))
    foreign, _ = authority.issue("home-2", ec.generate_private_key(ec.SECP256R1()))
    async with VenServer(foreign, authority) as server, aiohttp.ClientSession() as session:
        peer = await registered_for_push(vtn, url, authority, session, "home-1", certificate, printed, server.address)
        await publish(vtn, peer)

        async def failed():
            return [each.failures for each in await vtn.dr_events.deliveries("evt-1")] == [1]

        await eventually(failed)
        assert server.received == []


@pytest.mark.parametrize(
    ("address", "secure", "expected"),
    [
        ("https://home.example:8443", True, "https://home.example:8443/OpenADR2/Simple/2.0b/EiEvent"),
        ("https://home.example/ven/", True, "https://home.example/ven/OpenADR2/Simple/2.0b/EiEvent"),
        ("https://h.example/OpenADR2/Simple/2.0b", True, "https://h.example/OpenADR2/Simple/2.0b/EiEvent"),
        ("http://127.0.0.1:80", False, "http://127.0.0.1:80/OpenADR2/Simple/2.0b/EiEvent"),
        ("http://[::1]:80", False, "http://[::1]:80/OpenADR2/Simple/2.0b/EiEvent"),
    ],
)
def test_the_service_is_under_the_transport_address(address, secure, expected):
    assert service_url(address, "EiEvent", secure=secure) == expected


@pytest.mark.parametrize(
    ("address", "secure"),
    [
        ("http://home.example", True),
        ("http://home.example", False),
        ("https://127.0.0.1", False),
        ("ftp://127.0.0.1", False),
        ("https://user@home.example", True),
        ("https://home.example/?x=1", True),
        ("https://[::1", True),
        ("https://home.example:port", True),
        ("https://home.example/" + "a" * 2000, True),
        ("https://home.example/\x85x", True),
        ("", True),
    ],
)
def test_other_addresses_are_refused(address, secure):
    with pytest.raises(InvalidInput):
        service_url(address, "EiEvent", secure=secure)
