"""Push mode: a VEN that gave an address is posted to; it answers each message, says the rest by its own requests, and
takes what comes by poll all the same (rule 37)."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from runtime.ports import free_ports
from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS, Ven, a_ven
from tests.conformance.v2.ven.judging import PATH, Judge
from tests.conformance.v2.wire import Answer


class Pushed:
    """A VEN that listens, and the judge's posts to it."""

    def __init__(self, ven: Ven, url: str, session: aiohttp.ClientSession) -> None:
        self.ven = ven
        self.url = url
        self._session = session

    async def post(self, service: str, body: bytes) -> Answer:
        """Post to a service; the answer is a valid message or the test fails."""
        url, headers = f"{self.url}{PATH}/{service}", {"Content-Type": "application/xml"}
        async with self._session.post(url, data=io.BytesIO(body), headers=headers) as answer:
            assert answer.content_type == "application/xml"
            return Answer(await answer.read(), answer.status)


@pytest.fixture
async def pushed(judge: Judge, tmp_path: Path) -> AsyncIterator[Pushed]:
    [port] = free_ports(1)
    async with a_ven(judge, tmp_path, push_port=port) as ven, aiohttp.ClientSession() as session:
        yield Pushed(ven, f"http://127.0.0.1:{port}", session)


async def test_it_registers_with_its_address(judge, pushed):
    [created] = judge.of("oadrCreatePartyRegistration")
    assert created.text("./oadr:oadrTransportAddress", None).startswith(pushed.url)
    assert created.text("./oadr:oadrHttpPullModel") == "false"


async def test_an_event_is_answered_at_once_and_opted_by_its_own_request(judge, pushed):
    start_ms = pushed.ven.clock.now_ms() + HOUR_MS
    event = said.event("evt-1", start_ms)
    judge.listed.append(event)
    answer = await pushed.post("EiEvent", said.distribute(event, request_id="push-07"))
    assert (answer.name, answer.code, answer.answered) == ("oadrResponse", 200, "push-07")
    created = await judge.next("oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
    assert created.texts(".//ei:eventResponse/pyld:requestID") == ["push-07"]
    await pushed.ven.at(start_ms)
    await pushed.ven.until(lambda: pushed.ven.shed_w == 600)


async def test_a_cancellation_is_pushed_too(judge, pushed):
    start_ms = pushed.ven.clock.now_ms() + HOUR_MS
    await pushed.post("EiEvent", said.distribute(said.event("evt-1", start_ms)))
    await judge.next("oadrCreatedEvent")
    await pushed.ven.at(start_ms)
    await pushed.ven.until(lambda: pushed.ven.shed_w == 600)
    ended = said.event("evt-1", start_ms, number=1, status="cancelled")
    await pushed.post("EiEvent", said.distribute(ended, request_id="push-2"))
    assert (await judge.next("oadrCreatedEvent")).opts == [("evt-1", "1", "optIn")]
    await pushed.ven.until(lambda: pushed.ven.shed_w == 0)


async def test_report_requests_are_confirmed_in_the_answer(judge, pushed):
    metadata = judge.of("oadrRegisterReport")[-1]
    specifier = metadata.texts("./oadr:oadrReport[ei:reportName='METADATA_TELEMETRY_USAGE']/ei:reportSpecifierID")[0]
    r_id = metadata.texts(".//oadr:oadrReportDescription[power:energyReal]/ei:rID")[0]
    request = reporting.report_request("rr-1", specifier, r_id=r_id, start_ms=pushed.ven.clock.now_ms())
    created = await pushed.post("EiReport", reporting.create_report(said.VEN, request, request_id="push-7"))
    assert (created.name, created.code, created.answered) == ("oadrCreatedReport", 200, "push-7")
    assert created.texts("./oadr:oadrPendingReports/ei:reportRequestID") == ["rr-1"]
    await pushed.ven.until(lambda: judge.of("oadrUpdateReport"), moving=True, step_ms=300_000)
    canceled = await pushed.post("EiReport", reporting.cancel_report(said.VEN, "rr-1", request_id="push-8"))
    assert (canceled.name, canceled.code, canceled.answered) == ("oadrCanceledReport", 200, "push-8")
    canceled = await pushed.post("EiReport", reporting.cancel_report(said.VEN, "rr-1"))
    assert canceled.code == 452


async def test_the_end_of_the_registration_is_confirmed_in_the_answer(judge, pushed):
    wrong = await pushed.post("EiRegisterParty", wire.cancel_party_registration("reg-x", said.VEN, "push-6"))
    assert (wrong.name, wrong.code, wrong.answered) == ("oadrCanceledPartyRegistration", 452, "push-6")
    ended = await pushed.post("EiRegisterParty", wire.cancel_party_registration(said.REGISTRATION, said.VEN, "push-7"))
    assert (ended.name, ended.code, ended.answered) == ("oadrCanceledPartyRegistration", 200, "push-7")


async def test_it_registers_again_when_it_is_asked_to_by_post(judge, pushed):
    answer = await pushed.post("EiRegisterParty", said.request_reregistration())
    assert (answer.name, answer.code) == ("oadrResponse", 200)
    await pushed.ven.until(lambda: len(judge.of("oadrCreatePartyRegistration")) == 2, moving=True)


async def test_events_of_another_vtn_are_refused(judge, pushed):
    event = said.event("evt-1", pushed.ven.clock.now_ms() + HOUR_MS)
    answer = await pushed.post("EiEvent", said.distribute(event, vtn_id="vtn-of-somebody", request_id="push-7"))
    assert (answer.code, answer.answered) == (452, "push-7")
    assert pushed.ven.store.events.find("evt-1") is None


async def test_a_report_nobody_asked_for_is_an_invalid_id(pushed):
    """Rule 304."""
    stretch = reporting.interval(reporting.number("energy", 1), start_ms=0, length="PT15M")
    report = reporting.report("nobody-asked", "history", "HISTORY_USAGE", stretch)
    updated = await pushed.post("EiReport", reporting.update_report(said.VEN, report, request_id="push-7"))
    assert (updated.name, updated.code, updated.answered) == ("oadrUpdatedReport", 452, "push-7")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 45), (b"<a/>", 45), (b"\x00\x01", 45), (wire.poll("x")[:-20], 45), (wire.poll(said.VEN), 45),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', 45), (b" " * 1_100_000, 45),
    ],
    ids=["nothing", "another root", "binary", "cut off", "a question of a VEN", "entity", "1.1 MB"],
)  # fmt: skip
async def test_what_is_no_message_of_a_vtn_is_answered_in_xml(pushed, body, code):
    answer = await pushed.post("EiEvent", body)
    assert (answer.name, answer.code // 10) == ("oadrResponse", code)
    good = await pushed.post("EiEvent", said.distribute(request_id="push-9"))
    assert good.code == 200


async def test_what_could_not_be_posted_comes_by_poll(judge, pushed):
    """Rule 37: every VEN supports pull."""
    event = said.event("evt-1", pushed.ven.clock.now_ms() + HOUR_MS)
    created = await pushed.ven.hear(said.distribute(event), "oadrCreatedEvent")
    assert created.opts == [("evt-1", "0", "optIn")]
