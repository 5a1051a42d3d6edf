"""Payments of an event, recomputed from signed readings by arithmetic written for this test alone.

Nothing of contracts.settlement or contracts.baseline is used: terms and readings come out of the ledger's public facts,
the formulas out of their description (the docstring of contracts/settlement.py). Fractions instead of integer division
wherever rounding does not belong to the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

MWH = 1_000_000


@dataclass
class Recorded:
    """What the facts of a ledger say (dicts as `dr-ledger facts --json` prints them)."""

    terms: dict[str, dict[str, Any]] = field(default_factory=dict)
    parent: dict[str, str | None] = field(default_factory=dict)
    payee: dict[str, str] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    readings: dict[str, dict[int, int]] = field(default_factory=dict)
    completed: dict[str, dict[str, Any]] = field(default_factory=dict)
    need: dict[str, Any] = field(default_factory=dict)
    closed: dict[str, Any] = field(default_factory=dict)

    def take(self, fact: Mapping[str, Any]) -> None:
        match fact["fact"]:
            case "ReductionRequested":
                self.need = dict(fact)
            case "RequestClosed":
                self.closed = dict(fact)
            case "DRSetUp":
                self.terms[fact["contract_id"]] = fact["terms"]
                self.parent[fact["contract_id"]] = fact["parent"]
                self.payee[fact["contract_id"]] = fact["payee"]
            case "ReductionAccepted":
                self.accepted.add(fact["contract_id"])
            case "MeasurementsRecorded":
                step = fact["interval_s"] * 1000
                found = self.readings.setdefault(fact["device"], {})
                for n, value in enumerate(fact["energy_wh"]):
                    found[fact["start_ms"] + n * step] = value
            case "DRCompleted":
                self.completed[fact["contract_id"]] = dict(fact)
            case _:
                pass


@dataclass
class Expected:
    """Minor units and Wh of one contract."""

    energy_minor: int
    penalty_minor: int
    amount_minor: int
    delivered_wh: int
    paid_wh: int


def expected_payments(recorded: Recorded) -> dict[str, Expected]:
    """What every completed contract must have paid."""
    found: dict[str, Expected] = {}
    for group, terms in recorded.terms.items():
        if recorded.parent[group] is not None or group not in recorded.accepted:
            continue
        members = [each for each in recorded.terms if recorded.parent[each] == group and each in recorded.accepted]
        if not members:
            continue  # it found no device and expired
        profile = [0] * len(terms["obligation_wh"])
        own: dict[str, tuple[list[int], int]] = {}
        for member in members:
            delivered, lacking = _device(recorded.terms[member], recorded.readings.get(recorded.payee[member], {}))
            own[member] = delivered, lacking
            first = (recorded.terms[member]["start_ms"] - terms["start_ms"]) // (terms["interval_s"] * 1000)
            for n, value in enumerate(delivered):
                profile[first + n] += value
        counted = _clamp(sum(profile), terms)
        counts = {member: _clamp(sum(delivered), recorded.terms[member]) for member, (delivered, _) in own.items()}
        all_counts = sum(counts.values())
        passed_on = 0
        for member, (delivered, lacking) in own.items():
            share = floor(Fraction(counts[member] * min(counted, all_counts), all_counts)) if all_counts else 0
            found[member] = _pay(recorded.terms[member], sum(delivered), share, lacking, 0)
            passed_on += found[member].amount_minor
        lacking = sum(
            _lack(o, d, terms["tolerance_percent"]) for o, d in zip(terms["obligation_wh"], profile, strict=True)
        )
        found[group] = _pay(terms, sum(profile), counted, lacking, passed_on)
    return found


def _device(terms: Mapping[str, Any], readings: Mapping[int, int]) -> tuple[list[int], int]:
    """Delivered Wh per interval and Wh that are penalised."""
    baseline, step = terms["baseline"], terms["interval_s"] * 1000
    readings = {start: value for start, value in readings.items() if abs(value) <= terms["meter_limit_wh"]}
    window = [readings.get(baseline["adjustment_start_ms"] + n * step) for n in range(len(baseline["adjustment_wh"]))]
    mean_size = Fraction(sum(abs(value) for value in baseline["curve_wh"]) * baseline["adjustment_cap_percent"], 100)
    cap = floor(Fraction(floor(mean_size), len(baseline["curve_wh"])))
    if None in window:
        adjustment = -cap
    else:
        difference = Fraction(sum(v for v in window if v is not None) - sum(baseline["adjustment_wh"]), len(window))
        adjustment = max(-cap, min(cap, floor(difference)))
    metered = [readings.get(terms["start_ms"] + n * step) for n in range(len(terms["obligation_wh"]))]
    reported = [None if m is None else b + adjustment - m for b, m in zip(baseline["curve_wh"], metered, strict=True)]
    worst = min((value for value in reported if value is not None), default=0)
    lacks = [
        None if value is None else _lack(obliged, value, terms["tolerance_percent"])
        for obliged, value in zip(terms["obligation_wh"], reported, strict=True)
    ]
    worst_lack = max((lack for lack in lacks if lack is not None), default=0)
    lacking = sum(
        max(obliged - min(0, worst), worst_lack) if lack is None else lack
        for obliged, lack in zip(terms["obligation_wh"], lacks, strict=True)
    )
    return [min(0, worst) if value is None else value for value in reported], lacking


def _lack(obliged: int, delivered: int, tolerance_percent: int) -> int:
    if not obliged:
        return 0
    return max(0, floor(Fraction(obliged * (100 - tolerance_percent), 100)) - delivered)


def _clamp(energy_wh: int, terms: Mapping[str, Any]) -> int:
    return max(0, min(energy_wh, floor(Fraction(sum(terms["obligation_wh"]) * terms["cap_percent"], 100))))


def _pay(terms: Mapping[str, Any], delivered: int, paid_wh: int, lacking: int, passed_on: int) -> Expected:
    energy = floor(Fraction(paid_wh * terms["energy_price_minor_per_mwh"], MWH))
    own = max(0, energy - passed_on)
    penalty = min(ceil(Fraction(lacking * terms["penalty_price_minor_per_mwh"], MWH)), own + terms["deposit_minor"])
    return Expected(energy, penalty, own - penalty, delivered, paid_wh)
