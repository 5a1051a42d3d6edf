"""One process with main and the child channel vn-1, their parties, and an evening of demand response in the child."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from contracts.core import commands as c
from contracts.core.codec import digest
from contracts.core.parties import Role
from contracts.rules import Genesis
from contracts.tokens import Account
from ledger.app import build
from ledger.channels.founding import found_child
from ledger.client import LedgerClient, party_id
from ledger.config import LedgerSettings
from runtime.clock import ManualClock
from runtime.keys import PrivateKey
from tests.builders import START_MS
from tests.contracts.world import BASELINE, END_MS, EVENT_MS, SETTLE_MS, a_home_setup, a_request, an_offer
from tests.contracts.world import group_terms as group
from tests.contracts.world import home_terms as home
from tests.ledger.replicas import DEVICE, DEVICE_ID, VIRTUAL_NODE, VIRTUAL_NODE_ID
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, AUDITOR, UTILITY, UTILITY_ID, an_enrolment, founded

T = TypeVar("T")
CHILD = "vn-1"
AUDITOR_ID = party_id(Role.AUDITOR, AUDITOR.public)
KEYS: dict[str, PrivateKey] = {
    UTILITY_ID: UTILITY, AGGREGATOR_ID: AGGREGATOR, AUDITOR_ID: AUDITOR, VIRTUAL_NODE_ID: VIRTUAL_NODE,
    DEVICE_ID: DEVICE,
}  # fmt: skip


class Hosted:
    """The running process: its address, clock and settings."""

    def __init__(
        self,
        url: str,
        clock: ManualClock,
        settings: LedgerSettings,
        child: Genesis,
        policy: bytes,
        app: web.Application,
    ) -> None:
        self.app = app
        self.url = url
        self.clock = clock
        self.settings = settings
        self.child = child
        self.policy = policy
        self._clients: dict[tuple[str, str], LedgerClient] = {}

    def as_(self, party: str, channel: str = CHILD) -> LedgerClient:
        """The client of a party in a channel."""
        at = (party, channel)
        if at not in self._clients:
            self._clients[at] = LedgerClient(self.url, channel=channel, key=KEYS[party], party=party, clock=self.clock)
        return self._clients[at]

    async def run(self, party: str, *commands: c.Command, channel: str = CHILD) -> list[str]:
        """Commands that must be committed; their ids."""
        return [(await self.as_(party, channel).submit(command)).id for command in commands]

    async def free(self, account: str, channel: str = CHILD) -> int:
        """Free funds of an account."""
        found = await self.as_(AUDITOR_ID, channel).record(Account, account) or Account()
        return found.credits_posted - found.debits_posted - found.debits_pending

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


@contextlib.asynccontextmanager
async def hosting(database_url: str, folder: Path, monkeypatch: Any) -> AsyncIterator[Hosted]:
    """main and vn-1 in one process, with a crossing each way; the aggregator brings what has to be brought."""
    clock = ManualClock(START_MS)
    monkeypatch.setattr(LedgerSettings, "clock", lambda _: clock)
    key_file = folder / "aggregator.key"
    if not key_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        key_file.write_text(f"ed25519:{AGGREGATOR._seed.hex()}\n")
        key_file.chmod(0o600)
    settings = LedgerSettings(
        database_url=database_url, data_dir=folder / "ledger", crossing_key=key_file, crossing_interval_s=0.02
    )
    main = founded(settings)
    parties = [an_enrolment(Role.UTILITY, UTILITY), an_enrolment(Role.AGGREGATOR, AGGREGATOR)]
    child, policy = found_child(
        settings, main, CHILD, parties=[*parties, an_enrolment(Role.AUDITOR, AUDITOR)], created_ms=START_MS
    )
    runner = web.AppRunner(build(settings, main), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        hosted = Hosted(f"http://127.0.0.1:{runner.addresses[0][1]}", clock, settings, child, policy, runner.app)
        try:
            yield hosted
        finally:
            await hosted.close()
    finally:
        await runner.cleanup()


async def until(ask: Callable[[], Awaitable[T]], fits: Callable[[T], bool], seconds: float = 60.0) -> T:
    """The first answer that fits."""
    async with asyncio.timeout(seconds):
        while not fits(answer := await ask()):
            await asyncio.sleep(0.02)
    return answer


def enrolment(role: Role, key: PrivateKey) -> c.EnrolParty:
    wish = c.Enrolment(party=party_id(role, key.public), role=role, key=key.public, sponsor=AGGREGATOR_ID, area="F1")
    return c.EnrolParty(enrolment=wish, proof=key.sign(c.enrolment_bytes(wish)).hex())


async def an_evening(hosted: Hosted) -> None:
    """A need, a group contract, a home contract, readings, settlement, payment: all of it inside the child."""
    await hosted.run(
        UTILITY_ID, a_request(aggregator=AGGREGATOR_ID, target_wh=(250,) * 4, budget_minor=1000),
        c.Transfer(to=VIRTUAL_NODE_ID, amount_minor=200, reference=""),
        c.Transfer(to=DEVICE_ID, amount_minor=100, reference=""),
    )  # fmt: skip
    terms = group(obligation_wh=(250,) * 4)
    offer = an_offer(terms, aggregator=AGGREGATOR_ID, virtual_node=VIRTUAL_NODE_ID)
    setup = c.SetupDR(
        contract_id="s1", parent=None, payee=VIRTUAL_NODE_ID, terms=terms, offer=offer,
        offer_signature=VIRTUAL_NODE.sign(c.offer_bytes(offer)).hex(),
    )  # fmt: skip
    await hosted.run(AGGREGATOR_ID, setup)
    await hosted.run(VIRTUAL_NODE_ID, c.AcceptReduction(contract_id="s1", terms_digest=digest(terms)))
    await hosted.run(VIRTUAL_NODE_ID, a_home_setup(DEVICE_ID, home(), contract_id="s2"))
    await hosted.run(DEVICE_ID, c.AcceptReduction(contract_id="s2", terms_digest=digest(home())))
    hosted.clock.advance(END_MS - hosted.clock.now_ms())
    for start_ms, values in ((BASELINE.adjustment_start_ms, (500,) * 12), (EVENT_MS, (350,) * 4)):
        read = c.RecordMeasurements(device=DEVICE_ID, start_ms=start_ms, interval_s=900, energy_wh=values)
        await hosted.run(DEVICE_ID, read)
    hosted.clock.advance(SETTLE_MS - hosted.clock.now_ms())
    await hosted.run(AGGREGATOR_ID, c.SettleDR(contract_id="s1"), c.DRCompletion(contract_id="s1"))
    await hosted.run(UTILITY_ID, c.CloseRequest(need_id="need-1"))
