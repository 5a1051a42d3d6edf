"""Dependencies that hang, or are not what they should be: `/readyz` names each in time, and readers get an answer."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from ledger.cluster.certificates import Authority, Pair
from ledger.errors import StoreUnavailable
from ledger.operations.errors import CertificateEnded
from ledger.operations.watch import observation, readiness
from ledger.operations.watch.observation import Observer
from ledger.store import reading
from runtime.database import create_engine
from runtime.errors import Attention
from tests.builders import a_clock


async def test_a_postgresql_that_says_nothing_is_named_in_time_and_costs_one_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stopped process accepts connections and answers none."""
    monkeypatch.setattr(observation, "PING_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        engine = create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{hung.getsockname()[1]}/none")
        observer = Observer(engine, list, a_clock())
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match=r"does not answer \(no answer in 0\.2 s\).*Start it"):
                await readiness.check_store(observer)
        await observer.look()
        assert observer.seen.store_error == "no answer in 0.2 s"
        hung.settimeout(0.5)
        hung.accept()[0].close()
        with pytest.raises(TimeoutError):
            hung.accept()
        await observer.close()
        await engine.dispose()


async def test_whoever_reads_is_answered_although_postgresql_is_not_done(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ANSWER_S", 0.2)
    engine = create_engine(database_url)
    with pytest.raises(StoreUnavailable, match=r"nothing in 0\.2 s"):
        async with reading.answered(engine) as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))
    async with reading.answered(engine) as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await engine.dispose()


async def test_certificates_of_tomorrow_and_of_another_authority_are_named(tmp_path: Path) -> None:
    authority, other = Authority.create(tmp_path / "ca"), Authority.create(tmp_path / "other")
    ours = authority.issue(Pair(tmp_path / "1.pem", tmp_path / "1.key"), "member.example/1", ["127.0.0.1"])
    await readiness.check_certificates({"peer_certificate": ours.chain, "peer_ca": authority.ca})
    with pytest.raises(Attention, match=r"1\.pem was not signed by an authority in peer_ca .*refuse this one"):
        await readiness.check_certificates({"peer_certificate": ours.chain, "peer_ca": other.ca})
    both = tmp_path / "both.pem"
    both.write_bytes(other.ca.read_bytes() + authority.ca.read_bytes())
    await readiness.check_certificates({"peer_certificate": ours.chain, "peer_ca": both})

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "member.example/1")])
    begun = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1).public_key(key.public_key())
    early = begun.not_valid_before(now + timedelta(days=1)).not_valid_after(now + timedelta(days=90))
    (tmp_path / "early.pem").write_bytes(early.sign(key, SHA256()).public_bytes(Encoding.PEM))
    with pytest.raises(CertificateEnded, match=r"certificate .*early\.pem is valid from 20.* on: others refuse"):
        await readiness.check_certificates({"certificate": tmp_path / "early.pem"})
