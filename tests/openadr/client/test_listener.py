"""The server a VTN posts to: only the VTN is heard, and every answer is an OpenADR message."""

from __future__ import annotations

import contextlib
import io
import secrets
import time

import aiohttp
import pytest

from openadr.client.listener import BODY_BYTES_MAX, PREFIX, Listener
from openadr.client.signing import SKEW_MS, MessageSigning
from openadr.client.trust import VtnTrust
from openadr.errors import MessageError, ResponseCode
from openadr.v2 import (
    EiResponse,
    OadrPoll,
    OadrRequestReregistration,
    OadrResponse,
    parse,
    read,
    render,
    sign,
    verify,
)
from runtime.clock import SystemClock
from runtime.errors import InsecureAddress
from runtime.tls import client_context, server_context
from tests.openadr.client.authority import Authority

ASKED = render(OadrRequestReregistration("ven-7"))


def answered(message):
    """A handler that knows one message."""
    if not isinstance(message, OadrRequestReregistration):
        raise MessageError("not what a VTN says", ResponseCode.NOT_RECOGNIZED)
    if message.ven_id == "trouble":
        raise ZeroDivisionError
    return OadrResponse(EiResponse(), message.ven_id)


@contextlib.asynccontextmanager
async def listening(handler=answered, **options):
    async with Listener(handler, "127.0.0.1", 0, **options).serving() as url:
        yield url + PREFIX


async def post(url, body=ASKED, service="EiRegisterParty", **options):
    """HTTP status and body."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/{service}", data=body, **options) as response,
    ):
        assert response.content_type == "application/xml"
        return response.status, await response.read()


async def code(url, body=ASKED, **options):
    status, answer = await post(url, body, **options)
    assert status == 200
    return parse(answer).response.response_code


async def test_a_message_is_handed_over_and_answered_and_counted():
    counted = []
    async with listening(count=lambda *each: counted.append(each)) as url:
        status, answer = await post(url)
        assert await code(url, render(OadrPoll("ven-7"))) == 453
    assert (status, parse(answer)) == (200, OadrResponse(EiResponse(), "ven-7"))
    assert counted == [("oadrRequestReregistration", "ok"), ("oadrPoll", "refused")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 454),
        (b"what?", 454),
        (b"<html/>", 454),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', 451),
        (ASKED.replace(b"ven-7", b"trouble"), 469),
    ],
)
async def test_whatever_comes_is_answered_in_xml(body, expected):
    async with listening() as url:
        assert await code(url, body) == expected
        assert await code(url) == 200, "and it goes on"


async def test_too_much_is_not_read_and_an_unknown_service_not_served():
    async with listening() as url:
        status, answer = await post(url, io.BytesIO(b"<" * (BODY_BYTES_MAX + 1)))
        assert (status, parse(answer).response.response_code) == (413, 454)
        status, answer = await post(url, service="EiSomething")
        assert (status, parse(answer).response.response_code) == (404, 453)


def test_plain_http_is_served_on_loopback_alone():
    with pytest.raises(InsecureAddress):
        Listener(answered, "0.0.0.0", 0)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def test_over_tls_the_vtn_is_heard_and_no_other_ven_of_its_authority(authority):
    own, vtn, other = authority.certify("own"), authority.certify("vtn", "127.0.0.1"), authority.certify("other")
    expired = authority.certify("expired", "127.0.0.1", days=-1)
    tls = server_context([own.files], authority.ca)
    async with listening(tls=tls, trust=VtnTrust("127.0.0.1")) as url:

        def shown(holder):
            context = client_context(authority.ca, None if holder is None else holder.files)
            context.check_hostname = False
            return context

        assert await code(url, ssl=shown(vtn)) == 200
        assert await code(url, ssl=shown(other)) == 463
        for nobody in (None, expired):
            with pytest.raises(aiohttp.ClientError):
                await post(url, ssl=shown(nobody))


async def test_a_fingerprint_names_the_vtn_where_its_certificate_names_no_host(authority):
    own, vtn, other = (authority.certify(name) for name in ("own", "vtn", "other"))
    trust = VtnTrust("127.0.0.1", fingerprint=vtn.fingerprint.lower())
    async with listening(tls=server_context([own.files], authority.ca), trust=trust) as url:
        for holder, expected in ((vtn, 200), (other, 463)):
            context = client_context(authority.ca, holder.files)
            context.check_hostname = False
            assert await code(url, ssl=context) == expected


class Signed:
    """A VEN that believes what its VTN signed, and the VTN."""

    def __init__(self, authority):
        self.ven, self.vtn = authority.certify("own"), authority.certify("vtn", "127.0.0.1")
        self.other = authority.certify("other")
        self.signing = MessageSigning(
            lambda: self.ven.signer, SystemClock(), host="127.0.0.1", authorities=authority.ca
        )

    def said(self, holder=None, *, off_ms=0, nonce=None, body=ASKED):
        at_ms = time.time_ns() // 1_000_000 + off_ms
        return sign(body, *(holder or self.vtn).signer, nonce or secrets.token_hex(8), at_ms)


async def refused(url, body):
    """Was it refused, in a signed answer?"""
    status, answer = await post(url, body)
    assert status == 200
    return read(verify(answer).root).response.response_code == 463


async def test_a_signed_message_is_carried_out_once_and_the_answer_is_signed(authority):
    signed = Signed(authority)
    async with listening(signing=signed.signing) as url:
        body = signed.said()
        status, answer = await post(url, body)
        verified = verify(answer)
        assert (status, read(verified.root)) == (200, OadrResponse(EiResponse(), "ven-7"))
        assert verified.fingerprint == signed.ven.fingerprint
        assert await refused(url, body), "a replay"


async def test_what_the_vtn_did_not_sign_or_not_now_is_refused(authority):
    signed = Signed(authority)
    async with listening(signing=signed.signing) as url:
        assert await refused(url, ASKED)
        assert await refused(url, signed.said(signed.other))
        assert await refused(url, signed.said().replace(b"ven-7", b"ven-8"))
        for off_ms in (SKEW_MS, -SKEW_MS):
            assert await refused(url, signed.said(off_ms=off_ms * 2))
            assert not await refused(url, signed.said(off_ms=off_ms // 2))
