"""A virtual node balances itself first: what one home has too much, another uses, before anything leaves or comes in.

    meters (net, Wh)     home A  -900      generation used inside  700      at the boundary  import    0
                         home B  +400  ──▶                             ──▶                   export -200
                         home C  +300

Integers, Wh an interval, import > 0, export < 0. What a home uses of its own PV does not pass its meter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """An interval at a boundary: what its homes took and gave (gave_wh <= 0), what of it met inside (>= 0), and what
    is left at the boundary: import_wh >= 0, export_wh <= 0, one of them 0."""

    took_wh: int
    gave_wh: int
    used_inside_wh: int
    import_wh: int
    export_wh: int

    @property
    def net_wh(self) -> int:
        """Import minus export, as one meter at the boundary would show it."""
        return self.import_wh + self.export_wh


class Absorbed(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked to take a surplus: members first, in the order given, then others; left_wh leaves all the same."""

    members_wh: dict[str, int]
    others_wh: dict[str, int]
    left_wh: int


def balanced(net_wh: Iterable[int]) -> Balance:
    """One interval of several homes."""
    took = gave = 0
    for energy in net_wh:
        if energy > 0:
            took += energy
        else:
            gave += energy
    inside = min(took, -gave)
    return Balance(
        took_wh=took, gave_wh=gave, used_inside_wh=inside, import_wh=took - inside, export_wh=gave + inside
    )  # fmt: skip


def balances(readings_wh: Mapping[str, Mapping[int, int]], homes_min: int = 1) -> dict[int, Balance]:
    """Intervals (start ms) of several homes in which at least `homes_min` have a reading, in order of time."""
    by_start: dict[int, list[int]] = {}
    for series in readings_wh.values():
        for start_ms, energy_wh in series.items():
            by_start.setdefault(start_ms, []).append(energy_wh)
    return {start: balanced(each) for start, each in sorted(by_start.items()) if len(each) >= homes_min}


def within(nodes: Iterable[Balance]) -> Balance:
    """Virtual nodes of one feeder: each has balanced itself, what they have left meets between them. The feeder's
    imbalance is what is left after both."""
    found = list(nodes)
    between = balanced([each.net_wh for each in found])
    return Balance(
        took_wh=sum(each.took_wh for each in found),
        gave_wh=sum(each.gave_wh for each in found),
        used_inside_wh=sum(each.used_inside_wh for each in found) + between.used_inside_wh,
        import_wh=between.import_wh,
        export_wh=between.export_wh,
    )


def absorbed(
    balance: Balance, members: Sequence[tuple[str, int]], others: Sequence[tuple[str, int]] = ()
) -> Absorbed:  # fmt: skip
    """Who takes a node's surplus: (home, Wh it can add in the interval), in the order in which they are asked.

    Only what is left after inside use is a surplus, and no other home is asked while a member could take more."""
    left = -balance.export_wh
    asked: list[dict[str, int]] = []
    for homes in (members, others):
        mine: dict[str, int] = {}
        for home, can_wh in homes:
            part = min(max(can_wh, 0), left)
            if part:
                mine[home] = part
                left -= part
        asked.append(mine)
    return Absorbed(members_wh=asked[0], others_wh=asked[1], left_wh=left)
