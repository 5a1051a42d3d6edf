"""`dr-vtn vens invite --output`: files that hold one-time codes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import pytest

from tests.vtn.opened import PROGRAM
from vtn.cli import vens
from vtn.errors import InvalidInput
from vtn.services.enrolment import Invitation


@pytest.fixture
def invited(monkeypatch) -> list[str]:
    """Names that reached the VTN; the command runs on one that gives everybody the same code."""
    names: list[str] = []

    class AnyVtn:
        async def invite(self, name: str, area: str, program: str) -> Invitation:
            names.append(name)
            return Invitation(
                vtn_url="", openadr2_url="", ledger_url="", code="c0de", ven_name=name, area=area, sponsor="",
                site_zone="UTC", program=program,
            )  # fmt: skip

    def with_vtn(config, data_dir, work):
        coroutine = work(AnyVtn())
        with contextlib.closing(coroutine):
            try:
                coroutine.send(None)
            except StopIteration as done:
                return done.value
        raise AssertionError("nothing here waits")

    monkeypatch.setattr(vens, "with_vtn", with_vtn)
    return names


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", ".hidden", "a\\b"])
def test_a_name_cannot_choose_the_folder_of_its_file(tmp_path: Path, invited, name):
    with pytest.raises(InvalidInput, match="leave out --output"):
        vens.invite([name], "F1", PROGRAM, tmp_path / "out")
    assert not invited
    assert not list(tmp_path.rglob("*.json"))


def test_an_invitation_is_for_its_owner_alone_also_over_a_file_that_was_not(tmp_path: Path, invited):
    path = tmp_path / "home-1.json"
    path.write_text("old")
    path.chmod(0o644)
    vens.invite(["home-1"], "F1", PROGRAM, tmp_path)
    assert msgspec.json.decode(path.read_bytes(), type=Invitation).code == "c0de"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_found_before_codes_are(tmp_path: Path, invited):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        vens.invite(["home-1"], "F1", PROGRAM, tmp_path / "file" / "out")
    assert not invited
