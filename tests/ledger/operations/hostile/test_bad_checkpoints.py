"""Checkpoints that a peer made up: each is dropped by name, counts for nothing, and no table changes by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ledger.ordering.signatures import CheckpointSigner
from tests.builders import a_key
from tests.ledger.operations.hostile.unchanged import unchanged
from tests.ledger.replicas import Ledger, a_replica, an_issue

NewDatabase = Callable[..., str]
ORIGIN, MEMBER, TIME_S = "ledger.example/main", "member.example/1", 1_767_225_600


def signed(ledger: Ledger, *, origin: str = ORIGIN, size: int | None = None, strangers: int = 0) -> bytes:
    """A note over this log's tree; of another origin or size, or with so many keys that are a stranger's."""
    founded, head = ledger.founded, ledger.replica.head
    log = a_key(901) if strangers > 1 else founded.log_key
    cosigner = a_key(902) if strangers else founded.cosigner_key
    return CheckpointSigner(origin, log, MEMBER, cosigner).note(head.size if size is None else size, head.root, TIME_S)


def edited(note: bytes, line: int) -> bytes:
    """One bit of the signature in a line from the end."""
    lines = note.split(b"\n")
    at = len(lines) - 1 - line
    text = bytearray(lines[at])
    text[-8] = ord("A") if text[-8] != ord("A") else ord("B")
    lines[at] = bytes(text)
    return b"\n".join(lines)


def resized(ledger: Ledger, size: bytes) -> bytes:
    """Another size over the same signatures."""
    return signed(ledger).replace(b"\n%d\n" % ledger.replica.head.size, b"\n" + size + b"\n")


NOTES: dict[str, tuple[Callable[[Ledger], bytes], str]] = {
    # what: the note, the code of its error; none for lines by unknown keys, which readers of notes pass over
    "a forged cosignature": (lambda ledger: edited(signed(ledger), 1), "signature_invalid"),
    "a forged signature of the log": (lambda ledger: edited(signed(ledger), 2), "signature_invalid"),
    "a cosignature by a stranger under the member's name": (lambda ledger: signed(ledger, strangers=1), ""),
    "signatures by strangers": (lambda ledger: signed(ledger, strangers=2), ""),
    "a checkpoint of another origin": (lambda ledger: signed(ledger, origin="other.example/main"), "channel_mismatch"),
    "another size under the signatures": (lambda ledger: resized(ledger, b"999"), "signature_invalid"),
    "a size of a thousand digits": (lambda ledger: resized(ledger, b"9" * 1000), "note_malformed"),
    "a size with a leading zero": (lambda ledger: resized(ledger, b"0%d" % ledger.replica.head.size), "note_malformed"),
    "a root that is no base64": (lambda ledger: signed(ledger).replace(b"=\n\n", b"!\n\n", 1), "note_malformed"),
    "an extension line": (lambda ledger: signed(ledger).replace(b"=\n\n", b"=\nmore\n\n", 1), "channel_mismatch"),
    "no signature": (lambda ledger: signed(ledger).split(b"\n\n")[0] + b"\n\n", "note_malformed"),
    "no note": (lambda ledger: b"[" * 10_000, "note_malformed"),
    "nothing": (lambda ledger: b"", "note_malformed"),
    "bytes that are no UTF-8": (lambda ledger: b"\xff\xfe\n" + signed(ledger), "note_malformed"),
}  # fmt: skip


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


async def test_bad_checkpoints_are_dropped_by_name_and_change_nothing(database: str, tmp_path: Path) -> None:
    async with a_replica(database, tmp_path / "m") as ledger:
        await ledger.run(an_issue())
        cosigned = ledger.replica.attested(0)
        async with unchanged(database):
            for what, (made, code) in NOTES.items():
                with capture_logs() as logged:
                    await ledger.replica.take_cosignatures([made(ledger)])
                assert [entry["code"] for entry in logged if "code" in entry] == ([code] if code else []), what
                assert ledger.replica.attested(0) == cosigned
        assert ledger.replica.status()["alarms"] == []
        assert ledger.replica.status()["state"] == "serving"
