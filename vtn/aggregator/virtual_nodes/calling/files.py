"""Candidates from a file, and the choice among them: for trying a dispatch without a VTN, or one that was stored again.

CSV: a line for each home.  home              its name
                            available_wh      what it sheds in an interval; or a number for each, with spaces between
                            energy_wh         what it can go without in one call; empty: no matter
                            price_minor_per_mwh, reliability_percent, answers_percent, spread_percent, comfort_minor,
                            rebound_percent, rebound_intervals, excluded          may be left out
JSON: a list of the same fields by home, or of candidates as `needs show --json` and `dispatch --json` print them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import msgspec

from vtn.aggregator.dispatch import BASIS_POINTS, Candidate
from vtn.aggregator.virtual_nodes.calling.seen import GroupPreview, Preview
from vtn.aggregator.virtual_nodes.choosing import Policy, choose_members
from vtn.errors import InvalidInput
from vtn.flexibility.calls import gini

_PERCENT = BASIS_POINTS // 100
_FIELDS = {
    "home", "available_wh", "energy_wh", "price_minor_per_mwh", "reliability_percent", "answers_percent",
    "spread_percent", "comfort_minor", "rebound_percent", "rebound_intervals", "excluded",
}  # fmt: skip


def read_candidates(path: Path, intervals: int) -> list[Candidate]:
    """The candidates of a file, .csv or .json, for so many intervals. Raises InvalidInput with the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("input_unreadable", f"{path}: {error}") from error
    if path.suffix == ".json":
        try:
            rows = msgspec.json.decode(text, type=list[dict[str, Any]])
        except msgspec.DecodeError as error:
            raise InvalidInput("input_invalid", f"{path} is no list of homes: {error}") from error
    elif path.suffix == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
    else:
        raise InvalidInput("input_invalid", f"{path}: candidates are read from .csv or .json")
    found = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(_candidate(row, intervals))
        except (ValueError, TypeError, msgspec.ValidationError) as error:
            raise InvalidInput("input_invalid", f"{path}, home {number}: {error}") from error
    names = [each.candidate for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1})[:3] if len(set(names)) < len(names) else []:
        raise InvalidInput("input_invalid", f"{path} names twice: {', '.join(twice)}")
    if not found:
        raise InvalidInput("input_invalid", f"{path} names no home")
    return found


def dispatch_of(
    candidates: Sequence[Candidate],
    target_wh: Sequence[int],
    policy: Policy,
    *,
    start_ms: int,
    interval_s: int,
    executor: Executor | None = None,
) -> Preview:
    """The choice among candidates as a preview of one group. No calls of theirs are known: gini is of this one."""
    found = choose_members(target_wh, candidates, policy, executor)
    expected = tuple(
        sum(each.obligation_wh[n] * each.candidate.reliability_bp // BASIS_POINTS for each in found.chosen)
        for n in range(len(target_wh))
    )
    pay = sum(
        sum(each.obligation_wh) * each.candidate.reliability_bp * each.candidate.price_minor_per_mwh
        for each in found.chosen
    )
    group = GroupPreview(
        name="file", homes=len(candidates), offered_wh=(), price_minor_per_mwh=0, asked_wh=tuple(target_wh),
        calls=len(found.chosen), reason="", solved=found.solved,
    )  # fmt: skip
    return Preview(
        start_ms=start_ms,
        interval_s=interval_s,
        target_wh=tuple(target_wh),
        expected_wh=expected,
        spread_wh=found.solved.spread_wh,
        lacking_wh=found.lacking_wh,
        method=found.solved.method,
        mode=policy.mode,
        asked_probability=policy.probability,
        probability=found.solved.probability_bp / BASIS_POINTS,
        gap_percent=found.solved.gap_percent,
        calls=len(found.chosen),
        homes=len(candidates),
        pay_minor=pay // (BASIS_POINTS * 1_000_000),
        gini=round(gini([each.chosen for each in found.choices]), 3),
        limits=tuple(str(each) for each in found.solved.limits),
        choices=found.choices,
        names={each.candidate: each.candidate for each in candidates},
        groups=(group,),
    )


def _candidate(row: Mapping[str, Any], intervals: int) -> Candidate:
    if "candidate" in row:
        found = msgspec.convert(row, Candidate)
    else:
        found = _of_fields({key: value for key, value in row.items() if value not in (None, "")}, intervals)
    if len(found.available_wh) != intervals or (found.at_wh and len(found.at_wh) != intervals):
        raise ValueError(f"{len(found.available_wh)} intervals, the target has {intervals}")
    if any(wh < 0 for wh in (*found.available_wh, *found.at_wh)) or not 0 <= found.reliability_bp <= BASIS_POINTS:
        raise ValueError("energy is not negative, a probability 0 to 100 percent")
    return found


def _of_fields(row: Mapping[str, Any], intervals: int) -> Candidate:
    if unknown := set(row) - _FIELDS:
        raise ValueError(f"no field is called {', '.join(sorted(map(str, unknown)))}")
    if missing := {"home", "available_wh"} - set(row):
        raise ValueError(f"{', '.join(sorted(missing))} is missing")
    given = row["available_wh"]
    numbers = given.split() if isinstance(given, str) else given if isinstance(given, list) else [given]
    each = tuple(int(float(wh)) for wh in numbers)
    at = each * intervals if len(each) == 1 else each

    def whole(name: str, otherwise: float) -> int:
        return round(float(row.get(name, otherwise)))

    energy = whole("energy_wh", 0)
    limited = 0 < energy < sum(at)
    found = Candidate(
        candidate=str(row["home"]),
        available_wh=at,
        forecast_wh=0,
        price_minor_per_mwh=whole("price_minor_per_mwh", 100_000),
        reliability_bp=round(float(row.get("reliability_percent", 100)) * _PERCENT),
        excluded=str(row.get("excluded", "")),
        answers_bp=round(float(row.get("answers_percent", 100)) * _PERCENT),
        spread_bp=round(float(row.get("spread_percent", 0)) * _PERCENT),
        comfort_minor=whole("comfort_minor", 0),
        at_wh=at if limited else (),
        energy_wh=energy if limited else 0,
        rebound_percent=whole("rebound_percent", 0),
        rebound_intervals=whole("rebound_intervals", 4) if whole("rebound_percent", 0) else 0,
    )
    return msgspec.structs.replace(found, available_wh=found.call_wh(0)) if limited else found
