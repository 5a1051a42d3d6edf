"""The store lets go of what is old, and of nothing that is still owed or open."""

from __future__ import annotations

import pytest

from contracts.core.commands import AcceptReduction
from tests.builders import START_MS, a_dr_event, a_key, device_terms
from tests.ven.homes import DAY_MS, STEP_MS, a_store, a_stored_contract
from ven.account.wallet import Wallet
from ven.home.retention import LOOK_MS, Retention
from ven.home.store import ContractState, Opt, OptSchedule

NOW_MS = START_MS + 1000 * DAY_MS
KEEP_DAYS = 800


@pytest.fixture
def store(tmp_path):
    return a_store(tmp_path)


@pytest.fixture
def retention(store):
    return Retention(store, home="H1", keep_days=KEEP_DAYS)


def receive(store, event_id: str, start_ms: int, received_ms: int, opt: Opt | None = Opt.IN, sent: bool = True) -> None:
    store.events.receive(a_dr_event(event_id, start_ms=start_ms), request_id="r", offset_s=0, now_ms=received_ms)
    if opt is not None:
        store.events.decide(event_id, opt)
    if sent:
        store.events.mark_sent(event_id, "0:optIn:200")


def test_old_readings_go_with_what_belongs_to_them(store, retention):
    old_ms, new_ms = NOW_MS - 801 * DAY_MS, NOW_MS - 799 * DAY_MS
    store.meter.add(900, [(old_ms, 1), (new_ms, 2)])
    store.meter.mark_sealed("dev-1", [old_ms, new_ms], "tx")
    retention.look(NOW_MS)
    assert store.meter.between(0, NOW_MS) == {new_ms: 2}
    assert store.database.rows("SELECT start_ms FROM sealed") == [(new_ms,)]


@pytest.mark.parametrize(
    ("state", "kept"),
    [(ContractState.COMPLETED, False), (ContractState.REJECTED, False), (ContractState.ACCEPTED, True)],
)
def test_a_contract_goes_once_it_has_ended_long_ago(store, retention, state, kept):
    terms = device_terms(start_ms=NOW_MS - 810 * DAY_MS)
    store.contracts.propose(a_stored_contract("old", terms, state=state))
    store.contracts.propose(a_stored_contract("new", device_terms(start_ms=NOW_MS), state=state))
    retention.look(NOW_MS)
    assert [each.contract_id for each in store.contracts.all()] == (["old", "new"] if kept else ["new"])


def test_events_go_after_sixty_days_unless_their_answer_is_owed(store, retention):
    old_ms = NOW_MS - 61 * DAY_MS
    receive(store, "old", old_ms, old_ms)
    receive(store, "owed", old_ms, old_ms, sent=False)
    receive(store, "young", NOW_MS - 59 * DAY_MS, NOW_MS - 59 * DAY_MS)
    receive(store, "ahead", NOW_MS + DAY_MS, old_ms)
    retention.look(NOW_MS)
    assert {each.event.event_id for each in store.events.all()} == {"owed", "young", "ahead"}


def test_a_vtn_that_floods_the_home_with_events_fills_no_disk(store):
    for n in range(30):
        receive(store, f"event-{n:02d}", NOW_MS - DAY_MS, NOW_MS - DAY_MS + n)
    receive(store, "active", NOW_MS, NOW_MS)
    assert store.events.forget(NOW_MS - 60 * DAY_MS, NOW_MS, 10) == 20
    kept = {each.event.event_id for each in store.events.all()}
    assert kept == {"active", *(f"event-{n}" for n in range(20, 30))}


def test_refused_transactions_are_kept_up_to_a_number_and_unanswered_ones_all(store):
    wallet = Wallet(a_key())
    for n in range(12):
        sealed = wallet.seal(AcceptReduction(contract_id=f"sc2-{n}", terms_digest="0" * 64), NOW_MS)
        sealed_id = store.outbox.add(sealed, f"sc2-{n}")
        if n >= 2:
            store.outbox.refuse(sealed_id, "deadline_passed")
    assert store.outbox.forget(4) == 6
    assert [subject for _, subject, _ in store.outbox.refused()] == [f"sc2-{n}" for n in range(8, 12)]
    assert store.outbox.count() == 2


def test_schedules_go_once_they_are_over_for_long(store, retention):
    for opt_id, end_ms in (("old", NOW_MS - 801 * DAY_MS), ("new", NOW_MS)):
        store.schedules.add(OptSchedule(opt_id=opt_id, opt=Opt.OUT, windows=((end_ms - 1, end_ms),)))
    retention.look(NOW_MS)
    assert [each.opt_id for each in store.schedules.all()] == ["new"]


def test_it_looks_now_and_then(store, retention):
    retention.look(NOW_MS)
    store.meter.add(900, [(0, 1)])
    assert retention.look(NOW_MS + LOOK_MS - 1) == 0
    assert retention.look(NOW_MS + LOOK_MS) == 1


def test_two_years_of_intervals_fit_a_small_disk(store, tmp_path):
    """A bound on growth: a reading costs a few bytes, and the file does not grow once old ones go."""
    store.meter.add(900, [(n * STEP_MS, n % 900) for n in range(20_000)])
    [(pages,)] = store.database.rows("PRAGMA page_count")
    store.meter.forget(10_000 * STEP_MS)
    store.meter.add(900, [(n * STEP_MS, n % 900) for n in range(20_000, 29_000)])
    [(later,)] = store.database.rows("PRAGMA page_count")
    assert later <= pages
    assert pages * 4096 / 20_000 < 40  # bytes a reading
