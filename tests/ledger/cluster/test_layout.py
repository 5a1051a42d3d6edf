"""Where a local consortium keeps what, and the page that programs read."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from ledger.cluster.layout import ClusterError, Layout
from ledger.cluster.preparation import Founders, Witnessed, prepare, settings_of
from ledger.config import LedgerSettings
from ledger.log.policy import parties_of
from ledger.verify import parse_policy
from ledger.witness.folder import create
from ledger.witness.trust import read_witnesses
from tests.builders import START_MS
from tests.ledger.operations.commands import refused

NAMES = ["member.example/utility", "member.example/aggregator", "member.example/auditor"]


def test_what_was_written_is_read_again(tmp_path: Path):
    layout = Layout.plan(tmp_path, NAMES, port=0, tls=False)
    layout.write()
    assert Layout.read(tmp_path) == layout


def test_programs_find_addresses_and_files_of_each_member(tmp_path: Path):
    Layout.plan(tmp_path, NAMES, port=8440, api_tls=True).write()
    page = json.loads((tmp_path / "cluster.json").read_text())
    assert [each["label"] for each in page["members"]] == ["utility", "aggregator", "auditor"]
    assert [each["api_url"] for each in page["members"]] == [f"https://127.0.0.1:{8440 + 4 * n}" for n in range(3)]
    assert page["members"][2]["peer_url"] == "https://127.0.0.1:8449"
    assert page["members"][2]["etcd"]["endpoint"] == "https://127.0.0.1:8450"
    assert page["orderer"] == "etcd"
    assert "password" not in json.dumps({key: value for key, value in page.items() if key != "members"})


def test_one_member_needs_no_order_but_its_own(tmp_path: Path):
    page = Layout.plan(tmp_path, NAMES[:1]).as_page()
    assert page["orderer"] == "local"
    assert page["members"][0]["etcd"] is None


def test_free_ports_are_all_different(tmp_path: Path):
    ports = [port for member in Layout.plan(tmp_path, NAMES, port=0).members for port in member.ports]
    assert len(set(ports)) == 12


def test_a_port_in_use_is_named_with_what_it_is_for_and_what_to_do(tmp_path: Path):
    layout = Layout.plan(tmp_path, NAMES, port=0)
    layout.check_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", layout.members[1].ports.etcd_peer))
        other.listen()
        with pytest.raises(ClusterError) as refused:
            layout.check_ports()
        said = str(refused.value)
        assert f"port {layout.members[1].ports.etcd_peer} (for etcd's peers of member.example/aggregator)" in said
        assert "ss -ltnp" in said
        assert "--port" in said, "before it is founded, others can be chosen"
        layout.write()
        with pytest.raises(ClusterError) as refused:
            layout.check_ports()
        assert "--port" not in str(refused.value)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "1 to 9 members"),
        (["a.example/1", "b.example/1"], "end differently"),
        ([f"member.example/{n}" for n in range(10)], "1 to 9 members"),
        (["member.example/.."], "ends in small letters"),
        (["member.example/a b"], "ends in small letters"),
        (["member.example/"], "ends in small letters"),
    ],
)
def test_names_that_make_no_folders_are_refused(tmp_path: Path, names: list[str], reason: str):
    with pytest.raises(ClusterError, match=reason):
        Layout.plan(tmp_path, names)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "gridpact/cluster/v0"}', "\0"])
def test_a_page_that_is_none_is_told_by_its_name(tmp_path: Path, content: str):
    (tmp_path / "cluster.json").write_text(content)
    with pytest.raises(ClusterError, match=r"cluster\.json"):
        Layout.read(tmp_path)


def test_a_folder_without_a_consortium_says_how_to_found_one(tmp_path: Path):
    with pytest.raises(ClusterError, match="dr-ledger cluster up --data-dir"):
        Layout.read(tmp_path)


@pytest.mark.parametrize("tls", [True, False])
def test_the_settings_of_a_member_are_settings_of_a_replica(tmp_path: Path, tls: bool):
    from ledger.cluster.preparation import settings_of, write_settings

    layout = Layout.plan(tmp_path, NAMES, tls=tls, port=9000)
    member = layout.members[1]
    member.folder.mkdir(parents=True)
    write_settings(layout, member)
    settings = settings_of(member)
    assert isinstance(settings, LedgerSettings)
    assert settings.etcd_endpoints.split(",")[0] == layout.etcd_url(member)
    assert (settings.peer_ca is not None) == tls


async def test_a_consortium_is_founded_with_the_witnesses_that_its_members_ask(tmp_path: Path):
    key = create(tmp_path / "w", "witness.example/w1")
    lines = f"witness w1 {key.encode()} http://127.0.0.1:8460\n".encode()
    layout = Layout.plan(tmp_path / "cluster", NAMES[:1], port=0)
    await prepare(layout, Founders({}), created_ms=START_MS, witnessed=Witnessed(lines=lines, keys=[key], required=1))
    settings = settings_of(layout.members[0])
    assert settings.witness_file is not None
    assert settings.witness_ca is None
    assert [each.key for each in read_witnesses(settings.witness_file)] == [key]
    parties = parties_of(parse_policy(settings.policy_file.read_bytes(), strict=True))
    assert (list(parties.witnesses), parties.required) == ([key], 1)


def test_witnesses_are_named_when_a_consortium_is_founded_and_not_later(tmp_path: Path):
    (tmp_path / "cluster").mkdir()
    Layout.plan(tmp_path / "cluster", NAMES, port=0).write()
    key = create(tmp_path / "w", "witness.example/w1")
    (tmp_path / "witnesses").write_text(f"witness w1 {key.encode()} http://127.0.0.1:8460\n")
    up = ("cluster", "up", "--data-dir", tmp_path / "cluster", "--witness-file", tmp_path / "witnesses")
    assert "whose policy names no witnesses" in refused(2, *up)
    assert "names 1 witnesses" in refused(2, *up, "--witness-quorum", 2)
