"""What a home is doing, read from its store beside a running agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from openadr.client.registration import Registration
from ven.account.desk import CURSOR_NOTE
from ven.account.identity import is_enrolled, read_identity
from ven.errors import NotEnrolled
from ven.flexibility.learning import learnt
from ven.flexibility.outcomes import Outcome, Outcomes
from ven.flexibility.told import read_told
from ven.home.controller import DECISIONS_NOTE
from ven.home.owner import read_owner
from ven.home.store import Contract, Store
from ven.home.store.store import FILE_NAME
from ven.home.timekeeping import NOTE as CLOCK_NOTE
from ven.home.timekeeping import Verdict

_OUTCOMES = 100  # what the home learns from


def read_status(folder: Path) -> dict[str, Any]:
    """The home in `folder` as plain values. Raises NotEnrolled if there is none."""
    path = folder / FILE_NAME
    if not path.exists():
        raise NotEnrolled(f"there is no home in {folder}: run `dr-ven enrol` first")
    store = Store(path)
    try:
        return _status(store)
    finally:
        store.close()


def _status(store: Store) -> dict[str, Any]:
    identity = read_identity(store.notes) if is_enrolled(store.notes) else None
    registration = store.notes.read("registration", Registration)
    readings, last_ms, last_wh = store.meter.span()
    contracts = store.contracts.all()
    payments = [contract.outcome for contract in contracts if contract.outcome is not None]
    return {
        "ven_name": None if identity is None else identity.ven_name,
        "ven_id": registration.ven_id if registration else identity.ven_id if identity else None,
        "party": None if identity is None else identity.party,
        "registration_id": None if registration is None else registration.registration_id,
        "clock": _clock(store),
        "decisions": store.notes.read(DECISIONS_NOTE, list[dict[str, Any]]) or [],
        "opt_schedules": [msgspec.to_builtins(each) for each in store.schedules.live()],
        "owner": msgspec.to_builtins(read_owner(store.notes)),
        "meter": {"readings": readings, "last_start_ms": last_ms if readings else None, "last_wh": last_wh},
        "ledger_cursor": store.notes.read(CURSOR_NOTE, str),
        "transactions_waiting": store.outbox.count(),
        "transactions_refused": [
            {"command": command, "subject": subject, "code": code} for command, subject, code in store.outbox.refused()
        ],
        "report_intervals_owed": store.reports.count_owed(),
        "events": [
            {
                "event_id": stored.event.event_id,
                "start_ms": stored.event.start_ms,
                "end_ms": stored.event.end_ms,
                "cancelled": stored.cancelled,
                "opt": stored.opt,
                "reason": stored.opt_reason,
            }
            for stored in store.events.all()
        ],
        "contracts": [_contract(contract) for contract in contracts],
        "flexibility": read_flexibility(store),
        "proofs": [{"contract_id": contract_id, "kind": kind} for contract_id, kind in store.proofs.kept()],
        "paid_minor": sum(payment.amount_minor for payment in payments),
    }


def read_flexibility(store: Store) -> dict[str, Any]:
    """What the home told the VTN it can do, what past events say of that, and the events one by one. `part`: of what
    its devices are rated for; `bias_percent`: how much more was owed than delivered, of what was owed."""
    outcomes = Outcomes(store.database).all(_OUTCOMES)
    known, told = learnt(outcomes), read_told(store.notes)
    return {
        "told": None if told is None else msgspec.to_builtins(told.offer),
        "refused": "" if told is None else told.refused,
        "unknown_kinds": [] if told is None else list(told.unknown_kinds),
        "part": round(known.part(), 3),
        "trials": known.whole.trials,
        "parts": {kind: round(known.part(kind), 3) for kind in known.by_kind},
        "events": [_outcome(each) for each in outcomes],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    owed, delivered = outcome.obligation_wh, outcome.delivered_wh
    bias = None if delivered is None or not owed else round(100 * (owed - delivered) / owed)
    return {**msgspec.to_builtins(outcome), "bias_percent": bias}


def _clock(store: Store) -> dict[str, Any]:
    verdict = store.notes.read(CLOCK_NOTE, Verdict) or Verdict()
    return {**msgspec.to_builtins(verdict), "text": verdict.text}


def _contract(contract: Contract) -> dict[str, Any]:
    terms, outcome = contract.terms, contract.outcome
    return {
        "contract_id": contract.contract_id,
        "state": contract.state,
        "reason": contract.reason,
        "event_id": terms.dr_event_id,
        "start_ms": terms.start_ms,
        "end_ms": contract.end_ms,
        "obligation_wh": sum(terms.obligation_wh),
        "missing": contract.missing,
        "outcome": None if outcome is None else msgspec.to_builtins(outcome),
    }
