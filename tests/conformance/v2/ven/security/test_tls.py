"""TLS: the VEN shows its certificate, talks to no VTN it cannot check, nor to one below TLS 1.2, nor in the clear
beyond this machine."""

from __future__ import annotations

import ssl

import aiohttp
import pytest

from openadr.client.link import Link
from runtime.errors import InsecureAddress
from runtime.tls import server_context
from tests.conformance.v2.ven.judged import a_ven
from tests.conformance.v2.ven.judging import a_judge
from tests.vtn.faces.certificates import Authority


def settings(certificates, authority=None):
    files, trusted = certificates.ven, authority or certificates.authority
    return {"certificate": files.chain, "certificate_key": files.key, "server_ca": trusted.path}


async def test_it_shows_its_certificate(certificates, tmp_path):
    context = server_context([certificates.vtn], certificates.authority.path)
    async with a_judge(context) as judge, a_ven(judge, tmp_path, **settings(certificates)) as ven:
        await ven.poll()
    assert judge.faults == []


async def test_the_suite_of_certified_ecc_servers_is_spoken(certificates, tmp_path):
    """Profile, section 10.7."""
    context = server_context([certificates.vtn], certificates.authority.path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    async with a_judge(context) as judge, a_ven(judge, tmp_path, **settings(certificates)) as ven:
        await ven.poll()


async def test_the_suite_of_certified_rsa_servers_is_spoken(certificates, rsa_pair, tmp_path):
    """Profile, section 10.7."""
    context = server_context([rsa_pair[0]], certificates.authority.path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA256")
    async with a_judge(context) as judge, a_ven(judge, tmp_path, **settings(certificates)) as ven:
        await ven.poll()


async def tries(judge, folder, **given):
    async with a_ven(judge, folder, waits=True, **given) as ven:
        await ven.until(lambda: ven.agent.engine.reached or ven.tried >= 2)
        assert not ven.agent.engine.reached
    assert judge.heard == []


async def test_a_vtn_of_another_authority_is_told_nothing(certificates, tmp_path):
    context = server_context([certificates.vtn])
    (foreign := tmp_path / "foreign").mkdir()
    async with a_judge(context) as judge:
        await tries(judge, tmp_path, **settings(certificates, Authority(foreign)))


@pytest.mark.filterwarnings("ignore:ssl")
async def test_nothing_below_tls_1_2_is_spoken(certificates, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.vtn)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with a_judge(context) as judge:
        await tries(judge, tmp_path, **settings(certificates))


async def test_a_vtn_beyond_this_machine_is_not_called_in_the_clear():
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InsecureAddress):
            Link("http://vtn.example/OpenADR2/Simple/2.0b", session, timeout_s=1)
