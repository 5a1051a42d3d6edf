"""A home that signs: what it believes, what it remembers over a restart, and which certificate it shows."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time

import pytest

from openadr.v2 import OadrRequestReregistration, read, render, sign, verify
from runtime.errors import SettingsError
from runtime.tls import client_context
from tests.openadr.client.authority import Authority
from tests.ven.faces.pushing.test_push import Pushed
from tests.ven.faces.ven import Ven, until
from tests.ven.homes import a_store
from ven.faces.openadr2 import reach
from ven.faces.openadr2.registration import HomeNonces


class Signing:
    """The settings of a home that signs, and a VTN that does."""

    def __init__(self, folder) -> None:
        self.authority = Authority(folder)
        self.own, self.vtn = self.authority.certify("own"), self.authority.certify("vtn", "127.0.0.1")
        self.settings = {
            "server_ca": self.authority.ca,
            "certificate": self.own.files.chain,
            "certificate_key": self.own.files.key,
            "sign_messages": True,
        }

    def seal(self, body: bytes) -> bytes:
        return sign(body, *self.vtn.signer, secrets.token_hex(8), time.time_ns() // 1_000_000)


@pytest.fixture
def signing(tmp_path):
    return Signing(tmp_path)


async def test_it_signs_what_it_says_and_believes_what_its_vtn_signed_alone(tmp_path, vtn, session, signing):
    vtn.seal = signing.seal
    ven = Ven(tmp_path, vtn.url, session, **signing.settings)
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 2)
        created = vtn.of("oadrCreatePartyRegistration")[0]
        assert created.value("oadrXmlSignature") == "true"
        assert {verify(each.body).fingerprint for each in vtn.told} == {signing.own.fingerprint}
        vtn.seal = lambda body: body
        await until(lambda: not ven.engine.reached)


async def test_a_signed_post_is_carried_out_once_also_after_a_restart(tmp_path, vtn, session, signing):
    vtn.seal = signing.seal
    body = signing.seal(render(OadrRequestReregistration("ven-7")))
    codes = []
    for _ in range(2):
        ven = Pushed(tmp_path, vtn.url, session, **signing.settings)
        before = len(vtn.of("oadrPoll"))
        context = client_context(signing.authority.ca, signing.vtn.files)
        context.check_hostname = False
        async with ven.running():
            await until(lambda before=before: len(vtn.of("oadrPoll")) > before)
            url = f"https://127.0.0.1:{ven.port}/OpenADR2/Simple/2.0b/EiRegisterParty"
            for _ in range(2):
                async with session.post(url, data=body, ssl=context) as response:
                    codes.append(read(verify(await response.read()).root).response.response_code)
        ven.store.close()
    assert codes == [200, 463, 463, 463]


def test_nonces_are_forgotten_when_their_time_refuses_the_message(tmp_path):
    nonces = HomeNonces(a_store(tmp_path).notes)
    assert nonces.admit("a", 1000, 0)
    assert not HomeNonces(a_store(tmp_path).notes).admit("a", 1000, 1000)
    assert nonces.admit("a", 2000, 1001)


async def test_a_renewed_certificate_is_shown_from_the_next_connection_on(tmp_path, vtn, session, signing, monkeypatch):
    monkeypatch.setattr(reach, "_RENEWED_S", 0.01)
    settings = signing.settings | {"sign_messages": False}
    ven = Pushed(tmp_path, vtn.url, session, **settings)
    context = client_context(signing.authority.ca, signing.vtn.files)
    context.check_hostname = False

    async def shown() -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", ven.port, ssl=context)
        tls = writer.get_extra_info("ssl_object")
        writer.close()
        assert isinstance(tls, ssl.SSLObject)
        return tls.getpeercert(binary_form=True)

    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        before = await shown()
        signing.authority.certify("own")
        await another(shown, before)


async def another(shown, before: bytes) -> None:
    async with asyncio.timeout(30):
        while await shown() == before:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("left_out", "missing"),
    [(("certificate", "certificate_key"), "needs a certificate"), (("server_ca",), "who signs for the VTN")],
)
def test_a_home_that_cannot_sign_or_does_not_know_its_vtn_says_so(tmp_path, signing, left_out, missing):
    settings = {name: value for name, value in signing.settings.items() if name not in left_out}
    with pytest.raises(SettingsError, match=missing):
        Ven(tmp_path, "http://127.0.0.1:1", None, **settings)


def test_push_over_tls_has_to_know_who_the_vtn_is(tmp_path, signing):
    settings = {name: signing.settings[name] for name in ("certificate", "certificate_key")}
    with pytest.raises(SettingsError, match="set server_ca"):
        Pushed(tmp_path, "http://127.0.0.1:1", None, **settings)
