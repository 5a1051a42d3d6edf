"""Each interval is read once, when it is over, whatever happened meanwhile."""

from __future__ import annotations

import pytest

from openadr.v2 import ReportRequest, SpecifierPayload
from tests.builders import START_MS
from tests.ven.homes import STEP_MS, a_household, a_store
from ven.devices.errors import DeviceError
from ven.devices.household import Household
from ven.home.actuator import Actuator
from ven.home.decision import Reduce
from ven.home.telemetry import Telemetry


class Metered:
    def __init__(self, folder, *, history_days: int = 0, delay_s: int = 5, device=None) -> None:
        self.store = a_store(folder)
        self.device = a_household() if device is None else device
        self.actuator = Actuator(self.device, self.store.notes, "H1")
        self.closed: list[tuple[int, int]] = []
        self.telemetry = Telemetry(
            self.actuator,
            self.store,
            home="H1",
            interval_s=900,
            delay_s=delay_s,
            history_days=history_days,
            closed=lambda start_ms, energy_wh: self.closed.append((start_ms, energy_wh)),
        )


@pytest.fixture
def metered(tmp_path):
    made: list[Metered] = []

    def make(**given) -> Metered:
        made.append(Metered(tmp_path, **given))
        return made[-1]

    yield make
    for each in made:
        each.store.close()


def test_an_interval_is_read_after_its_end_and_a_delay(metered):
    home = metered()
    home.telemetry.close(START_MS)
    assert home.telemetry.next_ms(START_MS) == START_MS + 5_000
    assert home.telemetry.close(START_MS + STEP_MS + 4_999) == [START_MS - STEP_MS]
    assert home.telemetry.next_ms(START_MS + STEP_MS + 4_999) == START_MS + STEP_MS + 5_000
    assert home.telemetry.close(START_MS + STEP_MS + 5_000) == [START_MS]
    assert home.telemetry.close(START_MS + STEP_MS + 6_000) == []
    assert home.closed == [(START_MS - STEP_MS, 500), (START_MS, 500)]


def test_the_first_start_imports_history_as_far_as_the_meter_knows_it(metered):
    home = metered(history_days=45)  # the profile begins 30 days before
    assert len(home.telemetry.close(START_MS + 5_000)) == 30 * 96
    assert home.store.meter.span() == (30 * 96, START_MS - STEP_MS, 500)
    assert home.closed == []  # history is not the truth of a running home


def test_an_absence_is_caught_up(metered):
    first = metered()
    first.telemetry.close(START_MS + 5_000)
    again = metered()
    assert again.telemetry.close(START_MS + 10 * STEP_MS + 5_000) == [START_MS + n * STEP_MS for n in range(10)]
    assert len(again.closed) == 10


def test_what_the_meter_cannot_give_stays_a_gap(metered):
    home = metered(device=a_household(days_after=0))
    home.telemetry.close(START_MS + 5_000)
    assert home.telemetry.close(START_MS + 3 * STEP_MS) == []
    assert home.store.meter.span()[0] == 0


def test_a_new_reading_is_owed_to_the_reports_that_run(metered):
    home = metered()
    home.telemetry.close(START_MS + 5_000)
    request = ReportRequest("rr", "usage", 900, 900, (SpecifierPayload("meter", "Net"),), START_MS)
    home.store.reports.begin(request, START_MS)
    home.telemetry.close(START_MS + STEP_MS + 5_000)
    assert home.store.reports.owed("rr", 5) == [(START_MS, 900, 500)]


def test_a_reduction_shows_in_the_reading_and_outlives_a_restart(metered):
    home = metered()
    home.telemetry.close(START_MS + 5_000)
    home.actuator.apply(Reduce(400, START_MS + 4 * STEP_MS, "sc2-1"), START_MS)
    state = home.store.notes.read_bytes("device")
    revived = Household(home.device.profile, home.device.spec, state)
    again = metered(device=revived)
    assert again.telemetry.close(START_MS + STEP_MS + 5_000) == [START_MS]
    assert again.closed == [(START_MS, 400)]
    again.actuator.apply(Reduce(400, START_MS + 4 * STEP_MS, "sc2-1"), START_MS + STEP_MS + 5_000)
    again.actuator.apply(None, START_MS + STEP_MS + 450_000)
    again.telemetry.close(START_MS + 2 * STEP_MS + 5_000)
    assert again.closed[-1] == (START_MS + STEP_MS, 450)


def test_a_device_that_does_not_answer_is_told_again(metered):
    home = metered()
    calls: list[int] = []
    follow = home.device.shed

    def stubborn(at_ms: int, reduction_w: int, until_ms: int) -> None:
        calls.append(at_ms)
        if len(calls) == 1:
            raise DeviceError("no answer")
        follow(at_ms, reduction_w, until_ms)

    home.device.shed = stubborn
    action = Reduce(400, START_MS + STEP_MS, "sc2-1")
    assert not home.actuator.apply(action, START_MS)
    assert home.actuator.apply(action, START_MS + 1000)
    assert home.actuator.apply(action, START_MS + 2000)
    assert calls == [START_MS, START_MS + 1000]
