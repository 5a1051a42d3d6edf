"""Reads the part of YAML that compose.yaml keeps to: block mappings and lists, flow lists, `>-`, anchors, `<<`.

Anything else is an error, so the file cannot drift into what this reader would take for something else.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_KEY = re.compile(r"([A-Za-z0-9_<][A-Za-z0-9_<.-]*):(?:\s+(.*))?$")
_ANCHOR = re.compile(r"&([\w-]+)(?:\s+(.*))?$")
_PLAIN = re.compile(r"[^\[\]{}>|&*!%@`'\"#,][^\[\]{}`]*")


class _Line(NamedTuple):
    number: int
    indent: int
    text: str


class Unreadable(ValueError):
    """The line, and why."""


def read(text: str) -> Any:
    """Mappings, lists and strings (no other scalars); a key without a value is None."""
    reader = _Reader(
        [
            _Line(number, len(line) - len(line.lstrip(" ")), re.sub(r"(^|\s)#.*$", "", line).strip())
            for number, line in enumerate(text.splitlines(), 1)
            if re.sub(r"(^|\s)#.*$", "", line).strip()
        ]
    )
    value = reader.block(0)
    if reader.place < len(reader.lines):
        raise Unreadable(f"line {reader.lines[reader.place].number}: indentation")
    return value


class _Reader:
    def __init__(self, lines: list[_Line]) -> None:
        self.lines = lines
        self.place = 0
        self.anchors: dict[str, Any] = {}

    def block(self, indent: int) -> Any:
        """The mapping or list that begins here with this indentation."""
        return self._list(indent) if self.lines[self.place].text.startswith("- ") else self._mapping(indent)

    def _mapping(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while self._at(indent) and not self.lines[self.place].text.startswith("- "):
            line = self.lines[self.place]
            key = _KEY.match(line.text)
            if key is None:
                raise Unreadable(f"line {line.number}: no key")
            self.place += 1
            value = self._value(key[2] or "", indent, line.number)
            if key[1] == "<<":
                merged |= value
            elif key[1] in found:
                raise Unreadable(f"line {line.number}: {key[1]} is there twice")
            else:
                found[key[1]] = value
        return {**merged, **found}

    def _list(self, indent: int) -> list[Any]:
        found: list[Any] = []
        while self._at(indent) and self.lines[self.place].text.startswith("- "):
            line = self.lines[self.place]
            rest = line.text[2:]
            if _KEY.match(rest):  # a mapping whose first key stands behind the dash
                self.lines[self.place] = _Line(line.number, indent + 2, rest)
                found.append(self._mapping(indent + 2))
            else:
                self.place += 1
                found.append(self._value(rest, indent, line.number))
        return found

    def _value(self, text: str, indent: int, number: int) -> Any:
        anchor = _ANCHOR.match(text)
        if anchor is not None:
            value = self._value(anchor[2] or "", indent, number)
            self.anchors[anchor[1]] = value
            return value
        if not text:
            deeper = self.place < len(self.lines) and (
                self.lines[self.place].indent > indent
                or (self.lines[self.place].indent == indent and self.lines[self.place].text.startswith("- "))
            )
            return self.block(self.lines[self.place].indent) if deeper else None
        if text == ">-":
            parts = []
            while self.place < len(self.lines) and self.lines[self.place].indent > indent:
                parts.append(self.lines[self.place].text)
                self.place += 1
            return " ".join(parts)
        return self._scalar(text, number)

    def _scalar(self, text: str, number: int) -> Any:
        if text.startswith("*"):
            if text[1:] not in self.anchors:
                raise Unreadable(f"line {number}: no anchor {text[1:]}")
            return self.anchors[text[1:]]
        if text.startswith("[") and text.endswith("]"):
            return [self._scalar(part.strip(), number) for part in text[1:-1].split(",") if part.strip()]
        if text.startswith('"') and text.endswith('"') and len(text) > 1 and '"' not in text[1:-1] and "\\" not in text:
            return text[1:-1]
        if not _PLAIN.fullmatch(text):
            raise Unreadable(f"line {number}: {text!r} is not in the part of YAML that is read here")
        return text

    def _at(self, indent: int) -> bool:
        return self.place < len(self.lines) and self.lines[self.place].indent == indent
