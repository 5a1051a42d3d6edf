"""Rule 21: an unexpected vtnID, venID or eventID is an error; a cancelled event nobody knows is ignored."""

from __future__ import annotations

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def test_events_of_another_vtn_are_an_error_and_not_acted_on(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    foreign = said.distribute(said.event("evt-1", start_ms), vtn_id="vtn-of-somebody", request_id="dist-7")
    created = await ven.hear(foreign, "oadrCreatedEvent")
    assert created.opts == []
    assert created.text("./pyld:eiCreatedEvent/ei:eiResponse/ei:responseCode") == "452"
    await ven.at(start_ms)
    assert ven.shed_w == 0


async def test_events_of_another_vtn_cancel_nothing(ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    await ven.hear(said.distribute(said.event("evt-1", start_ms)), "oadrCreatedEvent")
    await ven.poll(said.distribute(vtn_id="vtn-of-somebody"))
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)


async def test_an_unknown_registration_is_not_ended(judge, ven):
    canceled = await ven.hear(
        wire.cancel_party_registration("reg-nobody-has", said.VEN, "end-7"), "oadrCanceledPartyRegistration"
    )
    assert (canceled.code, canceled.answered) == (452, "end-7")
    await ven.poll()
    assert len(judge.of("oadrCreatePartyRegistration")) == 1


async def test_an_unknown_cancelled_event_does_no_harm(judge, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    unknown = said.event("evt-nobody-knows", start_ms, number=4, status="cancelled")
    await ven.poll(said.distribute(unknown, said.event("evt-1", start_ms)))
    answers = [opt for heard in judge.of("oadrCreatedEvent") for opt in heard.opts]
    assert ("evt-1", "0", "optIn") in answers
    assert set(answers) <= {("evt-1", "0", "optIn"), ("evt-nobody-knows", "4", "optIn")}
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)


async def test_a_report_request_for_another_ven_is_an_error(ven):
    request = reporting.report_request("rr-1", "usage", r_id="meter", start_ms=ven.clock.now_ms())
    created = await ven.hear(reporting.create_report("ven-of-somebody", request), "oadrCreatedReport")
    assert created.code == 452
    assert created.texts(".//oadr:oadrPendingReports/ei:reportRequestID") == []


async def test_the_end_of_another_ven_s_registration_is_an_error(judge, ven):
    other = wire.cancel_party_registration(said.REGISTRATION, "ven-of-somebody")
    canceled = await ven.hear(other, "oadrCanceledPartyRegistration")
    assert canceled.code == 452
    await ven.poll()
    assert len(judge.of("oadrCreatePartyRegistration")) == 1
