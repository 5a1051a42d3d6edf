"""Rule 19: each event is answered on its own; one wrong answer does not spoil the others."""

from __future__ import annotations


def test_different_answers_in_one_message(vtn, device):
    first, second, third = (vtn.event(device) for _ in range(3))
    device.poll_for("oadrDistributeEvent")
    assert device.answer((first, 0, "optIn"), (second, 0, "optOut")).code == 200
    assert [vtn.delivery(each, device).state for each in (first, second, third)] == [
        "opted_in", "opted_out", "delivered",
    ]  # fmt: skip


def test_the_good_answers_of_a_message_with_a_bad_one_count(vtn, device):
    first, second = vtn.event(device), vtn.event(device)
    device.poll_for("oadrDistributeEvent")
    answer = device.answer((first, 0, "optIn"), ("evt-nobody-knows", 0, "optIn"), (second, 0, "optOut"))
    assert answer.code == 452
    assert [vtn.delivery(each, device).state for each in (first, second)] == ["opted_in", "opted_out"]


def test_two_vens_answer_the_same_event_on_their_own(vtn, device):
    """A stock VTN keyed its callback by event id and lost the second VEN."""
    other = vtn.device()
    event_id = vtn.event(device, other)
    for each, opt_type in ((device, "optIn"), (other, "optOut")):
        each.poll_for("oadrDistributeEvent")
        assert each.answer((event_id, 0, opt_type)).code == 200
    assert vtn.delivery(event_id, device).state == "opted_in"
    assert vtn.delivery(event_id, other).state == "opted_out"
