"""Statements: what each party of a need was asked for, delivered and paid, and why. Read from the ledger's facts.

The signed readings also came by OpenADR report; where the two differ the statement carries a flag.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contracts.core import facts
from contracts.core.commands import Terms
from contracts.core.units import MS_PER_S
from contracts.measurements import Measurement
from ledger.client import START, FactRecord, LedgerClient


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One contract's account. Energy in Wh over the event, money in minor units.

    amount = energy - passed on to contracts below - penalty. `transaction_id` and `fact` name the DRCompleted fact that
    proves it; final: a quorum of the ledger's members cosigned it, and only then does the amount count; `flags` say
    where telemetry differed from the signed readings."""

    contract_id: str
    parent: str | None
    level: str
    payee: str
    name: str
    status: str
    outcome: str
    obligation_wh: int
    delivered_wh: int
    paid_wh: int
    missing: int
    shortfall_wh: int
    energy_minor: int
    passed_on_minor: int
    penalty_minor: int
    amount_minor: int
    why: str
    transaction_id: str | None
    fact: int | None
    final: bool
    flags: tuple[str, ...] = ()


async def statements(ledger: LedgerClient, need_id: str, names: Mapping[str, str]) -> list[Statement]:
    """Statements of a need's contracts, each SC1 before its SC2s. `names`: party id -> what people call it."""
    terms: dict[str, tuple[facts.DRSetUp, str]] = {}
    settled: dict[str, facts.DRSettled] = {}
    completed: dict[str, FactRecord] = {}
    cursor, final_height = START, (await ledger.status())["final_height"]
    while page := await ledger.facts(cursor):
        for record in page:
            match record.fact:
                case facts.DRSetUp() as fact if fact.terms.need_id == need_id:
                    terms[fact.contract_id] = (fact, "proposed")
                case facts.ReductionAccepted() as fact if fact.contract_id in terms:
                    terms[fact.contract_id] = (terms[fact.contract_id][0], "accepted")
                case facts.ReductionRejected() as fact if fact.contract_id in terms:
                    terms[fact.contract_id] = (terms[fact.contract_id][0], f"rejected: {fact.reason}")
                case facts.DRExpired() as fact if fact.contract_id in terms:
                    terms[fact.contract_id] = (terms[fact.contract_id][0], "expired")
                case facts.DRSettled() as fact if fact.contract_id in terms:
                    settled[fact.contract_id] = fact
                case facts.DRCompleted() as fact if fact.contract_id in terms:
                    completed[fact.contract_id] = record
                case _:
                    pass
            cursor = record.cursor
    found = [
        _statement(setup, status, settled.get(contract_id), completed.get(contract_id), names, final_height)
        for contract_id, (setup, status) in terms.items()
    ]
    return sorted(found, key=lambda each: (each.parent or each.contract_id, each.parent is not None, each.name))


async def telemetry_differences(
    ledger: LedgerClient, device: str, terms: Terms, telemetry_wh: Mapping[int, int]
) -> tuple[str, ...]:
    """Where the OpenADR report of a device says something else than what it signed for the ledger."""
    signed = await ledger.records(Measurement, f"{device}/")
    last_ms = terms.start_ms + len(terms.obligation_wh) * terms.interval_s * MS_PER_S
    flags = []
    for key, measurement in signed:
        start_ms = int(key.split("/")[1])
        reported = telemetry_wh.get(start_ms)
        if terms.start_ms <= start_ms < last_ms and reported is not None and reported != measurement.energy_wh:
            flags.append(f"interval {start_ms}: reported {reported} Wh, signed {measurement.energy_wh} Wh")
    return tuple(flags)


def _statement(
    setup: facts.DRSetUp,
    status: str,
    settled: facts.DRSettled | None,
    completion: FactRecord | None,
    names: Mapping[str, str],
    final_height: int,
) -> Statement:
    done = completion.fact if completion is not None and isinstance(completion.fact, facts.DRCompleted) else None
    return Statement(
        contract_id=setup.contract_id,
        parent=setup.parent,
        level="SC1" if setup.parent is None else "SC2",
        payee=setup.payee,
        name=names.get(setup.payee, setup.payee),
        status="completed" if done else "settled" if settled else status,
        outcome=done.outcome if done else settled.outcome if settled else "",
        obligation_wh=sum(setup.terms.obligation_wh),
        delivered_wh=settled.delivered_wh if settled else 0,
        paid_wh=done.paid_wh if done else 0,
        missing=settled.missing if settled else 0,
        shortfall_wh=settled.shortfall_wh if settled else 0,
        energy_minor=done.energy_minor if done else 0,
        passed_on_minor=done.children_minor if done else 0,
        penalty_minor=done.penalty_minor if done else 0,
        amount_minor=done.amount_minor if done else 0,
        why=_why(setup.terms, status, settled, done),
        transaction_id=completion.transaction_id if completion is not None else None,
        fact=completion.ordinal if completion is not None else None,
        final=completion is not None and completion.height <= final_height,
    )


def _why(terms: Terms, status: str, settled: facts.DRSettled | None, done: facts.DRCompleted | None) -> str:
    if settled is None or done is None:
        return status
    parts = [f"{settled.delivered_wh} Wh of {settled.obligation_wh} delivered"]
    if done.paid_wh != settled.delivered_wh:
        parts.append(f"{done.paid_wh} Wh paid (share of the group, cap {terms.cap_percent} %)")
    if settled.missing:
        parts.append(f"{settled.missing} intervals without a signed reading")
    if done.children_minor:
        parts.append(f"{done.children_minor} passed on to devices")
    if done.penalty_minor:
        parts.append(f"{settled.shortfall_wh} Wh short beyond {terms.tolerance_percent} % tolerance")
    return ", ".join(parts)
