"""What really happened in a simulated home, for tools outside that compare it with what was measured and paid.

`truth.jsonl` in the home's folder has one line an interval that closed while the home ran, in whole Wh:
    {"start_ms","interval_s","meter_wh","uncontrolled_wh","delivered_wh","shed_wh","snapback_wh"}
A line is written before its reading is stored: after a kill -9 an interval may stand there twice, with the same
numbers; none is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ven.devices.household import Household
from ven.home.actuator import HomeDevice

TRUTH_FILE = "truth.jsonl"


def truth_writer(folder: Path, device: HomeDevice, interval_s: int) -> Callable[[int, int], None] | None:
    """Writes a line for each closed interval; None for a real device, of which nobody knows the truth."""
    if not isinstance(device, Household):
        return None
    path = folder / TRUTH_FILE

    def write(start_ms: int, energy_wh: int) -> None:
        end_ms = start_ms + interval_s * 1000
        line = {
            "start_ms": start_ms,
            "interval_s": interval_s,
            "meter_wh": energy_wh,
            "uncontrolled_wh": device.uncontrolled_wh(start_ms, end_ms),
            "delivered_wh": device.delivered_wh(start_ms, end_ms),
            "shed_wh": device.shed_wh(start_ms, end_ms),
            "snapback_wh": device.snapback_wh(start_ms, end_ms),
        }
        with path.open("a", encoding="ascii") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

    return write
