"""`dr-ven` as processes: stopped, killed, told by its owner, many homes at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest

from runtime.clock import SystemClock, write_clock
from tests.builders import START_MS
from tests.ven.account.test_enrolment import EnrollingVtn, an_invitation, running
from tests.ven.faces.scripted import a_scripted_vtn, event, registered
from tests.ven.homes import STEP_MS, a_household, a_store
from ven.devices.constant_load import LoadState
from ven.devices.control import Kind
from ven.devices.profile import write_profile

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CODE = "from ven.cli import main; main()"


class DrVen:
    """A `dr-ven` process; its output is read to its end."""

    def __init__(self, folder: Path, **settings: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GRIDPACT_")}
        given = {f"GRIDPACT_VEN_{name.upper()}": value for name, value in settings.items()}
        self.environment = {**kept, **given, "GRIDPACT_VEN_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT)}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str) -> None:
        """Returns when it is ready."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CODE,
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert line.startswith(b"dr-ven ready"), line

    async def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), 10)
        self.process = None
        return code

    async def say(self, *arguments: str) -> tuple[int, str]:
        """Another `dr-ven` beside it: exit code and output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CODE,
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, (output + errors).decode()


def commands(folder: Path) -> list[tuple[Kind, int]]:
    """What the dimmer was told, as its store says."""
    store = a_store(folder)
    state = store.notes.read_bytes("device")
    store.close()
    if state is None:
        return []
    return [(each.kind, each.value) for each in msgspec.json.decode(state, type=LoadState).commands]


async def until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.fixture
async def vtn():
    async with a_scripted_vtn() as vtn:
        vtn.script("oadrCreatePartyRegistration", *[registered(poll="PT1S")] * 5)
        yield vtn


@pytest.fixture
def home(tmp_path, vtn):
    return DrVen(tmp_path, device="dimmer", rated_w="900", require_contract="false", openadr2_url=vtn.url)


async def test_sigterm_frees_the_device_within_five_seconds(tmp_path, vtn, home):
    vtn.events.append(event(start_ms=SystemClock().now_ms() - 60_000, status="active"))
    await home.start("run")
    await until(lambda: commands(tmp_path) == [(Kind.LEVEL, 2)])
    began = time.monotonic()
    assert await home.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 5
    assert commands(tmp_path)[-1] == (Kind.RESTORE, 0)


async def test_after_a_kill_the_reduction_goes_on_as_it_was(tmp_path, vtn, home):
    vtn.events.append(event(start_ms=SystemClock().now_ms() - 60_000, status="active"))
    await home.start("run")
    await until(lambda: commands(tmp_path) == [(Kind.LEVEL, 2)])
    assert await home.end(signal.SIGKILL) == -signal.SIGKILL
    polls = len(vtn.of("oadrPoll"))
    await home.start("run")
    await until(lambda: len(vtn.of("oadrPoll")) > polls)
    assert commands(tmp_path) == [(Kind.LEVEL, 2)]
    assert len(vtn.of("oadrCreatePartyRegistration")) == 1
    await home.end(signal.SIGTERM)


async def test_the_owner_opts_out_and_in_beside_a_running_agent(tmp_path, vtn, home):
    vtn.events.append(event(start_ms=SystemClock().now_ms() - 60_000, status="active"))
    await home.start("run")
    await until(lambda: commands(tmp_path) == [(Kind.LEVEL, 2)])
    assert (await home.say("opt-out"))[0] == 0
    await until(lambda: commands(tmp_path)[-1] == (Kind.RESTORE, 0), 5)
    await until(lambda: vtn.of("oadrCreatedEvent")[-1].value("optType") == "optOut")
    code, text = await home.say("status", "--json")
    status = json.loads(text)
    assert (code, status["owner"]["opt_out"], status["events"][0]["opt"]) == (0, True, "optOut")
    assert (await home.say("opt-in"))[0] == 0
    await until(lambda: commands(tmp_path)[-1] == (Kind.LEVEL, 2), 5)
    await home.end(signal.SIGTERM)


async def test_a_second_agent_on_a_folder_is_refused(tmp_path, vtn, home):
    await home.start("run")
    code, text = await home.say("run")
    assert (code, "another dr-ven runs" in text) == (3, True)
    await home.end(signal.SIGTERM)


async def test_without_enrolment_it_says_what_to_do(tmp_path):
    code, text = await DrVen(tmp_path, device="relay").say("run")
    assert code == 3
    assert "dr-ven enrol" in text
    code, text = await DrVen(tmp_path, pol_s="1").say("check")
    assert code == 2
    assert "did you mean GRIDPACT_VEN_POLL_S" in text


async def test_limits_are_set_shown_and_lifted(tmp_path, vtn, home):
    await home.start("run")
    await home.say("limits", "--max-shed-w", "500", "--hours", "07:00-21:30")
    _, text = await home.say("limits", "--json")
    assert (json.loads(text)["max_shed_w"], json.loads(text)["hours"]) == (500, [420, 1290])
    _, text = await home.say("limits")
    assert "07:00-21:30" in text
    code, text = await home.say("opt-out", "--until", "2020-01-01")
    assert (code, "is over" in text) == (2, True)
    _, text = await home.say("limits", "--reset", "--json")
    assert (json.loads(text)["max_shed_w"], json.loads(text)["hours"]) == (None, None)
    code, text = await home.say("limits", "--hours", "late")
    assert (code, "07:00-21:30" in text) == (2, True)
    await home.end(signal.SIGTERM)


async def test_many_homes_run_in_one_process_each_with_its_own_key_and_truth(tmp_path, vtn):
    profiles, invitations, data = tmp_path / "profiles", tmp_path / "invitations", tmp_path / "homes"
    names = [f"H{n}" for n in range(1, 6)]
    enrolling = EnrollingVtn()
    enrolling.ledger_url = ""
    async with running(enrolling):
        for folder in (profiles, invitations):
            folder.mkdir()
        for name in names:
            write_profile(profiles / f"{name}.json", a_household(home_id=name).profile)
            invitation = msgspec.structs.replace(
                an_invitation(enrolling.url), ven_name=name, openadr2_url=vtn.url, ledger_url=""
            )
            (invitations / f"{name}.json").write_bytes(msgspec.json.encode(invitation))
        write_clock(tmp_path / "clock.json", epoch_domain_ms=START_MS, speed=1800.0)
        simulation = DrVen(data, clock_file=str(tmp_path / "clock.json"), start_spread_s="0.5", history_days="2")
        arguments = ("--homes", "5", "--profiles", str(profiles))
        await simulation.start("simulate", *arguments, "--invitations", str(invitations))
        await until(lambda: all(len(truth(data / name)) >= 3 for name in names))
        assert await simulation.end(signal.SIGTERM) == 0
        await simulation.start("simulate", *arguments)  # enrolled: no invitation is needed
        count = len(truth(data / "H1"))
        await until(lambda: len(truth(data / "H1")) > count)
        assert await simulation.end(signal.SIGKILL) == -signal.SIGKILL
    assert len({(data / name / "ven.key").read_text() for name in names}) == 5
    assert len(enrolling.asked) == 5
    assert {each.value("oadrVenName") for each in vtn.of("oadrCreatePartyRegistration")} == set(names)
    assert len(vtn.of("oadrCreatePartyRegistration")) == 5
    for name in names:
        store = a_store(data / name)
        lines = truth(data / name)
        starts = sorted({line["start_ms"] for line in lines})
        assert starts == list(range(starts[0], starts[-1] + 1, STEP_MS))
        measured = store.meter.between(starts[0], starts[-1] + 1)
        # a line is written before its reading is stored: the kill may have come between
        assert measured.items() <= {line["start_ms"]: line["meter_wh"] for line in lines}.items()
        assert len(measured) >= 3
        assert {(line["uncontrolled_wh"], line["delivered_wh"]) for line in lines} == {(500, 0)}
        assert store.meter.span()[0] >= 2 * 96
        store.close()


def truth(folder: Path) -> list[dict[str, int]]:
    path = folder / "truth.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
