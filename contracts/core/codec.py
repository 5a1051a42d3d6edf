"""Canonical JSON: one value, one sequence of bytes, in every language.

Rules (a subset of RFC 8785, so that any JCS library gives the same bytes): object keys are `[a-z0-9_]`,
sorted; no whitespace; no floats; integers within +-(2^53 - 1); strings in NFC without control characters
below U+0020, of characters that Unicode 3.2 assigned (whether later ones are in NFC depends on the Python release, and
replicas must agree). Whoever receives bytes decodes them strictly, encodes the value again and requires equal bytes.
"""

import hashlib
import re
import unicodedata
from typing import Any, Final, TypeVar

import msgspec
import msgspec.inspect

from contracts.core.errors import CodecError

INTEGER_MAX: Final = 2**53 - 1
BYTES_MAX: Final = 65_535
DEPTH_MAX: Final = 16

_KEY = re.compile(r"[a-z0-9_]{1,64}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\ud800-\udfff]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_OTHER_ESCAPE = re.compile(rb'\\[^"]')
_encode = msgspec.json.Encoder(order="sorted").encode
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_known_closed: dict[Any, bool] = {}
_known_bounded: dict[Any, bool] = {}
_LONG = b"0" * len(str(INTEGER_MAX))
_DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))

T = TypeVar("T")


def encode(value: object) -> bytes:
    """The canonical bytes of a Struct, dict, sequence, str, int, bool or None. Raises CodecError."""
    kind = type(value)
    if _known_closed.get(kind) or is_closed(kind):
        try:
            data = _encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            pass  # the long way says why
        else:
            # no 16 digits in a row: every integer is in range. What this does not accept is looked at value by value
            if _has_plain_text(data) and _LONG not in data.translate(_DIGITS):
                return data
    try:
        plain = msgspec.to_builtins(value)
    except TypeError as error:
        raise CodecError(str(error)) from None
    _check(plain, 0)
    return _encode(plain)


def encode_closed(value: msgspec.Struct) -> bytes:
    """`encode` of a Struct of a closed type whose values are known to be canonical. Raises CodecError."""
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CodecError(str(error)) from None


def decode(data: bytes, kind: type[T], *, bytes_max: int = BYTES_MAX) -> T:
    """Reads `data` as one canonical value of type `kind`. Raises CodecError, and nothing else."""
    if len(data) > bytes_max:
        raise CodecError(f"{len(data)} bytes where at most {bytes_max} are allowed")
    bounded = _known_bounded.get(kind)
    if bounded is None:
        bounded = _known_bounded[kind] = is_closed(kind) and _is_bounded(msgspec.inspect.type_info(kind))
    if not bounded and not is_closed(kind) and _depth(data) > DEPTH_MAX:
        raise CodecError(f"nested deeper than {DEPTH_MAX}")
    try:
        value = _decoder(kind).decode(data)
        if bounded and _encode(value) == data and _has_plain_text(data):
            return value  # type: ignore[no-any-return]
        again = encode(value)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise CodecError(str(error)) from None
    if again != data:
        at = next((i for i, (a, b) in enumerate(zip(again, data, strict=False)) if a != b), min(len(again), len(data)))
        raise CodecError(f"not in canonical form from byte {at}")
    return value  # type: ignore[no-any-return]


def read(data: bytes, kind: type[T]) -> T:
    """Decodes bytes that `encode` wrote before (records of one's own state), without the strict second pass."""
    decoder = _decoders.get(kind)
    return (_decoder(kind) if decoder is None else decoder).decode(data)  # type: ignore[no-any-return]


def digest(value: object) -> str:
    """SHA-256 of the canonical bytes (or of the bytes given), 64 hex digits."""
    return hashlib.sha256(value if isinstance(value, bytes) else encode(value)).hexdigest()


def is_closed(kind: Any) -> bool:
    """Does the type alone say that keys are [a-z0-9_], that no float occurs and that the depth is allowed?"""
    found = _known_closed.get(kind)
    if found is None:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return False
        found = _known_closed[kind] = _is_closed(msgspec.inspect.type_info(kind), 0)
    return found


def _has_plain_text(data: bytes) -> bool:
    """Do the encoder's bytes alone say that every string is canonical: ASCII, no escape but of the quotation mark?"""
    return data.isascii() and _OTHER_ESCAPE.search(data) is None


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind, strict=True)
    return decoder


def _is_closed(info: msgspec.inspect.Type, depth: int) -> bool:
    kinds = msgspec.inspect
    if depth > DEPTH_MAX:
        return False
    match info:
        case kinds.IntType() | kinds.StrType() | kinds.BoolType() | kinds.NoneType():
            return True
        case kinds.LiteralType(values=values):
            return all(isinstance(value, str | int) for value in values)
        case kinds.EnumType(cls=cls):
            return all(isinstance(member.value, str | int) for member in cls)
        case kinds.VarTupleType(item_type=item):
            return _is_closed(item, depth + 1)
        case kinds.TupleType(item_types=items):
            return all(_is_closed(item, depth + 1) for item in items)
        case kinds.UnionType(types=items):
            return all(_is_closed(item, depth) for item in items)
        case kinds.StructType(fields=fields, tag_field=tag_field, tag=tag, array_like=False):
            names = [field.encode_name for field in fields] + ([tag_field] if tag_field is not None else [])
            return (
                all(_KEY.match(name) for name in names)
                and (tag is None or isinstance(tag, str))
                and all(_is_closed(field.type, depth + 1) for field in fields)
            )
        case _:
            return False


def _is_bounded(info: msgspec.inspect.Type) -> bool:
    """Does a closed type say that every integer is in range, so that reading it checks that?"""
    kinds = msgspec.inspect
    match info:
        case kinds.IntType(ge=int(low), le=int(high)):
            return low >= -INTEGER_MAX and high <= INTEGER_MAX
        case kinds.IntType():
            return False
        case kinds.LiteralType(values=values):
            return all(isinstance(value, str) for value in values)
        case kinds.EnumType(cls=cls):
            return all(isinstance(member.value, str) for member in cls)
        case kinds.VarTupleType(item_type=item):
            return _is_bounded(item)
        case kinds.TupleType(item_types=items) | kinds.UnionType(types=items):
            return all(_is_bounded(item) for item in items)
        case kinds.StructType(fields=fields):
            return all(_is_bounded(field.type) for field in fields)
        case _:
            return isinstance(info, kinds.StrType | kinds.BoolType | kinds.NoneType)


def _check(value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise CodecError(f"nested deeper than {DEPTH_MAX}")
    if isinstance(value, str):
        if not value.isascii():
            _check_unicode(value)
        if _CONTROL.search(value):
            raise CodecError("a string holds a control character")
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise CodecError(f"an integer of {value.bit_length()} bits is beyond 2^53")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not _KEY.match(key):
                raise CodecError(f"the object key {key!r} is not [a-z0-9_]")
            _check(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, depth + 1)
    else:
        raise CodecError(f"a {type(value).__name__} has no canonical form")


def _check_unicode(value: str) -> None:
    if any(unicodedata.ucd_3_2_0.category(character) == "Cn" for character in value):
        raise CodecError("a string holds a character that Unicode 3.2 does not know")
    if not unicodedata.is_normalized("NFC", value):
        raise CodecError("a string is not in normalisation form NFC")


def _depth(data: bytes) -> int:
    """Nesting of `data`, counted before a parser sees it."""
    if data.count(b"{") + data.count(b"[") <= DEPTH_MAX:
        return 0
    depth = deepest = 0
    for byte in _STRING.sub(b"", data):  # a bracket inside a string is text
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest
