"""A home's own record: what came of each event, what it says after that, and what it refuses."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from contracts.core.commands import Terms
from tests.builders import START_MS, a_dr_event, a_key, device_terms
from tests.ven.homes import DAY_MS, STEP_MS, UTC, a_household, a_store, a_stored_contract
from ven.account.desk import Desk
from ven.account.wallet import Wallet
from ven.cli import app
from ven.config import VenSettings
from ven.devices.base import Description
from ven.devices.dimmer import Dimmer
from ven.devices.relay import Relay
from ven.flexibility.describing import Offer, differs, rated, said
from ven.flexibility.learning import Experience, learnt
from ven.flexibility.outcomes import Ended, Outcome, Outcomes
from ven.flexibility.recording import Record
from ven.home.baseline import recompute
from ven.home.owner import Owner
from ven.home.store import Contract, ContractState, Opt, Store

ROOT = Path(__file__).parents[3]
RATED_WH = 1_600  # an hour of the heater
HISTORY_DAYS = 20


class Heater:
    """1.6 kW that can be switched off; its owner lets 2 kW be asked for."""

    max_shed_w = 2_000

    def describe(self, at_ms: int) -> tuple[Description, ...]:
        return (Description(kind="water_heater", power_w=1_600, energy_wh=3_200),)


class Home:
    """Three weeks of meter: 500 Wh a quarter-hour, more or less; events on later days."""

    def __init__(self, folder: Path, noise_wh: int = 0, **given: object) -> None:
        self.store: Store = a_store(folder)
        self.rng = random.Random(1)
        self.noise_wh = noise_wh
        self.day_wh = 0
        self.settings = VenSettings(**{"flexible_percent": 100, "margin_percent": 0, "data_dir": folder, **given})
        self.record = self.begun()
        self.days = 0
        self.metered(START_MS - HISTORY_DAYS * DAY_MS, START_MS)

    def begun(self, device: object | None = None) -> Record:
        return Record(self.store, self.settings, device or Heater(), UTC, "H1")

    def metered(self, from_ms: int, until_ms: int, less_wh: int = 0) -> None:
        readings = []
        for start_ms in range(from_ms, until_ms, STEP_MS):
            if (start_ms - START_MS) % DAY_MS == DAY_MS // 2:
                self.day_wh = self.rng.randint(-self.noise_wh, self.noise_wh)
            readings.append((start_ms, 500 + self.day_wh + self.rng.randint(-self.noise_wh, self.noise_wh) - less_wh))
        self.store.meter.add(900, readings)

    def event(self, given_wh: int, asked_wh: int = 400, **changes: object) -> Contract:
        """An hour under contract each day, `given_wh` less in each quarter of it; then the rest of the day."""
        start_ms = START_MS + self.days * DAY_MS
        contract_id = f"sc2-{self.days}"
        contract = a_stored_contract(contract_id, self.terms(start_ms, asked_wh), **changes)
        self.store.contracts.propose(contract)
        self.store.contracts.move(contract_id, ContractState.ACCEPTED)
        self.metered(start_ms, start_ms + 4 * STEP_MS, given_wh)
        self.metered(start_ms + 4 * STEP_MS, start_ms + DAY_MS)
        self.days += 1
        return contract

    def terms(self, start_ms: int, asked_wh: int) -> Terms:
        names = {"dr_event_id": f"event-{self.days}", "obligation_wh": (asked_wh,) * 4, "start_ms": start_ms}
        readings = self.store.meter.between(0, start_ms)
        days = {UTC.day_of(each.terms.start_ms) for each in self.store.contracts.all() if each.state.binding}
        return device_terms(**names, baseline=recompute(readings, UTC, device_terms(**names), days))

    @property
    def now_ms(self) -> int:
        return START_MS + self.days * DAY_MS

    def outcomes(self) -> list[Outcome]:
        return Outcomes(self.store.database).all()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_what_came_of_an_event_is_written_once_it_is_over_and_read(home: Home) -> None:
    """400 Wh owed in each quarter, 250 given: 1,600 owed of 1,600 rated, 1,000 delivered, by the heater alone."""
    contract = home.event(250)
    assert home.record.look(contract.end_ms - 1) == 0
    assert home.record.look(home.now_ms) == 1
    assert home.record.look(home.now_ms) == 0
    [outcome] = home.outcomes()
    assert (outcome.obligation_wh, outcome.claimed_wh, outcome.delivered_wh) == (1_600, RATED_WH, 1_000)
    assert (outcome.ended, outcome.kind, outcome.noise_wh) == (Ended.DELIVERED, "water_heater", 0)


def test_the_error_of_its_baseline_is_known_from_days_without_event(tmp_path: Path) -> None:
    """Quarters that differ by +-50 Wh by themselves and as much from day to day: the hours before tell the day, and it
    is taken out; of the quarters an hour keeps 2 x 50 / sqrt(3) = 58 Wh, a third more with the error of the window."""
    noisy = Home(tmp_path, noise_wh=50)
    noisy.event(250)
    noisy.record.look(noisy.now_ms)
    assert 45 < noisy.outcomes()[0].noise_wh < 120


def test_a_home_says_less_after_events_that_gave_less_and_keeps_to_it(home: Home) -> None:
    before = home.record.offer(home.now_ms)
    assert (before.devices[0].power_w, before.flexible_w, before.corrected_percent) == (1_600, 2_000, 100)
    for _ in range(8):
        home.event(240)
        home.record.look(home.now_ms)
    after = home.record.offer(home.now_ms, before)
    assert after.devices[0].power_w == pytest.approx(960, rel=0.08)
    assert after.devices[0].energy_wh == pytest.approx(1_920, rel=0.08)
    assert after.corrected_percent == pytest.approx(60, abs=5)
    assert differs(after, before)
    assert not differs(home.record.offer(home.now_ms, after), after)


def test_one_odd_event_changes_little(home: Home) -> None:
    for given_wh in (400, 390, 410, -4_000, 400):
        home.event(given_wh)
    home.record.look(home.now_ms)
    assert home.record.experience.part() > 0.95


@pytest.mark.parametrize(
    ("ended", "opt"), [(Ended.OPTED_OUT, Opt.OUT), (Ended.RELEASED, None), (Ended.NO_READING, Opt.IN)]
)
def test_what_was_not_tried_teaches_nothing(home: Home, ended: Ended, opt: Opt | None) -> None:
    contract = home.event(0)
    home.store.events.receive(
        a_dr_event("event-0", start_ms=contract.terms.start_ms), request_id="r", offset_s=0, now_ms=START_MS
    )
    if opt is None:
        home.store.events.mark_gone("event-0")
    else:
        home.store.events.decide("event-0", opt)
    if ended is Ended.NO_READING:
        home.store.meter.withdraw(contract.terms.start_ms)
        assert home.record.look(home.now_ms) == 0  # it may still come
    home.record.look(home.now_ms + 3 * DAY_MS)
    assert [each.ended for each in home.outcomes()] == [ended]
    assert home.record.experience == Experience()


def test_a_contract_beyond_what_past_events_gave_is_rejected_with_the_reason(home: Home) -> None:
    for _ in range(6):
        home.event(200)
        home.record.look(home.now_ms)
    start_ms = home.now_ms
    event = a_dr_event("event-6", start_ms=start_ms)
    home.store.events.receive(event, request_id="r", offset_s=0, now_ms=start_ms)
    wallet = Wallet(a_key())
    desk = Desk(home.store, wallet, UTC, home="H1", interval_s=900, max_shed_w=2_000, incapable=home.record.incapable)
    stored = home.store.events.find("event-6")
    assert stored is not None
    for contract_id, asked_wh in (("sc2-much", 400), ("sc2-little", 180)):
        terms = msgspec.structs.replace(home.terms(start_ms, asked_wh), dr_event_digest=stored.digest)
        home.store.contracts.propose(
            a_stored_contract(contract_id, terms, state=ContractState.PROPOSED, payee=wallet.party)
        )
        desk.review(start_ms - 2 * 3_600_000, Owner())
    much, little = (home.store.contracts.find(each) for each in ("sc2-much", "sc2-little"))
    assert much is not None
    assert little is not None
    assert much.state is ContractState.REJECTING
    assert much.reason.startswith("capability: 1600 Wh is more than this home gives: 6 events gave about 5")
    assert little.state is ContractState.ACCEPTING


def test_status_and_command_show_owed_delivered_and_bias_by_event(home: Home) -> None:
    home.event(300)
    home.record.look(home.now_ms)
    home.store.close()
    folder = str(home.settings.data_dir)
    told = CliRunner().invoke(app, ["flexibility", "--data-dir", folder])
    assert "owed 1600 Wh of 1600 Wh rated, delivered 1200 +- 0 Wh by water_heater, bias 25 %" in told.output
    found = CliRunner().invoke(app, ["flexibility", "--data-dir", folder, "--json"])
    assert msgspec.json.decode(found.output)["events"][0]["bias_percent"] == 25
    assert "1 events gave about" in CliRunner().invoke(app, ["status", "--data-dir", folder]).output


RECORD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from tests.ven.flexibility.test_record import Home
home = Home(Path(sys.argv[1]))
for _ in range(4):
    home.event(240)
    home.record.look(home.now_ms)
print(home.record.experience.part(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_learnt_survives_kill_9(tmp_path: Path) -> None:
    died = subprocess.run(
        [sys.executable, "-c", RECORD_AND_DIE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL
    store = a_store(tmp_path)
    outcomes = Outcomes(store.database).all()
    assert len(outcomes) == 4
    assert learnt(outcomes).part() == float(died.stdout)


def test_drivers_describe_what_they_are_rated_for_within_their_owners_limits() -> None:
    owner = Owner(max_shed_w=700, max_duration_s=7_200, hours=(7 * 60, 21 * 60))
    [relay] = rated(
        Relay("pump", 1_000), owner, 0, flexible_w=None, flexible_percent=100, max_events_per_week=7
    ).devices
    assert (relay.kind, relay.power_w, relay.energy_wh, relay.hours) == ("relay", 700, 1_400, (420, 1_260))
    [dimmer] = Dimmer("stairs", 500, floor_w=100).describe(0)
    assert (dimmer.power_w, dimmer.rebound_percent) == (400, 0)
    [heater] = a_household().describe(0)
    assert (heater.kind, heater.power_w, heater.energy_wh) == ("heater", 1_600, 9_600)  # 6 h, which 20 kWh outlast


def test_a_reduction_is_known_by_the_device_that_does_it() -> None:
    devices = (Description(kind="water_heater", power_w=500), Description(kind="air_conditioning", power_w=1_500))
    home = rated(None, Owner(), 0, flexible_w=2_000, flexible_percent=100, max_events_per_week=7)
    both = replace(home, devices=devices)
    assert [both.kind_for(watts) for watts in (400, 540, 1_000, 0)] == ["water_heater", "water_heater", "", ""]
    assert home.kind_for(400) == ""


def test_what_one_device_did_by_itself_is_learnt_of_its_kind() -> None:
    """The heater gives half of its rating, the car all of it; a kind that was never alone goes with the whole."""
    trials = [
        Outcome(
            contract_id=f"sc2-{n}", start_ms=n, end_ms=n + 1, ended=Ended.DELIVERED, obligation_wh=1_000,
            claimed_wh=1_000, asked_wh=1_000, delivered_wh=wh, noise_wh=50, kind=kind,
        )
        for n, (kind, wh) in enumerate([("water_heater", 500), ("ev", 1_000)] * 6)
    ]  # fmt: skip
    known = learnt(trials)
    assert known.part("water_heater") == pytest.approx(0.5, abs=0.06)
    assert known.part("ev") > 0.94
    assert known.part("pump") == known.part() < known.part("ev")


some_trials = st.lists(
    st.builds(
        Outcome,
        contract_id=st.just("sc2"),
        start_ms=st.just(0),
        end_ms=st.just(1),
        ended=st.sampled_from(Ended),
        obligation_wh=st.integers(0, 5_000),
        claimed_wh=st.integers(0, 5_000),
        asked_wh=st.integers(0, 5_000),
        delivered_wh=st.none() | st.integers(-50_000, 50_000),
        noise_wh=st.integers(0, 20_000),
        kind=st.sampled_from(["", "relay", "ev"]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(some_trials, st.integers(0, 4_000), st.integers(0, 100), st.none() | st.integers(0, 3_000))
def test_whatever_was_learnt_no_limit_of_the_owner_is_exceeded(
    outcomes: list[Outcome], flexible_w: int, percent: int, owner_w: int | None
) -> None:
    owner = Owner(max_shed_w=owner_w)
    home = rated(Heater(), owner, 0, flexible_w=flexible_w, flexible_percent=percent, max_events_per_week=7)
    offer: Offer = said(home, learnt(outcomes))
    most_w = min(2_000, flexible_w, 2_000 if owner_w is None else owner_w)
    assert offer.flexible_w <= most_w
    assert offer.flexible_percent <= percent
    assert all(0 <= device.power_w <= most_w for device in offer.devices)
