"""Rule 19: each event is answered on its own; one that cannot be taken does not spoil the others."""

from __future__ import annotations

from tests.conformance.v2 import wire
from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS


async def test_every_event_of_a_message_gets_its_answer(judge, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    events = [
        said.event("evt-good", start_ms, number=2),
        said.event("evt-level", start_ms, said.signal(("PT1H", "7"))),
        said.event("evt-month", start_ms, said.signal(("P1M", "1")), length="P1M"),
        said.event("evt-other", start_ms, target="<ei:venID>ven-of-somebody</ei:venID>"),
        said.event("evt-late", start_ms + HOUR_MS),
    ]
    await ven.poll(said.distribute(*events, request_id="dist-7"))
    answers = {}
    for heard in judge.of("oadrCreatedEvent"):
        assert set(heard.texts(".//ei:eventResponse/pyld:requestID")) == {"dist-7"}
        for (event_id, number, opt_type), code in zip(heard.opts, heard.event_codes, strict=True):
            assert event_id not in answers, "one answer each"
            answers[event_id] = (number, opt_type, code)
    assert answers == {
        "evt-good": ("2", "optIn", "200"),
        "evt-level": ("0", "optOut", "454"),
        "evt-month": ("0", "optOut", "454"),
        "evt-other": ("0", "optOut", "462"),
        "evt-late": ("0", "optIn", "200"),
    }
    await ven.at(start_ms)
    await ven.until(lambda: ven.shed_w == 600)


async def test_an_answer_the_vtn_refuses_does_not_hold_up_the_others(judge, ven):
    start_ms = ven.clock.now_ms() + HOUR_MS
    judge.reply("oadrCreatedEvent", wire.response("dist-1", said.VEN, 452))
    await ven.poll(said.distribute(said.event("evt-1", start_ms), said.event("evt-2", start_ms + 2 * HOUR_MS)))
    answered = [opt[0] for heard in judge.of("oadrCreatedEvent") for opt in heard.opts]
    assert set(answered) == {"evt-1", "evt-2"}
    await ven.poll()
    assert len(judge.of("oadrCreatedEvent")) <= len(answered) + 1, "a refused answer is not repeated for ever"
