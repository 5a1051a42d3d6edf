"""Bundles: what they prove on a machine that has nothing of ours but ledger/verify, and that no byte may change."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest

import ledger.verify
from ledger.operations.errors import ExportRefused
from ledger.operations.export import Exported
from ledger.verify import VerificationError, canonical
from ledger.verify.bundle import read_container, verify_bundle, write_container
from tests.builders import START_MS
from tests.ledger.interface.commands import dr_ledger
from tests.ledger.operations.commands import refused
from tests.ledger.operations.evidence import a_story_served, exported
from tests.ledger.replicas import ACCEPT_BY_MS, DEVICE_ID, VIRTUAL_NODE_ID

DAY = "2026-01-01"


@pytest.fixture(scope="module")
def contract(bundles: dict[str, Exported]) -> Exported:
    return bundles["contract"]


@pytest.fixture(scope="module")
def bundles(databases: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Bundles of one ledger, made once."""
    url = databases.new("ledger")  # type: ignore[attr-defined]
    folder = tmp_path_factory.mktemp("story")

    async def make() -> dict[str, Exported]:
        async with a_story_served(url, folder / "member") as served:
            made = {
                "contract": await exported(served, contract="sc1-1"),
                "need": await exported(served, contract="need-1"),
                "day": await exported(served, from_ms=START_MS, to_ms=START_MS + 86_400_000),
                "late": await exported(served, from_ms=ACCEPT_BY_MS, to_ms=ACCEPT_BY_MS + 1_000),
                "device": await exported(served, from_ms=START_MS, to_ms=START_MS + 86_400_000, party=DEVICE_ID),
            }
            for wrong in ({"contract": "sc1-9"}, {"from_ms": 1, "to_ms": 2}):
                with pytest.raises(ExportRefused, match="no facts"):
                    await exported(served, **wrong)
            written = ["export", "--contract", "sc1-1", "--url", served.url, "-o", folder / "sc1-1.zip"]
            done = await asyncio.to_thread(dr_ledger, *written)
            assert done.returncode == 0, done.stderr
            assert (folder / "sc1-1.zip").read_bytes() == made["contract"].bundle, "the command makes the same bundle"
            again = await asyncio.to_thread(dr_ledger, *written)
            assert (again.returncode, "exists" in again.stderr) == (2, True)
            return made

    return asyncio.run(make())


def facts_of(made: Exported) -> list[str]:
    return [str(each.fact["fact"]) for each in made.verified.facts]


def test_a_contract_is_proved_from_proposal_to_its_deadline(contract: Exported) -> None:
    assert facts_of(contract) == ["DRSetUp", "DRExpired"]
    setup, expired = contract.verified.facts
    assert (setup.time_ms, setup.fact["payee"]) == (START_MS + 1, VIRTUAL_NODE_ID)
    assert setup.sender is not None
    assert expired.sender is None, "a deadline has no sender"
    assert expired.time_ms > ACCEPT_BY_MS
    assert contract.verified.cosigned_by == ("member.example/1",)


def test_a_need_and_a_period_are_proved(bundles: dict[str, Exported]) -> None:
    assert facts_of(bundles["need"]) == ["ReductionRequested"]
    assert {"PartyEnrolled", "DRSetUp", "MeasurementsRecorded", "DRExpired"} <= set(facts_of(bundles["day"]))
    assert facts_of(bundles["late"])[0] in ("DRExpired", "TransferPosted")
    assert all(each.time_ms >= ACCEPT_BY_MS for each in bundles["late"].verified.facts)
    assert set(facts_of(bundles["device"])) == {"PartyEnrolled", "MeasurementsRecorded"}


def test_a_bundle_shows_the_facts_it_lists_and_nothing_else(contract: Exported) -> None:
    """No command, no salt of a transaction, no fact of another subject."""
    files = read_container(contract.bundle)
    openings = [json.loads(data) for name, data in files.items() if name.endswith(".opening.json")]
    assert all("transaction" not in opening for opening in openings)
    assert b'energy_wh\\"' not in contract.bundle


def test_a_bundle_is_a_zip_that_any_program_opens(contract: Exported) -> None:
    with zipfile.ZipFile(BytesIO(contract.bundle)) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == read_container(contract.bundle)
        assert opened.read("README.txt").decode().startswith("Evidence from a Gridpact ledger")
        assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_same_files_make_the_same_bundle(contract: Exported) -> None:
    assert write_container(read_container(contract.bundle)) == contract.bundle


@pytest.fixture(scope="module")
def clean_machine(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m ledger.verify` where there is ledger/verify, PyNaCl, the standard library and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    shutil.copytree(
        Path(ledger.verify.__file__).parent, folder / "ledger" / "verify", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "site").mkdir()
    for name in ("nacl", "cffi", "_cffi_backend"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        there = origin.parent if spec.submodule_search_locations else origin
        (folder / "site" / there.name).symlink_to(there)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-B", "-m", "ledger.verify", *map(str, arguments)],
            cwd=folder,
            env={"PYTHONPATH": f"{folder}{os.pathsep}{folder / 'site'}", "PATH": "/nowhere"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_a_clean_machine_verifies_with_ledger_verify_alone(
    clean_machine: Callable[..., subprocess.CompletedProcess[str]], contract: Exported, tmp_path: Path
) -> None:
    (tmp_path / "policy.txt").write_bytes(contract.policy)
    (tmp_path / "b.zip").write_bytes(contract.bundle)
    done = clean_machine(tmp_path / "b.zip", "--policy", tmp_path / "policy.txt")
    assert done.returncode == 0, done.stderr
    assert "proved: 2 facts of sc1-1" in done.stdout
    assert "cosigned by member.example/1" in done.stdout
    assert "DRExpired" in done.stdout
    shown = json.loads(clean_machine(tmp_path / "b.zip", "--policy", tmp_path / "policy.txt", "--json").stdout)
    assert [each["fact"]["fact"] for each in shown["facts"]] == ["DRSetUp", "DRExpired"]

    (tmp_path / "b.zip").write_bytes(contract.bundle.replace(b"need-1", b"need-2"))
    altered = clean_machine(tmp_path / "b.zip", "--policy", tmp_path / "policy.txt")
    assert altered.returncode == 1
    assert "container_malformed" in altered.stderr
    assert "facts/" in altered.stderr
    assert clean_machine(tmp_path / "none.zip", "--policy", tmp_path / "policy.txt").returncode == 2


def test_one_altered_byte_anywhere_is_refused(contract: Exported) -> None:
    whole, chosen = contract.bundle, random.Random(4)
    places = {*range(64), *range(len(whole) - 64, len(whole)), *chosen.sample(range(len(whole)), 300)}
    for at in places:
        with pytest.raises(VerificationError):
            verify_bundle(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :], contract.policy)
    for cut in (whole[:-1], whole + b"\0", b"", whole[22:]):
        with pytest.raises(VerificationError):
            verify_bundle(cut, contract.policy)


def repacked(made: Exported, name: str, edit: Callable[[bytes], bytes], *, listed: bool) -> bytes:
    """The bundle of a forger who knows the format: container and, if `listed`, manifest are made to fit."""
    files = read_container(made.bundle)
    assert edit(files[name]) != files[name]
    files[name] = edit(files[name])
    if listed and name != "manifest.json":
        manifest = canonical.decode(files["manifest.json"])
        for each in manifest["files"]:
            each["sha256"] = sha256(files[each["name"]]).hexdigest()
        files["manifest.json"] = canonical.encode(manifest)
    return write_container(files)


def flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_forger_who_knows_the_format_is_refused_and_the_file_named(contract: Exported) -> None:
    for name in read_container(contract.bundle):
        for listed in (False, True):
            with pytest.raises(VerificationError) as caught:
                verify_bundle(repacked(contract, name, flipped, listed=listed), contract.policy)
            stem = name.removesuffix(".opening.json").removesuffix(".tlog-proof")
            assert stem in caught.value.message or caught.value.code == "manifest_malformed", (name, caught.value)


def test_claims_of_the_manifest_are_proved_too(contract: Exported, bundles: dict[str, Exported]) -> None:
    def edited(made: Exported, old: bytes, new: bytes) -> str:
        with pytest.raises(VerificationError) as caught:
            verify_bundle(
                repacked(made, "manifest.json", lambda data: data.replace(old, new), listed=True), made.policy
            )
        return caught.value.code

    assert edited(contract, b'"contract":"sc1-1"', b'"contract":"sc1-2"') == "scope_mismatch"
    assert edited(contract, b'"origin":"ledger.example/main"', b'"origin":"ledger.example/other"') == "bundle_altered"
    later = bundles["late"]
    scope = later.verified.scope
    period = f'"from_ms":{scope.from_ms}'.encode()
    assert edited(later, period, f'"from_ms":{ACCEPT_BY_MS + 900}'.encode()) == "scope_mismatch"
    device = bundles["device"]
    assert edited(device, DEVICE_ID.encode(), VIRTUAL_NODE_ID.encode()) == "scope_mismatch"
    assert edited(contract, b'"height":', b'"hight":') == "manifest_malformed"


def test_the_readers_policy_counts_and_not_the_one_in_the_bundle(contract: Exported) -> None:
    other = contract.policy.replace(b"witness member", b"witness memben")
    with pytest.raises(VerificationError) as caught:
        verify_bundle(contract.bundle, other)
    assert caught.value.code == "policy_differs"
    with pytest.raises(VerificationError) as caught:
        verify_bundle(repacked(contract, "policy.txt", lambda _: other, listed=True), other)
    assert caught.value.code.startswith("policy_")


def test_the_command_wants_one_scope(tmp_path: Path) -> None:
    out = tmp_path / "b.zip"
    assert "one of them" in refused(2, "export", "-o", out)
    assert "one of them" in refused(2, "export", "-o", out, "--contract", "a", "--period", "2026-01-01..2026-01-02")
    assert "is no period" in refused(2, "export", "-o", out, "--period", "yesterday")
    assert "before it begins" in refused(2, "export", "-o", out, "--period", "2026-01-02..2026-01-01")
