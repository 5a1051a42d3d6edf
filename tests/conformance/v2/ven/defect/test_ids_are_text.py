"""A stock client made a number of every id of digits, lost the requestID in answers, and wrote None."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS, a_ven

IDS = ["00123", "0", "1e5", "true", "None", "a b", "é"]


@pytest.mark.parametrize("given", IDS)
async def test_a_venid_and_a_registrationid_come_back_as_they_were(judge, tmp_path, given):
    judge.reply("oadrCreatePartyRegistration", said.registered(ven_id=given, registration_id=given))
    async with a_ven(judge, tmp_path) as ven:
        await ven.poll(said.request_reregistration(given))
    assert judge.of("oadrPoll")[0].text("./ei:venID") == given
    assert judge.of("oadrRegisterReport")[0].text("./ei:venID") == given
    assert judge.of("oadrCreatePartyRegistration")[1].text("./ei:registrationID") == given


@pytest.mark.parametrize("given", IDS)
async def test_request_ids_and_event_ids_come_back_as_they_were(ven, given):
    event = said.event(given, ven.clock.now_ms() + HOUR_MS)
    created = await ven.hear(said.distribute(event, request_id=given), "oadrCreatedEvent")
    assert created.opts == [(given, "0", "optIn")]
    assert created.texts(".//ei:eventResponse/pyld:requestID") == [given]
    canceled = await ven.hear(reporting.cancel_report(said.VEN, "rr-x", request_id=given), "oadrCanceledReport")
    assert (canceled.code, canceled.answered) == (452, given)
    end = wire.cancel_party_registration("reg-x", said.VEN, request_id=given)
    canceled = await ven.hear(end, "oadrCanceledPartyRegistration")
    assert (canceled.code, canceled.answered) == (452, given)


async def test_every_question_has_an_id_of_its_own(judge, ven):
    await ven.poll(said.request_reregistration())
    asked = [each.own_id for each in judge.heard if each.own_id and each.name != "oadrCreatedEvent"]
    questions = [
        each
        for each in judge.heard
        if each.name.startswith(("oadrQuery", "oadrCreateParty", "oadrRegisterR", "oadrRequestE"))
    ]
    ids = [each.own_id for each in questions]
    assert len(ids) == len(set(ids)) >= 5
    assert not {"None", ""} & set(asked)
