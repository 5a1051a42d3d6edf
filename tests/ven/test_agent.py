"""One agent without a network: its owner's word, a wrong clock, a full disk, events that begin while it is alone."""

from __future__ import annotations

import asyncio
import contextlib
import json

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from openadr.model import SignalInterval
from runtime.clock import ManualClock, SystemClock
from tests.builders import START_MS, a_dr_event, a_signal, device_terms
from tests.ven.homes import STEP_MS, a_store, a_stored_contract
from ven import agent as agents
from ven.account.identity import Identity
from ven.agent import HomeAgent, Surroundings
from ven.cli import app
from ven.config import VenSettings
from ven.devices.base import Mode
from ven.devices.dimmer import Dimmer
from ven.home.owner import Owner, write_owner
from ven.home.store import Contract, Opt, OptSchedule
from ven.home.timekeeping import VTN
from ven.metrics import Metrics
from ven.status import read_status

HOUR_MS = 3_600_000


class Alone:
    """A home whose VTN does not answer; `clock` stands, or is the system's."""

    def __init__(self, folder, session, clock, **settings) -> None:
        self.folder = folder
        self.clock = clock
        self.store = a_store(folder)
        self.device = Dimmer("dimmer", 2000, state=self.store.notes.read_bytes("device"))
        self.registry = CollectorRegistry()
        given = {"require_contract": False, "history_days": 0, "reading_delay_s": 0, "backoff_max_s": 0.2, **settings}
        identity = Identity(ven_name="H1", ven_id="ven-1", openadr2_url="http://127.0.0.1:9/OpenADR2/Simple/2.0b")
        around = Surroundings(clock, session, Metrics(self.registry))
        self.agent = HomeAgent(VenSettings(**given), folder, self.store, identity, self.device, around)

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.agent.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def knows_event(self, event_id: str = "event-1", level: int = 3, **given) -> None:
        signal = a_signal(intervals=(SignalInterval(3600, str(level)),))
        event = a_dr_event(event_id, **{"targets": (), "signals": (signal,), **given})
        self.store.events.receive(event, request_id="r", offset_s=0, now_ms=self.clock.now_ms())

    def is_bound(self, start_ms: int, **given) -> Contract:
        contract = a_stored_contract(terms=device_terms(start_ms=start_ms, dr_event_id="agreed", **given))
        self.store.contracts.propose(contract)
        return contract

    def shed_w(self) -> int:
        return self.device.status(self.clock.now_ms()).shed_w

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def home(tmp_path, session):
    return Alone(tmp_path, session, ManualClock(START_MS - HOUR_MS))


async def until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_an_event_whose_time_comes_while_the_home_is_alone_is_followed_and_metered(home):
    home.knows_event()
    due_ms = home.agent.step()
    while home.clock.now_ms() < START_MS + 2 * HOUR_MS:
        home.clock.advance(due_ms - home.clock.now_ms())
        due_ms = home.agent.step()
    readings = home.store.meter.between(START_MS - HOUR_MS, START_MS + 2 * HOUR_MS)
    assert list(readings.values()) == [500] * 4 + [0] * 4 + [500] * 4


async def test_of_events_that_overlap_a_contract_it_is_told_which_governs_and_why(home):
    home.is_bound(START_MS)
    home.knows_event("urgent", level=3, priority=1, duration_s=3600)
    home.knows_event("mild", level=1, priority=4)
    home.agent.step()
    home.clock.advance(HOUR_MS)
    home.agent.step()
    assert home.shed_w() == 2000
    now = read_status(home.folder)["decisions"][0]
    assert (now["start_ms"], now["end_ms"], now["governs"]) == (START_MS, START_MS + HOUR_MS, "urgent")
    assert now["asked"] == {"kind": "reduce", "reduction_w": 2000}
    assert now["why"].startswith("SIMPLE level 3 in interval 0, priority 1; it asks for more than the 440 W owed")
    assert now["waits"] == [
        {"id": "mild", "why": "urgent governs: priority 1 comes before 4"},
        {"id": "sc2-1", "why": "met by the reduction for urgent"},
    ]


async def test_readings_stamped_by_a_clock_that_was_wrong_are_taken_back_and_read_again(home, session):
    """The home starts with a clock an hour ahead, closes intervals by it, and hears the time only then."""
    home.agent.step()
    home.agent.timekeeper.compare(VTN, home.clock.now_ms(), home.clock.now_ms(), home.clock.now_ms())
    home.clock.advance(2 * STEP_MS)
    home.agent.step()
    right = home.store.meter.between(0, 2**53)
    assert len(right) == 2
    again = Alone(home.folder, session, ManualClock(home.clock.now_ms() + HOUR_MS))  # a restart, and a wrong clock
    again.agent.step()
    assert len(again.store.meter.between(0, 2**53)) == 6
    now_ms = again.clock.now_ms()
    again.agent.timekeeper.compare(VTN, now_ms - HOUR_MS, now_ms - 100, now_ms)
    again.agent.step()
    assert again.store.meter.between(0, 2**53) == {}  # it was last right before the first of them
    assert again.metric("gridpact_ven_homes_clock_wrong") == 1
    assert 3599 < (again.metric("gridpact_ven_clock_skew_seconds") or 0) <= 3600
    told = read_status(again.folder)["clock"]
    assert (told["state"], "ahead of the vtn's: set it" in told["text"]) == ("wrong", True)
    again.clock._now_ms -= HOUR_MS
    again.agent.timekeeper.look()
    again.agent.step()
    assert again.store.meter.between(0, 2**53) == {}  # set, and nobody said that it is right
    now_ms = again.clock.now_ms()
    again.agent.timekeeper.compare(VTN, now_ms, now_ms, now_ms)
    again.agent.step()
    assert again.store.meter.between(0, 2**53) == right


async def test_a_home_that_first_starts_ten_years_ahead_begins_anew_once_its_clock_is_right(tmp_path, session):
    ahead_ms = 3650 * 24 * HOUR_MS
    home = Alone(tmp_path, session, ManualClock(START_MS + ahead_ms), history_days=1)
    home.agent.step()
    assert len(home.store.meter.between(START_MS + ahead_ms - 25 * HOUR_MS, 2**53)) == 96
    home.agent.timekeeper.compare(VTN, START_MS, START_MS + ahead_ms, START_MS + ahead_ms)
    home.clock._now_ms -= ahead_ms
    home.agent.timekeeper.look()
    home.agent.timekeeper.compare(VTN, START_MS, START_MS, START_MS)
    home.agent.step()
    readings = home.store.meter.between(0, 2**53)
    assert (min(readings), max(readings), len(readings)) == (START_MS - 24 * HOUR_MS, START_MS - STEP_MS, 96)


async def test_an_owner_who_opts_out_is_heard_at_once_although_the_vtn_does_not_answer(tmp_path, session):
    home = Alone(tmp_path, session, SystemClock())
    home.knows_event(start_ms=home.clock.now_ms() - 60_000)
    async with home.running():
        await until(lambda: home.shed_w() == 2000)
        beside = a_store(tmp_path)
        write_owner(beside.notes, Owner(opt_out=True))
        await until(lambda: home.shed_w() == 0)
        [stored] = home.store.events.all()
        assert (stored.opt, stored.opt_reason) == (Opt.OUT, "the owner has opted out")


async def test_an_absence_planned_beside_a_running_home_holds_from_its_first_moment(home):
    contract = home.is_bound(START_MS)
    home.knows_event("event-1", level=1)
    absence = OptSchedule(opt_id="o1", opt=Opt.OUT, windows=((START_MS + 2 * STEP_MS, START_MS + HOUR_MS),))
    home.store.schedules.add(absence)
    home.agent.step()
    [stored] = home.store.events.all()
    assert (stored.opt, stored.opt_reason) == (Opt.OUT, "the owner's schedule o1: notParticipating")
    home.clock.advance(HOUR_MS)
    home.agent.step()
    assert home.shed_w() == 440  # what is agreed goes on until the owner is away
    home.clock.advance(2 * STEP_MS)
    home.agent.step()
    assert home.shed_w() == 0
    [now, *_] = read_status(home.folder)["decisions"]
    assert (now["governs"], now["waits"][0]["id"]) == ("owner", contract.contract_id)
    assert "440 W are owed and not given" in now["waits"][0]["why"]


async def test_a_disk_that_takes_nothing_frees_the_device_and_what_was_accepted_goes_on_later(
    tmp_path, session, monkeypatch
):
    monkeypatch.setattr(agents, "_FULL_PAUSE_S", 0.05)
    home = Alone(tmp_path, session, SystemClock())
    # more is owed from the next interval on, which begins soon: the device is told anew, and that is written down
    contract = home.is_bound(home.clock.now_ms() + 3000 - STEP_MS, obligation_wh=(100, 200, 200, 200))
    async with home.running():
        await until(lambda: home.shed_w() == 440)
        home.store.database.rows("PRAGMA query_only = 1")  # as a card that went bad and was made read-only
        await until(lambda: home.agent.full is not None)
        assert home.device.status(home.clock.now_ms()).mode is Mode.NORMAL
        assert home.metric("gridpact_ven_homes_store_full") == 1
        home.store.database.rows("PRAGMA query_only = 0")
        await until(lambda: home.agent.full is None and home.shed_w() == 880)
        assert home.metric("gridpact_ven_homes_store_full") == 0
    assert home.store.contracts.all() == [contract]


def test_absences_are_planned_listed_and_taken_back_by_command(tmp_path):
    a_store(tmp_path).contracts.propose(a_stored_contract(terms=device_terms(start_ms=4_102_444_800_000)))

    def say(*words: str):
        return CliRunner().invoke(app, ["opt-schedule", *words, "--data-dir", str(tmp_path)])

    planned = say("add", "--window", "2100-01-01T00:00/2100-01-01T00:30", "--reason", "x-party", "--json")
    found = json.loads(planned.stdout)
    assert found["windows"] == [[4_102_444_800_000, 4_102_446_600_000]]
    assert found["contracts"] == [{"contract_id": "sc2-1", "obligation_wh": 200, "deposit_minor": 50}]
    [listed] = json.loads(say("list", "--json").stdout)
    assert (listed["opt"], listed["reason"], listed["told"]) == ("optOut", "x-party", False)
    assert "taken back" in say("cancel", found["opt_id"]).stdout
    assert "no schedule" in str(say("cancel", found["opt_id"]).exception)
    for window in ("2100-01-01", "2100-01-02T00:00/2100-01-01T00:00", "2001-01-01T00:00/2001-01-02T00:00"):
        assert say("add", "--window", window).exception is not None
    assert "optReason" not in say("list").stdout


async def test_what_came_of_a_contract_is_written_down_once_its_hour_is_read(home):
    """A dimmer of 2 kW bound to 100 Wh in each quarter of an hour; it is rated for 30 % of its load."""
    home.is_bound(START_MS)
    due_ms = home.agent.step()
    while home.clock.now_ms() < START_MS + 2 * HOUR_MS:
        home.clock.advance(due_ms - home.clock.now_ms())
        due_ms = home.agent.step()
    [event] = read_status(home.folder)["flexibility"]["events"]
    assert (event["ended"], event["obligation_wh"], event["kind"]) == ("delivered", 400, "dimmer")
    assert event["delivered_wh"] is not None
