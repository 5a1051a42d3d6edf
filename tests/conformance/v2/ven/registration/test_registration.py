"""EiRegisterParty: query, registration, registration again, the end by the VTN, and refusals."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import RESOURCE, a_ven


async def test_it_asks_what_is_offered_and_registers_for_it(judge, ven):
    assert [each.name for each in judge.heard][:2] == ["oadrQueryRegistration", "oadrCreatePartyRegistration"]
    query, created = judge.heard[:2]
    assert {query.service, created.service} == {"EiRegisterParty"}
    assert query.own_id not in ("", "0", "None")
    assert created.text("./oadr:oadrProfileName") == "2.0b"
    assert created.text("./oadr:oadrTransportName") == "simpleHttp"
    assert created.text("./oadr:oadrReportOnly") == "false"
    assert created.text("./oadr:oadrXmlSignature") == "false"
    assert created.text("./oadr:oadrVenName") == RESOURCE
    assert created.text("./oadr:oadrHttpPullModel") == "true"
    assert created.texts("./ei:registrationID") + created.texts("./ei:venID") == [], "nothing is invented"


async def test_the_venid_it_was_given_is_used_as_it_is_written(judge, ven):
    await ven.poll()
    ids = {text for each in judge.heard[2:] for text in each.texts(".//ei:venID")}
    assert ids == {said.VEN}


async def test_a_restart_keeps_the_registration(judge, ven):
    await ven.restart()
    await ven.poll()
    assert len(judge.of("oadrCreatePartyRegistration")) == 1


async def test_asked_to_register_again_it_does_so_under_the_ids_it_has(judge, ven):
    judge.to_poll.append(said.request_reregistration())
    count = len(judge.heard)
    await ven.until(lambda: len(judge.of("oadrCreatePartyRegistration")) == 2, moving=True)
    again = judge.of("oadrCreatePartyRegistration")[1]
    assert again.text("./ei:registrationID") == said.REGISTRATION
    assert again.text("./ei:venID") == said.VEN
    confirmed = [each for each in judge.heard[count:] if each.name == "oadrResponse"]
    assert [(each.code, each.text("./ei:venID")) for each in confirmed] == [(200, said.VEN)]


async def test_new_ids_of_a_new_registration_are_used(judge, ven):
    judge.reply("oadrCreatePartyRegistration", said.registered(ven_id="ven-9", registration_id="reg-9"))
    await ven.poll(said.request_reregistration())
    assert judge.of("oadrPoll")[-1].text("./ei:venID") == "ven-9"
    canceled = await ven.hear(wire.cancel_party_registration("reg-9", "ven-9"), "oadrCanceledPartyRegistration")
    assert canceled.code == 200


async def test_the_end_by_the_vtn_is_confirmed_and_it_registers_anew(judge, ven):
    end = wire.cancel_party_registration(said.REGISTRATION, said.VEN, request_id="end-00")
    canceled = await ven.hear(end, "oadrCanceledPartyRegistration")
    assert (canceled.code, canceled.answered) == (200, "end-00")
    assert (canceled.text("./ei:registrationID"), canceled.text("./ei:venID")) == (said.REGISTRATION, said.VEN)
    await ven.until(lambda: len(judge.of("oadrCreatePartyRegistration")) == 2, moving=True)
    assert judge.of("oadrCreatePartyRegistration")[1].texts("./ei:registrationID") == []
    between = judge.heard[
        judge.heard.index(canceled) + 1 : judge.heard.index(judge.of("oadrCreatePartyRegistration")[1])
    ]
    assert {each.name for each in between} <= {"oadrQueryRegistration"}, "nothing is said under an ended registration"


@pytest.mark.parametrize("code", [451, 452, 463, 469])
async def test_a_refused_registration_is_tried_again_and_nothing_else_is_said(judge, tmp_path, code):
    judge.reply(
        "oadrCreatePartyRegistration",
        said.registered(ven_id=None, registration_id=None, code=code),
        wire.response("", code=code),
    )
    async with a_ven(judge, tmp_path):
        assert len(judge.of("oadrCreatePartyRegistration")) == 3
    before = judge.heard[: judge.heard.index(judge.of("oadrCreatePartyRegistration")[2])]
    assert {each.name for each in before} == {"oadrQueryRegistration", "oadrCreatePartyRegistration"}


async def test_a_good_code_without_ids_is_no_registration(judge, tmp_path):
    """A stock VTN answers a refused registration with 200 and empty ids."""
    judge.reply("oadrCreatePartyRegistration", said.registered(ven_id=None, registration_id=None))
    async with a_ven(judge, tmp_path):
        assert len(judge.of("oadrCreatePartyRegistration")) == 2
    assert {each.text("./ei:venID") for each in judge.of("oadrPoll")} == {said.VEN}


@pytest.mark.parametrize("code", [452, 463])
async def test_told_that_it_is_not_known_or_not_registered_it_registers(judge, ven, code):
    await ven.poll(wire.response("", said.VEN, code))
    assert len(judge.of("oadrCreatePartyRegistration")) == 2


@pytest.mark.parametrize("code", [450, 453, 454, 459, 469])
async def test_other_refusals_of_a_poll_do_not_end_the_registration(judge, ven, code):
    await ven.poll(wire.response("", said.VEN, code))
    assert len(judge.of("oadrCreatePartyRegistration")) == 1


async def test_a_vtn_of_another_profile_is_not_registered_with(judge, tmp_path):
    old = said.registered(ven_id=None, registration_id=None, profile="2.0a")
    judge.reply("oadrQueryRegistration", old)
    async with a_ven(judge, tmp_path):
        assert len(judge.of("oadrQueryRegistration")) == 2
        assert len(judge.of("oadrCreatePartyRegistration")) == 1
