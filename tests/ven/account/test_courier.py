"""What the courier carries, and which proofs it believes."""

from __future__ import annotations

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from contracts.core.codec import digest
from contracts.core.commands import RejectReduction
from contracts.core.envelope import transaction_id
from ledger.client import LedgerUnavailable, ProofBundle, Result
from openadr.model import canonical
from tests.builders import START_MS, a_clock, a_dr_event, a_key, device_terms
from tests.ven.homes import UTC, a_store, a_stored_contract
from tests.ven.test_verification import EVENT, PAID, PAID_FILES, SET_UP_FILES, Files
from ven.account.courier import Courier
from ven.account.desk import Desk
from ven.account.wallet import Wallet
from ven.home.store import ContractState, ProofWanted
from ven.metrics import Metrics


class Answering:
    """A ledger that gives what the test laid out."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.results: list[str] = []
        self.files: dict[str, Files] = {"1" * 64: SET_UP_FILES, "2" * 64: PAID_FILES}

    async def send(self, transactions):
        self.sent.append([each.header.command for each in transactions])
        if not self.results:
            raise LedgerUnavailable("away")
        status = self.results.pop(0)
        return [Result(id=transaction_id(each.header), status=status, code="ok") for each in transactions]

    async def status(self):
        return {"time_ms": START_MS}

    async def proof(self, wanted_id, fact_index=None):
        assert fact_index == 1
        files = self.files[wanted_id]
        return ProofBundle(proof=files.proof, opening=files.opening)


class Home:
    def __init__(self, folder) -> None:
        self.folder = folder
        self.store = a_store(folder)
        self.ledger = Answering()
        self.woken = 0
        wallet = Wallet(a_key())
        self.desk = Desk(self.store, wallet, UTC, home="H1", interval_s=900, max_shed_w=1500)
        self.desk.party = "dev-1"
        self.courier = Courier(
            self.ledger,
            self.store,
            self.desk,
            folder,
            home="H1",
            backoff_max_s=1,
            metrics=Metrics(CollectorRegistry()),
            changed=self._changed,
            clock=a_clock(),
        )

    def _changed(self) -> None:
        self.woken += 1

    def knows(self, state: ContractState = ContractState.ACCEPTED, policy: bytes = SET_UP_FILES.policy, paid=PAID):
        self.store.notes.write_bytes("policy", policy)
        self.store.events.receive(a_dr_event(), request_id="r", offset_s=0, now_ms=START_MS)
        self.store.contracts.propose(a_stored_contract(state=state))
        self.wants("event", "1" * 64)
        if paid is not None:
            self.store.contracts.complete("sc2-1", paid)
            self.wants("payment", "2" * 64)

    def wants(self, kind: str, transaction_id: str) -> None:
        wanted = ProofWanted(contract_id="sc2-1", kind=kind, transaction_id=transaction_id, fact_index=1)
        self.store.proofs.want(wanted)


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    yield home
    home.store.close()


async def test_verified_proofs_are_kept_as_files_that_can_be_checked_again(home):
    home.knows()
    assert await home.courier.carry()
    assert home.store.proofs.kept() == [("sc2-1", "event"), ("sc2-1", "payment")]
    folder = home.folder / "proofs" / "sc2-1"
    assert (folder / "event.json").read_bytes() == EVENT == canonical(a_dr_event())
    assert (folder / "event.tlog-proof").read_bytes() == SET_UP_FILES.proof
    assert (folder / "payment.opening.json").read_bytes() == PAID_FILES.opening
    assert home.store.proofs.wanted() == []


@pytest.mark.parametrize(
    "trouble",
    [
        {"policy": Files(PAID, PAID).policy.replace(b"quorum", b"quorun")},
        {"paid": msgspec.structs.replace(PAID, amount_minor=39)},  # told of another payment than is proved
    ],
)
async def test_a_proof_that_does_not_fit_is_not_kept_and_is_fetched_again(home, trouble):
    home.knows(**trouble)
    assert not await home.courier.carry()
    assert ("sc2-1", "payment") not in home.store.proofs.kept()
    assert "payment" in [each.kind for each in home.store.proofs.wanted()]


async def test_a_proof_of_other_terms_is_not_kept(home):
    home.store.notes.write_bytes("policy", SET_UP_FILES.policy)
    terms = device_terms(deposit_minor=51)
    home.store.contracts.propose(a_stored_contract(terms=terms, terms_digest=digest(terms)))
    home.wants("event", "1" * 64)
    assert not await home.courier.carry()
    assert home.store.proofs.kept() == []


async def test_the_proof_of_terms_waits_for_the_answer_to_them(home):
    home.knows(ContractState.PROPOSED, paid=None)
    assert await home.courier.carry()
    assert home.store.proofs.kept() == []


async def test_what_the_ledger_did_not_answer_stays_and_is_sent_again(home):
    home.store.contracts.propose(a_stored_contract(state=ContractState.REJECTING))
    sealed = Wallet(a_key()).seal(RejectReduction(contract_id="sc2-1", reason="r"), START_MS)
    home.store.outbox.add(sealed, "sc2-1")
    with pytest.raises(LedgerUnavailable):
        await home.courier.carry()
    home.ledger.results = ["unknown", "committed"]
    assert not await home.courier.carry()
    assert home.store.outbox.count() == 1
    assert await home.courier.carry()
    assert home.store.outbox.count() == 0
    assert home.woken == 2
