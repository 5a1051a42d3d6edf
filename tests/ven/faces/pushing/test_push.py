"""Push mode: the VTN posts raw XML to the VEN, which answers at once and says the rest by itself."""

from __future__ import annotations

import aiohttp
import pytest
from pydantic import ValidationError

from runtime.errors import AddressUnusable, SettingsError
from runtime.ports import free_ports
from runtime.tls import client_context
from tests.builders import START_MS
from tests.openadr.client.authority import Authority
from tests.ven.faces.scripted import (
    REREGISTER,
    VEN,
    Told,
    cancel_registration,
    cancel_report,
    create_report,
    distribute,
    event,
    plain,
    registered,
    report_request,
    time_text,
)
from tests.ven.faces.ven import Ven, until
from tests.ven.homes import STEP_MS
from ven.config import VenSettings
from ven.home.store import Opt
from ven.simulator import simulate

DAY_MS = 86_400_000


class Pushed(Ven):
    """A VEN in push mode; `post` is the VTN posting to it."""

    def __init__(self, folder, url, session, *, port=None, **settings):
        self.port = port or free_ports(1)[0]
        super().__init__(folder, url, session, push_port=self.port, **settings)
        self.session = session

    async def post(self, body: str, service: str = "EiEvent", scheme: str = "http", **options) -> Told:
        url = f"{scheme}://127.0.0.1:{self.port}/OpenADR2/Simple/2.0b/{service}"
        async with self.session.post(url, data=body.encode(), **options) as response:
            assert (response.status, response.content_type) == (200, "application/xml")
            return Told(service, await response.read())


@pytest.fixture
def ven(tmp_path, vtn, session):
    return Pushed(tmp_path, vtn.url, session)


async def test_it_registers_where_it_is_reached_and_polls_until_something_was_posted(vtn, ven):
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 3)
        created = vtn.of("oadrCreatePartyRegistration")[0]
        assert created.value("oadrTransportAddress") == f"http://127.0.0.1:{ven.port}"
        assert created.value("oadrHttpPullModel") == "false"
        since_ms = ven.clock.now_ms()
        await ven.post(distribute())
        polls = len(vtn.of("oadrPoll"))
        # one more may have been due, the next comes after push_check_s
        await until(lambda: len(vtn.of("oadrPoll")) > polls + 1)
        assert ven.clock.now_ms() - since_ms >= 900_000


async def test_what_a_poll_finds_waiting_was_not_posted_so_it_polls_as_usual(tmp_path, vtn, session):
    ven = Pushed(tmp_path, vtn.url, session, push_check_s=86_400)
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        await ven.post(distribute())
        vtn.queued.append(create_report(report_request()))
        await until(lambda: vtn.of("oadrCreatedReport"))
        polls = len(vtn.of("oadrPoll"))
        await until(lambda: len(vtn.of("oadrPoll")) >= polls + 3)


async def test_an_event_is_acknowledged_and_answered_by_a_message_of_its_own(vtn, ven):
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        answer = await ven.post(distribute(event(start_ms=START_MS + DAY_MS), request_id="dist-9"))
        assert (answer.name, answer.value("responseCode"), answer.value("requestID")) == (
            "oadrResponse",
            "200",
            "dist-9",
        )
        assert answer.value("venID") == VEN
        [stored] = ven.store.events.all()
        ven.store.events.decide("evt-1", Opt.IN)
        ven.engine.nudge()
        await until(lambda: vtn.of("oadrCreatedEvent"))
    [created] = vtn.of("oadrCreatedEvent")
    assert (created.service, created.value("optType")) == ("EiEvent", "optIn")
    assert "dist-9" in created.values("requestID")
    assert stored.event.event_id == "evt-1"
    counted = {"message": "oadrDistributeEvent", "result": "ok"}
    assert ven.metrics.collector.get_sample_value("gridpact_ven_pushes_total", counted) == 1


async def test_events_of_another_vtn_are_refused_in_the_answer(vtn, ven):
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        answer = await ven.post(distribute(event(start_ms=START_MS + DAY_MS), vtn_id="vtn-2"))
    assert (answer.name, answer.value("responseCode")) == ("oadrResponse", "452")
    assert ven.store.events.all() == []


async def test_reports_are_asked_for_sent_and_cancelled(vtn, ven):
    ven.store.meter.add(900, [(START_MS - STEP_MS, 5)])
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        asked = create_report(report_request(start=time_text(START_MS - STEP_MS)))
        answer = await ven.post(asked, "EiReport")
        assert (answer.name, answer.value("requestID"), answer.values("reportRequestID")) == (
            "oadrCreatedReport",
            "cr-1",
            ["rr-1"],
        )
        await until(lambda: vtn.of("oadrUpdateReport"))
        answer = await ven.post(cancel_report(), "EiReport")
        assert (answer.name, answer.values("reportRequestID")) == ("oadrCanceledReport", [])
    assert vtn.of("oadrUpdateReport")[0].values("value") == ["5"]
    assert vtn.of("oadrCreatedReport", "oadrCanceledReport") == [], "they were the HTTP answers"


async def test_it_registers_again_when_asked_and_when_its_registration_was_ended(vtn, ven):
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        answer = await ven.post(REREGISTER, "EiRegisterParty")
        assert (answer.name, answer.value("responseCode")) == ("oadrResponse", "200")
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 2)
        answer = await ven.post(cancel_registration(), "EiRegisterParty")
        assert (answer.name, answer.value("responseCode")) == ("oadrCanceledPartyRegistration", "200")
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 3)
    again, anew = vtn.of("oadrCreatePartyRegistration")[1:]
    assert (again.values("registrationID"), anew.values("registrationID")) == (["reg-1"], [])


async def test_before_it_is_registered_nothing_is_carried_out(vtn, ven):
    vtn.script("oadrCreatePartyRegistration", *[registered(code=463)] * 1000)
    async with ven.running():
        await until(lambda: vtn.of("oadrCreatePartyRegistration"))
        answer = await ven.post(distribute(event(start_ms=START_MS + DAY_MS)))
    assert (answer.name, answer.value("responseCode")) == ("oadrResponse", "463")
    assert ven.store.events.all() == []


async def test_what_no_vtn_says_is_not_recognized(vtn, ven):
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        answer = await ven.post(registered())
    assert (answer.name, answer.value("responseCode")) == ("oadrResponse", "453")


async def test_a_vtn_that_takes_no_polls_in_push_mode_is_not_asked_again(vtn, ven):
    vtn.queued.extend([plain(451)] * 1000)
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        await ven.post(distribute(event(start_ms=START_MS + DAY_MS)))
        ven.store.events.decide("evt-1", Opt.OUT)
        ven.engine.nudge()
        await until(lambda: vtn.of("oadrCreatedEvent"))
        assert ven.engine.reached
    assert len(vtn.of("oadrPoll")) == 1


async def test_who_comes_from_pull_mode_tells_the_vtn(tmp_path, vtn, session):
    before = Ven(tmp_path, vtn.url, session)
    async with before.running():
        await until(lambda: vtn.of("oadrPoll"))
    before.store.close()
    async with Pushed(tmp_path, vtn.url, session).running():
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 2)
    registrations = vtn.of("oadrCreatePartyRegistration")
    assert [each.value("oadrHttpPullModel") for each in registrations] == ["true", "false"]
    assert registrations[1].value("registrationID") == "reg-1"


async def test_a_port_that_is_taken_is_said(tmp_path, vtn, ven, session):
    (tmp_path / "other").mkdir()
    other = Pushed(tmp_path / "other", vtn.url, session, port=ven.port)
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        with pytest.raises(AddressUnusable):
            await other.face.run()


async def test_over_tls_its_own_certificate_is_shown_and_the_vtn_s_wanted(tmp_path, vtn, session):
    authority = Authority(tmp_path)
    own, theirs, neighbour = (
        authority.certify("own"),
        authority.certify("vtn", "127.0.0.1"),
        authority.certify("neighbour"),
    )
    ven = Pushed(
        tmp_path,
        vtn.url,
        session,
        server_ca=authority.ca,
        certificate=own.files.chain,
        certificate_key=own.files.key,
    )
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
        answers = []
        for holder in (theirs, neighbour):
            context = client_context(authority.ca, holder.files)
            context.check_hostname = False
            answers.append(await ven.post(distribute(), scheme="https", ssl=context))
        with pytest.raises(aiohttp.ClientError):
            await ven.post(distribute(), scheme="http")
    assert [each.value("responseCode") for each in answers] == ["200", "463"]
    address = vtn.of("oadrCreatePartyRegistration")[0].value("oadrTransportAddress")
    assert address == f"https://127.0.0.1:{ven.port}"


async def test_a_simulation_of_many_homes_does_not_listen(tmp_path):
    with pytest.raises(SettingsError, match="one home"):
        await simulate(VenSettings(data_dir=tmp_path, push_port=1), tmp_path, None, 2)


@pytest.mark.parametrize(
    "given", [{"push_url": "https://home.example"}, {"push_port": 8443, "push_host": "0.0.0.0"}], ids=str
)
def test_settings_that_leave_open_where_the_vtn_posts_are_refused(given):
    with pytest.raises(ValidationError, match="push_"):
        VenSettings(**given)
