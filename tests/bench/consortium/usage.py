"""CPU seconds of processes and their children, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class _Process(NamedTuple):
    parent: int
    own_s: float
    ended_children_s: float


def of_tree(pid: int) -> float:
    """Of a process and all below it, those that ended included."""
    found = _processes()
    return sum(found[each].own_s + found[each].ended_children_s for each in _below(pid, found))


def of_replica(pid: int) -> tuple[float, float]:
    """Of the replica's own process, and of the PostgreSQL it runs."""
    found = _processes()
    if pid not in found:
        return 0.0, 0.0
    below = [each for each in _below(pid, found) if each != pid]
    return found[pid].own_s, sum(found[each].own_s + found[each].ended_children_s for each in below)


def _processes() -> dict[int, _Process]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            own, ended = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
            found[int(folder.name)] = _Process(int(fields[1]), own / _TICKS, ended / _TICKS)
    return found


def _below(pid: int, found: dict[int, _Process]) -> list[int]:
    below = [pid] if pid in found else []
    for each in below:
        below += [child for child, process in found.items() if process.parent == each]
    return below
