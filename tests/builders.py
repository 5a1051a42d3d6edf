"""One function per object a test needs; every argument has a default, so a test names only what matters to it."""

from __future__ import annotations

from runtime.clock import ManualClock
from runtime.keys import Algorithm, PrivateKey

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""


def a_key(number: int = 1, algorithm: Algorithm = "ed25519") -> PrivateKey:
    """The same key for the same number in every run."""
    return PrivateKey.from_seed(number.to_bytes(32, "big"), algorithm)


def a_clock(start_ms: int = START_MS) -> ManualClock:
    """A clock that stands until the test moves it."""
    return ManualClock(start_ms)
