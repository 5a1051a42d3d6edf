"""The home's desk for contracts: takes facts of the ledger in, puts sealed transactions out.

    fact DRSetUp ──▶ proposed ──judge──▶ accepting ──▶ accepted ──▶ settled ──▶ completed (payment proof wanted)
                        │                    └─refused─▶ failed
                        └──▶ rejecting ──▶ rejected          facts may also say: expired

Everything here is a database transaction without waiting; who sends what is sealed is the courier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contracts.core import facts
from contracts.core.codec import digest
from contracts.core.commands import AcceptReduction, RecordMeasurements, RejectReduction, Terms
from forecasting.calendar import SiteCalendar
from ledger.client import COMMITTED, REFUSED, START, FactRecord, Result
from runtime.logs import get_logger
from ven.account.proposal import Accept, Reject, View, Wait, judge
from ven.account.wallet import Wallet
from ven.home.owner import Owner
from ven.home.store import Contract, ContractState, ProofWanted, Sealed, Store
from ven.home.store.proofs import EVENT, PAYMENT
from ven.home.timekeeping import Timekeeper

CURSOR_NOTE = "ledger_cursor"
REPORTED_FROM_NOTE = "reported_from"
#: the ledger takes readings for 120 days, by then any bill is beyond dispute; the rest of the time is for its answer
_LATE_READINGS_MS = 90 * 86_400_000
_LOOK_BACK_MS = 50 * 86_400_000  # more than any baseline preset looks back
#: refused before it was ordered: it was damaged on its way, what is stored here is good and is sent again
_DAMAGED = ("bad_signature", "body_invalid", "commitment_mismatch", "form_invalid")
#: refusals that say nothing about the readings: they are sealed again
_TRY_AGAIN = ("measurement_future", "transaction_expired")

_SENT_MAX = 256  # transactions of which the moment of sending is remembered

_MEASURED = (ContractState.ACCEPTED, ContractState.SETTLED, ContractState.COMPLETED)

_log = get_logger("ven.account.desk")


class Desk:
    """Contracts of one home. `max_shed_w` is what the device can shed at most, `incapable` says why past events speak
    against a contract."""

    def __init__(
        self,
        store: Store,
        wallet: Wallet,
        calendar: SiteCalendar,
        *,
        home: str,
        interval_s: int,
        max_shed_w: int,
        timekeeper: Timekeeper | None = None,
        incapable: Callable[[Contract], str | None] = lambda _: None,
    ) -> None:
        self.party = wallet.party
        self._store = store
        self._wallet = wallet
        self._calendar = calendar
        self._home = home
        self._interval_s = interval_s
        self._max_shed_w = max_shed_w
        self._timekeeper = timekeeper
        self._incapable = incapable
        self._sent_ms: dict[str, int] = {}

    @property
    def cursor(self) -> str:
        """The last fact taken in."""
        return self._store.notes.read(CURSOR_NOTE, str) or START

    def observe(self, record: FactRecord) -> None:
        """Takes a fact in, with the cursor behind it in the same transaction."""
        if self._timekeeper is not None:
            self._timekeeper.block(record.time_ms, self._sent_ms.pop(record.transaction_id or "", None))
        with self._store.transaction():
            self._observe(record)
            self._store.notes.write(CURSOR_NOTE, record.cursor)

    def review(self, now_ms: int, owner: Owner, clock_wrong: str | None = None) -> int | None:
        """Accepts or rejects proposals; returns when to look again at those that wait for their event.

        `clock_wrong`: why this home cannot keep to a time, None if it can."""
        waits: list[int] = []
        for contract in self._store.contracts.in_state(ContractState.PROPOSED):
            if self._of_another(contract):
                continue
            match judge(contract, self._view(contract, now_ms, owner, clock_wrong)):
                case Accept():
                    self._accept(contract)
                case Wait(until_ms=until_ms):
                    waits.append(until_ms)
                case Reject(code="deadline") as verdict:
                    self._store.contracts.move(contract.contract_id, ContractState.EXPIRED, verdict.text)
                case Reject() as verdict:
                    self._reject(contract, verdict)
        return min(waits, default=None)

    def record_readings(self, now_ms: int) -> int:
        """Seals the readings that binding contracts need and no transaction carries yet; returns their number.

        Those of a contract that was settled meanwhile are recorded too: they say what it was settled without."""
        sealed = 0
        for contract in self._store.contracts.in_state(*_MEASURED):
            if (
                contract.missing == 0
                or self._of_another(contract)
                or now_ms > contract.terms.settle_after_ms + _LATE_READINGS_MS
            ):
                continue
            readings = self._store.meter.unsealed(self.party, _needed_ms(contract.terms))
            for starts_ms in _runs(list(readings), self._interval_s * 1000):
                command = RecordMeasurements(
                    device=self.party,
                    start_ms=starts_ms[0],
                    interval_s=self._interval_s,
                    energy_wh=tuple(readings[start_ms] for start_ms in starts_ms),
                )
                transaction = self._wallet.seal(command, now_ms + _LATE_READINGS_MS)
                with self._store.transaction():
                    sealed_id = self._store.outbox.add(transaction, str(starts_ms[0]))
                    self._store.meter.mark_sealed(self.party, starts_ms, sealed_id)
                sealed += len(starts_ms)
        return sealed

    def withdraw(self, from_ms: int) -> None:
        """Readings since `from_ms` that wait to be sent are not: they were stamped by a clock that is wrong."""
        for sealed in self._store.outbox.pending(limit=-1):
            if sealed.command != "RecordMeasurements" or sealed.transaction.header.sender != self.party:
                continue
            if self._store.meter.sealed_until(sealed.transaction_id) >= from_ms:
                with self._store.transaction():
                    self._store.outbox.drop(sealed.transaction_id)
                    self._store.meter.release(sealed.transaction_id)

    def sending(self, pending: Sequence[Sealed], now_ms: int) -> None:
        """These are sent now: the block that holds one of them is made later than this."""
        while len(self._sent_ms) > _SENT_MAX:
            del self._sent_ms[next(iter(self._sent_ms))]
        for each in pending:
            self._sent_ms.setdefault(each.transaction_id, now_ms)

    def settle(self, sealed: Sealed, result: Result) -> bool:
        """Takes the ledger's answer in; False if it should be asked again later."""
        if result.status not in (COMMITTED, REFUSED):
            return False
        if result.status == REFUSED and result.height is None and result.code in _DAMAGED:
            _log.warning("damaged on its way", home=self._home, command=sealed.command, code=result.code)
            return False
        with self._store.transaction():
            return _SETTLE[sealed.command](self, sealed, None if result.status == COMMITTED else result.code)

    def _of_another(self, contract: Contract) -> bool:
        """Is it a contract of another id of this home?"""
        return contract.payee not in ("", self.party)

    def _observe(self, record: FactRecord) -> None:
        match record.fact:
            case facts.DRSetUp(parent=str(parent), payee=self.party) as fact:
                self._propose(record, fact, parent)
            case facts.ReductionAccepted(payee=self.party) as fact:
                self._advance(fact.contract_id, ContractState.ACCEPTED)
            case facts.ReductionRejected(payee=self.party) as fact:
                self._advance(fact.contract_id, ContractState.REJECTED)
            case facts.DRExpired(payee=self.party) as fact:
                self._advance(fact.contract_id, ContractState.EXPIRED)
            case facts.DRSettled(payee=self.party) as fact:
                self._advance(fact.contract_id, ContractState.SETTLED)
                self._store.contracts.measured(fact.contract_id, fact.missing)
                if fact.missing:
                    _log.warning(
                        "settled without readings", home=self._home, contract=fact.contract_id, missing=fact.missing
                    )
            case facts.DRCompleted(payee=self.party) as fact:
                self._store.contracts.complete(fact.contract_id, fact)
                self._want_proof(record, fact.contract_id, PAYMENT)
                _log.info("paid", home=self._home, contract=fact.contract_id, amount_minor=fact.amount_minor)
            case _:
                pass

    def _propose(self, record: FactRecord, fact: facts.DRSetUp, parent: str) -> None:
        self._store.contracts.propose(
            Contract(
                contract_id=fact.contract_id,
                parent=parent,
                payer=fact.payer,
                received_ms=record.time_ms,
                terms=fact.terms,
                terms_digest=digest(fact.terms),
                state=ContractState.PROPOSED,
                payee=self.party,
            )
        )
        self._want_proof(record, fact.contract_id, EVENT)

    def _advance(self, contract_id: str, state: ContractState) -> None:
        """Follows the ledger, except that a replayed fact never takes a contract back."""
        contract = self._store.contracts.find(contract_id)
        if contract is None or _ORDER[contract.state] > _ORDER[state]:
            return
        self._store.contracts.move(contract_id, state)

    def _want_proof(self, record: FactRecord, contract_id: str, kind: str) -> None:
        if record.transaction_id is not None:
            self._store.proofs.want(
                ProofWanted(
                    contract_id=contract_id,
                    kind=kind,
                    transaction_id=record.transaction_id,
                    fact_index=record.ordinal,
                )
            )

    def _view(self, contract: Contract, now_ms: int, owner: Owner, clock_wrong: str | None) -> View:
        known = [each for each in self._store.contracts.all() if each.contract_id != contract.contract_id]
        binding = [each for each in known if each.state.binding]
        return View(
            now_ms=now_ms,
            owner=owner,
            calendar=self._calendar,
            max_shed_w=self._max_shed_w,
            interval_s=self._interval_s,
            event=self._store.events.find(contract.terms.dr_event_id),
            readings_wh=self._store.meter.between(now_ms - _LOOK_BACK_MS, now_ms),
            reported_from_ms=self._store.notes.read(REPORTED_FROM_NOTE, int),
            event_days={self._calendar.day_of(each.terms.start_ms) for each in binding},
            agreed=[*binding, *(each for each in known if each.state is ContractState.ACCEPTING)],
            schedules=self._store.schedules.live(),
            resource=self._home,
            clock_wrong=clock_wrong,
            incapable=self._incapable(contract),
        )

    def _accept(self, contract: Contract) -> None:
        command = AcceptReduction(contract_id=contract.contract_id, terms_digest=contract.terms_digest)
        self._put_out(contract, command, contract.terms.accept_by_ms, ContractState.ACCEPTING, "")

    def _reject(self, contract: Contract, verdict: Reject) -> None:
        command = RejectReduction(contract_id=contract.contract_id, reason=verdict.text)
        self._put_out(contract, command, contract.terms.accept_by_ms, ContractState.REJECTING, verdict.text)

    def _put_out(
        self,
        contract: Contract,
        command: AcceptReduction | RejectReduction,
        not_after_ms: int,
        state: ContractState,
        reason: str,
    ) -> None:
        transaction = self._wallet.seal(command, not_after_ms)
        with self._store.transaction():
            self._store.outbox.add(transaction, contract.contract_id)
            self._store.contracts.move(contract.contract_id, state, reason)
        _log.info("contract answered", home=self._home, contract=contract.contract_id, state=state, reason=reason)

    def _settle_accept(self, sealed: Sealed, refusal: str | None) -> bool:
        if refusal is None:
            self._store.outbox.drop(sealed.transaction_id)
            self._advance(sealed.subject, ContractState.ACCEPTED)
        else:
            self._store.outbox.refuse(sealed.transaction_id, refusal)
            self._advance(sealed.subject, ContractState.FAILED)
            self._store.contracts.move(sealed.subject, self._state(sealed.subject), f"the ledger refused: {refusal}")
        return True

    def _settle_reject(self, sealed: Sealed, refusal: str | None) -> bool:
        """Refused or not: the home does not take part."""
        self._advance(sealed.subject, ContractState.REJECTED)
        if refusal is None:
            self._store.outbox.drop(sealed.transaction_id)
        else:
            self._store.outbox.refuse(sealed.transaction_id, refusal)
        return True

    def _settle_end(self, sealed: Sealed, refusal: str | None) -> bool:
        """The end of an id that this home had before."""
        if refusal is None:
            self._store.outbox.drop(sealed.transaction_id)
        else:
            _log.warning("old id not ended", home=self._home, command=sealed.command, code=refusal)
            self._store.outbox.refuse(sealed.transaction_id, refusal)
        return True

    def _settle_readings(self, sealed: Sealed, refusal: str | None) -> bool:
        if refusal is None:
            self._store.outbox.drop(sealed.transaction_id)
            return True
        if refusal in _TRY_AGAIN:
            self._store.meter.release(sealed.transaction_id)
            self._store.outbox.drop(sealed.transaction_id)
            return False
        _log.error("readings refused", home=self._home, start_ms=sealed.subject, code=refusal)
        self._store.outbox.refuse(sealed.transaction_id, refusal)
        return True

    def _state(self, contract_id: str) -> ContractState:
        found = self._store.contracts.find(contract_id)
        return ContractState.FAILED if found is None else found.state


#: a state is left only for one of the same or a higher number
_ORDER = {
    ContractState.PROPOSED: 0,
    ContractState.ACCEPTING: 1,
    ContractState.REJECTING: 1,
    ContractState.FAILED: 2,
    ContractState.ACCEPTED: 3,
    ContractState.REJECTED: 3,
    ContractState.EXPIRED: 3,
    ContractState.SETTLED: 4,
    ContractState.COMPLETED: 5,
}

_SETTLE: dict[str, Callable[[Desk, Sealed, str | None], bool]] = {
    "AcceptReduction": Desk._settle_accept,
    "RejectReduction": Desk._settle_reject,
    "RecordMeasurements": Desk._settle_readings,
    "Transfer": Desk._settle_end,
    "RevokeParty": Desk._settle_end,
}


def _needed_ms(terms: Terms) -> list[int]:
    """Starts of the adjustment window's intervals and of the contract's."""
    step_ms = terms.interval_s * 1000
    baseline = terms.baseline
    count = 0 if baseline is None else len(baseline.adjustment_wh)
    first_ms = 0 if baseline is None else baseline.adjustment_start_ms
    window = [first_ms + n * step_ms for n in range(count)]
    return [*window, *(terms.start_ms + n * step_ms for n in range(len(terms.obligation_wh)))]


def _runs(starts_ms: list[int], step_ms: int) -> list[list[int]]:
    """Ascending starts cut where an interval is missing."""
    runs: list[list[int]] = []
    for start_ms in starts_ms:
        if runs and runs[-1][-1] + step_ms == start_ms:
            runs[-1].append(start_ms)
        else:
            runs.append([start_ms])
    return runs
