"""A dispatch as it is shown before it is done."""

from __future__ import annotations

import msgspec

from vtn.aggregator.dispatch import Choice, Solved


class GroupPreview(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual node: what it offers, what it is asked for (Wh per interval), and how its members were chosen.
    reason: why it is asked, or not."""

    name: str
    homes: int
    offered_wh: tuple[int, ...]
    price_minor_per_mwh: int
    asked_wh: tuple[int, ...]
    calls: int
    reason: str
    solved: Solved


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done. Wh per interval; expected_wh: with the reliability of those who are called; spread_wh: its
    standard deviation; pay_minor: what they would earn for it; probability: of meeting what was asked of all virtual
    nodes, taken as independent; gap_percent: the largest of them; gini: of the calls of the season of all homes, after
    this one. Calls of homes (choices) begin with the interval `start` of each and last for `count`, 0: all."""

    start_ms: int
    interval_s: int
    target_wh: tuple[int, ...]
    expected_wh: tuple[int, ...]
    spread_wh: tuple[int, ...]
    lacking_wh: tuple[int, ...]
    method: str
    mode: str
    asked_probability: float
    probability: float
    gap_percent: float
    calls: int
    homes: int
    pay_minor: int
    gini: float
    limits: tuple[str, ...]
    choices: tuple[Choice, ...]
    names: dict[str, str]
    groups: tuple[GroupPreview, ...]
