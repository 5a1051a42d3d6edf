"""Evidence is kept whole and for good, and a member that contradicts itself all day cannot fill the disk with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.replication import alarm
from ledger.replication.alarm import FILES_FIRST, FILES_NEWEST, Alarms, in_folder
from ledger.verify import canonical
from ledger.verify.policy import NO_QUORUM, Policy
from tests.ledger.replication.consortium import until


def evidence(key: str, number: int) -> tuple[str, bytes]:
    return f"equivocation-{key}{number:03d}.json", canonical.encode({"key": key, "number": number})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_of_many_files_against_one_key_the_first_and_the_newest_stay(tmp_path: Path) -> None:
    keep, other = in_folder(tmp_path / "evidence"), evidence("b", 0)
    keep(*other)
    with capture_logs() as logged:
        for number in range(100):
            keep(*evidence("a", number))
    expected = [*range(FILES_FIRST), *range(100 - FILES_NEWEST, 100)]
    assert names(tmp_path / "evidence") == [*(evidence("a", number)[0] for number in expected), other[0]]
    (told,) = (entry for entry in logged if "oldest and newest stay" in entry["event"])
    assert told["key"] == "a"


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    name, content = evidence("a", 1)
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / name).with_suffix(".partial").symlink_to("/dev/full")
    keep = in_folder(tmp_path / "evidence")
    with pytest.raises(OSError, match="No space left"):
        keep(name, content)
    assert names(tmp_path / "evidence") == []
    keep(name, content)
    assert (tmp_path / "evidence" / name).read_bytes() == content


async def test_evidence_that_a_full_disk_did_not_take_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm, "_AGAIN_S", 0.05)
    kept: dict[str, bytes] = {}
    full = True

    def keep(name: str, content: bytes) -> None:
        if full:
            raise OSError(28, "No space left on device")
        kept[name] = content

    alarms = some_alarms(keep)
    alarms._unkept.append(evidence("a", 1))
    alarms._rung.set()
    running = asyncio.create_task(alarms.run())
    await asyncio.sleep(0.2)
    assert kept == {}
    full = False
    await until(lambda: kept == dict([evidence("a", 1)]))
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def some_alarms(keep: Callable[[str, bytes], None]) -> Alarms:
    unused: Any = None
    return Alarms(
        progress=unused, store=unused, peers=unused, origin="log.example/main",
        policy=Policy((), (), (), NO_QUORUM), halt=lambda _: None, keep=keep,
    )  # fmt: skip
