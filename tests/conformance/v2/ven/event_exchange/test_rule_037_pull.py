"""Rule 37: a VEN supports pull. It polls as often as the VTN asked and acts on whatever a poll brings."""

from __future__ import annotations

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import POLL_MS, a_ven


async def test_it_polls_under_its_venid_as_often_as_the_vtn_asked(judge, ven):
    count = len(judge.of("oadrPoll"))
    await ven.at(ven.clock.now_ms() + POLL_MS - 1000)
    assert len(judge.of("oadrPoll")) == count, "too early"
    ven.clock.advance(1000)
    await ven.until(lambda: len(judge.of("oadrPoll")) > count)
    polled = judge.of("oadrPoll")[-1]
    assert (polled.service, polled.text("./ei:venID")) == ("OadrPoll", said.VEN)


async def test_another_frequency_is_followed_after_a_new_registration(judge, tmp_path):
    judge.reply("oadrCreatePartyRegistration", said.registered(poll="PT5M"))
    async with a_ven(judge, tmp_path) as ven:
        await ven.at(ven.clock.now_ms() + 299_000)
        assert len(judge.of("oadrPoll")) == 1
        ven.clock.advance(1000)
        await ven.until(lambda: len(judge.of("oadrPoll")) == 2)


async def test_everything_comes_by_poll(judge, ven):
    start_ms = ven.clock.now_ms() + 3_600_000
    await ven.poll(
        reporting.create_report(said.VEN, reporting.report_request("rr-1", "nobody-has-it"), request_id="create-7"),
        said.distribute(said.event("evt-1", start_ms)),
        reporting.cancel_report(said.VEN, "rr-9", request_id="cancel-7"),
        said.request_reregistration(),
        wire.cancel_party_registration(said.REGISTRATION, said.VEN, request_id="end-7"),
    )
    names = {each.name for each in judge.heard}
    assert names >= {"oadrCreatedReport", "oadrCreatedEvent", "oadrCanceledReport", "oadrCanceledPartyRegistration"}
    assert len(judge.of("oadrCreatePartyRegistration")) >= 3, "asked to register again, and cancelled"


async def test_after_an_absence_it_asks_for_all_events(judge, ven):
    judge.to_poll.extend([503] * 3)
    count = len(judge.of("oadrRequestEvent"))
    await ven.until(lambda: len(judge.of("oadrRequestEvent")) > count, moving=True)
