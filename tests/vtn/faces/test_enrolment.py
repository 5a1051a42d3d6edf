"""POST /enrolment, and the rest of the VTN's HTTP."""

from __future__ import annotations

import aiohttp
import msgspec
import pytest

from runtime.errors import InsecureAddress, SettingsError
from tests.builders import a_key
from tests.vtn.memory_ledger import POLICY
from tests.vtn.opened import PROGRAM, an_enrolment_request
from vtn.app import serve
from vtn.config import VtnSettings
from vtn.faces.enrolment import REFUSALS_MAX
from vtn.services.enrolment import Enrolled


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as found:
        yield found


async def post(session, url, request):
    async with session.post(f"{url}/enrolment", data=msgspec.json.encode(request)) as response:
        return response.status, await response.read()


async def test_an_invitation_leads_to_an_identity(opened_vtn, url, session):
    vtn = opened_vtn.vtn
    invitation = await vtn.invite("home-1", "F1", PROGRAM)
    assert (invitation.sponsor, invitation.site_zone, invitation.program) == (vtn.party, "UTC", PROGRAM)
    request = an_enrolment_request(invitation.code, "home-1", a_key(1), invitation.sponsor)
    status, body = await post(session, url, request)
    enrolled = msgspec.json.decode(body, type=Enrolled)
    assert status == 200
    assert (enrolled.site_zone, enrolled.holidays, enrolled.weekend) == ("UTC", (), (5, 6))
    assert (enrolled.policy, enrolled.openadr2_url) == (POLICY, invitation.openadr2_url)
    assert (await vtn.vens.get(enrolled.ven_id)).party == enrolled.party
    assert await post(session, url, request) == (200, body)


async def test_refusals_are_problems(opened_vtn, url, session):
    request = an_enrolment_request("wrong", "home-1", a_key(1), opened_vtn.vtn.party)
    status, body = await post(session, url, request)
    assert (status, msgspec.json.decode(body)["type"]) == (403, "invitation-unknown")
    status, body = await post(session, url, {"code": "x"})
    assert (status, msgspec.json.decode(body)["type"]) == (400, "request-invalid")


async def test_who_was_refused_too_often_is_not_looked_at_for_a_while(opened_vtn, url, session):
    invitation = await opened_vtn.vtn.invite("home-1", "F1", PROGRAM)
    good = an_enrolment_request(invitation.code, "home-1", a_key(1), invitation.sponsor)
    wrong = an_enrolment_request("wrong", "home-1", a_key(1), invitation.sponsor)
    assert [(await post(session, url, wrong))[0] for _ in range(REFUSALS_MAX)] == [403] * REFUSALS_MAX
    async with session.post(f"{url}/enrolment", data=msgspec.json.encode(good)) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "60")
    opened_vtn.vtn.clock.advance(60_000)
    assert [(await post(session, url, good))[0] for _ in range(REFUSALS_MAX + 1)] == [200] * (REFUSALS_MAX + 1)


async def test_text_no_database_holds_is_refused(url, session):
    signed = {"text": "x", "signature": "00"}
    for path, body in (
        ("certificate", {"ven_id": "a\0b", "certificate_request": "x", "signed": signed}),
        ("consents", {"ven_id": "a\0b", "grant": signed}),
    ):
        async with session.post(f"{url}/enrolment/{path}", data=msgspec.json.encode(body)) as response:
            assert response.status == 422


async def test_without_the_ledger_the_ven_is_told_to_ask_again(opened_vtn, url, session):
    invitation = await opened_vtn.vtn.invite("home-1", "F1", PROGRAM)
    opened_vtn.ledger.loses_answers = 1
    request = an_enrolment_request(invitation.code, "home-1", a_key(1), invitation.sponsor)
    async with session.post(f"{url}/enrolment", data=msgspec.json.encode(request)) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "2")
    opened_vtn.ledger.down = False
    assert (await post(session, url, request))[0] == 200


async def test_readiness_names_each_dependency_and_metrics_count_answers(url, session, peer):
    await peer.poll()
    async with session.get(f"{url}/readyz") as response:
        assert set((await response.json())["dependencies"]) == {"postgres", "notifications"}
    async with session.get(f"{url}/metrics") as response:
        text = await response.text()
    assert 'gridpact_vtn_openadr2_answers_total{code="200",service="OadrPoll"} 1.0' in text
    assert "gridpact_vtn_listening 1.0" in text


async def test_plain_http_off_loopback_is_refused_before_anything_is_opened(tmp_path):
    with pytest.raises(InsecureAddress):
        await serve(VtnSettings(data_dir=tmp_path / "none", host="0.0.0.0"))
    assert not (tmp_path / "none").exists()


def test_settings_that_do_not_fit_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("GRIDPACT_VTN_CERTIFICATE", "a.pem")
    with pytest.raises(SettingsError, match="certificate_key"):
        VtnSettings.load()
    monkeypatch.setenv("GRIDPACT_VTN_CERTIFICATE_KEY", "a.key")
    with pytest.raises(SettingsError, match="client_ca"):
        VtnSettings.load()
    monkeypatch.setenv("GRIDPACT_VTN_CLIENT_CA", "ca.pem")
    monkeypatch.setenv("GRIDPACT_CLOCK", str(tmp_path / "clock.json"))
    assert VtnSettings.load().clock_file == tmp_path / "clock.json"


async def test_a_key_with_characters_that_nothing_signed_holds_proves_nothing(opened_vtn, url, session):
    invitation = await opened_vtn.vtn.invite("home-1", "F1", PROGRAM)
    request = {"code": invitation.code, "ven_name": "home-1", "public_key": "\0", "proof": ""}
    status, body = await post(session, url, request)
    assert (status, msgspec.json.decode(body)["type"]) == (403, "proof-invalid")
