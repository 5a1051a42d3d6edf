"""`dr-ledger` as its users meet it: by subprocess, with texts and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from contracts.core.codec import decode, digest
from contracts.core.parties import Role
from contracts.rules import Genesis
from ledger.client import party_id
from ledger.config import LedgerSettings
from ledger.founding import load
from ledger.verify import verify_proof
from runtime.keys import PrivateKey
from runtime.postgres import EmbeddedPostgres
from tests.ledger.running import Served

CLEAN = {
    name: value for name, value in os.environ.items() if not name.startswith(("DR_LEDGER_", "GRIDPACT_", "DATABASE_"))
}


def dr_ledger(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from ledger.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**CLEAN, **environment},
        timeout=60,
        check=False,
    )


def output(*arguments: object, **environment: str) -> Any:
    done = dr_ledger(*arguments, "--json", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(code: int, *arguments: object, **environment: str) -> str:
    done = dr_ledger(*arguments, **environment)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def founders(folder: Path) -> dict[str, str]:
    """Key files of the founding parties; their party ids by role."""
    parties = {}
    for role in (Role.UTILITY, Role.AGGREGATOR, Role.AUDITOR):
        key = PrivateKey.create(folder / f"{role}.key")
        (folder / f"{role}.pub").write_text(key.public + "\n")
        parties[role.value] = party_id(role, key.public)
    return parties


def init(folder: Path, *more: object) -> list[object]:
    return [
        "init",
        *("--utility", folder / "utility.pub", "--aggregator", folder / "aggregator.pub"),
        *("--data-dir", folder / "ledger", *more),
    ]


# ---- keys


def test_a_key_is_made_once_and_its_party_id_follows_from_it(tmp_path: Path):
    file = tmp_path / "keys" / "utility.key"
    made = output("keys", "create", file, "--role", "utility")
    assert made["public_key"] == PrivateKey.load(file).public == file.with_suffix(".pub").read_text().strip()
    assert made["party"] == party_id(Role.UTILITY, made["public_key"])
    assert made == output("keys", "show", file, "--role", "utility")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "never overwritten" in refusal(2, "keys", "create", file, "--role", "utility")


def test_a_secret_never_appears_in_the_output(tmp_path: Path):
    file = tmp_path / "a.key"
    done = dr_ledger("keys", "create", file, "--role", "auditor", "--algorithm", "p256")
    assert file.read_text().strip().partition(":")[2] not in done.stdout + done.stderr


def test_a_private_key_file_is_not_taken_for_a_public_one(tmp_path: Path):
    founders(tmp_path)
    text = refusal(
        2,
        "init",
        "--utility",
        tmp_path / "utility.key",
        "--aggregator",
        tmp_path / "aggregator.pub",
        "--data-dir",
        tmp_path / "x",
    )
    assert "neither a public key" in text
    assert "dr-ledger keys create" in text
    assert not (tmp_path / "x").exists()


# ---- founding


def test_a_ledger_is_founded_from_public_keys_alone(tmp_path: Path):
    parties = founders(tmp_path)
    shown = output(*init(tmp_path, "--auditor", tmp_path / "auditor.pub", "--origin", "ledger.example/main"))
    genesis = decode((tmp_path / "ledger" / "genesis.json").read_bytes(), Genesis)
    assert shown["genesis"] == digest(genesis)
    assert [party.party for party in genesis.parties] == list(parties.values())
    founded = load(LedgerSettings(data_dir=tmp_path / "ledger"))
    assert founded.genesis.origin == "ledger.example/main"
    assert founded.member == "member.gridpact.local/1"


def test_a_ledger_is_never_founded_over_another(tmp_path: Path):
    founders(tmp_path)
    assert dr_ledger(*init(tmp_path)).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "ledger").iterdir()}
    text = refusal(7, *init(tmp_path))
    assert "founded once" in text
    assert "dr-ledger serve" in text
    assert before == {path: path.read_bytes() for path in (tmp_path / "ledger").iterdir()}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--origin", "ledger.example/other"], "must end in /main"),
        (["--member", "two words"], "cannot be used"),
        (["--auditor", "utility.pub"], "make no ledger"),
    ],
)
def test_a_founding_that_cannot_work_leaves_nothing(tmp_path: Path, more: list[str], expected: str):
    founders(tmp_path)
    more = [str(tmp_path / item) if item.endswith(".pub") else item for item in more]
    assert expected in refusal(7, *init(tmp_path, *more))
    assert not (tmp_path / "ledger" / "genesis.json").exists()
    assert not (tmp_path / "ledger" / "log.key").exists()


def test_a_folder_whose_keys_are_not_its_policys_is_not_served(tmp_path: Path):
    founders(tmp_path)
    assert dr_ledger(*init(tmp_path)).returncode == 0
    (tmp_path / "ledger" / "log.key").unlink()
    PrivateKey.create(tmp_path / "ledger" / "log.key")
    assert "are not those" in refusal(7, "serve", "--data-dir", tmp_path / "ledger")


# ---- settings and addresses


def test_serving_without_a_ledger_names_the_command_that_founds_one(tmp_path: Path):
    assert "dr-ledger init" in refusal(7, "serve", "--data-dir", tmp_path)


def test_plain_http_off_loopback_is_refused(tmp_path: Path):
    assert "certificate" in refusal(2, "serve", "--data-dir", tmp_path, "--host", "0.0.0.0")
    assert "https" in refusal(2, "status", "--url", "http://ledger.example:8440")


def test_check_prints_the_merged_settings_without_secrets(tmp_path: Path):
    file = tmp_path / "ledger.toml"
    file.write_text('port = 1111\nhost = "127.0.0.2"\n')
    done = dr_ledger(
        "check",
        "--config",
        file,
        DR_LEDGER_PORT="2222",
        DATABASE_URL="postgresql://me:hush@db/x",
        GRIDPACT_CLOCK="c.json",
    )
    assert done.returncode == 0
    assert 'host = "127.0.0.2"' in done.stdout
    assert "port = 2222" in done.stdout
    assert "c.json" in done.stdout
    assert "hush" not in done.stdout


def test_a_misspelt_variable_is_named_with_the_one_that_was_meant():
    text = refusal(2, "check", DR_LEDGER_PROT="1")
    assert "DR_LEDGER_PROT" in text
    assert "DR_LEDGER_PORT" in text


def test_a_certificate_without_its_key_is_refused(tmp_path: Path):
    assert "belong together" in refusal(2, "check", DR_LEDGER_CERTIFICATE=str(tmp_path / "a.pem"))


# ---- a ledger that is not there, and options that do not fit


def test_a_ledger_that_is_away_ends_with_its_own_exit_code():
    assert "does not answer" in refusal(5, "status", "--url", "http://127.0.0.1:9", "--wait", "0.2")


def test_a_window_that_has_no_offset_or_no_whole_intervals_is_explained(tmp_path: Path):
    founders(tmp_path)
    common = [
        "request-reduction",
        "--key",
        tmp_path / "utility.key",
        "--price-minor-per-mwh",
        400000,
        "--target-kwh",
        10,
    ]
    assert "no offset" in refusal(2, *common, "--start", "2026-07-01T18:00", "--end", "2026-07-01T21:00Z")
    text = refusal(2, *common, "--start", "2026-07-01T18:00Z", "--end", "2026-07-01T18:20Z")
    assert "whole intervals of 15 minutes" in text
    assert "--profile-wh" in refusal(2, *common[:5], "--start", "2026-07-01T18:00Z")


def test_help_lists_every_command():
    text = dr_ledger("--help").stdout
    for command in ("init", "serve", "migrate", "check", "verify", "status", "keys", "issue", "transfer", "show"):
        assert command in text
    for command in ("request-reduction", "facts", "proof", "refusals"):
        assert command in text


# ---- a running ledger


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A ledger with the embedded PostgreSQL, founded and served by commands alone."""
    folder = tmp_path_factory.mktemp("story")
    founders(folder)
    assert dr_ledger(*init(folder, "--auditor", folder / "auditor.pub")).returncode == 0
    stale = refusal(3, "serve", "--data-dir", folder / "ledger", "--port", 0)
    assert "dr-ledger migrate" in stale
    migrated = dr_ledger("migrate", "--data-dir", folder / "ledger")
    assert migrated.returncode == 0, migrated.stderr
    ledger = Served(folder / "ledger")
    ledger.start()
    yield ledger
    assert ledger.stop() == 0


def database_of(served: Served) -> str:
    """The address of the embedded PostgreSQL that the process runs."""
    server = EmbeddedPostgres(LedgerSettings(data_dir=served.folder).postgres_dir)
    return make_url(server.url("ledger")).set(drivername="postgresql").render_as_string(hide_password=False)


def asked(served: Served, *arguments: object) -> Any:
    return output(*arguments, "--url", served.url)


def key_of(served: Served, role: str) -> Path:
    return served.folder.parent / f"{role}.key"


def party_of(served: Served, role: str) -> str:
    return party_id(Role(role), PrivateKey.load(key_of(served, role)).public)


@pytest.mark.slow
def test_from_money_to_a_need_that_is_shown_followed_and_proved(served: Served):
    utility, aggregator = party_of(served, "utility"), party_of(served, "aggregator")
    sign = ["--key", key_of(served, "utility")]
    issued = asked(served, "issue", *sign, "--to", utility, "--amount-minor", 100_000, "--reference", "budget")
    assert issued["status"] == "committed"
    moved = asked(served, "transfer", *sign, "--to", aggregator, "--amount-minor", 500)
    assert moved["facts"][0]["amount_minor"] == 500
    assert asked(served, "show", "account", aggregator)["free_minor"] == 500
    assert asked(served, "show", "transaction", moved["id"]) == moved

    window = ["--start", "2099-07-01T18:00+02:00", "--end", "2099-07-01T21:00+02:00"]
    asked(
        served, "request-reduction", *sign, "--need-id", "need-1", *window,
        "--target-kwh", 100, "--price-minor-per-mwh", 400_000,
    )  # fmt: skip
    need = asked(served, "show", "need", "need-1")
    assert need["request"]["aggregator"] == aggregator
    assert sum(need["request"]["target_wh"]) == 100_000
    assert len(need["request"]["target_wh"]) == 12
    assert need["request"]["budget_minor"] == 40_000

    lines = dr_ledger("facts", "--contract", "need-1", "--json", "--url", served.url).stdout.splitlines()
    assert [json.loads(line)["fact"]["fact"] for line in lines] == ["ReductionRequested"]
    text = dr_ledger("facts", "--contract", "need-1", "--url", served.url).stdout
    assert "ReductionRequested" in text

    files = asked(served, "proof", "--transaction", moved["id"], "--fact", 0, "-o", served.folder.parent / "proof")
    verified = verify_proof(
        Path(files["proof"]).read_bytes(), Path(files["policy"]).read_bytes(), Path(files["opening"]).read_bytes()
    )
    assert verified.fact["amount_minor"] == 500
    status = asked(served, "status")
    assert status["height"] >= 3
    assert dr_ledger("status", "--url", served.url).stdout.startswith("height")


@pytest.mark.slow
def test_what_the_ledger_refuses_ends_with_its_code(served: Served):
    sign = ["--key", key_of(served, "aggregator"), "--url", served.url]
    assert "role_not_allowed" in refusal(6, "issue", *sign, "--to", "x", "--amount-minor", 5)
    utility = party_of(served, "utility")
    assert "funds_insufficient" in refusal(6, "transfer", *sign, "--to", utility, "--amount-minor", 10**9)


@pytest.mark.slow
def test_what_is_not_there_is_said_with_the_command_to_run_next(served: Served, tmp_path: Path):
    assert "dr-ledger facts" in refusal(9, "show", "contract", "sc1-none", "--url", served.url)
    assert "not executed" in refusal(9, "show", "transaction", "0" * 64, "--url", served.url)
    PrivateKey.create(tmp_path / "stranger.key")
    sign = ["--key", tmp_path / "stranger.key", "--url", served.url]
    assert "belongs to no party" in refusal(9, "issue", *sign, "--to", "x", "--amount-minor", 5)


@pytest.mark.slow
def test_following_prints_facts_as_they_happen(served: Served):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from ledger.cli import main; main()",
            "facts",
            "--follow",
            "--json",
            "--url",
            served.url,
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=CLEAN,
    )
    try:
        sign = ["--key", key_of(served, "utility")]
        issued = asked(served, "issue", *sign, "--to", party_of(served, "auditor"), "--amount-minor", 11)
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["transaction_id"] == issued["id"]:
                break
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


@pytest.mark.slow
def test_the_audit_finds_one_flipped_byte_and_names_its_block(served: Served):
    data = ["--data-dir", served.folder]
    assert output("verify", *data)["height"] >= 1
    with psycopg.connect(database_of(served), autocommit=True) as connection:
        [index] = connection.execute("SELECT first_index FROM blocks WHERE height = 2").fetchone() or (None,)
        statement = "UPDATE entries SET data = set_byte(data, 40, get_byte(data, 40) # 1) WHERE log_index = %s"
        connection.execute(statement, [index])
        try:
            assert "block 2" in refusal(8, "verify", *data)
        finally:
            connection.execute(statement, [index])
    assert dr_ledger("verify", *data).returncode == 0
