"""Seeds of the simulation without a violation, and planted bugs that it finds."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.faults import KINDS


def simulate(*arguments: str, hash_seed: str = "random") -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own, as one replays a seed."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        capture_output=True, text=True, check=False, env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_seeds_run_without_a_violation():
    run = simulate("--seeds", "40", "--jobs", "1")
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_seed_does_the_same_in_every_process():
    """Also where sets and dicts of strings are in another order: nothing in a replica depends on it."""
    traces = [simulate("--seed", "7", "--trace", hash_seed=seed).stdout for seed in ("0", "1")]
    assert "digest" in traces[0]
    assert traces[0] == traces[1]


@pytest.mark.slow
def test_real_signatures_change_nothing():
    cheap, real = (simulate("--seed", "3", *options).stdout for options in ((), ("--real-signatures",)))
    blocks = [re.search(r"(\d+) blocks, (\d+) steps", text) for text in (cheap, real)]
    assert blocks[0] is not None
    assert blocks[1] is not None
    assert blocks[0].groups() == blocks[1].groups()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hundreds_of_seeds_meet_every_kind_of_fault_and_violate_nothing():
    run = simulate("--seeds", "120", "--start", "1000")
    assert run.returncode == 0, run.stdout + run.stderr
    struck = dict(re.findall(r"(\w+) (\d+)", run.stdout.partition("faults:")[2].partition("\n")[0]))
    assert [kind for kind in KINDS if int(struck[kind]) == 0] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_planted_bug_is_found():
    run = simulate("--bugs", "--seeds", "1000")
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(run.stdout.splitlines()) == len(BUGS) >= 10
