"""The profile file of a home: strict to read, exact to measure from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ven import cli
from ven.devices.errors import OutsideProfile, ProfileError
from ven.devices.profile import Profile, parse_profile, read_profile, render_profile, write_profile

GOOD = {
    "format": "gridpact-home-profile-1",
    "home_id": "H001",
    "start_ms": 1_470_639_600_000,
    "interval_s": 900,
    "load_wh": [503, 504],
    "pv_wh": [0, 600],
}


def text_with(**changes: object) -> bytes:
    return json.dumps(GOOD | changes).encode()


def test_a_good_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "home.json").write_bytes(text_with())
    profile = read_profile(tmp_path / "home.json")
    assert profile == Profile("H001", 1_470_639_600_000, 900, (503, 504), (0, 600))
    assert profile.end_ms == 1_470_639_600_000 + 2 * 900_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "one JSON object"),
        (b'{"format": 1, "format": 1}', "a key occurs twice"),
        (text_with(extra=1), r"unknown keys: \['extra'\]"),
        (json.dumps({key: GOOD[key] for key in GOOD if key != "pv_wh"}).encode(), r"missing keys: \['pv_wh'\]"),
        (text_with(format="gridpact-home-profile-2"), "this program reads 'gridpact-home-profile-1'"),
        (text_with(home_id=7), "home_id must be text"),
        (text_with(home_id=""), "home_id is empty"),
        (text_with(start_ms=1.5), "start_ms must be a whole number"),
        (text_with(start_ms=1), "not a multiple"),
        (text_with(interval_s=True), "interval_s must be a whole number"),
        (text_with(interval_s=0), "must divide 3600"),
        (text_with(interval_s=7200), "must divide 3600"),
        (text_with(load_wh=[], pv_wh=[]), "load_wh is empty"),
        (text_with(load_wh={}), "load_wh must be a list"),
        (text_with(load_wh=[1]), "load_wh has 1 values and pv_wh 2"),
        (text_with(load_wh=[1, None]), r"load_wh\[1\] must be a whole number, not None"),
        (text_with(pv_wh=[0, -1]), r"pv_wh\[1\] is -1"),
        (text_with(load_wh=[1, float("nan")]), r"load_wh\[1\] must be a whole number"),
    ],
)
def test_a_bad_file_is_refused_with_the_first_thing_wrong(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(text)
    with pytest.raises(ProfileError, match=message) as caught:
        read_profile(tmp_path / "bad.json")
    assert "bad.json" in str(caught.value)


def test_the_register_is_exact_inside_an_interval_and_negative_where_the_home_exports() -> None:
    """Quarter 0: 503 - 0 Wh = 2012 W. After 1 s: 2012 * 1000 W ms. Quarter 1: 504 - 600 = -96 Wh = -384 W.
    10 s into it: 503 Wh * 3,600,000 - 384 * 10,000 = 1,806,960,000 W ms."""
    profile = parse_profile(text_with())
    assert profile.net_register_wms(profile.start_ms + 1000) == 2_012_000
    assert profile.net_register_wms(profile.start_ms + 910_000) == 1_806_960_000
    assert profile.net_register_wms(profile.end_ms) == (503 - 96) * 3_600_000


@pytest.mark.parametrize("off_ms", [-1, 1_800_001])
def test_times_outside_the_profile_are_refused(off_ms: int) -> None:
    profile = parse_profile(text_with())
    with pytest.raises(OutsideProfile, match="H001"):
        profile.net_register_wms(profile.start_ms + off_ms)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=20),
    st.sampled_from([60, 300, 900, 1800, 3600]),
)
def test_any_profile_survives_its_file(values: list[tuple[int, int]], interval_s: int) -> None:
    profile = Profile("é", 0, interval_s, tuple(load for load, _ in values), tuple(pv for _, pv in values))
    assert parse_profile(render_profile(profile)) == profile
    assert profile.net_register_wms(profile.end_ms) == 3_600_000 * sum(load - pv for load, pv in values)


def test_writing_the_same_profile_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_profile(tmp_path / name, parse_profile(text_with()))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == render_profile(parse_profile(text_with()))


def test_a_command_says_what_is_wrong_with_a_profile_in_one_sentence(tmp_path, monkeypatch, capsys):
    profile, invitation = tmp_path / "profile.json", tmp_path / "invitation.json"
    profile.write_text("no JSON")
    names = ("vtn_url", "openadr2_url", "ledger_url", "code", "ven_name", "area", "sponsor")
    invitation.write_text(json.dumps(dict.fromkeys(names, "x")))
    options = ["--invitation", invitation, "--data-dir", tmp_path / "home", "--profile", profile]
    monkeypatch.setattr("sys.argv", ["dr-ven", "enrol", *map(str, options)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "not JSON" in capsys.readouterr().err
