"""How the command line speaks: results to stdout, as text for people or JSON for programs; errors to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from runtime.errors import GridpactError
from runtime.output import print_whole


class NotThere(GridpactError):
    """What was asked for does not exist."""

    exit_code = 9


class UsageError(GridpactError):
    """Options that do not fit together."""

    exit_code = 2


def show(value: Any, *, as_json: bool) -> None:
    """One object: indented JSON, or a line per member."""
    plain = msgspec.to_builtins(value)
    if as_json:
        print_whole(json.dumps(plain, indent=2, ensure_ascii=False))
        return
    print_whole("\n".join(_lines(plain, "")))


def show_rows(rows: Iterable[Mapping[str, Any]], *, as_json: bool) -> None:
    """Many objects: one line each, JSON or text."""
    for row in rows:
        print_whole(json.dumps(row, ensure_ascii=False) if as_json else "  ".join(map(_text, row.values())))


def show_columns(rows: Sequence[Mapping[str, Any]]) -> None:
    """Objects with the same names, for people: the names above, columns below each other."""
    lines = [list(rows[0]), *(list(map(_text, row.values())) for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print_whole("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there with all of its bytes, or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def time_text(time_ms: int) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _lines(value: Any, indent: str) -> Iterable[str]:
    if not isinstance(value, dict):
        yield f"{indent}{_text(value)}"
        return
    width = max((len(name) for name in value), default=0)
    for name, item in value.items():
        if isinstance(item, dict):
            yield f"{indent}{name}"
            yield from _lines(item, indent + "  ")
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            for number, part in enumerate(item):
                yield f"{indent}{name}[{number}]"
                yield from _lines(part, indent + "  ")
        else:
            shown = time_text(item) if name.endswith("_ms") and isinstance(item, int) and item > 10**11 else item
            yield f"{indent}{name:<{width}}  {_text(shown)}"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value)) or "-"
    return str(value)
