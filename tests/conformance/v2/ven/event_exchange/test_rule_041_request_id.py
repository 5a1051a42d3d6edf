"""Rule 41: the requestID of an eventResponse is that of oadrDistributeEvent, also where an eiResponse in it has
another."""

from __future__ import annotations

from tests.conformance.v2.ven import said
from tests.conformance.v2.ven.judged import HOUR_MS, START_MS, a_ven


async def test_of_two_request_ids_the_message_s_own_counts(judge, tmp_path):
    judge.reply(
        "oadrRequestEvent",
        lambda heard: said.distribute(
            said.event("evt-1", START_MS + HOUR_MS), request_id="00123", answered=heard.own_id
        ),
    )
    async with a_ven(judge, tmp_path):
        created = await judge.next("oadrCreatedEvent")
    [asked] = judge.of("oadrRequestEvent")
    assert asked.own_id not in ("", "00123")
    assert created.texts(".//ei:eventResponse/pyld:requestID") == ["00123"]


async def test_the_latest_message_is_the_one_that_is_answered(ven):
    event = said.event("evt-1", ven.clock.now_ms() + HOUR_MS)
    for request_id in ("dist-a", "dist-b"):
        created = await ven.hear(said.distribute(event, request_id=request_id), "oadrCreatedEvent")
        assert created.texts(".//ei:eventResponse/pyld:requestID") == [request_id]
