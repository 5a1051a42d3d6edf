"""Every message: valid XML that says what the message says, and nothing lost on the way back."""

from pathlib import Path
from typing import get_args

import pytest
from lxml import etree
from openleadr import enums
from openleadr.messaging import XML_SCHEMA

from openadr.errors import InvalidEvent, InvalidReport, RenderError, ResponseCode
from openadr.model import Target
from openadr.v2 import (
    EiResponse,
    Message,
    OadrCreatedEvent,
    OadrDistributeEvent,
    OadrPoll,
    OadrResponse,
    RefusedEvent,
    distribute,
    parse,
    render,
    wire_name,
)
from openadr.v2.units import _WIRE
from tests.builders import START_MS, a_dr_event
from tests.openadr.samples import BARE_MESSAGES, MESSAGES

GOLDEN = Path(__file__).parent / "golden"


def indented(body: bytes) -> str:
    root = etree.fromstring(body, etree.XMLParser(remove_blank_text=True))
    etree.indent(root)
    return str(etree.tostring(root, encoding="unicode")) + "\n"


def test_there_is_a_sample_of_every_message() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(Message))


@pytest.mark.parametrize("message", MESSAGES + BARE_MESSAGES, ids=wire_name)
def test_a_message_is_valid_and_reads_back_the_same(message: Message) -> None:
    body = render(message)
    root = etree.fromstring(body)
    assert XML_SCHEMA.validate(root), XML_SCHEMA.error_log
    assert root.tag.endswith("}oadrPayload")
    assert root[0][0].get("{http://docs.oasis-open.org/ns/energyinterop/201110}schemaVersion") == "2.0b"
    assert b"None" not in body
    assert parse(body) == message


@pytest.mark.parametrize("message", MESSAGES, ids=wire_name)
def test_a_message_is_the_golden_xml(message: Message) -> None:
    """The files under golden/ were read by a person; they change only when the wire is meant to change."""
    assert indented(render(message)) == (GOLDEN / f"{wire_name(message)}.xml").read_text()


@pytest.mark.parametrize("ven_id", ["00123", "0", "1e5", "true", "P1D", "  padded", "é-7", "a\r\nb", "]]>"])
def test_an_id_that_looks_like_something_else_stays_text(ven_id: str) -> None:
    assert parse(render(OadrPoll(ven_id))) == OadrPoll(ven_id)


def test_the_request_id_of_an_error_answer_is_kept_exactly() -> None:
    answer = OadrResponse(EiResponse(452, "unknown", "0042"), "00123")
    assert parse(render(answer)) == answer


def test_no_event_is_an_empty_oadr_distribute_event() -> None:
    """Some VENs crash on an oadrResponse to oadrRequestEvent."""
    empty = distribute([], vtn_id="vtn", request_id="r", now_ms=START_MS)
    assert parse(render(empty)) == OadrDistributeEvent("r", "vtn")


def test_a_created_event_without_event_responses_is_read() -> None:
    body = render(OadrCreatedEvent("00123"))
    assert b"eventResponses" not in body
    assert parse(body) == OadrCreatedEvent("00123")


@pytest.mark.parametrize(
    "message",
    [
        OadrPoll(None),  # type: ignore[arg-type]
        OadrPoll("a\x00b"),
        OadrPoll("a\ud800b"),
        OadrPoll(7.5),  # type: ignore[arg-type]
        OadrDistributeEvent("r", "v", refused=(RefusedEvent("e", 0, ResponseCode.INVALID_DATA, ""),)),
    ],
)
def test_what_xml_cannot_carry_is_refused_not_printed(message: Message) -> None:
    """openleadr's templates print a missing value as the word None."""
    with pytest.raises(RenderError):
        render(message)


def test_a_target_that_was_not_understood_is_never_sent_on() -> None:
    event = a_dr_event(targets=(Target("other", "serviceArea"),))
    with pytest.raises((InvalidEvent, InvalidReport)):
        render(distribute([event], vtn_id="v", request_id="r", now_ms=START_MS))


def test_codes_and_units_are_those_of_openleadr() -> None:
    assert {code.value for code in ResponseCode} - {200} == set(enums.STATUS_CODES.values)
    assert {name for _, name, _ in _WIRE.values()} - {"customUnit"} == set(enums._MEASUREMENT_DESCRIPTIONS)
    for _, name, description in _WIRE.values():
        assert description == enums._MEASUREMENT_DESCRIPTIONS.get(name, "")
