"""On whom a virtual node still counts."""

from __future__ import annotations

from contracts.core.codec import digest
from contracts.demand_response.contract import ContractRecord, Level, Status
from tests.builders import START_MS, device_terms
from vtn.aggregator.records import DevicePlan
from vtn.aggregator.virtual_nodes.evidence.performance import Performance
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
    return View([PLAN], contracts, {}, now_ms, refused)


def test_a_plan_counts_while_it_can_still_be_proposed() -> None:
    assert len(a_view(TERMS.accept_by_ms - 1).live) == 1


def test_a_plan_that_never_reached_the_ledger_does_not_count_after_its_deadline() -> None:
    """Else a ledger that was down over the deadline leaves a gap that nobody is called for."""
    assert a_view(TERMS.accept_by_ms).live == []


def test_a_plan_the_ledger_refused_does_not_count() -> None:
    assert a_view(TERMS.accept_by_ms - 1, refused=frozenset({PLAN.contract_id})).live == []


def test_a_proposal_counts_until_its_deadline_whatever_the_ledger_says_of_it_later() -> None:
    assert len(a_view(TERMS.accept_by_ms - 1, Status.PROPOSED).live) == 1
    assert a_view(TERMS.accept_by_ms, Status.PROPOSED).live == []


def test_an_accepted_contract_counts_and_an_ended_one_does_not() -> None:
    late = START_MS + 1
    assert len(a_view(late, Status.ACCEPTED).live) == 1
    assert a_view(late, Status.EXPIRED).live == []


def test_what_was_measured_of_a_home_is_expected_of_it_and_nothing_of_one_that_was_not() -> None:
    """90 % were expected, the group gave half of that: 45 % of those who were measured."""
    seen = View([PLAN], {}, {}, 0, frozenset(), Performance(factor=0.5, weight=1.0, of=frozenset({PLAN.contract_id})))
    assert [each.reliability_bp for each in seen.live] == [4_500]
    assert seen.reason == "the group delivers 50% of what was expected"
    unseen = View([PLAN], {}, {}, 0, frozenset(), Performance(factor=0.5, weight=1.0))
    assert [each.reliability_bp for each in unseen.live] == [9_000]
