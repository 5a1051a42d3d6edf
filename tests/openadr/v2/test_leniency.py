"""What real devices get wrong: refused when strict, read and reported when lenient."""

import pytest
from lxml import etree

from openadr.errors import MessageError
from openadr.v2 import Leniency, Message, OadrPoll, parse, render, wire_name
from tests.openadr.samples import BARE_MESSAGES, MESSAGES, a_data_report

POLL = render(OadrPoll("00123"))
SIGNED_OBJECT = POLL[POLL.index(b"<oadr:oadrSignedObject") : POLL.index(b"</oadr:oadrPayload")]
MESSAGE = SIGNED_OBJECT[SIGNED_OBJECT.index(b"<oadr:oadrPoll") : SIGNED_OBJECT.index(b"</oadr:oadrSignedObject")]
NAMESPACE = b' xmlns:oadr="http://openadr.org/oadr-2.0b/2012/07"'
BARE_MESSAGE = MESSAGE.replace(b"<oadr:oadrPoll", b"<oadr:oadrPoll" + NAMESPACE)
UPDATE = render(MESSAGES[19])
CREATE_REPORT = render(MESSAGES[17])


def kinds(body: bytes) -> tuple[Message, list[str]]:
    found: list[Leniency] = []
    message = parse(body, lenient=True, leniencies=found)
    return message, [leniency.kind for leniency in found]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (POLL.replace(b"ei:schemaVersion", b"schemaVersion"), ["schema_version"]),
        (SIGNED_OBJECT, ["missing_payload"]),
        (BARE_MESSAGE, ["missing_signed_object", "missing_payload"]),
        (
            b"<oadr:oadrPayload" + NAMESPACE + b">" + MESSAGE + b"</oadr:oadrPayload>",
            ["missing_signed_object"],
        ),
        (
            BARE_MESSAGE.replace(b"ei:schemaVersion", b"schemaVersion"),
            ["missing_signed_object", "missing_payload", "schema_version"],
        ),
    ],
)
def test_the_shape_of_a_document_is_put_right(body: bytes, expected: list[str]) -> None:
    assert kinds(body) == (OadrPoll("00123"), expected)
    with pytest.raises(MessageError):
        parse(body)


@pytest.mark.parametrize(
    ("right", "wrong", "kind"),
    [
        (b"2026-01-01T00:15:00Z", b"2026-01-01T00:15:00+00:00", "utc_offset"),
        (b"2026-01-01T00:15:00Z", b"2026-01-01T00:15:00.000+0000", "utc_offset"),
        (b"2026-01-01T00:15:00Z", b"2026-01-01T00:15:00", "naive_time"),
    ],
)
def test_other_spellings_of_utc_are_read(right: bytes, wrong: bytes, kind: str) -> None:
    body = UPDATE.replace(right, wrong)
    assert kinds(body) == (MESSAGES[19], [kind])
    with pytest.raises(MessageError):
        parse(body)


def test_another_offset_is_never_guessed_at() -> None:
    with pytest.raises(MessageError):
        parse(UPDATE.replace(b"00:15:00Z", b"01:15:00+01:00"), lenient=True)


def test_weeks_and_no_time_at_all_are_read_as_what_they_mean() -> None:
    """ISO 8601 has P1W, the schema's pattern lost it; openleadr prints P for zero and reads P1W as zero."""
    body = CREATE_REPORT.replace(b"PT1H", b"P1W").replace(b"PT15M", b"P")
    message, found = kinds(body)
    requests = message.report_requests  # type: ignore[union-attr]
    assert {(each.report_back_s, each.granularity_s) for each in requests} == {(604_800, 0)}
    assert sorted(set(found)) == ["empty_duration", "week_duration"]
    for spelling in (b"P1W", b"P"):
        with pytest.raises(MessageError):
            parse(CREATE_REPORT.replace(b"PT1H", spelling))


@pytest.mark.parametrize("message", MESSAGES + BARE_MESSAGES, ids=wire_name)
def test_children_in_reverse_order_are_put_in_order(message: Message) -> None:
    """Lists keep their own order, so only messages without lists of several come back equal; all come back valid."""
    root = etree.fromstring(render(message))
    inner = root[0][0]
    inner[:] = reversed(list(inner))
    body = etree.tostring(root)
    shuffled = len({child.tag for child in inner}) > 1
    assert type(parse(body, lenient=True)) is type(message)
    if shuffled:
        with pytest.raises(MessageError):
            parse(body)
        assert set(kinds(body)[1]) == {"element_order"}


def test_order_is_put_right_deep_inside_with_substituted_elements() -> None:
    body = UPDATE
    first, second = b"<ei:rID>pv</ei:rID>", b"<ei:payloadFloat><ei:value>-8</ei:value></ei:payloadFloat>"
    assert first in body
    assert second in body
    swapped = body.replace(second, b"@").replace(first, second).replace(b"@", first)
    message, found = kinds(swapped)
    assert message.reports == (a_data_report(),)  # type: ignore[union-attr]
    assert found == ["element_order"]


@pytest.mark.parametrize("message", MESSAGES, ids=wire_name)
def test_a_right_message_needs_no_leniency(message: Message) -> None:
    assert kinds(render(message)) == (message, [])
