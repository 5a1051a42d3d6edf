"""Bodies out of valid messages: cut, doubled, spliced, nested, renamed, filled with what values must not be.

Everything comes from one random generator, so a seed names an input for ever.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from openadr.v2 import render
from openadr.v2.document.signature import sign
from runtime.tls.certificates import new_key
from tests.builders import START_MS
from tests.fuzz.certificate import self_signed
from tests.openadr.samples import MESSAGES

JUNK = [
    b"", b" ", b"0", b"-1", b"99999999999999999999", b"P", b"PT", b"P1W", b"P1Y", b"-PT1S", b"PT1E9S", b"NaN", b"INF",
    b"1e999", b"true", b"None", b"none", b"2026-02-30T00:00:00Z", b"9999-12-31T24:00:00Z", b"0000-00-00T00:00:00",
    b"-2026-01-01T00:00:00Z", b"\xc3\xa9", b"\xf0\x9f\x92\xa5", b"\xe2\x80\xae", b"<x/>", b"&lt;", b"&#0;",
    b"&#x10FFFF;", b"&e;", b"\r\n", b"\x00", b"\xff", b"cancelled", b"000", b"../../etc/passwd", b"'; DROP TABLE x; --",
    b"]]>", b"<![CDATA[", b"<!--", b"-->", b"<?x y?>", b"%s%n", b"A" * 5_000,
]  # fmt: skip
PROLOGUES = [
    b'<!DOCTYPE x [<!ENTITY e "x">]>', b'<!DOCTYPE x SYSTEM "file:///etc/passwd">', b"\xef\xbb\xbf", b"\xff\xfe", b"\n",
    b'<?xml version="1.1"?>', b'<?xml version="1.0" encoding="utf-16"?>', b"<!-- -->" * 50,
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
]  # fmt: skip
_ELEMENT = re.compile(rb"<([a-zA-Z]+:)?[a-zA-Z]+[^<>]*>")
_TEXT = re.compile(rb">([^<>]+)<")
_ATTRIBUTE = re.compile(rb'[\w:]+="[^"]*"')
_BODY_MAX = 60_000


def corpus() -> list[bytes]:
    """Valid messages of every kind, unsigned and signed with both kinds of key."""
    plain = [render(message) for message in MESSAGES]
    signed = []
    for key in (new_key(), new_key(rsa_bits=2048)):
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        certificate = self_signed(key)
        signed += [sign(body, private, certificate, f"nonce-{n:04}", START_MS) for n, body in enumerate(plain)]
    return plain * 3 + signed


def mutated(bodies: list[bytes], chance: random.Random) -> bytes:
    """One input: a message with one to four changes, or pure noise."""
    if chance.random() < 0.01:
        return chance.randbytes(chance.randrange(300))
    body = chance.choice(bodies)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        body = chance.choice(_MUTATIONS)(body, bodies, chance)
        if len(body) > _BODY_MAX:
            return body[:_BODY_MAX]
    return body


def _span(pattern: re.Pattern[bytes], body: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(body) + 1)
    found = pattern.search(body, start) or pattern.search(body)
    return (start, start) if found is None else found.span()


def _flip(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    if not body:
        return b"<"
    changed = bytearray(body)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _cut(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    start = chance.randrange(len(body) + 1)
    return body[:start] + body[start + chance.randrange(200) :]


def _double(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    start = chance.randrange(len(body) + 1)
    part = body[start : start + chance.randrange(400)]
    return body[:start] + part * chance.choice((2, 2, 3, 50)) + body[start:]


def _text(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    start, stop = _span(_TEXT, body, chance)
    return body[: start + 1] + chance.choice(JUNK) + body[max(stop - 1, start + 1) :]


def _tag(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    start, stop = _span(_ELEMENT, body, chance)
    other = _span(_ELEMENT, body, chance)
    return body[:start] + body[slice(*other)] + body[stop:]


def _element(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    """An element dropped, doubled or moved, with what is in it."""
    start, stop = _span(_ELEMENT, body, chance)
    name = body[start + 1 : stop].split(b" ")[0].rstrip(b"/>")
    close = body.find(b"</" + name + b">", stop)
    end = stop if close < 0 else close + len(name) + 3
    part, rest = body[start:end], body[:start] + body[end:]
    place = chance.randrange(len(rest) + 1)
    return chance.choice((rest, body[:end] + part + body[end:], rest[:place] + part + rest[place:]))


def _attribute(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    start, stop = _span(_ATTRIBUTE, body, chance)
    name = body[start:stop].split(b"=")[0]
    return body[:start] + chance.choice((b"", name + b'="' + chance.choice(JUNK) + b'"', b'Id="prop"')) + body[stop:]


def _splice(body: bytes, bodies: list[bytes], chance: random.Random) -> bytes:
    other = chance.choice(bodies)
    return body[: chance.randrange(len(body) + 1)] + other[chance.randrange(len(other)) :]


def _insert(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    place = chance.randrange(len(body) + 1)
    return body[:place] + chance.choice(JUNK) + body[place:]


def _nest(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    start, _stop = _span(_ELEMENT, body, chance)
    depth = chance.choice((3, 60, 300))
    return body[:start] + b"<a>" * depth + body[start:] + b"</a>" * chance.choice((0, depth))


def _prologue(body: bytes, _: list[bytes], chance: random.Random) -> bytes:
    return chance.choice(PROLOGUES) + (body if chance.random() < 0.5 else body.partition(b"?>")[2])


_MUTATIONS: list[Callable[[bytes, list[bytes], random.Random], bytes]] = [
    _flip, _cut, _double, _text, _text, _text, _tag, _element, _element, _attribute, _splice, _insert, _nest, _prologue,
]  # fmt: skip
