"""ISO 8601 durations of fixed length, as whole seconds.

OpenADR writes every length of time as a duration (RFC 5545 subset: `P7D`, `PT15M`, `P1W`). Years and months have no
fixed length, so a non-zero count of them is refused rather than guessed; a negative length is refused because nothing
in a demand-response event can last less than nothing. 0 is `PT0S`, never the bare `P` some stacks print.
"""

import re

from openadr.errors import InvalidDuration

_DAY_S = 86_400
# At most nine digits a component: a longer number is no duration but an attack on arithmetic.
_PATTERN = re.compile(
    r"\+?P(?:(?P<weeks>\d{1,9})W"
    r"|(?:(?P<years>\d{1,9})Y)?(?:(?P<months>\d{1,9})M)?"
    r"(?:(?P<days>\d{1,9})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,9})S)?)?)",
    re.ASCII,
)
_BARE_WEEKS = re.compile(r"(\d{1,9})W", re.ASCII)


def parse(text: str, *, rough: bool = False) -> int:
    """Seconds of an ISO 8601 duration.

    Accepts weeks (`P1W`), days and clock parts with an optional `+`. Also `1W`: the 2.0b schema's pattern lost the P of
    the week form, so that spelling is the one it calls valid. Raises InvalidDuration for anything else: `P` and `PT`
    (no component), fractions, negative lengths, non-zero years or months. `rough` takes those too, as 365 and 30 days:
    good for a bound, never for a length.
    """
    bare = _BARE_WEEKS.fullmatch(text)
    if bare:
        return int(bare[1]) * 7 * _DAY_S
    match = _PATTERN.fullmatch(text)
    if match is None or text in ("P", "+P"):
        raise InvalidDuration(f"{text[:60]!r} is not an ISO 8601 duration of whole, non-negative parts")
    years, months = int(match["years"] or 0), int(match["months"] or 0)
    if (years or months) and not rough:
        raise InvalidDuration(f"{text!r} counts years or months, which have no fixed length")
    weeks, days, hours, minutes, seconds = (
        int(match[part] or 0) for part in ("weeks", "days", "hours", "minutes", "seconds")
    )
    return (years * 365 + months * 30 + weeks * 7 + days) * _DAY_S + hours * 3600 + minutes * 60 + seconds


def render(duration_s: int) -> str:
    """The one spelling we send: days, then clock parts without zeros (`P1DT2H`, `PT15M`, `PT0S`)."""
    if duration_s < 0:
        raise InvalidDuration(f"a duration of {duration_s} s is negative")
    days, rest_s = divmod(duration_s, _DAY_S)
    hours, rest_s = divmod(rest_s, 3600)
    minutes, seconds = divmod(rest_s, 60)
    clock = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if count)
    if not days and not clock:
        return "PT0S"
    return "P" + (f"{days}D" if days else "") + (f"T{clock}" if clock else "")
