"""On whom a virtual node still counts."""

from __future__ import annotations

from contracts.core.codec import digest
from contracts.demand_response.contract import ContractRecord, Level, Status
from tests.builders import START_MS, device_terms
from vtn.aggregator.records import DevicePlan
from vtn.aggregator.virtual_nodes.view import View

TERMS = device_terms(accept_by_ms=START_MS - 60_000)
PLAN = DevicePlan(
    contract_id="sc2-n-0-0-000", sc1="sc1-n-0", round=0, device="dev", ven_id="ven", terms=TERMS, reliability_bp=9_000
)


def a_view(now_ms: int, status: Status | None = None, refused: frozenset[str] = frozenset()) -> View:
    contracts = {}
    if status is not None:
        contracts[PLAN.contract_id] = ContractRecord(
            contract_id=PLAN.contract_id, level=Level.SC2, parent=PLAN.sc1, payer="vn", payee="dev", terms=TERMS,
            terms_digest=digest(TERMS), status=status,
        )  # fmt: skip
    return View([PLAN], contracts, {}, 0, now_ms, refused)


def test_a_plan_counts_while_it_can_still_be_proposed() -> None:
    assert len(a_view(TERMS.accept_by_ms - 1).live) == 1


def test_a_plan_that_never_reached_the_ledger_does_not_count_after_its_deadline() -> None:
    """Else a ledger that was down over the deadline leaves a gap that nobody is called for."""
    assert a_view(TERMS.accept_by_ms).live == []


def test_a_plan_the_ledger_refused_does_not_count() -> None:
    assert a_view(TERMS.accept_by_ms - 1, refused=frozenset({PLAN.contract_id})).live == []


def test_a_contract_counts_by_its_status_alone() -> None:
    late = START_MS + 1
    assert len(a_view(late, Status.ACCEPTED).live) == 1
    assert a_view(late, Status.EXPIRED).live == []
