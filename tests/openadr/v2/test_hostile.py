"""Bodies that mean harm, or nothing: an error with a code, never a crash and never anything else."""

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree
from openleadr.messaging import XML_SCHEMA

from openadr.errors import MessageError, ResponseCode, SchemaViolation, UnsafeDocument
from openadr.v2 import OadrPoll, error_answer, parse, render
from tests.openadr.samples import MESSAGES

POLL = render(OadrPoll("00123"))
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(8))
    + b"]>"
    + POLL[POLL.index(b"<oadr:oadrPayload") :].replace(b"00123", b"&i;")
)
CRASHES_THE_STOCK_PARSER = b'<!DOCTYPE r [<!ENTITY e "x">]>' + POLL[POLL.index(b"<oadr:oadrPayload") :].replace(
    b"<oadr:oadrSignedObject", b"&e;<oadr:oadrSignedObject", 1
)


@pytest.mark.parametrize("body", [BOMB, CRASHES_THE_STOCK_PARSER], ids=["bomb", "segfault"])
def test_an_entity_in_a_dtd_neither_crashes_nor_is_expanded(body: bytes) -> None:
    """In a process of its own, because what this guards against is a segmentation fault."""
    script = (
        "import sys\nfrom openadr.errors import UnsafeDocument\nfrom openadr.v2 import parse\n"
        "try:\n    parse(sys.stdin.buffer.read(), lenient=True)\n"
        "except UnsafeDocument as error:\n    print(error.code.value)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=body, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, b"451"), done.stderr.decode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"oadrPoll",
        b"\x00",
        b"\xff\xfe<\x00a\x00/\x00>\x00",
        POLL.decode().encode("utf-16"),
        POLL.replace(b'encoding="UTF-8"', b'encoding="utf-7"').replace(b"00123", b"\xe9"),
        POLL[:-20],
        POLL.replace(b"00123", b"&undefined;"),
        POLL.replace(b"00123", b"&#1;"),
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>" * 300 + b"</a>" * 300,
        b"<a>" + b"x" * (1024 * 1024) + b"</a>",
    ],
)
def test_an_unsafe_document_is_refused_before_it_is_read(body: bytes) -> None:
    with pytest.raises(UnsafeDocument):
        parse(body, lenient=True)


def test_a_declared_encoding_other_than_utf_8_is_not_believed() -> None:
    body = render(OadrPoll("é")).replace(b'encoding="UTF-8"', b'encoding="iso-8859-1"')
    assert parse(body) == OadrPoll("é")


@pytest.mark.parametrize("text", ["00<!-- -->123", "00<?x y?>123", "<![CDATA[00123]]>", "00<![CDATA[12]]>3"])
def test_no_part_of_a_text_gets_lost_behind_a_comment(text: str) -> None:
    """Readers that stop at a comment see another venID than the signature covers."""
    assert parse(POLL.replace(b"00123", text.encode())) == OadrPoll("00123")


@pytest.mark.parametrize(
    "wrong",
    [
        POLL.replace(b"oadrPoll", b"oadrPull"),
        POLL.replace(b"<ei:venID>00123</ei:venID>", b""),
        POLL.replace(b"oadr-2.0b/2012/07", b"oadr-2.0a/2012/07"),
        b"<html/>",
    ],
)
def test_the_schema_decides_what_a_message_is(wrong: bytes) -> None:
    with pytest.raises(SchemaViolation):
        parse(wrong, lenient=True)


def test_the_answer_to_a_refused_message_keeps_its_request_id() -> None:
    body = render(MESSAGES[0]).replace(b"oadrQueryRegistration", b"oadrQueryRegistratio")
    with pytest.raises(MessageError) as caught:
        parse(body.replace(b"request-1", b"000471"))
    assert error_answer(caught.value).response.request_id == "000471"
    assert error_answer(caught.value).response.response_code == 454


def test_a_value_the_schema_cannot_judge_is_refused_with_context() -> None:
    body = render(MESSAGES[11]).replace(b"2026-01-01T00:00:00Z", b"2026-01-01T00:00:00")
    with pytest.raises(MessageError) as caught:
        parse(body)
    assert not isinstance(caught.value, SchemaViolation)
    assert (caught.value.request_id, caught.value.ven_id) == ("request-1", "00123")
    assert caught.value.message_name == "oadrCreateOpt"


BODIES = [render(message) for message in MESSAGES]
JUNK = [
    b"", b" ", b"0", b"-1", b"99999999999", b"P", b"P1M", b"P1W", b"-PT1S", b"NaN", b"INF", b"1e999", b"true", b"None",
    b"2026-02-30T00:00:00Z", b"9999-12-31T24:00:00Z", b"0000-00-00T00:00:00", b"-2026-01-01T00:00:00Z", b"\xc3\xa9",
    b"<x/>", b"&lt;", b"\r\n", b"none", b"cancelled", b"000",
]  # fmt: skip


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid message with a few texts, tags or slices changed."""
    body = draw(st.sampled_from(BODIES))
    for _ in range(draw(st.integers(1, 3))):
        ends = [n for n in range(len(body)) if body[n : n + 1] in b"<>"]
        if len(ends) < 4:
            break
        start = draw(st.sampled_from(ends[:-1]))
        stop = draw(st.sampled_from([end for end in ends if end > start][:12]))
        kind = draw(st.sampled_from(["text", "drop", "double"]))
        if kind == "text":
            close = body.find(b"<", start + 1)
            opened = body.find(b">", start)
            if 0 <= opened < close:
                body = body[: opened + 1] + draw(st.sampled_from(JUNK)) + body[close:]
        elif kind == "drop":
            body = body[:start] + body[stop:]
        else:
            body = body[:stop] + body[start:stop] + body[stop:]
    return body


@given(st.one_of(mutations(), mutations(), mutations(), st.binary(max_size=200)), st.booleans())
@example(POLL.replace(b"2.0b", b"2.0b\xc2\x85"), True)
def test_whatever_arrives_the_only_error_is_one_that_can_be_answered(body: bytes, lenient: bool) -> None:
    refused: MessageError | None = None
    try:
        parse(body, lenient=lenient)
    except MessageError as error:
        refused = error
    if refused:
        assert refused.code in set(ResponseCode)
        answer = render(error_answer(refused))
        assert XML_SCHEMA.validate(etree.fromstring(answer)), XML_SCHEMA.error_log


def test_importing_the_package_prints_nothing_and_starts_nothing() -> None:
    script = "import threading, openadr.v2; assert threading.active_count() == 1"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
