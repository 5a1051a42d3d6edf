"""With mutual TLS the certificate says who asks (openadr2 profile, section 10): the venID alone opens nothing."""

from __future__ import annotations

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestServer

from openadr import v2
from runtime.tls import client_context
from tests.builders import a_key
from tests.vtn.faces.certificates import Authority
from tests.vtn.faces.peer import Peer, heard
from tests.vtn.opened import PROGRAM, an_enrolment_request, opened
from vtn.app import build_app


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
async def secured(vtn_url, clock, tmp_path, authority):
    """An open VTN behind mutual TLS, and its address."""
    tls = authority.server()
    names = {"certificate": "vtn-ecc", "second_certificate": "vtn-rsa"}
    paths = {setting: tmp_path / f"{name}.pem" for setting, name in names.items()}
    paths |= {f"{setting}_key": tmp_path / f"{name}.key" for setting, name in names.items()}
    paths["client_ca"] = authority.path
    async with opened(vtn_url, clock, tmp_path, **paths) as found:
        app = build_app(found.vtn, tls=tls)
        server = TestServer(app, scheme="https")
        await server.start_server(ssl=tls)
        await heard(app)
        yield found.vtn, str(server.make_url("/")).rstrip("/")
        await server.close()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as found:
        yield found


async def enrol(vtn, url, session, tls, ven_name="home-1", key=1):
    invitation = await vtn.invite(ven_name, "F1", PROGRAM)
    request = an_enrolment_request(invitation.code, ven_name, a_key(key), vtn.party)
    async with session.post(f"{url}/enrolment", data=msgspec.json.encode(request), ssl=tls) as response:
        assert response.status == 200
        return (await response.json())["ven_id"]


async def test_enrolment_binds_the_certificate_and_registration_needs_it(secured, session, authority):
    vtn, url = secured
    tls, printed = authority.client("home-1")
    ven_id = await enrol(vtn, url, session, tls)
    assert (await vtn.vens.get(ven_id)).fingerprint == printed
    peer = Peer(session, url, "home-1", tls)
    assert (await peer.register(ven_id)).response.response_code == 200
    assert (await peer.poll()).response.response_code == 200
    known = await peer.send(v2.OadrQueryRegistration("q"))
    assert (known.ven_id, known.registration_id) == (ven_id, peer.registration_id)


async def test_another_ven_cannot_act_under_this_ven_id(secured, session, authority):
    vtn, url = secured
    tls, _ = authority.client("home-1")
    ven_id = await enrol(vtn, url, session, tls)
    await (peer := Peer(session, url, "home-1", tls)).register()
    thief_tls, _ = authority.client("home-2")
    await enrol(vtn, url, session, thief_tls, "home-2", key=2)
    thief = Peer(session, url, "home-1", thief_tls)
    assert (await thief.register(ven_id)).response.response_code == 452
    thief.ven_id, thief.registration_id = ven_id, peer.registration_id
    assert (await thief.poll()).response.response_code == 463
    assert (await thief.send(v2.OadrRequestEvent("r", ven_id))).response.response_code == 463
    cancelled = await thief.send(v2.OadrCancelPartyRegistration("c", peer.registration_id, ven_id))
    assert cancelled.response.response_code == 452
    assert (await peer.poll()).response.response_code == 200


async def test_a_certificate_without_enrolment_is_refused(secured, session, authority):
    vtn, url = secured
    await vtn.vens.add("home-1", "F1", PROGRAM)
    tls, printed = authority.client("unbound")
    peer = Peer(session, url, "home-1", tls)
    assert (await peer.send(v2.OadrQueryRegistration("q"))).response.response_code == 463
    assert (await peer.register()).response.response_code == 463
    await vtn.vens.bind_fingerprint((await vtn.vens.find_by_name("home-1")).ven_id, printed)
    assert (await peer.register()).response.response_code == 200


async def test_without_a_certificate_there_is_no_connection(secured, session, authority):
    _, url = secured
    with pytest.raises(aiohttp.ClientError):
        await Peer(session, url, "home-1", client_context(authority.path)).register()
