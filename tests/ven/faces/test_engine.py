"""The 2.0b engine against a VTN of raw XML: what it says, when, and what it survives."""

from __future__ import annotations

import time

import pytest

from tests.builders import START_MS
from tests.ven.faces.scripted import (
    REREGISTER,
    cancel_registration,
    cancel_report,
    create_report,
    distribute,
    event,
    plain,
    registered,
    registered_report,
    report_request,
    time_text,
    updated_report,
)
from tests.ven.faces.ven import Ven, until
from tests.ven.homes import STEP_MS
from ven.home.store import Opt


async def test_it_registers_announces_its_meter_asks_for_events_and_polls(vtn, ven):
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 3)
    assert vtn.names() == [
        "oadrQueryRegistration",
        "oadrCreatePartyRegistration",
        "oadrRegisterReport",
        "oadrRequestEvent",
    ]
    created = vtn.of("oadrCreatePartyRegistration")[0]
    assert created.service == "EiRegisterParty"
    assert created.value("oadrVenName") == "H1"
    assert created.values("registrationID") == []
    metadata = vtn.of("oadrRegisterReport")[0]
    assert metadata.service == "EiReport"
    kinds = ["TELEMETRY_USAGE", "HISTORY_USAGE", "TELEMETRY_STATUS"]
    assert metadata.values("reportName") == [f"METADATA_{kind}" for kind in kinds]
    assert metadata.values("rID") == ["meter", "meter", "device"]
    assert set(metadata.values("itemUnits")) == {"Wh"}
    assert set(metadata.values("reportRequestID")) == {"0"}  # rule 311
    assert {each.value("venID") for each in vtn.of("oadrPoll")} == {"ven-7"}
    assert ven.engine.reached


async def test_polls_follow_the_domain_clock_at_the_interval_the_vtn_names(vtn, ven):
    vtn.script("oadrCreatePartyRegistration", registered(poll="PT2M"))
    since_ms = ven.clock.now_ms()
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 5)
    assert ven.clock.now_ms() - since_ms >= 4 * 120_000


async def test_a_restart_uses_the_registration_it_has(tmp_path, vtn, session):
    for _ in range(2):
        ven = Ven(tmp_path, vtn.url, session)
        before = len(vtn.of("oadrPoll"))
        async with ven.running():
            await until(lambda before=before: len(vtn.of("oadrPoll")) > before)
        ven.store.close()
    assert len(vtn.of("oadrCreatePartyRegistration")) == 1
    assert len(vtn.of("oadrRegisterReport")) == 1
    assert len(vtn.of("oadrRequestEvent")) == 2


async def test_an_enrolled_ven_registers_under_its_ven_id_and_accepts_no_other(tmp_path, vtn, session):
    ven = Ven(tmp_path, vtn.url, session, ven_id="ven-8")
    async with ven.running():
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) >= 2)
    assert vtn.of("oadrCreatePartyRegistration")[0].value("venID") == "ven-8"
    assert vtn.of("oadrPoll") == []
    ven.store.close()


async def test_a_vtn_that_forgot_it_is_registered_with_again(vtn, ven):
    vtn.queued.append(plain(463))
    async with ven.running():
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 2 and len(vtn.of("oadrPoll")) >= 3)
    assert vtn.of("oadrCreatePartyRegistration")[1].value("registrationID") == "reg-1"
    assert len(vtn.of("oadrRegisterReport")) == 2, "it may have forgotten the reports too"


async def test_a_refused_registration_is_tried_again_without_the_old_id(vtn, ven):
    vtn.queued.append(plain(463))
    vtn.script("oadrCreatePartyRegistration", registered(), registered(code=452))
    async with ven.running():
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 3 and len(vtn.of("oadrPoll")) >= 3)
    assert [each.values("registrationID") for each in vtn.of("oadrCreatePartyRegistration")] == [[], ["reg-1"], []]


async def test_a_request_to_register_again_is_followed(vtn, ven):
    vtn.queued.append(REREGISTER)
    vtn.script("oadrCreatePartyRegistration", registered(), registered("reg-2"))
    async with ven.running():
        await until(lambda: len(vtn.of("oadrRegisterReport")) == 2)
    assert vtn.of("oadrResponse")[0].service == "EiRegisterParty"
    assert vtn.of("oadrCreatePartyRegistration")[1].value("registrationID") == "reg-1"
    assert ven.registrar.current.registration_id == "reg-2"


async def test_a_cancelled_registration_is_confirmed_and_reports_end(vtn, ven):
    ven.store.meter.add(900, [(START_MS, 1)])
    vtn.script("oadrRegisterReport", registered_report(report_request(back="PT24H")))
    vtn.queued.append(cancel_registration())
    async with ven.running():
        await until(lambda: vtn.of("oadrCanceledPartyRegistration"))
        await until(lambda: len(vtn.of("oadrCreatePartyRegistration")) == 2)
    assert vtn.of("oadrCanceledPartyRegistration")[0].value("registrationID") == "reg-1"
    assert vtn.of("oadrCreatePartyRegistration")[1].values("registrationID") == []


@pytest.mark.parametrize("trouble", [500, 404, "not xml", "<!DOCTYPE x><x/>", plain(469)])
async def test_it_outlives_a_vtn_in_trouble(vtn, ven, trouble):
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 1)
        vtn.queued.extend([trouble] * 3)
        await until(lambda: not vtn.queued)
        polls = len(vtn.of("oadrPoll"))
        await until(lambda: len(vtn.of("oadrPoll")) >= polls + 2)
    assert len(vtn.of("oadrRequestEvent")) >= 2  # the list, complete, after each absence
    assert len(vtn.of("oadrCreatePartyRegistration")) == 1


async def test_it_backs_off_on_the_wall_clock(vtn, ven):
    """At 600 times domain speed a back-off in domain time would be thousands of attempts a second."""
    vtn.script("oadrQueryRegistration", *[503] * 100)
    since_s = time.monotonic()
    async with ven.running():
        await until(lambda: len(vtn.of("oadrQueryRegistration")) >= 8)
    assert time.monotonic() - since_s >= 0.6  # seven waits of 0.1 s (half of backoff_max_s) at least


async def test_an_event_is_stored_and_answered_when_the_home_has_decided(vtn, ven):
    vtn.queued.append(distribute(event(start_ms=START_MS + 86_400_000)))
    async with ven.running():
        await until(lambda: ven.store.events.all())
        await until(lambda: len(vtn.of("oadrPoll")) >= 3)
        assert vtn.of("oadrCreatedEvent") == []
        vtn.events.append(event(start_ms=START_MS + 86_400_000))
        ven.store.events.decide("evt-1", Opt.IN)
        ven.engine.nudge()
        await until(lambda: vtn.of("oadrCreatedEvent"))
        await until(lambda: not ven.store.events.unanswered())
    [answer] = vtn.of("oadrCreatedEvent")
    assert answer.service == "EiEvent"
    assert (answer.value("optType"), answer.value("eventID"), answer.value("modificationNumber")) == (
        "optIn",
        "evt-1",
        "0",
    )
    assert "dist-1" in answer.values("requestID")  # rule 41


async def test_an_answer_that_got_lost_is_sent_until_it_is_acknowledged(vtn, ven):
    far = event(start_ms=START_MS + 86_400_000)
    vtn.events.append(far)
    vtn.script("oadrCreatedEvent", 503, 503)
    async with ven.running():
        await until(lambda: ven.store.events.all())
        ven.store.events.decide("evt-1", Opt.OUT, 200, "the owner has opted out")
        await until(lambda: len(vtn.of("oadrCreatedEvent")) >= 3)
    assert {each.value("optType") for each in vtn.of("oadrCreatedEvent")} == {"optOut"}


async def test_an_event_that_leaves_the_list_is_cancelled_by_that(vtn, ven):
    vtn.events.append(event(start_ms=START_MS + 86_400_000))
    async with ven.running():
        await until(lambda: ven.store.events.all())
        vtn.queued.append(distribute(event("evt-2", START_MS + 86_400_000)))
        await until(lambda: len(ven.store.events.all()) == 2)
    gone = {each.event.event_id: each.cancelled for each in ven.store.events.all()}
    assert gone == {"evt-1": True, "evt-2": False}


async def test_an_event_that_cannot_be_taken_over_is_refused_alone(vtn, ven):
    wrong = event("evt-9", START_MS + 86_400_000).replace("<xcal:duration>PT1H", "<xcal:duration>P1M", 1)
    vtn.queued.append(distribute(wrong, event(start_ms=START_MS + 86_400_000)))
    async with ven.running():
        await until(lambda: vtn.of("oadrCreatedEvent"))
    [answer] = vtn.of("oadrCreatedEvent")
    assert (answer.value("eventID"), answer.value("optType")) == ("evt-9", "optOut")
    assert "454" in answer.values("responseCode")
    assert [each.event.event_id for each in ven.store.events.all()] == ["evt-1"]


async def test_events_of_another_vtn_are_not_taken_over(vtn, ven):
    """Rule 21."""
    vtn.queued.append(distribute(event(start_ms=START_MS + 86_400_000), vtn_id="vtn-2"))
    async with ven.running():
        await until(lambda: vtn.of("oadrCreatedEvent"))
    assert ven.store.events.all() == []
    assert "452" in vtn.of("oadrCreatedEvent")[0].values("responseCode")


@pytest.mark.parametrize(
    ("number", "level"), [(1, 2), (2, 3)], ids=["an older one", "a change under the number it had"]
)
async def test_what_cannot_follow_is_out_of_sequence_and_the_event_goes_on(vtn, ven, number, level):
    """Rules 5, 58, 61."""
    start_ms = START_MS + 86_400_000
    vtn.events.append(event(start_ms=start_ms, modification=2))
    async with ven.running():
        await until(lambda: ven.store.events.all())
        ven.store.events.decide("evt-1", Opt.IN)
        vtn.queued.append(distribute(event(start_ms=start_ms, modification=number, level=level), request_id="dist-2"))
        await until(lambda: len(vtn.of("oadrCreatedEvent")) >= 2)
    refused = [each for each in vtn.of("oadrCreatedEvent") if "dist-2" in each.values("requestID")]
    assert "450" in refused[0].values("responseCode")
    assert (refused[0].value("modificationNumber"), refused[0].value("optType")) == (str(number), "optOut")
    [stored] = ven.store.events.all()
    assert (stored.event.modification_number, stored.event.signals[0].intervals[0].payload) == (2, "2")
    assert (stored.opt, stored.cancelled) == (Opt.IN, False)


async def test_a_cancellation_that_was_not_counted_is_taken(vtn, ven):
    """The VTN breaks rule 5; to go on for nobody would be worse."""
    start_ms = START_MS + 86_400_000
    vtn.events.append(event(start_ms=start_ms))
    async with ven.running():
        await until(lambda: ven.store.events.all())
        vtn.queued.append(distribute(event(start_ms=start_ms, status="cancelled"), request_id="dist-2"))
        await until(lambda: ven.store.events.all()[0].cancelled)


async def test_a_refusal_is_said_once_each_time_the_event_comes(vtn, ven):
    wrong = event("evt-9", START_MS + 86_400_000).replace("<xcal:duration>PT1H", "<xcal:duration>P1M", 1)
    vtn.queued.extend([distribute(wrong, request_id="dist-1"), distribute(wrong, request_id="dist-2")])
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 5)
    assert ["dist-1" in each.values("requestID") for each in vtn.of("oadrCreatedEvent")] == [True, False]


async def test_history_and_each_later_interval_are_reported_in_chunks(tmp_path, vtn, session):
    ven = Ven(tmp_path, vtn.url, session, report_intervals_max=10)
    history = [(START_MS - n * STEP_MS, 100 + n) for n in range(25, 0, -1)]
    ven.store.meter.add(900, history)
    asked = report_request(start=time_text(START_MS - 23 * STEP_MS))
    vtn.script("oadrRegisterReport", registered_report(asked))
    async with ven.running():
        await until(lambda: len(vtn.of("oadrUpdateReport")) == 3)
        ven.store.meter.add(900, [(START_MS, 7)])
        ven.store.reports.owe([START_MS])
        ven.engine.nudge()
        await until(lambda: len(vtn.of("oadrUpdateReport")) == 4)
    created = vtn.of("oadrCreatedReport")[0]
    assert created.values("reportRequestID") == ["rr-1"]
    updates = vtn.of("oadrUpdateReport")
    assert [len(each.values("payloadFloat")) for each in updates] == [10, 10, 3, 1]
    values = [value for each in updates for value in each.values("value")]
    assert values == [str(100 + n) for n in range(23, 0, -1)] + ["7"]
    assert {each.value("reportRequestID") for each in updates} == {"rr-1"}
    assert ven.store.notes.read("reported_from", int) == START_MS - 23 * STEP_MS
    ven.store.close()


async def test_a_report_request_by_poll_is_confirmed(vtn, ven):
    ven.store.meter.add(900, [(START_MS - STEP_MS, 5)])
    vtn.queued.append(create_report(report_request(start=time_text(START_MS - STEP_MS))))
    async with ven.running():
        await until(lambda: vtn.of("oadrUpdateReport"))
    created = vtn.of("oadrCreatedReport")[0]
    assert (created.service, created.value("requestID"), created.value("responseCode")) == ("EiReport", "cr-1", "200")


@pytest.mark.parametrize("trouble", [500, plain(461)])
async def test_a_vtn_that_stumbles_over_a_kind_of_report_is_offered_energy_alone(vtn, ven, trouble):
    vtn.script("oadrRegisterReport", trouble, registered_report(report_request()))
    async with ven.running():
        await until(lambda: vtn.of("oadrPoll"))
    assert [len(each.values("reportSpecifierID")) for each in vtn.of("oadrRegisterReport")] == [3, 1]
    assert vtn.of("oadrRegisterReport")[1].value("reportSpecifierID") == "usage"
    assert [each.request.report_request_id for each in ven.store.reports.running()] == ["rr-1"]


async def test_a_vtn_that_fails_over_all_reports_still_has_events_and_hears_of_them_later(vtn, ven):
    vtn.script("oadrRegisterReport", 500, 500, registered_report(report_request()))
    async with ven.running():
        await until(lambda: len(vtn.of("oadrPoll")) >= 2)
        assert vtn.of("oadrRequestEvent")
        assert len(vtn.of("oadrRegisterReport")) == 2
        await until(lambda: ven.store.reports.running())
    assert len(vtn.of("oadrRegisterReport")[2].values("reportSpecifierID")) == 3


async def test_a_report_it_cannot_give_is_refused(vtn, ven):
    vtn.queued.append(create_report(report_request(r_id="voltage")))
    async with ven.running():
        await until(lambda: vtn.of("oadrCreatedReport"))
    assert vtn.of("oadrCreatedReport")[0].value("responseCode") == "461"
    assert ven.store.reports.running() == []


@pytest.mark.parametrize("trouble", [503, "nonsense", updated_report(454)])
async def test_intervals_are_kept_until_the_vtn_took_them(vtn, ven, trouble):
    ven.store.meter.add(900, [(START_MS - n * STEP_MS, n) for n in (2, 1)])
    vtn.script("oadrRegisterReport", registered_report(report_request(start=time_text(START_MS - 2 * STEP_MS))))
    vtn.script("oadrUpdateReport", trouble)
    async with ven.running():
        await until(lambda: len(vtn.of("oadrUpdateReport")) >= 2)
        await until(lambda: ven.store.reports.count_owed() == 0)
    assert vtn.of("oadrUpdateReport")[-1].values("value") == ["2", "1"]


async def test_a_vtn_that_lost_the_request_is_offered_the_reports_again(vtn, ven):
    ven.store.meter.add(900, [(START_MS - STEP_MS, 5)])
    start = time_text(START_MS - STEP_MS)
    vtn.script(
        "oadrRegisterReport",
        registered_report(report_request(start=start)),
        registered_report(report_request("rr-2", start=start)),
    )
    vtn.script("oadrUpdateReport", updated_report(452))
    async with ven.running():
        await until(lambda: len(vtn.of("oadrUpdateReport")) == 2)
        await until(lambda: ven.store.reports.count_owed() == 0)
    assert [each.value("reportRequestID") for each in vtn.of("oadrUpdateReport")] == ["rr-1", "rr-2"]


async def test_a_cancelled_report_ends_after_the_last_one_that_was_wanted(vtn, ven):
    vtn.script("oadrRegisterReport", registered_report(report_request(start=time_text(START_MS), back="PT24H")))
    async with ven.running():
        await until(lambda: ven.store.reports.running())
        ven.store.reports.put_off("rr-1", 2**52)
        ven.store.meter.add(900, [(START_MS, 5)])
        ven.store.reports.owe([START_MS])
        vtn.queued.append(cancel_report(follow="true"))
        await until(lambda: not ven.store.reports.running())
    assert vtn.of("oadrUpdateReport")[0].values("value") == ["5"]
    [canceled] = vtn.of("oadrCanceledReport")
    assert (canceled.value("responseCode"), canceled.values("reportRequestID")) == ("200", [])


async def test_a_one_shot_report_ends_by_itself(vtn, ven):
    """Rule 324."""
    ven.store.meter.add(900, [(START_MS - STEP_MS, 5)])
    asked = report_request(back="PT0S", start=time_text(START_MS - STEP_MS))
    vtn.script("oadrRegisterReport", registered_report(asked))
    async with ven.running():
        await until(lambda: vtn.of("oadrUpdateReport"))
        await until(lambda: not ven.store.reports.running())


async def test_what_queued_up_is_taken_in_one_go(vtn, ven):
    vtn.queued.extend(create_report(report_request(f"rr-{n}")) for n in range(5))
    async with ven.running():
        await until(lambda: len(vtn.of("oadrCreatedReport")) == 5)
    told = [each.name for each in vtn.told]
    last = len(told) - told[::-1].index("oadrCreatedReport")
    assert told[:last].count("oadrPoll") <= 8
