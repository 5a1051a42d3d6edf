"""Rule 41: the requestID that counts is oadrDistributeEvent/requestID, also where an eiResponse has another."""

from __future__ import annotations


def test_a_list_has_its_own_request_id_beside_that_of_the_question(vtn, device):
    event_id = vtn.event(device)
    first, second = device.events("question-1"), device.events("question-2")
    assert (first.answered, second.answered) == ("question-1", "question-2")
    assert len({first.request_id, second.request_id, "question-1", ""}) == 4
    answer = device.answer((event_id, 0, "optIn"), request_id=second.request_id)
    assert (answer.code, answer.answered) == (200, second.request_id)
