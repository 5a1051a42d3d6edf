"""A consortium's certificates: made, trusted by both ends of a real TLS connection, and watched for their end."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger.cluster.certificates import (
    Authority,
    CertificateError,
    Pair,
    check_signed_by,
    expires_within,
    named,
    request_certificate,
)
from runtime.tls import Certificate, client_context, server_context

HOSTS = ("127.0.0.1", "replica-1.example")


def a_pair(folder: Path, authority: Authority, name: str = "member.example/1", days: int = 365) -> Pair:
    pair = Pair(folder / "replica.pem", folder / "replica.key")
    folder.mkdir(parents=True, exist_ok=True)
    return authority.issue(pair, name, HOSTS, days=days)


async def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """What a server says to a client that it lets in; nothing to others."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.close()

    listening = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            said = await reader.read()
        except (ssl.SSLError, ConnectionError):
            return b""
        writer.close()
        return said


async def test_two_members_of_one_consortium_let_each_other_in(tmp_path: Path):
    authority = Authority.create(tmp_path / "ca")
    one, two = (a_pair(tmp_path / name, authority) for name in ("one", "two"))
    server = server_context([Certificate(*one)], authority.ca)
    assert await handshake(server, client_context(authority.ca, Certificate(*two))) == b"welcome"


async def test_a_member_of_another_consortium_is_kept_out(tmp_path: Path):
    authority, other = Authority.create(tmp_path / "ca"), Authority.create(tmp_path / "other")
    server = server_context([Certificate(*a_pair(tmp_path / "one", authority))], authority.ca)
    stranger = Certificate(*a_pair(tmp_path / "two", other))
    assert await handshake(server, client_context(authority.ca, stranger)) == b""


async def test_an_expired_certificate_is_kept_out(tmp_path: Path):
    authority = Authority.create(tmp_path / "ca")
    server = server_context([Certificate(*a_pair(tmp_path / "one", authority))], authority.ca)
    expired = Certificate(*a_pair(tmp_path / "two", authority, days=-1))
    assert await handshake(server, client_context(authority.ca, expired)) == b""


async def test_a_certificate_for_one_purpose_is_not_good_for_the_other(tmp_path: Path):
    authority = Authority.create(tmp_path / "ca")
    request = request_certificate(tmp_path / "device.key", "device-1", ["device-1"])
    chain = authority.sign(request.read_bytes(), tmp_path / "device.pem", server=False)
    client = client_context(authority.ca)
    server = server_context([Certificate(chain, tmp_path / "device.key")])
    client.check_hostname = False
    assert await handshake(server, client) == b""


def test_the_key_stays_where_it_was_made_and_nobody_else_reads_it(tmp_path: Path):
    request = request_certificate(tmp_path / "member.key", "member.example/1", HOSTS)
    assert (tmp_path / "member.key").stat().st_mode & 0o077 == 0
    assert b"PRIVATE" not in request.read_bytes()


def test_a_renewal_keeps_the_key_and_moves_the_end(tmp_path: Path):
    authority = Authority.create(tmp_path / "ca")
    pair = a_pair(tmp_path / "one", authority, days=3)
    key = pair.key.read_bytes()
    soon = expires_within(pair.chain, 30)
    assert soon is not None
    authority.issue(pair, "member.example/1", HOSTS, days=365)
    assert expires_within(pair.chain, 30) is None
    assert pair.key.read_bytes() == key


@pytest.mark.parametrize(("days", "warned"), [(29, True), (31, False)])
def test_an_end_is_told_before_it_comes(tmp_path: Path, days: int, warned: bool):
    pair = a_pair(tmp_path / "one", Authority.create(tmp_path / "ca"), days=days)
    assert (expires_within(pair.chain, 30) is not None) == warned


def test_an_end_that_is_over_is_told_as_well(tmp_path: Path):
    pair = a_pair(tmp_path / "one", Authority.create(tmp_path / "ca"), days=10)
    end = expires_within(pair.chain, 1, datetime.now(UTC) + timedelta(days=20))
    assert end is not None
    assert end < datetime.now(UTC) + timedelta(days=11)


def test_no_certificate_outlives_its_authority(tmp_path: Path):
    authority = Authority.create(tmp_path / "ca", days=5)
    pair = a_pair(tmp_path / "one", authority, days=365)
    assert named(pair.chain).not_after == named(authority.ca).not_after


def test_a_certificate_names_member_and_machines(tmp_path: Path):
    pair = a_pair(tmp_path / "one", Authority.create(tmp_path / "ca"))
    shown = named(pair.chain)
    assert (shown.subject, shown.names) == ("member.example/1", HOSTS)


def test_an_authority_is_never_made_over_another(tmp_path: Path):
    Authority.create(tmp_path)
    with pytest.raises(CertificateError, match="never over another"):
        Authority.create(tmp_path)


def test_an_authority_with_another_key_is_refused(tmp_path: Path):
    Authority.create(tmp_path / "one")
    Authority.create(tmp_path / "two")
    (tmp_path / "two" / "ca.key").replace(tmp_path / "one" / "ca.key")
    with pytest.raises(CertificateError, match="is not the key of"):
        Authority.load(tmp_path / "one")


def test_a_certificate_of_another_consortium_is_told_at_once(tmp_path: Path):
    authority, other = Authority.create(tmp_path / "ca"), Authority.create(tmp_path / "other")
    pair = a_pair(tmp_path / "one", authority)
    check_signed_by(pair.chain, authority.ca)
    with pytest.raises(CertificateError, match="was not signed by"):
        check_signed_by(pair.chain, other.ca)


@pytest.mark.parametrize(
    ("subject", "hosts", "reason"),
    [("", HOSTS, "1 to 64"), ("x" * 65, HOSTS, "1 to 64"), ("member", (), "--host"), ("member", ("hôte",), "hôte")],
)
def test_a_request_that_names_nobody_is_refused(tmp_path: Path, subject: str, hosts: tuple[str, ...], reason: str):
    with pytest.raises(CertificateError, match=reason):
        request_certificate(tmp_path / "member.key", subject, hosts)


@pytest.mark.parametrize("content", [b"", b"no request", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"])
def test_what_is_no_request_is_not_signed(tmp_path: Path, content: bytes):
    authority = Authority.create(tmp_path / "ca")
    with pytest.raises(CertificateError, match="no request"):
        authority.sign(content, tmp_path / "x.pem")
    assert not (tmp_path / "x.pem").exists()


def test_what_is_no_certificate_has_no_end(tmp_path: Path):
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(CertificateError, match="cannot be read"):
        expires_within(tmp_path / "x.pem", 30)
