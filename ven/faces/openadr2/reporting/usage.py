"""Metered energy as report intervals: in the granularity that was asked for, with what is missing marked.

    meter     |100|100| ? |100|100|100|        900 s
    asked 900 |100|100|  -|100|100|100|        "-": No Quality - No Value
    asked 1800|  200  |100~   |  200  |        "~": Quality Uncertain, a part of it is missing

A bucket is sent when the meter was read to its end, and once: what is in it is acknowledged together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openadr.model import Quality, Reading
from openadr.v2 import ReportRequest

Row = tuple[int, int, int]
"""(start_ms, interval_s, energy_wh) of an interval that is owed."""


@dataclass(frozen=True)
class Batch:
    """Readings to send, and the starts of the metering intervals that their acknowledgement settles."""

    readings: tuple[Reading, ...]
    settled_ms: tuple[int, ...]


def bucket_ms(request: ReportRequest, interval_s: int) -> int:
    """Length of a report interval: the granularity if it is a multiple of the meter's interval, else the meter's."""
    fits = request.granularity_s > interval_s and request.granularity_s % interval_s == 0
    return 1000 * (request.granularity_s if fits else interval_s)


def batch(request: ReportRequest, rows: Sequence[Row], metered: Mapping[int, int], until_ms: int, r_id: str) -> Batch:
    """What of `rows` (by start) can be sent. `metered`: start -> Wh of all stored readings around them; `until_ms`: to
    where the meter was read."""
    if not rows:
        return Batch((), ())
    interval_s = rows[0][1]
    length_ms, step_ms = bucket_ms(request, interval_s), 1000 * interval_s
    if length_ms == step_ms:
        return Batch(_singly(request, rows, metered, r_id), tuple(start_ms for start_ms, _, _ in rows))
    origin_ms = request.start_ms or 0
    readings: dict[int, Reading] = {}
    settled = []
    for start_ms, _, _ in rows:
        first_ms = start_ms - (start_ms - origin_ms) % length_ms
        if first_ms + length_ms > until_ms:
            break
        settled.append(start_ms)
        if first_ms not in readings:
            starts = range(first_ms, first_ms + length_ms, step_ms)
            found = [metered[each] for each in starts if each in metered]
            quality: Quality = "ok" if len(found) == len(starts) else "estimated"
            readings[first_ms] = Reading(r_id, first_ms, length_ms // 1000, sum(found), quality)
    return Batch(tuple(readings.values()), tuple(settled))


def nothing(request: ReportRequest, interval_s: int, now_ms: int, r_id: str) -> Batch:
    """One report of a time of which there is nothing (rule 324: one was asked for)."""
    length_s = request.duration_s or bucket_ms(request, interval_s) // 1000
    start_ms = now_ms - 1000 * length_s if request.start_ms is None else request.start_ms
    return Batch((Reading(r_id, start_ms, length_s, 0, "missing"),), ())


def _singly(request: ReportRequest, rows: Sequence[Row], metered: Mapping[int, int], r_id: str) -> tuple[Reading, ...]:
    """Each interval on its own, after those the meter gave no reading for since the one before."""
    known = sorted(metered)
    readings: list[Reading] = []
    for start_ms, interval_s, energy_wh in rows:
        step_ms = 1000 * interval_s
        place = bisect_left(known, start_ms)
        before_ms = known[place - 1] if place else start_ms - step_ms
        for missing_ms in range(max(before_ms + step_ms, request.start_ms or 0), start_ms, step_ms):
            readings.append(Reading(r_id, missing_ms, interval_s, 0, "missing"))
        readings.append(Reading(r_id, start_ms, interval_s, energy_wh))
    return tuple(readings)
