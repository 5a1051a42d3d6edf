"""A replica over a migrated database, and what its parties send: real keys, real signatures, a clock that stands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.baseline import TEN_OF_TEN
from contracts.core import commands as c
from contracts.core.codec import encode
from contracts.core.envelope import seal
from contracts.core.parties import Role
from ledger.app import local_replica
from ledger.client import party_id
from ledger.config import LedgerSettings
from ledger.errors import OrderingUnavailable
from ledger.founding import Founded
from ledger.ordering.pool import TransactionResult
from ledger.replica import Replica
from runtime.clock import Clock
from runtime.database import create_engine
from runtime.keys import PrivateKey
from tests.builders import START_MS, a_clock, a_key
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, UTILITY, UTILITY_ID, founded

HOUR_MS = 3_600_000
EVENT_MS = START_MS + 5 * HOUR_MS
ACCEPT_BY_MS = START_MS + 600_000
VIRTUAL_NODE, DEVICE = a_key(104), a_key(105)
VIRTUAL_NODE_ID = party_id(Role.VIRTUAL_NODE, VIRTUAL_NODE.public)
DEVICE_ID = party_id(Role.DEVICE, DEVICE.public)
KEYS = {UTILITY_ID: UTILITY, AGGREGATOR_ID: AGGREGATOR, VIRTUAL_NODE_ID: VIRTUAL_NODE, DEVICE_ID: DEVICE}


def sealed(sender: str, command: c.Command, nonce: str = "", **given: Any) -> bytes:
    """The canonical bytes of a signed transaction; the same arguments give the same transaction."""
    made = sha256(encode([sender, nonce, type(command).__name__]) + encode(command))
    defaults: dict[str, Any] = {
        "channel": "main",
        "contract": c.CONTRACT_OF[type(command)],
        "nonce": nonce or made.hexdigest()[:32],
        "not_after_ms": START_MS + 24 * HOUR_MS,
        "salt": made.digest(),
        "sign": KEYS[sender].sign if sender in KEYS else AGGREGATOR.sign,
    }
    return encode(seal(command, sender=sender, **{**defaults, **given}))


def an_issue(amount_minor: int = 100_000, reference: str = "", to: str = AGGREGATOR_ID, **given: Any) -> bytes:
    return sealed(UTILITY_ID, c.Issue(to=to, amount_minor=amount_minor, reference=reference), **given)


def a_transfer(reference: str = "", amount_minor: int = 1, **given: Any) -> bytes:
    command = c.Transfer(to=UTILITY_ID, amount_minor=amount_minor, reference=reference)
    return sealed(AGGREGATOR_ID, command, **given)


def transfers(count: int, first: int = 0) -> list[bytes]:
    return [a_transfer(f"transfer {number}") for number in range(first, first + count)]


def an_enrolment(role: Role, key: PrivateKey) -> bytes:
    enrolment = c.Enrolment(
        party=party_id(role, key.public), role=role, key=key.public, sponsor=AGGREGATOR_ID, area="F1"
    )
    proof = key.sign(c.enrolment_bytes(enrolment)).hex()
    return sealed(AGGREGATOR_ID, c.EnrolParty(enrolment=enrolment, proof=proof))


def a_proposal(contract_id: str = "sc1-1") -> list[bytes]:
    """What leads to a proposed SC1 that the virtual node has until ACCEPT_BY_MS to accept."""
    prices = {"start_ms": EVENT_MS, "interval_s": 900, "energy_price_minor_per_mwh": 300_000}
    request = c.RequestReduction(
        need_id="need-1", aggregator=AGGREGATOR_ID, area="F1", target_wh=(1000,) * 4, budget_minor=5_000, **prices
    )
    terms = c.Terms(
        need_id="need-1", dr_event_id="evt-1", dr_event_digest="0" * 64, obligation_wh=(1000,) * 4,
        penalty_price_minor_per_mwh=100_000, tolerance_percent=20, cap_percent=120, success_percent=95,
        partial_percent=60, minimum_percent=70, deposit_minor=100, accept_by_ms=ACCEPT_BY_MS,
        activate_by_ms=ACCEPT_BY_MS + 600_000, settle_after_ms=EVENT_MS + 2 * HOUR_MS,
        baseline_preset=TEN_OF_TEN.name, baseline=None, assisting=(), meter_limit_wh=10_000, **prices,
    )  # fmt: skip
    offer = c.Offer(
        need_id="need-1", aggregator=AGGREGATOR_ID, virtual_node=VIRTUAL_NODE_ID, profile_wh=(1000,) * 4,
        valid_until_ms=EVENT_MS, **prices,
    )  # fmt: skip
    setup = c.SetupDR(
        contract_id=contract_id, parent=None, payee=VIRTUAL_NODE_ID, terms=terms, offer=offer,
        offer_signature=VIRTUAL_NODE.sign(c.offer_bytes(offer)).hex(),
    )  # fmt: skip
    return [
        an_enrolment(Role.VIRTUAL_NODE, VIRTUAL_NODE),
        an_enrolment(Role.DEVICE, DEVICE),
        an_issue(to=UTILITY_ID),
        sealed(UTILITY_ID, request),
        sealed(AGGREGATOR_ID, setup),
    ]


def readings(*energy_wh: int, start_ms: int = START_MS - HOUR_MS) -> bytes:
    """The device's meter, a quarter hour each."""
    command = c.RecordMeasurements(device=DEVICE_ID, start_ms=start_ms, interval_s=900, energy_wh=energy_wh)
    return sealed(DEVICE_ID, command)


class Ledger:
    """A replica with the engine and folder it runs on."""

    def __init__(self, replica: Replica, engine: AsyncEngine, founded: Founded, clock: Clock) -> None:
        self.replica = replica
        self.engine = engine
        self.founded = founded
        self.clock = clock

    async def submit(self, *transactions: bytes) -> list[TransactionResult]:
        return await self.replica.submit(transactions)

    async def run(self, *transactions: bytes) -> list[TransactionResult]:
        """Submits; every one must be committed."""
        results = await self.submit(*transactions)
        assert [result.code for result in results] == ["ok"] * len(transactions)
        return results

    async def sql(self, statement: str, **values: Any) -> Sequence[Any]:
        return await execute(self.engine, statement, **values)


@contextlib.asynccontextmanager
async def a_replica(url: str, folder: Path, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Ledger]:
    """A running replica; the same url and folder continue the same ledger."""
    clock = clock or a_clock()
    merged = LedgerSettings(data_dir=folder, **settings)
    engine = create_engine(url)
    agreed = founded(merged)
    try:
        async with local_replica(engine, agreed, merged, clock) as replica:
            yield Ledger(replica, engine, agreed, clock)
    finally:
        await engine.dispose()


async def execute(engine: AsyncEngine, statement: str, **values: Any) -> Sequence[Any]:
    """Rows of a statement run behind the ledger's back."""
    async with engine.begin() as connection:
        result = await connection.execute(text(statement), values)
        return result.all() if result.returns_rows else []


async def until_known(ledger: Ledger, content: bytes) -> list[TransactionResult]:
    """Submits the same transaction until its outcome is known, as the client does."""
    for _ in range(100):
        try:
            results = await ledger.submit(content)
        except OrderingUnavailable:
            await asyncio.sleep(0.1)
            continue
        if results[0].status != "unknown":
            return results
        await asyncio.sleep(0.05)
    raise AssertionError("still unknown")
