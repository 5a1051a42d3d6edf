"""Folders copied, exchanged or begun twice: whoever would sign as somebody that signs already does not start."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.core.codec import digest
from ledger.app import peers_of
from ledger.cluster.certificates import Authority, Pair
from ledger.config import LedgerSettings
from ledger.errors import AlreadyRuns, Diverged, GenesisInvalid
from ledger.marker import FileMarker, Marker, MemoryMarker, sole_signer
from tests.ledger.operations.commands import refused
from tests.ledger.replicas import a_replica, a_transfer, an_issue
from tests.ledger.running import a_running_ledger, founded

NewDatabase = Callable[..., str]


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


async def test_a_copy_of_a_data_folder_does_not_start_beside_the_original(
    database: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    """Its database is a copy, too: no lock in it tells of the other one."""
    other = new_database("ledger")
    async with a_running_ledger(database, tmp_path / "member"):
        shutil.copytree(tmp_path / "member", tmp_path / "copy")
        with pytest.raises(AlreadyRuns, match=r"keys of member\.example/1.*run only one of the two"):
            async with a_running_ledger(other, tmp_path / "copy"):
                raise AssertionError("it runs")
    (tmp_path / "copy" / "signed").unlink()
    async with a_running_ledger(other, tmp_path / "copy") as url:
        assert url, "it alone may run"


def test_a_key_is_free_again_once_its_process_has_ended() -> None:
    with (
        sole_signer("member.example/1", "ed25519:00"),
        sole_signer("member.example/2", "ed25519:01"),
        pytest.raises(AlreadyRuns),
        sole_signer("member.example/1", "ed25519:00"),
    ):
        raise AssertionError("held twice")
    with sole_signer("member.example/1", "ed25519:00"):
        pass


def test_a_folder_of_another_member_does_not_fit_the_certificate(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")
    ours = authority.issue(Pair(tmp_path / "1.pem", tmp_path / "1.key"), "member.example/1", ["127.0.0.1"])
    theirs = authority.issue(Pair(tmp_path / "2.pem", tmp_path / "2.key"), "member.example/2", ["127.0.0.1"])

    def settings(pair: Pair) -> LedgerSettings:
        return LedgerSettings(
            data_dir=tmp_path / "member", etcd_endpoints="http://127.0.0.1:1", peer_ca=authority.ca,
            peer_certificate=pair.chain, peer_certificate_key=pair.key,
        )  # fmt: skip

    assert list(peers_of(settings(ours), founded(settings(ours))).names) == []
    with pytest.raises(GenesisInvalid, match=r"names member\.example/2, the keys in .* are those of member\.example/1"):
        peers_of(settings(theirs), founded(settings(theirs)))


async def test_a_deleted_marker_is_made_anew_from_what_the_database_signed(database: str, tmp_path: Path) -> None:
    signed = tmp_path / "member" / "signed"
    async with a_replica(database, tmp_path / "member") as ledger:
        await ledger.run(an_issue())
    before = signed.read_bytes()
    signed.unlink()
    async with a_replica(database, tmp_path / "member") as ledger:
        assert signed.read_bytes() == before
        await ledger.run(a_transfer("a"))
        assert ledger.replica.final_height == 2


async def test_a_database_whose_newest_tree_is_not_the_one_that_was_signed_signs_nothing(
    database: str, tmp_path: Path
) -> None:
    async with a_replica(database, tmp_path / "member") as ledger:
        await ledger.run(an_issue())
        size, of = ledger.replica.head.size, digest(ledger.founded.genesis)
    (tmp_path / "member" / "signed").unlink()
    FileMarker(tmp_path / "member" / "signed", of).record(size, b"\1" * 32)
    with pytest.raises(Diverged, match=f"signed another tree of {size} leaves"):
        async with a_replica(database, tmp_path / "member"):
            raise AssertionError("it runs")
    assert FileMarker(tmp_path / "member" / "signed", of).root == b"\1" * 32


@pytest.mark.parametrize("marker", [lambda path: FileMarker(path, "a" * 64), lambda path: MemoryMarker()])
def test_a_marker_takes_no_second_root_of_its_size(tmp_path: Path, marker: Callable[[Path], Marker]) -> None:
    made = marker(tmp_path / "signed")
    made.record(3, b"r" * 32)
    made.record(3, b"r" * 32)
    made.record(2, b"s" * 32)
    with pytest.raises(Diverged, match="another tree of 3 leaves"):
        made.record(3, b"s" * 32)
    assert (made.size, made.root) == (3, b"r" * 32)


def test_an_empty_or_foreign_marker_is_named(tmp_path: Path) -> None:
    FileMarker(tmp_path / "signed", "a" * 64).record(3, b"r" * 32)
    with pytest.raises(GenesisInvalid, match="of another ledger"):
        FileMarker(tmp_path / "signed", "b" * 64)
    (tmp_path / "signed").write_bytes(b"")
    with pytest.raises(GenesisInvalid, match="damaged"):
        FileMarker(tmp_path / "signed", "a" * 64)


def test_a_port_in_use_is_named(database: str, tmp_path: Path) -> None:
    founded(LedgerSettings(data_dir=tmp_path / "member"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ("--data-dir", tmp_path / "member", "--database-url", database, "--port", port)
        said = refused(2, "serve", *arguments)
    assert f"127.0.0.1:{port} cannot be listened on: another program does, stop it" in said
