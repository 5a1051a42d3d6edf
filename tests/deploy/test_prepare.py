"""deploy/prepare makes, with the product's own commands, every file that compose.yaml mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.cluster.certificates import ETCD_PEER, check_signed_by, named
from ledger.config import LedgerSettings
from ledger.founding import join
from tests.deploy.yaml_subset import read
from tests.ledger.interface.commands import CLEAN, founders

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
MEMBERS = ("utility", "aggregator", "auditor")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy")
    founders(folder)
    prepare(folder)
    return folder / "members"


def prepare(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = CLEAN | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    keys = [folder / f"{role}.pub" for role in MEMBERS]
    done = subprocess.run(
        [str(ROOT / "deploy" / "prepare"), *map(str, keys), str(folder / "members")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def test_every_file_that_is_mounted_is_there_and_secrets_are_their_owners_alone(prepared: Path):
    compose = read((ROOT / "compose.yaml").read_text())
    for kind in ("configs", "secrets"):
        for each in compose[kind].values():
            path = prepared / Path(each["file"]).relative_to("deploy/members")
            assert path.stat().st_size > 0
            assert bool(path.stat().st_mode & 0o077) == (kind == "configs"), path


@pytest.mark.parametrize("member", MEMBERS)
def test_certificates_name_the_services_that_show_them(prepared: Path, member: str):
    for kind in ("replica", "etcd"):
        path = prepared / member / "tls" / f"{kind}.pem"
        check_signed_by(path, prepared / "ca.pem")
        known_by = {ETCD_PEER} if kind == "etcd" else set()
        assert set(named(path).names) == {f"{kind}-{member}", "localhost"} | known_by
    assert named(prepared / member / "tls" / "etcd.pem").subject == member, "the user etcd takes it for"


@pytest.mark.parametrize("member", MEMBERS)
def test_each_member_can_join_what_was_founded(prepared: Path, tmp_path: Path, member: str):
    settings = LedgerSettings(data_dir=tmp_path / member, keys_dir=prepared / member / "keys")
    files = {
        name: prepared / f"{name}.{end}" for name, end in (("genesis", "json"), ("policy", "txt"), ("members", "json"))
    }
    assert join(settings, **files).member == f"member.example/{member}"


def test_nothing_is_made_over_a_ledger_that_is_there(prepared: Path):
    before = (prepared / "genesis.json").read_bytes()
    done = prepare(prepared.parent)
    assert done.returncode == 1
    assert "never over another" in done.stderr
    assert (prepared / "genesis.json").read_bytes() == before
