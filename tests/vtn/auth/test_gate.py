"""At the door of the 2.0b face: whose certificate, whose signature, and only once."""

from __future__ import annotations

import asyncio
import urllib.parse

import aiohttp
import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from openadr import v2
from openadr.v2.document.signature import verify
from runtime.errors import SettingsError
from tests.builders import START_MS
from tests.vtn.auth.devices import a_device, a_secured_vtn, a_worker, code, post
from vtn.auth.certificates import certificates
from vtn.config import VtnSettings


def polled(device):
    return v2.OadrPoll(device.ven_id)


async def refused_soon(session, url, device, seconds=20):
    """Poll on one connection until it is refused; the answers before."""
    before = []
    async with asyncio.timeout(seconds):
        while code((await post(session, url, polled(device), device))[1]) == 200:
            before.append(200)
            await asyncio.sleep(0.02)
    return before


async def test_the_certificate_of_another_ven_opens_nothing_and_is_logged(secured, session, tmp_path):
    one, two = [await a_device(secured, tmp_path, name) for name in ("home-1", "home-2")]
    async with a_worker(secured) as url:
        assert code((await post(session, url, polled(one), one))[1]) == 200
        with capture_logs() as logs:
            for message in (polled(one), v2.OadrRequestEvent("r", one.ven_id), v2.OadrCancelOpt("r", "o", one.ven_id)):
                assert code((await post(session, url, message, two))[1]) == 463
        refusals = [each for each in logs if each["event"] == "caller refused"]
        assert {(each["claimed"], each["bound"]) for each in refusals} == {(one.ven_id, two.ven_id)}
        create = v2.OadrCreatePartyRegistration(request_id="r", ven_name="home-1", ven_id=one.ven_id)
        assert code((await post(session, url, create, two))[1]) == 452


async def test_a_revoked_certificate_is_refused_by_every_worker_also_on_open_connections(
    secured, vtn_url, clock, tmp_path, pki
):
    device = await a_device(secured, tmp_path)
    async with (
        a_secured_vtn(vtn_url, clock, tmp_path, pki) as second,
        a_worker(secured) as url_1,
        a_worker(second) as url_2,
        aiohttp.ClientSession() as session_1,
        aiohttp.ClientSession() as session_2,
    ):
        for session, url in ((session_1, url_1), (session_2, url_2)):
            assert code((await post(session, url, polled(device), device))[1]) == 200
        await secured.vens.revoke(device.ven_id, "stolen")
        for session, url in ((session_1, url_1), (session_2, url_2)):
            await refused_soon(session, url, device)


async def test_a_revocation_that_nobody_was_told_of_is_found_by_looking(secured, session, tmp_path, monkeypatch):
    monkeypatch.setattr("vtn.auth.gate.LOOK_S", 0.05)
    device = await a_device(secured, tmp_path)
    async with a_worker(secured) as url:
        assert code((await post(session, url, polled(device), device))[1]) == 200
        async with secured.database.transaction() as connection:  # no notification
            gone = {"status": "revoked", "changed_at": certificates.c.changed_at}
            await connection.execute(update(certificates).values(**gone))
        await refused_soon(session, url, device)


async def test_after_a_renewal_the_old_and_the_new_certificate_both_count(secured, session, clock, tmp_path):
    device = await a_device(secured, tmp_path)
    clock.advance(1000)
    await secured.vens.bind_fingerprint(device.ven_id, "AA:" * 9 + "AA")
    async with a_worker(secured) as url:
        assert code((await post(session, url, polled(device), device))[1]) == 200


@pytest.mark.parametrize("rsa", [False, True], ids=["P-256", "RSA"])
async def test_a_signed_message_gets_an_answer_signed_alike(secured, session, tmp_path, rsa):
    device = await a_device(secured, tmp_path, rsa=rsa)
    async with a_worker(secured) as url:
        body, answer = await post(session, url, device.signed(polled(device)), device)
        assert code(answer) == 200
        proven = verify(body)
        assert proven.algorithm == ("rsa" if rsa else "p256")
        assert v2.parse(body) == answer


async def test_a_signed_message_counts_once_whichever_worker_it_reaches(
    secured, session, vtn_url, clock, tmp_path, pki
):
    device = await a_device(secured, tmp_path)
    body = device.signed(polled(device))
    async with (
        a_secured_vtn(vtn_url, clock, tmp_path, pki) as second,
        a_worker(secured) as url_1,
        a_worker(second) as url_2,
    ):
        answers = [code((await post(session, url, body, device))[1]) for url in (url_1, url_1, url_2)]
        assert answers == [200, 463, 463]


async def test_a_signature_from_another_time_is_refused_both_ways(secured, session, tmp_path):
    device = await a_device(secured, tmp_path)
    skew_ms = 1000 * secured.settings.signature_skew_s
    async with a_worker(secured) as url:
        codes = {}
        for off_ms in (-skew_ms - 1000, -skew_ms + 1000, skew_ms - 1000, skew_ms + 1000):
            body = device.signed(polled(device), at_ms=START_MS + off_ms)
            codes[off_ms] = code((await post(session, url, body, device))[1])
        assert list(codes.values()) == [463, 200, 200, 463]


async def test_a_message_signed_by_another_ven_is_refused(secured, session, tmp_path):
    one, two = [await a_device(secured, tmp_path, name) for name in ("home-1", "home-2")]
    async with a_worker(secured) as url:
        for body, sender in ((one.signed(polled(one)), two), (two.signed(polled(one)), one)):
            assert code((await post(session, url, body, sender))[1]) == 463


async def test_a_ven_that_has_to_sign_is_not_heard_unsigned(secured, session, tmp_path):
    device = await a_device(secured, tmp_path)
    await secured.signing.require(device.ven_id, True)
    create = v2.OadrCreatePartyRegistration(request_id="r", ven_name="home-1", ven_id=device.ven_id)
    async with a_worker(secured) as url:
        for message in (polled(device), v2.OadrQueryRegistration("q"), create):
            body, answer = await post(session, url, message, device)
            assert code(answer) == 463
            assert verify(body).algorithm == "p256", "it is told so with a signature"
        assert code((await post(session, url, device.signed(create), device, service="EiRegisterParty"))[1]) == 200
        assert code((await post(session, url, device.signed(polled(device)), device))[1]) == 200


async def test_a_proxy_is_believed_and_nobody_else(plain, session, tmp_path):
    device = await a_device(plain, tmp_path)
    header = {"X-Client-Cert": urllib.parse.quote(device.files.chain.read_text().split("-----END")[0] + _END)}
    async with a_worker(plain) as url:
        assert code((await post(session, url, polled(device), headers=header))[1]) == 200
        assert code((await post(session, url, polled(device)))[1]) == 463
        assert code((await post(session, url, polled(device), headers={"X-Client-Cert": "rubbish"}))[1]) == 469
    object.__setattr__(plain.settings, "trusted_proxies", ("10.0.0.0/8",))
    async with a_worker(plain) as url:
        with capture_logs() as logs:
            assert code((await post(session, url, polled(device), headers=header))[1]) == 463
        assert any("no trusted proxy" in each["event"] for each in logs)


_END = "-----END CERTIFICATE-----\n"


async def test_a_proxy_nobody_configured_is_noticed(opened_vtn, url, session):
    ven = await opened_vtn.vtn.vens.add("home-1", "F1", "evening")
    answer = await post(session, url, v2.OadrPoll(ven.ven_id), headers={"X-Forwarded-For": "192.0.2.1"})
    assert code(answer[1]) == 469


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"trusted_proxies": ["127.0.0.1"]}, "belong together"),
        ({"proxy_header": "X-Client-Cert"}, "belong together"),
        ({"trusted_proxies": ["nginx"], "proxy_header": "X"}, "trusted_proxies|does not appear"),
        ({"public_url": "https://vtn.example"}, "public_url is https"),
    ],
)
def test_a_vtn_that_could_not_tell_who_asks_does_not_start(tmp_path, settings, reason):
    with pytest.raises(SettingsError, match=reason):
        VtnSettings.load(flags={"data_dir": tmp_path, **settings})
