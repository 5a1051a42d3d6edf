"""Typed readers: one element's text as the one type it has. Nothing is guessed from how a text looks.

The document is valid by the schema when these run, so a required element is there; what the schema cannot say (a date
that exists, a duration of fixed length) is said here by an OpenAdrError.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from openadr import durations
from openadr.errors import MessageError, OpenAdrError
from openadr.v2.document.schema import EI, PYLD, XCAL

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TIME = re.compile(r"\+?(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d*))?Z", re.ASCII)


def text(parent: Any, name: str) -> str:
    """Text of a required child, exactly as sent ("" if empty)."""
    child = parent.find(name)
    if child is None:
        raise MessageError(f"{name.rpartition('}')[2]} is missing")
    return child.text or ""


def optional_text(parent: Any, name: str) -> str | None:
    """Text of a child, exactly as sent; None if there is no such child."""
    child = parent.find(name)
    return None if child is None else child.text or ""


def token(parent: Any, name: str) -> str:
    """Text of a required child whose outer white space means nothing (enumerations, URIs)."""
    return text(parent, name).strip()


def optional_token(parent: Any, name: str) -> str | None:
    """Text of a child whose outer white space means nothing; None if there is no such child."""
    value = optional_text(parent, name)
    return None if value is None else value.strip()


def integer(parent: Any, name: str) -> int:
    """A required xs:unsignedInt."""
    try:
        return int(text(parent, name))
    except ValueError:
        raise MessageError(f"{name.rpartition('}')[2]} is not a number") from None


def boolean(parent: Any, name: str) -> bool:
    """A required xs:boolean."""
    return token(parent, name) in ("true", "1")


def texts(parent: Any, name: str) -> tuple[str, ...]:
    """Texts of all children of that name."""
    return tuple(child.text or "" for child in parent.findall(name))


def time_ms(parent: Any, name: str) -> int:
    """A required time as epoch milliseconds; finer fractions are cut off."""
    return parse_time(token(parent, name))


def dtstart_ms(parent: Any) -> int | None:
    """xcal:dtstart/date-time of an element, None if it has none."""
    element = parent.find(XCAL + "dtstart")
    return None if element is None else time_ms(element, XCAL + "date-time")


def duration_s(parent: Any, name: str = XCAL + "duration") -> int | None:
    """A child with a nested xcal:duration in seconds, None if there is no such child."""
    element = parent.find(name)
    return None if element is None else durations.parse(token(element, XCAL + "duration"))


def plain_duration_s(parent: Any, name: str) -> int | None:
    """A child whose own text is a duration in seconds (startafter, oadrMinPeriod), None if there is no such child."""
    value = optional_text(parent, name)
    return None if value is None else durations.parse(value.strip())


def rough_duration_s(parent: Any, name: str) -> int:
    """As `plain_duration_s`, of a bound: months count 30 days and years 365. 0 if there is no such child."""
    value = optional_text(parent, name)
    return 0 if value is None else durations.parse(value.strip(), rough=True)


def request_id(parent: Any) -> str:
    """pyld:requestID, exactly as sent."""
    return text(parent, PYLD + "requestID")


def ven_id(parent: Any) -> str | None:
    """ei:venID, exactly as sent; None if absent."""
    return optional_text(parent, EI + "venID")


def parse_time(value: str) -> int:
    """Epoch milliseconds of `2026-11-21T17:00:00[.fff]Z`. Raises OpenAdrError for a time without Z or before 1970."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise OpenAdrError(f"{value[:40]!r} is not a UTC time that ends in Z")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        whole = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise OpenAdrError(f"{value[:40]!r}: {error}") from None
    moment_ms = (whole - _EPOCH) // _MILLISECOND + int(((match[7] or "") + "000")[:3])
    if moment_ms < 0:
        raise OpenAdrError(f"{value[:40]!r} is before 1970")
    return moment_ms


def render_time(moment_ms: int) -> str:
    """The one spelling of a time we send: whole seconds without a fraction, milliseconds with three digits, Z."""
    moment = _EPOCH + moment_ms * _MILLISECOND
    fraction = f".{moment_ms % 1000:03d}" if moment_ms % 1000 else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
