"""Carries sealed transactions to the ledger and proofs home. At least once: what was not answered is carried again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from contracts.core.envelope import Transaction
from ledger.client import LedgerError, ProofBundle, Result
from openadr.model import canonical
from runtime.clock import Clock
from runtime.logs import get_logger
from ven.account.desk import Desk
from ven.account.identity import read_policy
from ven.errors import ProofRefused, StoreFull
from ven.home.store import ContractState, ProofWanted, Store
from ven.home.store.proofs import EVENT
from ven.home.timekeeping import Timekeeper
from ven.metrics import Metrics
from ven.verification import check_event, check_payment

PROOF_FOLDER = "proofs"
_PAUSE_S = 1.0

_log = get_logger("ven.account.courier")


class Ledger(Protocol):
    """What the courier needs of `ledger.client.LedgerClient`."""

    async def send(self, transactions: Sequence[Transaction]) -> list[Result]: ...

    async def status(self) -> dict[str, Any]: ...

    async def proof(self, transaction_id: str, fact_index: int | None = None) -> ProofBundle: ...


class Courier:
    """One home's way to the ledger. `changed()` is called when an answer changed a contract."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        desk: Desk,
        folder: Path,
        *,
        home: str,
        backoff_max_s: float,
        metrics: Metrics,
        changed: Callable[[], None],
        clock: Clock,
        timekeeper: Timekeeper | None = None,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._desk = desk
        self._folder = folder
        self._home = home
        self._backoff_max_s = backoff_max_s
        self._metrics = metrics
        self._changed = changed
        self._clock = clock
        self._timekeeper = timekeeper
        self._asked = False  # what time it is there, since the ledger was last out of reach
        self._wanted = asyncio.Event()

    def call(self) -> None:
        """There may be something to carry."""
        self._wanted.set()

    async def run(self) -> None:
        """Carries for ever. What is open when it starts is from before a restart."""
        pause_s = _PAUSE_S
        while True:
            self._wanted.clear()
            try:
                done = await self.carry()
            except LedgerError as error:
                _log.warning("ledger not reached", home=self._home, error=str(error))
                done = self._asked = False
            if done:
                pause_s = _PAUSE_S
                await self._wanted.wait()
            else:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(self._backoff_max_s, 2 * pause_s)

    async def carry(self) -> bool:
        """Sends what is sealed and fetches what is wanted; False if something is left for later. Raises LedgerError."""
        done = True
        await self._ask_time()
        while pending := self._store.outbox.pending(now_ms=self._clock.now_ms()):
            self._desk.sending(pending, self._clock.now_ms())
            results = await self._ledger.send([each.transaction for each in pending])
            settled = [self._desk.settle(each, result) for each, result in zip(pending, results, strict=True)]
            for result in results:
                self._metrics.transactions.labels(result=result.status).inc()
            self._changed()
            if not all(settled):
                done = False
                break
        for wanted in self._store.proofs.wanted():
            if self._ripe(wanted):
                done = await self._fetch(wanted) and done
        return done

    async def _ask_time(self) -> None:
        """Before the first readings go out after an absence: a clock that is behind would stamp them too early, and no
        ledger could tell."""
        if self._timekeeper is None or self._asked or not self._store.outbox.count():
            return
        last_block_ms = (await self._ledger.status()).get("time_ms")
        self._asked = True
        if isinstance(last_block_ms, int):
            self._timekeeper.block(last_block_ms, None)

    def _ripe(self, wanted: ProofWanted) -> bool:
        """The proof of the terms waits until they are answered: then the event they name is here, if it ever comes."""
        contract = self._store.contracts.find(wanted.contract_id)
        return wanted.kind != EVENT or contract is None or contract.state is not ContractState.PROPOSED

    async def _fetch(self, wanted: ProofWanted) -> bool:
        bundle = await self._ledger.proof(wanted.transaction_id, wanted.fact_index)
        try:
            self._check(wanted, bundle)
        except ProofRefused as error:
            _log.error(
                "proof refused", home=self._home, contract=wanted.contract_id, kind=wanted.kind, error=str(error)
            )
            self._metrics.proofs.labels(result="refused").inc()
            return False
        self._write(wanted, f"{wanted.kind}.tlog-proof", bundle.proof)
        self._write(wanted, f"{wanted.kind}.opening.json", bundle.opening)
        self._store.proofs.keep(wanted, bundle.proof, bundle.opening)
        self._metrics.proofs.labels(result="verified").inc()
        return True

    def _check(self, wanted: ProofWanted, bundle: ProofBundle) -> None:
        """The proof must hold for the fact the home was told of, under the policy it was enrolled with."""
        policy = read_policy(self._store.notes)
        contract = self._store.contracts.find(wanted.contract_id)
        if contract is None:
            raise ProofRefused(f"no contract {wanted.contract_id} is known")
        if wanted.kind == EVENT:
            stored = self._store.events.find(contract.terms.dr_event_id)
            fits = stored is not None and stored.digest == contract.terms.dr_event_digest
            event = canonical(stored.event) if stored is not None and fits else None
            shown = check_event(bundle.proof, policy, bundle.opening, event)
            if shown.terms_digest != contract.terms_digest or shown.contract_id != contract.contract_id:
                raise ProofRefused("it shows other terms than those this home was told")
            if event is not None:
                self._write(wanted, "event.json", event)
            return
        payment = check_payment(bundle.proof, policy, bundle.opening)
        outcome = contract.outcome
        if outcome is None or (payment.contract_id, payment.payee, payment.amount_minor) != (
            contract.contract_id,
            contract.payee or self._desk.party,
            outcome.amount_minor,
        ):
            raise ProofRefused("it shows another payment than the one this home was told")

    def _write(self, wanted: ProofWanted, name: str, data: bytes) -> None:
        """A file for `dr-ven verify`. Raises StoreFull."""
        folder = self._folder / PROOF_FOLDER / wanted.contract_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        except OSError as error:
            raise StoreFull(f"{folder / name} cannot be written: {error}; make room on the disk") from error
