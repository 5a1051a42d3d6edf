"""`dr-ledger` as its users meet it: by subprocess, with texts and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.core.codec import decode, digest
from contracts.core.parties import Role
from contracts.rules import Genesis
from ledger.client import party_id
from ledger.config import LedgerSettings
from ledger.founding import load
from runtime.keys import PrivateKey
from tests.ledger.interface.commands import dr_ledger, founders, init, output, refusal

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


def test_a_proof_is_of_one_thing():
    assert "either --transaction or --at" in refusal(2, "proof", "-o", "x")
    assert "either --transaction or --at" in refusal(2, "proof", "-o", "x", "--transaction", "0" * 64, "--at", 3)
    assert "either --party or --account" in refusal(2, "balance")
    assert "either --party or --account" in refusal(2, "balance", "--party", "x", "--account", "issuance")


def test_help_lists_every_command():
    text = dr_ledger("--help").stdout
    for command in ("init", "serve", "migrate", "check", "verify", "status", "keys", "issue", "transfer", "show"):
        assert command in text
    for command in ("request-reduction", "facts", "proof", "balance", "refusals"):
        assert command in text


@pytest.mark.parametrize(
    ("start", "end", "kwh", "expected"),
    [
        ("2026-07-01T18:00Z", "2026-07-01T19:00Z", "nan", "a number above 0"),
        ("2026-07-01T18:00Z", "2026-07-01T19:00Z", "inf", "a number above 0"),
        ("2026-07-01T18:00Z", "9999-07-01T19:00Z", "3", "intervals, at most"),
        ("0001-01-01T00:00+14:00", "2026-07-01T19:00Z", "3", "is no time"),
    ],
)
def test_figures_beyond_all_bounds_are_refused_before_anything_is_built(tmp_path: Path, start, end, kwh, expected):
    options = ["--key", tmp_path / "utility.key", "--price-minor-per-mwh", 1, "--target-kwh", kwh]
    assert expected in refusal(2, "request-reduction", *options, "--start", start, "--end", end)


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refusal(2, "keys", "create", tmp_path / "file" / "a.key", "--role", "utility")
