"""EiRegisterParty."""

from __future__ import annotations

import aiohttp
import pytest

from openadr import v2
from tests.vtn.faces.peer import Peer
from tests.vtn.opened import PROGRAM


@pytest.fixture
async def stranger(url):
    async with aiohttp.ClientSession() as session:
        yield Peer(session, url, "stranger")


async def test_a_query_says_what_the_vtn_offers_and_how_often_to_poll(stranger):
    answer = await stranger.send(v2.OadrQueryRegistration("q-1"))
    assert (answer.response.response_code, answer.response.request_id) == (200, "q-1")
    assert answer.profiles == (v2.Profile("2.0b", ("simpleHttp",)),)
    assert (answer.poll_interval_s, answer.vtn_id) == (60, "GRIDPACT")
    assert (answer.registration_id, answer.ven_id) == (None, None)


async def test_an_enrolled_ven_registers_by_name_and_again_keeps_its_registration(opened_vtn, stranger):
    ven = await opened_vtn.vtn.vens.add("stranger", "F1", PROGRAM)
    first = await stranger.register()
    assert (first.ven_id, first.response.response_code) == (ven.ven_id, 200)
    assert first.registration_id
    again = await stranger.register(ven.ven_id)
    assert again.registration_id == first.registration_id


async def test_a_digits_only_ven_id_stays_text(opened_vtn, stranger):
    """The stock stack turns "00123" into 123."""
    answer = await stranger.send(v2.OadrPoll("00123"))
    assert answer.ven_id == "00123"


async def test_a_registration_without_enrolment_is_refused_in_xml_without_ids(stranger):
    answer = await stranger.register()
    assert isinstance(answer, v2.OadrCreatedPartyRegistration)
    assert answer.response.response_code == 452
    assert answer.response.request_id == "reg-1"
    assert (answer.registration_id, answer.ven_id) == (None, None)


async def test_ids_of_two_vens_are_refused(opened_vtn, stranger):
    await opened_vtn.vtn.vens.add("stranger", "F1", PROGRAM)
    other = await opened_vtn.vtn.vens.add("other", "F1", PROGRAM)
    assert (await stranger.register(other.ven_id)).response.response_code == 452
    unknown = await stranger.send(
        v2.OadrCreatePartyRegistration("r", ven_name="stranger", registration_id="reg-unknown")
    )
    assert unknown.response.response_code == 452


async def test_a_ven_that_is_not_registered_is_told_so(opened_vtn, stranger):
    ven = await opened_vtn.vtn.vens.add("stranger", "F1", PROGRAM)
    answer = await stranger.send(v2.OadrPoll(ven.ven_id))
    assert isinstance(answer, v2.OadrResponse)
    assert answer.response.response_code == 463


async def test_a_ven_cancels_its_registration(opened_vtn, peer):
    wrong = await peer.send(v2.OadrCancelPartyRegistration("c-0", "reg-unknown", peer.ven_id))
    assert (type(wrong), wrong.response.response_code) == (v2.OadrCanceledPartyRegistration, 452)
    answer = await peer.send(v2.OadrCancelPartyRegistration("c-1", peer.registration_id, peer.ven_id))
    assert (type(answer), answer.response.response_code) == (v2.OadrCanceledPartyRegistration, 200)
    assert (answer.registration_id, answer.ven_id) == (peer.registration_id, peer.ven_id)
    assert (await opened_vtn.vtn.vens.get(peer.ven_id)).registration_id is None


async def test_the_vtn_cancels_a_registration_until_the_ven_confirms(opened_vtn, peer, clock):
    await opened_vtn.vtn.registrations.request_cancel(peer.ven_id)
    for _ in range(2):
        asked = await peer.poll_for(v2.OadrCancelPartyRegistration)
        assert asked.registration_id == peer.registration_id
        clock.advance(30_000)
    confirmed = v2.OadrCanceledPartyRegistration(
        v2.EiResponse(request_id=asked.request_id), peer.registration_id, peer.ven_id
    )
    assert (await peer.send(confirmed)).response.response_code == 200
    assert (await opened_vtn.vtn.vens.get(peer.ven_id)).registration_id is None


async def test_a_cancel_nobody_asked_for_is_not_confirmed(opened_vtn, peer):
    forged = v2.OadrCanceledPartyRegistration(v2.EiResponse(request_id="x"), peer.registration_id, peer.ven_id)
    await peer.send(forged)
    assert (await opened_vtn.vtn.vens.get(peer.ven_id)).registration_id == peer.registration_id


async def test_a_ven_is_asked_to_register_again_until_it_does(opened_vtn, peer, clock):
    await opened_vtn.vtn.registrations.request_reregistration(peer.ven_id)
    await peer.poll_for(v2.OadrRequestReregistration)
    clock.advance(30_000)
    await peer.poll_for(v2.OadrRequestReregistration)
    await peer.register(peer.ven_id)
    clock.advance(30_000)
    assert isinstance(await peer.poll(), v2.OadrResponse)
