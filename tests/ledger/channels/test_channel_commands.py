"""`dr-ledger channels`, `disclose`, `disclosure`, `erase` and `pseudonyms`, as people call them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.channels.registry import ChannelRecord
from contracts.core.parties import Role
from ledger.app import KEYS_FILE, is_plain, orderer_of
from ledger.channels.sealing.keys import ChannelKeys
from ledger.channels.sealing.orderer import SealedOrderer
from ledger.cli import app
from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from ledger.founding import create_member, load
from ledger.ordering.etcd.orderer import EtcdOrderer
from runtime.errors import GridpactError
from tests.builders import START_MS
from tests.ledger.channels.hosted import CHILD, enrolment, hosting, until
from tests.ledger.interface.commands import dr_ledger, output, refusal
from tests.ledger.replicas import VIRTUAL_NODE, VIRTUAL_NODE_ID
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, UTILITY, UTILITY_ID, founded


@pytest.fixture
def url(new_database: Callable[..., str]) -> str:
    """A migrated database."""
    return new_database("ledger")


def run(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [str(each) for each in arguments] + ["--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*arguments: object) -> GridpactError:
    with pytest.raises(GridpactError) as raised:
        CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    return raised.value


FOUNDERS = ("--utility", UTILITY.public, "--aggregator", AGGREGATOR.public, "--founded-ms", START_MS)


def test_a_channel_is_founded_by_one_member_and_joined_by_another(tmp_path: Path) -> None:
    folders = {number: tmp_path / str(number) for number in (1, 2, 3)}
    for number, folder in folders.items():
        name, peer_url = f"member.example/{number}", f"https://m{number}.example"
        create_member(LedgerSettings(data_dir=folder), name=name, peer_url=peer_url, origin="ledger.example/main")
    files = [argument for folder in folders.values() for argument in ("--member-file", folder / "member.json")]
    run("init", *FOUNDERS, *files, "--origin", "ledger.example/main", "--data-dir", tmp_path / "founders")
    for folder in folders.values():
        run("join", "--from", tmp_path / "founders", "--data-dir", folder)
    made = run("channels", "create", CHILD, *FOUNDERS, *files[:4], "--data-dir", folders[1])
    assert (made["origin"], made["parent"], made["restricted"]) == ("ledger.example/vn-1", "main", True)
    assert made["members"] == ["member.example/1", "member.example/2"]
    joined = run("channels", "join", "--from", made["folder"], "--data-dir", folders[2])
    assert joined["genesis"] == made["genesis"]
    assert refused("channels", "join", "--from", made["folder"], "--data-dir", folders[3]).exit_code == 7
    assert "exists" in str(refused("channels", "create", CHILD, *FOUNDERS, *files[:4], "--data-dir", folders[1]))
    rotated = run("channels", "key", CHILD, "--from-height", 40, *files, "--data-dir", folders[1])
    assert [epoch["from_height"] for epoch in rotated["epochs"]] == [0, 40]
    third = load(LedgerSettings(data_dir=folders[3])).cosigner_key
    keys = ChannelKeys.load(Path(rotated["file"]), CHILD, third)
    assert len(keys.secret(keys.at(1))) == len(keys.secret(keys.at(40))) == 32
    again = refused("channels", "key", CHILD, "--from-height", 40, *files, "--data-dir", folders[1])
    assert "begins at 40 already" in str(again)
    assert "channels create" in str(refused("channels", "open", "vn-9", "--key", "x.key", "--data-dir", folders[1]))


def test_a_restricted_channel_without_its_keys_is_neither_joined_nor_ordered_in(tmp_path: Path) -> None:
    """Its blocks would enter the order in clear, where all members of main keep them."""
    folders = [tmp_path / "1", tmp_path / "2"]
    for number, folder in enumerate(folders, 1):
        name, peer_url = f"member.example/{number}", f"https://m{number}.example"
        create_member(LedgerSettings(data_dir=folder), name=name, peer_url=peer_url, origin="ledger.example/main")
    files = [argument for folder in folders for argument in ("--member-file", folder / "member.json")]
    run("init", *FOUNDERS, *files, "--origin", "ledger.example/main", "--data-dir", tmp_path / "founders")
    for folder in folders:
        run("join", "--from", tmp_path / "founders", "--data-dir", folder)
    made = Path(run("channels", "create", CHILD, *FOUNDERS, *files, "--data-dir", folders[0])["folder"])
    plain = Path(run("channels", "create", "open", *FOUNDERS, *files, "--plain", "--data-dir", folders[0])["folder"])
    run("channels", "join", "--from", plain, "--data-dir", folders[1])
    keys = (made / KEYS_FILE).read_bytes()
    (made / KEYS_FILE).unlink()
    assert "take the file from another member" in str(
        refused("channels", "join", "--from", made, "--data-dir", folders[1])
    )
    settings = [LedgerSettings(data_dir=folder, etcd_endpoints="http://127.0.0.1:1") for folder in folders]
    of_child = settings[0].of_channel(CHILD)
    with pytest.raises(GenesisInvalid, match="was not founded in clear"):
        orderer_of(of_child, load(of_child))
    (made / KEYS_FILE).write_bytes(keys)
    assert isinstance(orderer_of(of_child, load(of_child)), SealedOrderer)
    for each in settings:
        of_open = each.of_channel("open")
        assert isinstance(orderer_of(of_open, load(of_open)), EtcdOrderer)
        assert is_plain(of_open), "so everybody reads it"
    assert not is_plain(of_child)
    (of_child.data_dir / KEYS_FILE).unlink()
    assert not is_plain(of_child), "a file forgotten on the way opens nothing"


async def test_a_channel_is_registered_listed_and_a_part_of_it_disclosed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(url, tmp_path, monkeypatch) as hosted:
        at = ("--url", hosted.url)

        async def called(*arguments: object) -> Any:
            return await asyncio.to_thread(output, *arguments)

        (shown,) = await hosted.run(AGGREGATOR_ID, enrolment(Role.VIRTUAL_NODE, VIRTUAL_NODE))
        key = tmp_path / "aggregator.key"
        opened = await called("channels", "open", CHILD, "--key", key, "--data-dir", hosted.settings.data_dir, *at)
        assert opened["code"] == "ok"

        main = hosted.as_(UTILITY_ID, "main")
        await until(lambda: main.record(ChannelRecord, CHILD), lambda known: known is not None and known.size > 0)
        done = await asyncio.to_thread(dr_ledger, "channels", "list", "--json", *at)
        (row,) = [json.loads(line) for line in done.stdout.splitlines()]
        assert (row["channel"], row["relation"], row["quorum"]) == (CHILD, "child", 1)
        assert row["anchored_size"] > 0
        file, policy = tmp_path / "shown.disclosure", tmp_path / "policy.txt"
        policy.write_bytes(await main.policy())
        show = ("disclose", "-o", file, "--channel", CHILD, "--transaction", shown, *at)
        assert "--key" in await asyncio.to_thread(refusal, 6, *show), "an outsider does not read the channel"
        assert (await called(*show, "--key", key))["shown"] == 1
        assert "exists" in str(refused(*show))
    proved = run("disclosure", "verify", file, "--policy", policy)
    assert (proved["channel"], proved["cosigned_by"]) == (CHILD, ["member.example/1"])
    assert proved["items"][0]["command"]["enrolment"]["party"] == VIRTUAL_NODE_ID
    file.write_bytes(file.read_bytes().replace(VIRTUAL_NODE_ID.encode(), b"vn-0000000000000000"))
    done = CliRunner().invoke(app, ["disclosure", "verify", str(file), "--policy", str(policy)])
    assert done.exit_code != 0
    assert "mismatch" in str(done.exception)


def test_a_disclosure_and_an_erasure_say_what_they_are_about(tmp_path: Path) -> None:
    assert "say what to show" in str(refused("disclose", "-o", tmp_path / "x", "--channel", CHILD))
    assert "say what to erase" in str(refused("erase"))
    assert "say what to erase" in str(refused("erase", "--before", "2026-01-01", "--transaction", "0" * 64))
    assert "is no time" in str(refused("erase", "--before", "yesterday"))


def test_old_bodies_are_erased_by_command(url: str, tmp_path: Path) -> None:
    settings = LedgerSettings(data_dir=tmp_path)
    founded(settings)
    done = run("erase", "--before", "2000-01-01", "--data-dir", tmp_path, "--database-url", url)
    assert done == {"channel": "main", "transactions": 0, "facts": 0}
    young = refused("erase", "--before", "2999-01-01", "--data-dir", tmp_path, "--database-url", url)
    assert "may still be disputed" in str(young)
    unknown = refused("erase", "--transaction", "0" * 64, "--data-dir", tmp_path, "--database-url", url)
    assert "holds no transaction" in str(unknown)


def test_only_the_table_says_whose_a_pseudonym_is(tmp_path: Path) -> None:
    table = tmp_path / "enrolment.json"
    for home in ("contract-1", "contract-2"):
        assert (
            CliRunner().invoke(app, ["pseudonyms", "add", home, "--table", str(table), "--area", "F1"]).exit_code == 0
        )
    assert "already" in str(refused("pseudonyms", "add", "contract-1", "--table", table))
    at = ("--table", table, "--period", "2026-01")
    party = run("pseudonyms", "show", "contract-1", *at)["party"]
    assert party.startswith("dev-")
    assert run("pseudonyms", "find", party, *at, "--period", "2026-02")["home"] == "contract-1"
    assert "no home of" in str(refused("pseudonyms", "find", "dev-0000000000000000", *at))
    assert "no home contract-3" in str(refused("pseudonyms", "show", "contract-3", *at))
    wrong = ("--table", table, "--period", "January")
    assert "no billing period" in str(refused("pseudonyms", "show", "contract-1", *wrong))


def test_a_further_channel_s_state_is_copied_and_verified_by_its_name(url: str, tmp_path: Path) -> None:
    """Its own members are asked, none of which answers here; what it holds is held against its own genesis."""
    folders = [tmp_path / "1", tmp_path / "2"]
    for number, folder in enumerate(folders, 1):
        name, peer_url = f"member.example/{number}", "http://127.0.0.1:1"
        create_member(LedgerSettings(data_dir=folder), name=name, peer_url=peer_url, origin="ledger.example/main")
    files = [argument for folder in folders for argument in ("--member-file", folder / "member.json")]
    run("init", *FOUNDERS, *files, "--origin", "ledger.example/main", "--data-dir", tmp_path / "founders")
    run("join", "--from", tmp_path / "founders", "--data-dir", folders[0])
    run("channels", "create", CHILD, *FOUNDERS, *files, "--data-dir", folders[0])
    where = ("--data-dir", folders[0], "--database-url", url)
    assert "no member gave a state" in str(refused("copy-state", "--channel", CHILD, *where))
    found = run("verify", "--channel", CHILD, *where)
    assert (found["channel"], found["height"]) == (CHILD, 0)
    assert "holds no ledger main" in str(refused("verify", *where))
