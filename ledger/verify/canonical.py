"""Canonical JSON: one value has one encoding, so its SHA-256 is its name.

The form is the common part of RFC 8785 and msgspec `order="sorted"`: no white space, object keys of [a-z0-9_]
sorted as ASCII, integers with |n| < 2^53 and no other numbers, NFC strings without C0 controls, UTF-8 unescaped
but for the quotation mark and the backslash.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, NoReturn

from .errors import VerificationError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_INT = (1 << 53) - 1

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_KEY = re.compile(r"[a-z0-9_]+", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f]")


def encode(value: Any) -> bytes:
    """The canonical bytes of `value` (dict, list, tuple, str, int, bool, None), or VerificationError(not_canonical)."""
    _check(value, 0)
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError as error:
        _refuse("a string holds a lone surrogate", error)


def decode(data: bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Decode canonical JSON; bytes that encode the same value in another way are refused (not_canonical)."""
    if len(data) > max_bytes:
        _refuse(f"{len(data)} bytes, at most {max_bytes} are read")
    try:
        value = json.loads(data.decode(), parse_float=_refuse_number, parse_constant=_refuse_number)
    except (ValueError, RecursionError) as error:
        _refuse("no JSON", error)
    # This refuses keys given twice too: the decoder keeps the last.
    if encode(value) != data:
        _refuse("the same value has another canonical encoding")
    return value


def decode_object(data: bytes, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """As `decode`, for a JSON object at the top."""
    value = decode(data, max_bytes)
    if not isinstance(value, dict):
        _refuse("not a JSON object")
    return value


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        _refuse(f"deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return
        if _CONTROL.search(value) or not unicodedata.is_normalized("NFC", value):
            _refuse("a string with a control character or not in NFC")
    elif isinstance(value, int):
        if not -MAX_INT <= value <= MAX_INT:
            _refuse("an integer of 2^53 or more")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                _refuse("an object key outside [a-z0-9_]")
            _check(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
    elif value is not None:
        _refuse(f"a {type(value).__name__} has no canonical form")


def _refuse_number(text: str) -> NoReturn:
    _refuse(f"{text[:20]} is not an integer")


def _refuse(message: str, cause: BaseException | None = None) -> NoReturn:
    raise VerificationError("not_canonical", message) from cause
