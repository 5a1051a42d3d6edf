"""From facts to sealed transactions and back, without a network."""

from __future__ import annotations

import msgspec
import pytest

from contracts.core import facts
from contracts.core.codec import decode, digest
from contracts.core.commands import AcceptReduction, RecordMeasurements, RejectReduction
from contracts.core.envelope import signing_bytes
from ledger.client import FactRecord, Result
from openadr.model import digest as event_digest
from runtime.keys import verify
from tests.builders import START_MS, a_dr_event, a_key, device_terms
from tests.ven.homes import DAY_MS, STEP_MS, UTC, a_store
from ven.account.desk import Desk
from ven.account.wallet import Wallet
from ven.home.baseline import recompute
from ven.home.owner import Owner
from ven.home.store import ContractState, Opt, OptSchedule

NOW_MS = START_MS - 4 * 3_600_000
WALLET = Wallet(a_key())
HISTORY = [(START_MS - n * STEP_MS, 400 + n % 96) for n in range(17, 25 * 96)]
"""Up to four hours before the event."""

TERMS = device_terms(baseline=recompute(dict(HISTORY), UTC, device_terms(), ()))


class Home:
    """A desk with its store, and a ledger that numbers facts."""

    def __init__(self, folder) -> None:
        self.store = a_store(folder)
        self.store.meter.add(900, HISTORY)
        self.desk = Desk(self.store, WALLET, UTC, home="H1", interval_s=900, max_shed_w=1500)
        self.height = 0

    def hears(self, fact, time_ms: int = NOW_MS) -> FactRecord:
        self.height += 1
        record = FactRecord(
            cursor=f"{self.height}.{self.height}.0",
            height=self.height,
            index=self.height,
            ordinal=0,
            time_ms=time_ms,
            transaction_id=f"{self.height:064x}",
            contract=facts.subject(fact),
            parties=facts.parties(fact),
            fact=fact,
        )
        self.desk.observe(record)
        return record

    def is_proposed(self, terms=TERMS, contract_id: str = "sc2-1", payee: str = WALLET.party) -> None:
        self.hears(facts.DRSetUp(contract_id=contract_id, parent="sc1-1", payer="vn-1", payee=payee, terms=terms))

    def has_event(self) -> None:
        self.store.events.receive(a_dr_event(), request_id="r1", offset_s=0, now_ms=NOW_MS)

    def state(self, contract_id: str = "sc2-1") -> ContractState | None:
        found = self.store.contracts.find(contract_id)
        return None if found is None else found.state

    def sealed(self):
        return self.store.outbox.pending()

    def answer(self, status: str, code: str = "") -> bool:
        [sealed] = self.sealed()
        return self.desk.settle(sealed, Result(id=sealed.transaction_id, status=status, code=code))

    def accepts(self) -> None:
        self.has_event()
        self.is_proposed()
        self.desk.review(NOW_MS, Owner())
        self.answer("committed", "ok")


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    yield home
    home.store.close()


def command(sealed, kind):
    return decode(sealed.transaction.body.encode(), kind)


def test_a_proposal_that_fits_is_accepted_by_a_transaction_signed_here(home):
    home.has_event()
    home.is_proposed()
    assert home.desk.review(NOW_MS, Owner()) is None
    [sealed] = home.sealed()
    assert command(sealed, AcceptReduction) == AcceptReduction(contract_id="sc2-1", terms_digest=digest(TERMS))
    header = sealed.transaction.header
    assert (header.sender, header.not_after_ms) == (WALLET.party, TERMS.accept_by_ms)
    assert verify(WALLET.public, signing_bytes(header), bytes.fromhex(sealed.transaction.signature))
    assert home.state() is ContractState.ACCEPTING


def test_it_is_sealed_once_however_often_the_home_looks(home):
    home.has_event()
    home.is_proposed()
    home.desk.review(NOW_MS, Owner())
    [first] = home.sealed()
    home.desk.review(NOW_MS + 1, Owner())
    assert home.answer("unknown") is False
    home.desk.review(NOW_MS + 2, Owner())
    assert home.sealed() == [first]


def test_a_proposal_waits_for_its_event(home):
    home.is_proposed()
    look_again_ms = home.desk.review(NOW_MS, Owner())
    assert home.sealed() == []
    assert NOW_MS < look_again_ms < TERMS.accept_by_ms
    home.has_event()
    assert home.desk.review(NOW_MS, Owner()) is None
    assert [sealed.command for sealed in home.sealed()] == ["AcceptReduction"]


def test_forged_terms_are_rejected_with_the_reason(home):
    home.has_event()
    home.is_proposed(msgspec.structs.replace(TERMS, dr_event_digest="f" * 64))
    home.desk.review(NOW_MS, Owner())
    [sealed] = home.sealed()
    rejection = command(sealed, RejectReduction)
    assert rejection.contract_id == "sc2-1"
    assert rejection.reason.startswith("event_mismatch: ")
    assert home.answer("committed", "ok")
    assert home.state() is ContractState.REJECTED


def test_a_proposal_to_somebody_else_is_none_of_its_business(home):
    home.has_event()
    home.is_proposed(payee="dev-another")
    home.desk.review(NOW_MS, Owner())
    assert (home.state(), home.sealed()) == (None, [])


def test_a_proposal_past_its_deadline_costs_no_transaction(home):
    home.has_event()
    home.is_proposed()
    home.desk.review(TERMS.accept_by_ms + 1, Owner())
    assert (home.state(), home.sealed()) == (ContractState.EXPIRED, [])


def test_an_acceptance_the_ledger_refuses_is_no_contract(home):
    home.has_event()
    home.is_proposed()
    home.desk.review(NOW_MS, Owner())
    assert home.answer("refused", "funds_insufficient")
    assert home.state() is ContractState.FAILED
    assert home.sealed() == []
    assert home.store.outbox.refused() == [("AcceptReduction", "sc2-1", "funds_insufficient")]


def test_facts_take_a_contract_to_its_payment_and_replayed_ones_do_not_take_it_back(home):
    home.accepts()
    ids = {"contract_id": "sc2-1", "parent": "sc1-1", "payer": "vn-1", "payee": WALLET.party}
    accepted = home.hears(facts.ReductionAccepted(**ids, terms_digest=digest(TERMS)))
    figures = {"outcome": "success", "obligation_wh": 400, "delivered_wh": 420}
    home.hears(facts.DRSettled(**ids, **figures, shortfall_wh=0, missing=0, adjustment_wh=0))
    paid = facts.DRCompleted(
        **ids, **figures, paid_wh=420, energy_minor=42, children_minor=0, penalty_minor=0, amount_minor=42
    )
    home.hears(paid)
    home.desk.observe(accepted)
    found = home.store.contracts.find("sc2-1")
    assert (found.state, found.outcome) == (ContractState.COMPLETED, paid)
    assert [(each.kind, each.fact_index) for each in home.store.proofs.wanted()] == [("event", 0), ("payment", 0)]


def test_an_expiry_ends_a_proposal(home):
    home.is_proposed()
    home.hears(facts.DRExpired(contract_id="sc2-1", parent="sc1-1", payer="vn-1", payee=WALLET.party))
    assert home.state() is ContractState.EXPIRED


def test_the_cursor_moves_with_the_fact(home):
    assert home.desk.cursor == "0.0.0"
    home.is_proposed()
    assert home.desk.cursor == "1.1.0"


def test_under_contract_the_window_and_the_event_are_recorded_as_they_close(home):
    home.accepts()
    window_ms = TERMS.baseline.adjustment_start_ms  # four hours to one hour before
    home.store.meter.add(900, [(window_ms + n * STEP_MS, 600 + n) for n in range(3)])
    assert home.desk.record_readings(NOW_MS) == 3
    home.store.meter.add(900, [(window_ms + n * STEP_MS, 600 + n) for n in range(3, 16)])  # to the start
    assert home.desk.record_readings(NOW_MS) == 9  # the hour between window and event is nobody's
    home.store.meter.add(900, [(START_MS, 300), (START_MS + 2 * STEP_MS, 302)])
    assert home.desk.record_readings(NOW_MS) == 2
    assert home.desk.record_readings(NOW_MS) == 0
    recorded = [command(sealed, RecordMeasurements) for sealed in home.sealed()]
    assert [(each.start_ms, each.energy_wh) for each in recorded] == [
        (window_ms, (600, 601, 602)),
        (window_ms + 3 * STEP_MS, tuple(600 + n for n in range(3, 12))),
        (START_MS, (300,)),
        (START_MS + 2 * STEP_MS, (302,)),  # a missing interval parts them
    ]
    assert {each.device for each in recorded} == {WALLET.party}


def test_without_a_contract_nothing_is_recorded(home):
    home.is_proposed()
    assert home.desk.record_readings(NOW_MS) == 0


@pytest.mark.parametrize("code", ["measurement_future", "transaction_expired"])
def test_readings_refused_for_the_time_are_sealed_again(home, code):
    home.accepts()
    home.store.meter.add(900, [(START_MS, 300)])
    home.desk.record_readings(NOW_MS)
    [first] = home.sealed()
    assert home.answer("refused", code) is False
    assert home.desk.record_readings(NOW_MS) == 1
    [second] = home.sealed()
    assert second.transaction_id != first.transaction_id
    assert second.transaction.body == first.transaction.body


def test_readings_that_waited_too_long_are_sealed_for_a_later_time(home):
    """The ledger was out of reach until the first transaction had expired: the same would expire again, for ever."""
    home.accepts()
    home.store.meter.add(900, [(START_MS, 300)])
    home.desk.record_readings(NOW_MS)
    [first] = home.sealed()
    late_ms = first.transaction.header.not_after_ms + 1
    assert home.answer("refused", "transaction_expired") is False
    home.desk.record_readings(late_ms - 5 * DAY_MS)
    [second] = home.sealed()
    assert second.transaction.header.not_after_ms > late_ms


def settled(missing: int) -> facts.DRSettled:
    return facts.DRSettled(
        contract_id="sc2-1", parent="sc1-1", payer="vn-1", payee=WALLET.party, outcome="failure", obligation_wh=400,
        delivered_wh=0, shortfall_wh=400, missing=missing, adjustment_wh=0,
    )  # fmt: skip


@pytest.mark.parametrize(("missing", "recorded"), [(4, 1), (0, 0)])
def test_what_a_contract_was_settled_without_is_told_and_recorded_all_the_same(home, missing, recorded):
    """Readings count until somebody settles; later ones change no payment, but say on the ledger what it lacked."""
    home.accepts()
    home.hears(settled(missing))
    assert home.state() is ContractState.SETTLED
    assert home.store.contracts.all()[0].missing == missing
    home.store.meter.add(900, [(START_MS, 300)])
    assert home.desk.record_readings(TERMS.settle_after_ms + DAY_MS) == recorded


def test_what_the_ledger_would_not_take_any_more_is_not_offered_for_ever(home):
    home.accepts()
    home.hears(settled(4))
    home.store.meter.add(900, [(START_MS, 300)])
    assert home.desk.record_readings(TERMS.settle_after_ms + 91 * DAY_MS) == 0


def test_readings_stamped_by_a_wrong_clock_are_taken_out_of_the_outbox_and_older_ones_stay(home):
    home.accepts()
    home.store.meter.add(900, [(START_MS, 300)])
    home.desk.record_readings(NOW_MS)
    home.store.meter.add(900, [(START_MS + STEP_MS, 301), (START_MS + 2 * STEP_MS, 302)])
    home.desk.record_readings(NOW_MS)
    home.desk.withdraw(START_MS + STEP_MS)
    assert [sealed.subject for sealed in home.sealed()] == [str(START_MS)]
    assert home.store.meter.withdraw(START_MS + STEP_MS) == [START_MS + STEP_MS, START_MS + 2 * STEP_MS]


def test_a_home_with_a_wrong_clock_and_one_whose_owner_is_away_agree_to_nothing(home):
    home.has_event()
    home.is_proposed()
    home.desk.review(NOW_MS, Owner(), "the clock is at least 600 s behind the ledger's: set it")
    [contract] = home.store.contracts.all()
    assert (contract.state, contract.reason[:6]) == (ContractState.REJECTING, "clock:")
    away = OptSchedule(opt_id="o1", opt=Opt.OUT, windows=((START_MS + 3 * STEP_MS, START_MS + 9 * STEP_MS),))
    home.store.schedules.add(away)
    home.is_proposed(contract_id="sc2-2")
    home.desk.review(NOW_MS, Owner())
    rejected = home.store.contracts.find("sc2-2")
    assert rejected is not None
    assert (rejected.state, rejected.reason) == (
        ContractState.REJECTING, "owner: the owner's schedule o1: notParticipating",
    )  # fmt: skip


def test_readings_refused_for_good_are_kept_for_the_operator(home):
    home.accepts()
    home.store.meter.add(900, [(START_MS, 300)])
    home.desk.record_readings(NOW_MS)
    assert home.answer("refused", "measurement_conflict") is True
    assert home.desk.record_readings(NOW_MS) == 0
    assert home.store.outbox.refused() == [("RecordMeasurements", str(START_MS), "measurement_conflict")]


def test_a_day_under_contract_is_left_out_of_the_next_baseline(home):
    home.accepts()
    home.hears(
        facts.ReductionAccepted(
            contract_id="sc2-1", parent="sc1-1", payer="vn-1", payee=WALLET.party, terms_digest=digest(TERMS)
        )
    )
    next_ms = START_MS + DAY_MS
    home.store.meter.add(900, [(START_MS + n * STEP_MS, 100) for n in range(-16, 90)])
    event = a_dr_event("event-2", start_ms=next_ms)
    home.store.events.receive(event, request_id="r2", offset_s=0, now_ms=START_MS)
    terms = device_terms(start_ms=next_ms, dr_event_id="event-2", dr_event_digest=event_digest(event))
    readings = home.store.meter.between(0, next_ms)
    event_day = UTC.day_of(START_MS)
    honest = msgspec.structs.replace(terms, baseline=recompute(readings, UTC, terms, {event_day}))
    careless = msgspec.structs.replace(terms, baseline=recompute(readings, UTC, terms, ()))
    home.is_proposed(careless, "sc2-2")
    home.is_proposed(honest, "sc2-3")
    home.desk.review(next_ms - 3_600_000, Owner())
    assert (home.state("sc2-2"), home.state("sc2-3")) == (ContractState.REJECTING, ContractState.ACCEPTING)


@pytest.mark.parametrize("code", ["bad_signature", "body_invalid", "commitment_mismatch", "form_invalid"])
def test_what_was_damaged_on_its_way_is_sent_until_it_arrives_whole(home, code):
    home.accepts()
    home.store.meter.add(900, [(START_MS, 300)])
    home.desk.record_readings(NOW_MS)
    [sealed] = home.sealed()
    assert home.answer("refused", code) is False
    assert home.sealed() == [sealed]
    assert home.answer("committed", "ok") is True
    assert home.sealed() == []
