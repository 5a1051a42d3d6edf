"""One function per object a test needs; every argument has a default, so a test names only what matters to it."""

from __future__ import annotations

from typing import Any

from openadr.model import DrEvent, Signal, SignalInterval, Target
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


def a_signal(signal_id: str = "signal-1", name: str = "SIMPLE", type: str = "level", **given: Any) -> Signal:
    """A SIMPLE signal of one level for an hour."""
    return Signal(signal_id, name, type, **{"unit": None, "intervals": (SignalInterval(3600, "1"),), **given})


def a_dr_event(event_id: str = "event-1", **given: Any) -> DrEvent:
    """A new event of one hour for one group."""
    defaults: dict[str, Any] = {
        "program": "http://programs.example/peak",
        "modification_number": 0,
        "priority": 0,
        "test_event": False,
        "start_ms": START_MS,
        "duration_s": 3600,
        "signals": (a_signal(),),
        "targets": (Target("group", "feeder-7"),),
        "response_required": True,
        "created_ms": START_MS - 86_400_000,
    }
    return DrEvent(event_id, **{**defaults, **given})
