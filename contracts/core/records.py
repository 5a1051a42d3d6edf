"""What a record becomes when it is written: its canonical bytes, and what they decode to.

Encoding and reading back checks every value (`codec`). Two kinds of records need less for the same answer: those of
bounded numbers alone, whose reading checks all there is, and those that replace one read before, of which only what
changed is looked at. Whatever these two do not accept goes the long way, which alone refuses.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import msgspec.inspect

from contracts.core.codec import INTEGER_MAX, encode, encode_closed, is_closed, read

T = TypeVar("T", bound=msgspec.Struct)
Check = Callable[[Any], bool]


class _Form(msgspec.Struct, frozen=True):
    """numbers: all fields are bounded integers; checks: one for each field, none where reading back costs little."""

    numbers: bool
    checks: tuple[Check, ...]


_forms: dict[type[msgspec.Struct], _Form] = {}


def written(record: T, before: T | None) -> tuple[bytes, T]:
    """The canonical bytes of `record`, and what they decode to. `before`: the record of the same key, if there is one.
    Raises CodecError, msgspec.ValidationError."""
    kind = type(record)
    form = _forms.get(kind)
    if form is None:
        form = _forms[kind] = _form_of(kind)
    if form.numbers:
        data = encode_closed(record)
        return data, read(data, kind)
    if form.checks and type(before) is kind and _certain(before, record, form.checks):
        return encode_closed(record), record
    data = encode(record)
    return data, read(data, kind)


def reads_before(kind: type[msgspec.Struct]) -> bool:
    """Does `written` make use of the record before?"""
    form = _forms.get(kind)
    if form is None:
        form = _forms[kind] = _form_of(kind)
    return bool(form.checks)


def _certain(before: msgspec.Struct, record: msgspec.Struct, checks: tuple[Check, ...]) -> bool:
    """Is each field the very object that was read before, or of a value that is certainly canonical?"""
    fields = zip(msgspec.structs.astuple(before), msgspec.structs.astuple(record), checks, strict=True)
    return all(old is new or check(new) for old, new, check in fields)


def _form_of(kind: type[msgspec.Struct]) -> _Form:
    info = msgspec.inspect.type_info(kind)
    if not isinstance(info, msgspec.inspect.StructType) or not is_closed(kind):
        return _Form(numbers=False, checks=())
    types = [field.type for field in info.fields]
    nested = any(isinstance(each, msgspec.inspect.StructType) for each in types)
    return _Form(
        numbers=all(_bounds(each) is not None for each in types),
        checks=tuple(_check_of(each) for each in types) if nested else (),
    )


def _bounds(info: msgspec.inspect.Type) -> tuple[int, int] | None:
    match info:
        case msgspec.inspect.IntType(ge=int(low), le=int(high), gt=None, lt=None, multiple_of=None):
            return (low, high) if low >= -INTEGER_MAX and high <= INTEGER_MAX else None
        case _:
            return None


def _check_of(info: msgspec.inspect.Type) -> Check:
    match info:
        case msgspec.inspect.IntType(ge=None, le=None, gt=None, lt=None, multiple_of=None):
            return _within(-INTEGER_MAX, INTEGER_MAX)
        case msgspec.inspect.IntType():
            bounds = _bounds(info)
            return _never if bounds is None else _within(*bounds)
        case msgspec.inspect.BoolType():
            return _is_bool
        case msgspec.inspect.EnumType(cls=cls):
            return lambda value: type(value) is cls
        case msgspec.inspect.VarTupleType(item_type=item, min_length=None, max_length=None) if _bounds(item):
            within = _within(*(_bounds(item) or (0, 0)))
            return lambda value: type(value) is tuple and all(within(each) for each in value)
        case _:
            return _never


def _within(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _never(value: Any) -> bool:
    return False
