"""A home through one contract on a real ledger, from the proposal to the verified payment, with a VTN of raw XML."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from contracts.core.codec import digest
from contracts.core.commands import (
    AcceptReduction,
    DRCompletion,
    Enrolment,
    EnrolParty,
    Issue,
    Offer,
    RequestReduction,
    SettleDR,
    SetupDR,
    Terms,
    Transfer,
    enrolment_bytes,
    offer_bytes,
)
from contracts.core.parties import Role
from contracts.demand_response.contract import ContractRecord, Status
from contracts.measurements import Measurement
from ledger.client import LedgerClient, party_id
from openadr.model import DrEvent
from openadr.model import digest as event_digest
from openadr.v2 import OadrDistributeEvent, parse
from runtime.clock import DomainClock, write_clock
from tests.builders import START_MS, a_key, device_terms
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, UTILITY, UTILITY_ID, a_running_ledger
from tests.ven.faces.scripted import ScriptedVtn, a_scripted_vtn, distribute, event
from tests.ven.homes import STEP_MS, UTC, a_household, a_store
from ven.account.follower import Follower
from ven.account.identity import Identity, write_identity
from ven.account.wallet import Wallet
from ven.agent import HomeAgent, Surroundings
from ven.config import VenSettings
from ven.devices.base import Mode
from ven.home.baseline import recompute
from ven.home.owner import Owner, write_owner
from ven.home.store import ContractState, Store
from ven.metrics import Metrics
from ven.verification import check_event, check_payment

pytestmark = pytest.mark.slow

SPEED = 120.0
EVENT_MS = START_MS + 20 * 3_600_000
NOW_MS = EVENT_MS - 25 * 60_000
NODE = a_key(201)
NODE_ID = party_id(Role.VIRTUAL_NODE, NODE.public)


class World:
    """Ledger, parties and VTN around one home, on a clock that runs fast. `device` is what the home measures."""

    channel = "main"
    event_ms = EVENT_MS
    accept_lead_ms = 4 * 60_000
    settle_lag_ms = 65 * 60_000

    def __init__(self, folder: Path, url: str, clock: DomainClock, vtn: ScriptedVtn, session) -> None:
        self.folder = folder
        self.url = url
        self.clock = clock
        self.vtn = vtn
        self.session = session
        self.wallet = Wallet.open_or_create(folder)
        self.store: Store = a_store(folder)
        self.device = a_household()
        self.event: DrEvent = the_event(self.event_ms)

    def client(self, key, party: str) -> LedgerClient:
        return LedgerClient(
            self.url, channel=self.channel, key=key, party=party, clock=self.clock, session=self.session
        )

    async def bring_money(self, utility: LedgerClient) -> None:
        """What utility and aggregator have to spend."""
        await utility.submit(Issue(to=UTILITY_ID, amount_minor=10_000, reference="r"))
        await utility.submit(Issue(to=AGGREGATOR_ID, amount_minor=5_000, reference="r"))

    async def prepare(self, openadr2_url: str = "", ledger_url: str = "") -> None:
        """Parties, money and a need of 100 Wh a quarter of an hour; the home knows its VTN and ledger."""
        utility, aggregator = self.client(UTILITY, UTILITY_ID), self.client(AGGREGATOR, AGGREGATOR_ID)
        await self.bring_money(utility)
        node = Enrolment(party=NODE_ID, role=Role.VIRTUAL_NODE, key=NODE.public, sponsor=AGGREGATOR_ID, area="F1")
        proof = NODE.sign(enrolment_bytes(node)).hex()
        await aggregator.submit(EnrolParty(enrolment=node, proof=proof))
        await aggregator.submit(Transfer(to=NODE_ID, amount_minor=1_000, reference="deposit"))
        await utility.submit(
            RequestReduction(
                need_id="need-1",
                aggregator=AGGREGATOR_ID,
                area="F1",
                start_ms=self.event_ms,
                interval_s=900,
                target_wh=(100,) * 4,
                energy_price_minor_per_mwh=200_000,
                budget_minor=1_000,
            )
        )
        await self.enrol(self.wallet, self.store, "H1", openadr2_url, ledger_url)

    async def enrol(
        self, wallet: Wallet, store: Store, home: str, openadr2_url: str = "", ledger_url: str = ""
    ) -> None:
        """A home as enrolment leaves it: a party with a deposit, that knows its VTN and ledger."""
        aggregator = self.client(AGGREGATOR, AGGREGATOR_ID)
        device = Enrolment(party=wallet.party, role=Role.DEVICE, key=wallet.public, sponsor=AGGREGATOR_ID, area="F1")
        await aggregator.submit(EnrolParty(enrolment=device, proof=wallet.prove_enrolment(AGGREGATOR_ID, "F1")))
        await aggregator.submit(Transfer(to=wallet.party, amount_minor=1_000, reference="deposit"))
        identity = Identity(
            ven_name=home,
            ven_id="ven-7",
            openadr2_url=openadr2_url or self.vtn.url,
            ledger_url=ledger_url or self.url,
            channel=self.channel,
            party=wallet.party,
            sponsor=AGGREGATOR_ID,
            area="F1",
        )
        write_identity(store.notes, identity, await aggregator.policy())

    async def contract(self, **changed) -> Terms:
        """SC1, accepted by the virtual node, and an SC2 proposed to the home; `changed` forges its terms."""
        aggregator, node = self.client(AGGREGATOR, AGGREGATOR_ID), self.client(NODE, NODE_ID)
        offer = Offer(
            need_id="need-1",
            aggregator=AGGREGATOR_ID,
            virtual_node=NODE_ID,
            start_ms=self.event_ms,
            interval_s=900,
            profile_wh=(100,) * 4,
            energy_price_minor_per_mwh=150_000,
            valid_until_ms=self.event_ms,
        )
        common = {
            "start_ms": self.event_ms,
            "dr_event_id": "evt-1",
            "dr_event_digest": event_digest(self.event),
            "settle_after_ms": self.event_ms + self.settle_lag_ms,
            "accept_by_ms": self.event_ms - self.accept_lead_ms,
            "activate_by_ms": self.event_ms - self.accept_lead_ms // 2,
            "deposit_minor": 50,
            "meter_limit_wh": 10_000,
        }
        sc1 = device_terms(**common, baseline=None, energy_price_minor_per_mwh=150_000)
        await aggregator.submit(
            SetupDR(
                contract_id="sc1-1",
                parent=None,
                payee=NODE_ID,
                terms=sc1,
                offer=offer,
                offer_signature=NODE.sign(offer_bytes(offer)).hex(),
            )
        )
        await node.submit(AcceptReduction(contract_id="sc1-1", terms_digest=digest(sc1)))
        plain = device_terms(**common)
        readings = {self.event_ms - n * STEP_MS: 500 for n in range(1, 25 * 96)}
        terms = device_terms(**{**common, "baseline": recompute(readings, UTC, plain, ()), **changed})
        await node.submit(
            SetupDR(
                contract_id="sc2-1", parent="sc1-1", payee=self.wallet.party, terms=terms, offer=None,
                offer_signature=None,
            )
        )  # fmt: skip
        return terms

    @contextlib.asynccontextmanager
    async def home(self):
        """The agent and its follower, until the block ends."""
        settings = VenSettings(reading_delay_s=5, history_days=25)
        identity = self.store.notes.read("identity", Identity)
        assert identity is not None
        around = Surroundings(self.clock, self.session, Metrics(CollectorRegistry()))
        ledger = LedgerClient(self.url, clock=self.clock, session=self.session)
        agent = HomeAgent(
            settings, self.folder, self.store, identity, self.device, around, wallet=self.wallet, ledger=ledger
        )
        follower = Follower(ledger, backoff_max_s=1)
        assert agent.desk is not None
        follower.add(agent.desk, agent.wake)
        tasks = [asyncio.create_task(agent.run()), asyncio.create_task(follower.run())]
        try:
            yield agent
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def state(self) -> ContractState | None:
        found = self.store.contracts.find("sc2-1")
        return None if found is None else found.state

    def last_opt(self) -> str | None:
        """What the VTN was told last."""
        told = self.vtn.of("oadrCreatedEvent")
        return told[-1].value("optType") if told else None

    async def until(self, condition, seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)


def the_event(start_ms: int = EVENT_MS) -> DrEvent:
    """The event as a VEN reads it from the wire."""
    message = parse(distribute(event(start_ms=start_ms)).encode())
    assert isinstance(message, OadrDistributeEvent)
    return message.events[0].dr_event


@pytest.fixture
def ledger_database(new_database) -> str:
    return new_database("ledger")


@pytest.fixture
async def world(tmp_path, ledger_database):
    clock_file = tmp_path / "clock.json"
    clock = write_clock(clock_file, epoch_domain_ms=NOW_MS, speed=SPEED)
    folder = tmp_path / "ledger"
    folder.mkdir()
    async with (
        a_running_ledger(ledger_database, folder, clock_file=clock_file) as url,
        a_scripted_vtn() as vtn,
        aiohttp.ClientSession() as session,
    ):
        world = World(tmp_path / "home", url, clock, vtn, session)
        await world.prepare()
        yield world
        world.store.close()


async def test_a_home_accepts_acts_measures_and_verifies_its_payment(world):
    world.vtn.events.append(event(start_ms=EVENT_MS))
    async with world.home():
        await world.contract()
        await world.until(lambda: world.state() is ContractState.ACCEPTED)
        await world.until(
            lambda: [each.value("optType") for each in world.vtn.of("oadrCreatedEvent")][-1:] == ["optIn"]
        )
        assert world.device.status(world.clock.now_ms()).mode is Mode.NORMAL
        await world.clock.sleep_until(EVENT_MS + 5 * 60_000)
        assert world.device.status(world.clock.now_ms()).shed_w == 440  # 400 W and a margin of 10 %
        await world.clock.sleep_until(EVENT_MS + 66 * 60_000)
        assert world.device.status(world.clock.now_ms()).mode is Mode.NORMAL
        await world.until(lambda: world.store.outbox.count() == 0)
        aggregator = world.client(AGGREGATOR, AGGREGATOR_ID)
        await aggregator.submit(SettleDR(contract_id="sc1-1"))
        await aggregator.submit(DRCompletion(contract_id="sc1-1"))
        await world.until(lambda: len(world.store.proofs.kept()) == 2)
        recorded = dict(await aggregator.records(Measurement, f"{world.wallet.party}/"))
    stored = world.store.meter.between(EVENT_MS, EVENT_MS + 4 * STEP_MS)
    assert [recorded[f"{world.wallet.party}/{start_ms:016d}"].energy_wh for start_ms in stored] == list(stored.values())
    assert len(recorded) == 12 + 4
    # 500 Wh a quarter of an hour without control, 110 Wh less with it, but for the moment it takes to begin
    assert sum(stored.values()) in range(4 * 390, 4 * 390 + 10)
    contract = world.store.contracts.find("sc2-1")
    assert contract is not None
    assert contract.outcome is not None
    assert (contract.state, contract.outcome.outcome) == (ContractState.COMPLETED, "success")
    delivered = 2000 - sum(stored.values())
    # one device is its group: paid for what it delivered, 100,000 minor units a MWh, rounded down
    assert contract.outcome.amount_minor == delivered * 100_000 // 1_000_000
    policy = world.store.notes.read_bytes("policy")
    files = world.folder / "proofs" / "sc2-1"
    paid = check_payment(
        (files / "payment.tlog-proof").read_bytes(), policy, (files / "payment.opening.json").read_bytes()
    )
    assert paid.amount_minor == contract.outcome.amount_minor
    shown = check_event(
        (files / "event.tlog-proof").read_bytes(),
        policy,
        (files / "event.opening.json").read_bytes(),
        (files / "event.json").read_bytes(),
    )
    assert shown.event_checked


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"dr_event_digest": "e" * 64}, "event_mismatch"),
        ({"obligation_wh": (100, 100, 100, 99)}, None),
    ],
)
async def test_terms_are_rejected_on_the_ledger_if_they_are_not_of_this_event(world, changed, code):
    world.vtn.events.append(event(start_ms=EVENT_MS))
    async with world.home():
        await world.contract(**changed)
        expected = ContractState.ACCEPTED if code is None else ContractState.REJECTED
        await world.until(lambda: world.state() is expected)
        opt = "optIn" if code is None else "optOut"
        await world.until(lambda: world.last_opt() == opt)
    record = await world.client(AGGREGATOR, AGGREGATOR_ID).record(ContractRecord, "sc2-1")
    assert record is not None
    assert record.status is (Status.ACCEPTED if code is None else Status.REJECTED)
    contract = world.store.contracts.find("sc2-1")
    assert contract is not None
    assert contract.reason.startswith(code or "")


async def test_an_owner_who_opted_out_rejects_before_and_stops_in_the_middle(world):
    world.vtn.events.append(event(start_ms=EVENT_MS))
    async with world.home():
        await world.contract()
        await world.until(lambda: world.state() is ContractState.ACCEPTED)
        await world.clock.sleep_until(EVENT_MS + 5 * 60_000)
        assert world.device.status(world.clock.now_ms()).mode is Mode.SHEDDING
        beside = a_store(world.folder)  # as `dr-ven opt-out` does, from another process
        write_owner(beside.notes, Owner(opt_out=True))
        beside.close()
        await world.until(lambda: world.device.status(world.clock.now_ms()).mode is Mode.NORMAL, 3)
        assert world.clock.now_ms() < EVENT_MS + 30 * 60_000
        await world.until(lambda: world.last_opt() == "optOut")


async def test_an_agent_that_stops_frees_the_device_and_reduces_again_when_it_is_back(world):
    world.vtn.events.append(event(start_ms=EVENT_MS))
    async with world.home():
        await world.contract()
        await world.until(lambda: world.state() is ContractState.ACCEPTED)
        await world.clock.sleep_until(EVENT_MS + 5 * 60_000)
    assert world.device.status(world.clock.now_ms()).mode is Mode.NORMAL
    async with world.home():
        await world.until(lambda: world.device.status(world.clock.now_ms()).shed_w == 440, 2)
        await world.clock.sleep_until(EVENT_MS + 20 * 60_000)
    stored = world.store.meter.between(EVENT_MS, EVENT_MS + STEP_MS)
    assert 390 <= stored[EVENT_MS] <= 420


async def test_a_cancelled_event_frees_the_device_although_the_contract_stands(world):
    world.vtn.events.append(event(start_ms=EVENT_MS))
    async with world.home():
        await world.contract()
        await world.until(lambda: world.state() is ContractState.ACCEPTED)
        await world.clock.sleep_until(EVENT_MS + 5 * 60_000)
        assert world.device.status(world.clock.now_ms()).mode is Mode.SHEDDING
        world.vtn.queued.append(
            distribute(event(start_ms=EVENT_MS, modification=1, status="cancelled"), request_id="dist-2")
        )
        await world.until(lambda: world.device.status(world.clock.now_ms()).mode is Mode.NORMAL, 3)
        await world.until(lambda: world.vtn.of("oadrCreatedEvent")[-1].value("modificationNumber") == "1")
    assert world.last_opt() == "optIn"  # rule 36
