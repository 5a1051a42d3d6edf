"""`dr-ven simulate` in a restricted channel: each home reads with its own key, and sees what names it alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from contracts.channels.registry import ChannelRecord
from contracts.core.commands import BridgeLock, DRCompletion, Issue, OpenChannel, SettleDR
from contracts.core.parties import Role
from contracts.tokens import Account
from ledger.app import build
from ledger.channels.founding import found_child, opening
from ledger.client import LedgerClient
from ledger.config import LedgerSettings
from runtime.clock import write_clock
from tests.builders import START_MS
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, UTILITY, UTILITY_ID, an_enrolment, founded
from tests.ven.faces.scripted import a_scripted_vtn, event, registered
from tests.ven.homes import STEP_MS, a_household, a_store
from tests.ven.test_home_on_a_ledger import World, the_event
from tests.ven.test_processes import DrVen
from ven.account.wallet import Wallet
from ven.devices.profile import write_profile
from ven.home.store import ContractState
from ven.verification import check_payment

pytestmark = pytest.mark.slow

SPEED = 720.0
HOUR_MS = 3_600_000
CHILD = "vn-1"


class ChannelWorld(World):
    """A world in the channel: its money comes from main, over the bridge."""

    channel = CHILD
    opened: OpenChannel

    async def bring_money(self, utility: LedgerClient) -> None:
        at_main = {"clock": self.clock, "session": self.session}
        async with (
            LedgerClient(self.url, key=UTILITY, party=UTILITY_ID, **at_main) as payer,
            LedgerClient(self.url, key=AGGREGATOR, party=AGGREGATOR_ID, **at_main) as opener,
        ):
            await opener.submit(self.opened)
            await payer.submit(Issue(to=UTILITY_ID, amount_minor=15_000, reference="r"))
            by_ms = self.clock.now_ms() + 24 * HOUR_MS
            async with asyncio.timeout(60):
                while (found := await payer.record(ChannelRecord, CHILD)) is None or not found.size:
                    await asyncio.sleep(0.05)
                for party, amount in ((UTILITY_ID, 10_000), (AGGREGATOR_ID, 5_000)):
                    lock = BridgeLock(channel=CHILD, recipient=party, amount_minor=amount, mint_by_ms=by_ms)
                    await payer.submit(lock)
                    while await utility.record(Account, f"party/{party}") is None:
                        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def hosting(database_url: str, folder: Path, clock_file: Path) -> AsyncIterator[tuple[str, OpenChannel]]:
    """The address of a replica that hosts main and, below it, the restricted channel, and what opens that on main."""
    key_file = folder / "aggregator.key"
    key_file.write_text(f"ed25519:{AGGREGATOR._seed.hex()}\n")
    key_file.chmod(0o600)
    settings = LedgerSettings(
        database_url=database_url,
        data_dir=folder / "ledger",
        clock_file=clock_file,
        crossing_key=key_file,
        crossing_interval_s=0.05,
    )
    main = founded(settings)
    parties = [an_enrolment(Role.UTILITY, UTILITY), an_enrolment(Role.AGGREGATOR, AGGREGATOR)]
    child, policy = found_child(settings, main, CHILD, parties=parties, created_ms=START_MS)
    runner = web.AppRunner(build(settings, main), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", opening(child, policy)
    finally:
        await runner.cleanup()


@pytest.fixture
def ledger_database(new_database) -> str:
    return new_database("ledger")


async def test_homes_in_a_restricted_channel_work_each_for_itself(tmp_path, ledger_database):
    clock_file, homes, profiles = tmp_path / "clock.json", tmp_path / "homes", tmp_path / "profiles"
    clock = write_clock(clock_file, epoch_domain_ms=START_MS, speed=SPEED)
    profiles.mkdir()
    (tmp_path / "ledger").mkdir()
    for name in ("H1", "H2"):
        write_profile(profiles / f"{name}.json", a_household(home_id=name).profile)
    async with (
        hosting(ledger_database, tmp_path / "ledger", clock_file) as (url, opened),
        a_scripted_vtn() as vtn,
        aiohttp.ClientSession() as session,
    ):
        world = ChannelWorld(homes / "H1", url, clock, vtn, session)
        world.opened = opened
        world.event_ms = -(-(clock.now_ms() + 4 * HOUR_MS) // STEP_MS) * STEP_MS
        world.accept_lead_ms, world.event = HOUR_MS // 4, the_event(world.event_ms)
        vtn.script("oadrCreatePartyRegistration", *[registered(poll="PT10M")] * 9)
        vtn.events.append(event(start_ms=world.event_ms))
        await world.prepare()
        other = a_store(homes / "H2")
        await world.enrol(Wallet.open_or_create(homes / "H2"), other, "H2")
        simulation = DrVen(homes, clock_file=str(clock_file), history_days="25", start_spread_s="0")
        await simulation.start("simulate", "--homes", "2", "--profiles", str(profiles))
        try:
            await world.contract()
            await world.until(lambda: world.state() is ContractState.ACCEPTED)
            await clock.sleep_until(world.event_ms + world.settle_lag_ms + 60_000)
            await world.until(lambda: world.store.outbox.count() == 0, 150)
            aggregator = world.client(AGGREGATOR, AGGREGATOR_ID)
            await aggregator.submit(SettleDR(contract_id="sc1-1"))
            await aggregator.submit(DRCompletion(contract_id="sc1-1"))
            await world.until(lambda: len(world.store.proofs.kept()) == 2, 150)
        finally:
            await simulation.end(signal.SIGTERM)
    contract = world.store.contracts.find("sc2-1")
    assert contract is not None
    assert contract.outcome is not None
    assert (contract.state, contract.missing) == (ContractState.COMPLETED, 0)
    files = world.folder / "proofs" / "sc2-1"
    policy = world.store.notes.read_bytes("policy")
    paid = check_payment(
        (files / "payment.tlog-proof").read_bytes(), policy, (files / "payment.opening.json").read_bytes()
    )
    assert paid.amount_minor == contract.outcome.amount_minor
    assert other.contracts.all() == []
    assert other.meter.span()[0] > 25 * 96  # and yet it lived through all of it
