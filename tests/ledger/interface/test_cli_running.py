"""`dr-ledger` against a replica that commands founded and serve, with the embedded PostgreSQL."""

from __future__ import annotations

import ipaddress
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import make_url

from contracts.core.parties import Role
from ledger.client import party_id
from ledger.config import LedgerSettings
from ledger.verify import verify_proof
from runtime.keys import PrivateKey
from runtime.postgres import EmbeddedPostgres
from tests.ledger.interface.commands import CLEAN, dr_ledger, founders, init, output, refusal
from tests.ledger.running import Served, a_served_ledger


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


def heed_interrupts() -> None:
    """A shell ignores SIGINT for what it runs in the background, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


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
    assert need["request"]["budget_minor"] == 60_000, "1.5 times what the target costs"

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
    shown = dr_ledger("status", "--url", served.url).stdout
    assert re.search(rf"^height +{status['height']}$", shown, re.MULTILINE), shown


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
    command = [sys.executable, "-c", "from ledger.cli import main; main()", "facts", "--follow", "--json"]
    with subprocess.Popen(
        [*command, "--url", served.url], stdout=subprocess.PIPE, text=True, env=CLEAN, preexec_fn=heed_interrupts
    ) as process:
        assert process.stdout is not None
        try:
            sign = ["--key", key_of(served, "utility")]
            issued = asked(served, "issue", *sign, "--to", party_of(served, "auditor"), "--amount-minor", 11)
            for line in process.stdout:
                if json.loads(line)["transaction_id"] == issued["id"]:
                    break
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


@pytest.mark.slow
def test_a_killed_ledger_starts_again_where_it_was(served: Served):
    sign = ["--key", key_of(served, "utility")]
    issued = asked(served, "issue", *sign, "--to", party_of(served, "utility"), "--amount-minor", 7)
    before = asked(served, "status")
    served.kill()
    served.start()
    after = asked(served, "status")
    assert (after["height"], after["size"]) == (before["height"], before["size"])
    assert asked(served, "show", "transaction", issued["id"]) == issued


@pytest.mark.slow
def test_over_tls_the_replica_is_believed_only_with_its_authority(tmp_path: Path, new_database: Callable[..., str]):
    certificate, key = a_certificate(tmp_path)
    tls = {"DR_LEDGER_CERTIFICATE": str(certificate), "DR_LEDGER_CERTIFICATE_KEY": str(key)}
    with a_served_ledger(tmp_path / "ledger", database_url=new_database("ledger"), **tls) as served:
        assert output("status", "--url", served.url, "--ca", certificate)["channel"] == "main"
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(5, "status", "--url", served.url, "--wait", "0.2")
    assert "give an https address" in refusal(2, "status", "--ca", certificate)


def a_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "replica")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False).sign(key, SHA256())
    chain_file, key_file = folder / "replica.pem", folder / "replica.key"
    chain_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return chain_file, key_file


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
