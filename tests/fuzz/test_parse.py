"""Mutated messages against what reads them: hypothesis here, a million in `python -m tests.bench.fuzz_openadr2`."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openadr.errors import SignatureRefused, UnsafeDocument
from openadr.v2 import OadrPoll, render, verify
from openadr.v2.document.names import Names
from openadr.v2.document.safe import parse_safely
from tests.fuzz.judging import ACCEPTED, judged
from tests.fuzz.mutation import corpus, mutated

BODIES = corpus()
SIGNED = BODIES[-1]


def test_every_message_of_the_corpus_is_accepted() -> None:
    assert {judged(body, lenient=False, validate=True) for body in BODIES} == {ACCEPTED}


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64), st.booleans())
def test_whatever_arrives_can_be_answered(seed: int, lenient: bool) -> None:
    judged(mutated(BODIES, random.Random(seed)), lenient=lenient, validate=True)


def costly() -> dict[str, bytes]:
    """Bodies that are small to send and dear to read, if one lets them."""
    info = SIGNED[SIGNED.index(b"<ds:SignedInfo>") : SIGNED.index(b"</ds:SignedInfo>")]
    reference = info[info.index(b"<ds:Reference") : info.index(b"</ds:Reference>") + len(b"</ds:Reference>")]
    transform = reference[reference.index(b"<ds:Transform ") : reference.index(b"</ds:Transforms>")]
    padding = b"<ds:Object>" + b"<a/>" * 200_000 + b"</ds:Object></ds:Signature>"
    deep = b"<a>" * 200 + b"</a>" * 200
    poll = render(OadrPoll("x"))
    uri = b"http://www.w3.org/2001/XMLSchema-instance"
    prefixes = b" ".join(b'xmlns:%s%d="%s"' % (name, n, uri) for name in (b"ns", b"n", b"p", b"q") for n in range(40))
    return {
        "references": SIGNED.replace(reference, reference * 3_000, 1),
        "transforms": SIGNED.replace(transform, transform * 6_000, 1),
        "certificates": SIGNED.replace(b"</ds:X509Data>", b"<ds:X509Certificate/>" * 40_000 + b"</ds:X509Data>", 1),
        "objects": SIGNED.replace(b"</ds:Signature>", padding, 1),
        "ids": SIGNED.replace(b"</ds:Signature>", b'<a Id="x"/>' * 80_000 + b"</ds:Signature>", 1),
        "namespaces": poll.replace(b"<oadr:oadrPoll ", b"<oadr:oadrPoll " + b"".join(
            b'xmlns:n%d="u" ' % n for n in range(20_000)), 1),
        "known namespaces": SIGNED.replace(b"<oadr:oadrSignedObject ", b"<oadr:oadrSignedObject %b " % prefixes, 1)
            .replace(b"</oadr:oadrSignedObject>", b"<a/>" * 200_000 + b"</oadr:oadrSignedObject>", 1),
        "declarations": b"<a> " + b"xmlns:" * 170_000 + b"</a>",
        "attributes": poll.replace(b"<oadr:oadrPoll ", b"<oadr:oadrPoll " + b"".join(
            b'a%d="" ' % n for n in range(40_000)), 1),
        "depth": poll.replace(b"<ei:venID>", deep * 700 + b"<ei:venID>", 1),
        "text": poll.replace(b"<ei:venID>x", b"<ei:venID>" + b"x&amp;" * 160_000, 1),
        "children": poll.replace(b"</oadr:oadrPoll>", b"<ei:venID/>" * 90_000 + b"</oadr:oadrPoll>", 1),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(costly()))
def test_no_body_of_a_mebibyte_keeps_the_process_busy(name: str) -> None:
    """CPU time, not wall time: the machine may have other work. The bound is for a slow machine."""
    body = costly()[name]
    assert len(body) <= 1024 * 1024
    began_s = time.process_time()
    judged(body, lenient=True, validate=True)
    assert time.process_time() - began_s < 3


@pytest.mark.parametrize("name", ["references", "transforms", "certificates", "objects", "ids"])
def test_a_signature_that_costs_much_is_refused_before_it_is_followed(name: str) -> None:
    with pytest.raises(SignatureRefused, match=r"elements|references"):
        verify(costly()[name])


def test_two_signatures_are_none() -> None:
    """The one that is checked must be the one that counts."""
    start, stop = SIGNED.index(b"<ds:Signature "), SIGNED.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    with pytest.raises(SignatureRefused, match="2 signatures"):
        verify(SIGNED[:stop] + SIGNED[start:stop] + SIGNED[stop:])


def test_names_that_nobody_knows_cannot_fill_the_memory() -> None:
    """libxml2 keeps every name it ever met; here expat meets them first, and some are let through."""
    names = Names(budget_bytes=1000)
    for number in range(20):
        names.check(b"<x:a%d xmlns:x='u' b%d=''/>" % (number, number))
    crowd = b"".join(b"<crowd%d/>" % number for number in range(100))
    for body in (
        b"<a>%b</a>" % crowd,
        b"<a %b/>" % b" ".join(b"m%d=''" % number for number in range(100)),
        b"<a %b/>" % b" ".join(b"xmlns:q%d='u%d'" % (number, number) for number in range(100)),
        b"<a>%b</a>" % b"".join(b"<?target%d x?>" % number for number in range(100)),
        b"<a x='>' %b/>" % b" ".join(b"o%d=''" % number for number in range(100)),
        b"<" + b"n" * 1001 + b"/>",
    ):
        with pytest.raises(UnsafeDocument, match="names"):
            names.check(body)
    with pytest.raises(UnsafeDocument, match="well-formed"):
        names.check(b"<a>%b</a>" % b"".join(b"&e%d;" % number for number in range(100)))
    for body in BODIES * 2:
        names.check(body)


def test_a_budget_of_names_is_spent_once() -> None:
    names = Names(budget_bytes=100)
    for number in range(12):
        names.check(b"<name%04d/>" % number)
    with pytest.raises(UnsafeDocument):
        names.check(b"<name0012/>")
    names.check(b"<name0003/>")
    names.check(BODIES[0])


def test_a_namespace_does_not_hide_behind_a_value_that_looks_like_one() -> None:
    names = Names(budget_bytes=60)
    names.check(b"""<z xmlns="u" xmlns:q="' xmlns:c="><b a=' xmlns="' xmlns:c="u"> xmlns </b>&amp;</z>""")
    with pytest.raises(UnsafeDocument, match="names"):
        names.check(b"""<z><b a=' xmlns="' xmlns:c="urn:%b"/>&amp;</z>""" % (b"x" * 60))


def test_no_crowd_of_namespaces_stands_around_an_element() -> None:
    """Canonical XML would look each up for each element; declared one beside the other they are no crowd."""
    uri = b"http://www.w3.org/2001/XMLSchema-instance"
    nested = b"".join(b'<a xmlns:n%d="%b">' % (n % 40, uri) for n in range(49))
    with pytest.raises(UnsafeDocument, match="namespaces"):
        parse_safely(nested + b"</a>" * 49)
    parse_safely(b"<a>%b</a>" % (b'<b xmlns="%b"/>' % uri * 500))


def test_what_is_like_a_known_message_but_for_its_text_brings_no_names() -> None:
    """Only the text between tags may differ, and no tag can hide in it: also not where the document is broken."""
    names = Names(budget_bytes=40)
    for known in (
        b"<a x='>'>text</a>",
        b"<a><!-- > --><b>1</b></a>",
        b"<a><![CDATA[ > ]]><b/></a>",
        b"<a>x > y<b/></a>",
    ):
        names.check(known)
    names.check(b"<a x='>'>other</a>")
    names.check(b"<a><!-- > --><b>\xe2\x82\xac</b></a>")
    crowd = b"".join(b" crowd%d=''" % number for number in range(100))
    for hidden in (
        b"<a x='>%b<'>text</a>" % crowd,
        b"<a x='>'%b>text</a>" % crowd,
        b"<a x='>%b'>text</a><a x='>'>text</a>" % crowd,
        b"<a><!-- > --%b><b>1</b></a>" % crowd,
        b"<a><![CDATA[ > ]]%b><b/></a>" % crowd,
        b"<a>x >%b<b/></a><" % b"".join(b"<crowd%d" % number for number in range(100)),
        b"<a>x > y<b/></a>&crowd;",
    ):
        with pytest.raises(UnsafeDocument):
            names.check(hidden)


@pytest.mark.parametrize("lenient", [False, True])
def test_a_prefix_that_nobody_declared_is_refused(lenient: bool) -> None:
    """Found by the long run: lxml makes it a name with a colon in it, which no other function of lxml takes."""
    body = render(OadrPoll("x"))
    for broken in (b"xmlns2026:00:oadr=", b"xmlns:other="):
        assert judged(body.replace(b"xmlns:oadr=", broken, 1), lenient=lenient, validate=True) == 454
