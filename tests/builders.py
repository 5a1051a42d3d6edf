"""One function per object a test needs; every argument has a default, so a test names only what matters to it."""

from __future__ import annotations

from typing import Any

from contracts.baseline import TEN_OF_TEN, window_start_ms
from contracts.core.commands import BaselineCommitment, Terms
from openadr.model import DrEvent, Signal, SignalInterval, Target, digest
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


def a_baseline(start_ms: int = START_MS, curve_wh: tuple[int, ...] = (700,) * 4, **given: Any) -> BaselineCommitment:
    """A commitment for a need that starts at `start_ms`."""
    defaults: dict[str, Any] = {
        "preset": TEN_OF_TEN.name,
        "preset_version": TEN_OF_TEN.version,
        "history_digest": "0" * 64,
        "curve_wh": curve_wh,
        "adjustment_start_ms": window_start_ms(TEN_OF_TEN, start_ms),
        "adjustment_wh": (600,) * 12,
        "adjustment_cap_percent": TEN_OF_TEN.cap_percent,
    }
    return BaselineCommitment(**{**defaults, **given})


def device_terms(**given: Any) -> Terms:
    """Terms of an SC2 over the hour of `a_dr_event()`, to be accepted until half an hour before."""
    start_ms = given.get("start_ms", START_MS)
    defaults: dict[str, Any] = {
        "need_id": "need-1",
        "dr_event_id": "event-1",
        "dr_event_digest": digest(a_dr_event()),
        "start_ms": start_ms,
        "interval_s": 900,
        "obligation_wh": (100, 100, 100, 100),
        "energy_price_minor_per_mwh": 100_000,
        "penalty_price_minor_per_mwh": 50_000,
        "tolerance_percent": 50,
        "cap_percent": 120,
        "success_percent": 90,
        "partial_percent": 60,
        "minimum_percent": 70,
        "deposit_minor": 50,
        "meter_limit_wh": 10_000,
        "accept_by_ms": start_ms - 1_800_000,
        "activate_by_ms": start_ms - 1_800_000,
        "settle_after_ms": start_ms + 2 * 3_600_000,
        "baseline_preset": TEN_OF_TEN.name,
        "baseline": a_baseline(start_ms),
        "assisting": (),
    }
    return Terms(**{**defaults, **given})
