"""An open VTN for tests: real PostgreSQL, a ledger in memory, a clock that stands."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from contracts.core.commands import Enrolment, Issue, enrolment_bytes
from contracts.core.envelope import seal
from contracts.core.parties import Role
from ledger.client import LedgerClient, party_id
from runtime.clock import Clock
from runtime.database import create_engine
from runtime.keys import PrivateKey
from tests.builders import a_key
from tests.vtn.memory_ledger import MemoryLedger
from vtn.config import VtnSettings
from vtn.context import Vtn, build
from vtn.records.database import Database
from vtn.services.enrolment import EnrolmentRequest
from vtn.services.vens import Resource

PROGRAM = "evening"
AGGREGATOR_KEY = a_key(100)
UTILITY_KEY = a_key(101)


@dataclass
class Opened:
    """The VTN with what surrounds it."""

    vtn: Vtn
    ledger: MemoryLedger


@contextlib.asynccontextmanager
async def opened(
    url: str, clock: Clock, tmp_path: Path, ledger: MemoryLedger | None = None, **settings: object
) -> AsyncIterator[Opened]:
    """A VTN on a migrated database; with the `ledger` of an earlier one it is the same VTN after a restart."""
    ledger = ledger or MemoryLedger(clock, (Role.AGGREGATOR, AGGREGATOR_KEY), (Role.UTILITY, UTILITY_KEY))
    server = TestServer(ledger.app())
    await server.start_server()
    engine = create_engine(url)
    try:
        chosen = VtnSettings(data_dir=tmp_path, ledger_url=str(server.make_url("/")).rstrip("/"), **settings)
        party = party_id(Role.AGGREGATOR, AGGREGATOR_KEY.public)
        async with LedgerClient(
            chosen.ledger_url, key=AGGREGATOR_KEY, party=party, clock=clock, deadline_s=0.3
        ) as client:
            vtn = build(
                chosen, clock=clock, database_url=url, database=Database(engine), key=AGGREGATOR_KEY, ledger=client
            )
            await vtn.programs.create(PROGRAM)
            yield Opened(vtn, ledger)
    finally:
        await engine.dispose()
        await server.close()


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """The URL of an application on loopback."""
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("/")).rstrip("/")
    finally:
        await server.close()


def fund(ledger: MemoryLedger, amount_minor: int) -> None:
    """Money for the aggregator, issued by the utility."""
    issue = Issue(to=party_id(Role.AGGREGATOR, AGGREGATOR_KEY.public), amount_minor=amount_minor, reference="test")
    sender = party_id(Role.UTILITY, UTILITY_KEY.public)
    transaction = seal(
        issue, channel="main", contract="tokens", sender=sender, nonce="issue-1",
        not_after_ms=ledger.clock.now_ms() + 1000, salt=bytes(32), sign=UTILITY_KEY.sign,
    )  # fmt: skip
    assert ledger.execute(transaction)["code"] == "ok"


def an_enrolment_request(code: str, ven_name: str, key: PrivateKey, sponsor: str, area: str = "F1") -> EnrolmentRequest:
    """What a VEN with this key asks with."""
    enrolment = Enrolment(
        party=party_id(Role.DEVICE, key.public), role=Role.DEVICE, key=key.public, sponsor=sponsor, area=area
    )
    proof = key.sign(enrolment_bytes(enrolment)).hex()
    resource = Resource(flexible_w=1500, flexible_percent=30)
    return EnrolmentRequest(code=code, ven_name=ven_name, public_key=key.public, proof=proof, resource=resource)
