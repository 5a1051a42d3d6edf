"""A stock VTN made a number of every id of digits (00123 became 123), lost the requestID in errors, and wrote None."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import wire


@pytest.mark.parametrize("request_id", ["00123", "0", "1e5", "true", "a b", "é"])
def test_a_request_id_comes_back_as_it_was(device, request_id):
    assert device.events(request_id).answered == request_id
    answer = device.answer(("evt-nobody-knows", 0, "optIn"), request_id=request_id)
    assert (answer.code, answer.answered) == (452, request_id)
    query = device.post("EiRegisterParty", wire.query_registration(request_id))
    assert query.answered == request_id


@pytest.mark.parametrize("ven_id", ["00123", "7"])
def test_a_venid_of_digits_is_not_a_number(device, ven_id):
    answer = device.post("OadrPoll", wire.poll(ven_id))
    assert (answer.code, answer.text("./ei:venID")) == (452, ven_id)


def test_an_error_keeps_the_request_id_of_a_message_the_schema_refuses(device):
    body = wire.request_event(device.ven_id, "my-id").replace(b"eiRequestEvent", b"eiUnknown")
    answer = device.post("EiEvent", body)
    assert (answer.name, answer.answered, answer.text("./ei:venID")) == ("oadrResponse", "my-id", device.ven_id)
    assert 450 <= answer.code < 470


def test_no_answer_has_the_word_none(vtn, device):
    bodies = [
        device.poll().body,
        device.events().body,
        device.post("EiRegisterParty", wire.query_registration()).body,
        device.post("EiRegisterParty", wire.create_party_registration("nobody")).body,
        device.post("EiRegisterParty", wire.cancel_party_registration("nobody")).body,
        device.post("EiOpt", wire.cancel_opt(device.ven_id, "nobody")).body,
    ]
    assert [body for body in bodies if b"None" in body] == []


def test_markup_in_an_id_stays_text(device):
    answer = device.events("a &lt;b&gt; &amp; c")
    assert answer.answered == "a <b> & c"
