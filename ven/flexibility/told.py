"""What the VTN was last told of this home, and whether it took it."""

from __future__ import annotations

import msgspec

from ven.flexibility.describing import Offer
from ven.home.store import Notes

_NOTE = "described"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """`refused`: why the VTN did not take it, "" if it did. `unknown_kinds`: devices it took by their numbers alone.
    `at_ms`: wall clock, 0 at the enrolment."""

    offer: Offer
    at_ms: int = 0
    refused: str = ""
    unknown_kinds: tuple[str, ...] = ()


def read_told(notes: Notes) -> Told | None:
    """None where the VTN was told nothing but a power."""
    return notes.read(_NOTE, Told)


def write_told(notes: Notes, told: Told) -> None:
    notes.write(_NOTE, told)
