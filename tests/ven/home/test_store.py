"""What a home stored is there after kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from contracts.core.envelope import transaction_id
from openadr.v2 import ReportRequest, SpecifierPayload
from tests.builders import START_MS, a_dr_event
from tests.ven.homes import STEP_MS, a_store, a_stored_contract
from ven.errors import StoreError, StoreFull
from ven.home.store import ContractState, Opt, OptSchedule

ROOT = Path(__file__).parents[3]

SEAL_AND_DIE = """
import os, signal, sys
from pathlib import Path
from contracts.core.commands import AcceptReduction
from tests.builders import a_key
from tests.ven.homes import a_stored_contract
from ven.account.wallet import Wallet
from ven.home.store import ContractState, Store
store = Store(Path(sys.argv[1]) / "ven.sqlite")
contract = a_stored_contract(state=ContractState.PROPOSED)
store.contracts.propose(contract)
transaction = Wallet(a_key()).seal(AcceptReduction(contract_id="sc2-1", terms_digest=contract.terms_digest), 10**13)
with store.transaction():
    print(store.outbox.add(transaction, "sc2-1"), flush=True)
    store.contracts.move("sc2-1", ContractState.ACCEPTING)
os.kill(os.getpid(), signal.SIGKILL)
"""

WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from ven.home.store import Store
store = Store(Path(sys.argv[1]) / "ven.sqlite")
for n in range(10**9):
    with store.transaction():
        store.meter.add(900, [(n * 900_000, n)])
        store.notes.write("metered_until", n)
    print(n, flush=True)
"""

DIE_IN_A_TRANSACTION = """
import os, signal, sys
from pathlib import Path
from ven.home.store import Store
store = Store(Path(sys.argv[1]) / "ven.sqlite")
with store.transaction():
    store.meter.add(900, [(0, 1)])
    store.notes.write("metered_until", 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def python(code: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_what_was_sealed_before_a_kill_is_sent_after_it_as_the_same_transaction(tmp_path):
    process = python(SEAL_AND_DIE, tmp_path)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    store = a_store(tmp_path)
    [sealed] = store.outbox.pending()
    assert sealed.transaction_id == told.strip() == transaction_id(sealed.transaction.header)
    assert (sealed.command, sealed.subject) == ("AcceptReduction", "sc2-1")
    [contract] = store.contracts.all()
    assert contract.state is ContractState.ACCEPTING
    store.close()


def test_every_write_that_returned_survives_a_kill_in_the_middle_of_writing(tmp_path):
    process = python(WRITE_UNTIL_KILLED, tmp_path)
    assert process.stdout is not None
    last = 0
    for _ in range(50):
        last = int(process.stdout.readline())
    process.kill()
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    last = int(rest[-1]) if rest else last
    store = a_store(tmp_path)
    count, start_ms, energy_wh = store.meter.span()
    assert count >= last + 1
    assert start_ms == 900_000 * (count - 1)
    assert energy_wh == store.notes.read("metered_until", int) == count - 1
    store.close()


def test_a_transaction_that_was_cut_short_left_nothing(tmp_path):
    process = python(DIE_IN_A_TRANSACTION, tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    store = a_store(tmp_path)
    assert store.meter.span() == (0, 0, None)
    assert store.notes.read("metered_until", int) is None
    store.close()


def test_a_reading_is_written_once(tmp_path):
    store = a_store(tmp_path)
    store.meter.add(900, [(0, 1), (STEP_MS, 2)])
    store.meter.add(900, [(0, 7)])
    assert store.meter.between(0, 2 * STEP_MS) == {0: 1, STEP_MS: 2}
    store.close()


def test_an_event_keeps_its_answer_until_it_changes_and_is_answered_each_time_it_comes(tmp_path):
    store = a_store(tmp_path)
    event = a_dr_event()
    assert store.events.receive(event, request_id="r1", offset_s=0, now_ms=START_MS)
    store.events.decide("event-1", Opt.IN)
    [pending] = store.events.unanswered()
    assert pending.event == a_dr_event(created_ms=0)
    store.events.mark_sent("event-1", "0:optIn:200")
    assert store.events.unanswered() == []
    assert not store.events.receive(event, request_id="r2", offset_s=5, now_ms=START_MS)
    [again] = store.events.unanswered()  # rule 12: an unchanged event is answered too
    assert (again.request_id, again.opt, again.offset_s) == ("r2", Opt.IN, 0)
    assert store.events.receive(a_dr_event(modification_number=1), request_id="r3", offset_s=0, now_ms=START_MS)
    assert store.events.unanswered() == []
    store.close()


def test_an_answer_that_was_changed_is_sent_again(tmp_path):
    store = a_store(tmp_path)
    store.events.receive(a_dr_event(), request_id="r1", offset_s=0, now_ms=START_MS)
    store.events.decide("event-1", Opt.IN)
    store.events.mark_sent("event-1", "0:optIn:200")
    assert store.events.decide("event-1", Opt.OUT, 200, "the owner has opted out")
    assert [each.opt for each in store.events.unanswered()] == [Opt.OUT]
    store.close()


def test_an_event_that_wants_no_answer_gets_none(tmp_path):
    store = a_store(tmp_path)
    store.events.receive(a_dr_event(response_required=False), request_id="r1", offset_s=0, now_ms=START_MS)
    store.events.decide("event-1", Opt.IN)
    assert store.events.unanswered() == []
    store.close()


def a_request(**given) -> ReportRequest:
    defaults = {"report_request_id": "rr1", "report_specifier_id": "usage", "granularity_s": 900, "report_back_s": 900}
    return ReportRequest(**{**defaults, "payloads": (SpecifierPayload("meter", "Net"),), "start_ms": 0, **given})


def test_a_report_owes_history_from_its_start_and_every_later_reading_until_acknowledged(tmp_path):
    store = a_store(tmp_path)
    store.meter.add(900, [(n * STEP_MS, n) for n in range(4)])
    store.reports.begin(a_request(start_ms=2 * STEP_MS), 0)
    store.meter.add(900, [(4 * STEP_MS, 4)])
    store.reports.owe([4 * STEP_MS])
    assert [start // STEP_MS for start, _, _ in store.reports.owed("rr1", 9)] == [2, 3, 4]
    store.reports.acknowledge("rr1", [2 * STEP_MS, 3 * STEP_MS])
    store.reports.begin(a_request(start_ms=2 * STEP_MS), 0)  # asked again: nothing starts anew
    assert store.reports.owed("rr1", 9) == [(4 * STEP_MS, 900, 4)]
    store.reports.end("rr1")
    assert (store.reports.count_owed(), store.reports.running()) == (0, [])
    store.close()


def test_a_report_with_a_duration_owes_nothing_beyond_it(tmp_path):
    store = a_store(tmp_path)
    store.meter.add(900, [(n * STEP_MS, n) for n in range(6)])
    store.reports.begin(a_request(start_ms=STEP_MS, duration_s=1800), 0)
    store.reports.owe([5 * STEP_MS])
    assert [start // STEP_MS for start, _, _ in store.reports.owed("rr1", 9)] == [1, 2]
    store.close()


def test_a_known_proposal_keeps_its_state(tmp_path):
    store = a_store(tmp_path)
    contract = a_stored_contract(state=ContractState.PROPOSED)
    store.contracts.propose(contract)
    assert store.contracts.find("sc2-1") == contract
    store.contracts.move("sc2-1", ContractState.REJECTED, "why")
    store.contracts.propose(contract)
    found = store.contracts.find("sc2-1")
    assert found is not None
    assert (found.state, found.reason) == (ContractState.REJECTED, "why")
    store.close()


def test_a_file_of_another_program_is_not_touched(tmp_path):
    path = tmp_path / "ven.sqlite"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    with pytest.raises(StoreError, match="another program"):
        a_store(tmp_path)
    with closing(sqlite3.connect(path)) as foreign:
        assert foreign.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_a_newer_schema_is_refused(tmp_path):
    a_store(tmp_path).close()
    newer = sqlite3.connect(tmp_path / "ven.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="version 99"):
        a_store(tmp_path)


def test_only_the_owner_of_the_machine_reads_the_store(tmp_path):
    a_store(tmp_path).close()
    assert (tmp_path / "ven.sqlite").stat().st_mode & 0o077 == 0


VERSION_1 = (
    "CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE meter (start_ms INTEGER PRIMARY KEY, interval_s INTEGER NOT NULL, energy_wh INTEGER NOT NULL,"
    " sealed_in TEXT) STRICT",
    "CREATE TABLE contract (contract_id TEXT PRIMARY KEY, parent TEXT NOT NULL, payer TEXT NOT NULL,"
    " event_id TEXT NOT NULL, start_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL, terms BLOB NOT NULL,"
    " terms_digest TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', outcome BLOB) STRICT",
    "CREATE TABLE outbox (position INTEGER PRIMARY KEY AUTOINCREMENT, transaction_id TEXT NOT NULL UNIQUE,"
    " command TEXT NOT NULL, subject TEXT NOT NULL, body BLOB NOT NULL, result TEXT) STRICT",
    "INSERT INTO meter VALUES (0, 900, 7, 'tx-1'), (900000, 900, 8, NULL)",
    f"PRAGMA application_id = {0x47505645}",
    "PRAGMA user_version = 1",
)
"""What the first release wrote, as far as it changed."""


def test_the_store_of_an_older_release_is_taken_over_with_what_it_holds(tmp_path):
    with closing(sqlite3.connect(tmp_path / "ven.sqlite", isolation_level=None)) as old:
        for statement in VERSION_1:
            old.execute(statement)
    store = a_store(tmp_path)
    assert store.meter.between(0, 2 * STEP_MS) == {0: 7, STEP_MS: 8}
    assert store.meter.unsealed("dev-1", [0, STEP_MS]) == {STEP_MS: 8}
    store.contracts.propose(a_stored_contract(payee="dev-1"))
    assert store.contracts.all()[0].payee == "dev-1"
    assert store.outbox.pending() == []
    store.close()
    assert a_store(tmp_path).meter.span()[0] == 2


def test_a_reading_is_sealed_once_for_each_id_of_the_home(tmp_path):
    store = a_store(tmp_path)
    store.meter.add(900, [(0, 1), (STEP_MS, 2)])
    store.meter.mark_sealed("dev-1", [0], "tx-1")
    assert store.meter.unsealed("dev-1", [0, STEP_MS]) == {STEP_MS: 2}
    assert store.meter.unsealed("dev-2", [0, STEP_MS]) == {0: 1, STEP_MS: 2}
    store.meter.release("tx-1")
    assert store.meter.unsealed("dev-1", [0]) == {0: 1}


def fill(store) -> None:
    for n in range(1000):
        with store.transaction():
            store.meter.add(900, [(start * STEP_MS, start) for start in range(n * 100, n * 100 + 100)])


def test_a_full_disk_is_said_and_costs_nothing_that_was_accepted(tmp_path):
    store = a_store(tmp_path)
    store.contracts.propose(a_stored_contract())
    [(pages,)] = store.database.rows("PRAGMA page_count")
    store.database.rows(f"PRAGMA max_page_count = {pages}")  # SQLite's own SQLITE_FULL, without filling a disk
    with pytest.raises(StoreFull, match="make room"):
        fill(store)
    with pytest.raises(StoreFull):
        store.notes.write_bytes("device", bytes(100_000))
    count = store.meter.span()[0]
    assert count % 100 == 0  # whole transactions only
    store.database.rows(f"PRAGMA max_page_count = {2**30}")
    store.notes.write_bytes("device", bytes(100_000))
    assert store.meter.span()[0] == count
    assert store.contracts.all() == [a_stored_contract()]


def test_a_schedule_is_told_once_and_taken_back_once(tmp_path):
    store = a_store(tmp_path)
    first = OptSchedule(opt_id="o1", opt=Opt.OUT, windows=((0, 5), (7, 9)), created_ms=1)
    second = OptSchedule(opt_id="o2", opt=Opt.IN, windows=((2, 3),), resource="H1", created_ms=2)
    store.schedules.add(first)
    store.schedules.add(second)
    assert store.schedules.untold() == [first, second]
    store.schedules.mark_told("o1", cancelled=False)
    assert store.schedules.cancel("o1")
    assert not store.schedules.cancel("o1")
    assert store.schedules.cancel("o2")  # the VTN never heard of it
    assert [(each.opt_id, each.cancelled) for each in store.schedules.untold()] == [("o1", True)]
    store.schedules.mark_told("o1", cancelled=True)
    assert (store.schedules.untold(), store.schedules.live()) == ([], [])


def test_after_a_new_registration_every_live_schedule_is_told_again(tmp_path):
    store = a_store(tmp_path)
    for n in range(3):
        store.schedules.add(OptSchedule(opt_id=f"o{n}", opt=Opt.OUT, windows=((0, 5),), created_ms=n))
        store.schedules.mark_told(f"o{n}", cancelled=False)
    store.schedules.cancel("o1")
    store.schedules.tell_again()
    assert [each.opt_id for each in store.schedules.untold()] == ["o0", "o2"]
