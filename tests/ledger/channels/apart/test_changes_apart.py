"""Members of a virtual node's channel come and go while it runs: keys are handed over, and nobody sees too much."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.core.parties import Role
from ledger.app import KEYS_FILE
from ledger.cli import app
from tests.builders import a_key
from tests.ledger.channels.apart.consortium import (
    AGGREGATOR,
    AUDITOR,
    CHANGING,
    UTILITY,
    Apart,
    Channel,
    enrolment,
    until,
)
from tests.ledger.channels.test_sealing import found_below

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_member_joins_the_channel_and_another_leaves_while_it_runs(apart: Apart) -> None:
    child = Channel(apart, AGGREGATOR, CHANGING)
    before, after = f"before-{secrets.token_hex(12)}", f"after-{secrets.token_hex(12)}"
    asyncio.run(child.run(AGGREGATOR, enrolment(Role.DEVICE, a_key(501), child.ids[AGGREGATOR], before)))
    auditor = apart.member(AUDITOR)
    height = changed(apart, "--add", auditor.ledger_dir / "member.json", by=(UTILITY, AGGREGATOR, AUDITOR))
    apart.run("channels", "join", "--from", of_channel(apart, UTILITY), "--config", auditor.config)
    apart.restart(AUDITOR)
    handed_over(apart, to=AGGREGATOR)
    asyncio.run(worked(child, height))
    newcomer = Channel(apart, AUDITOR, CHANGING)
    asyncio.run(until(newcomer.status, lambda said: said["final_height"] >= height and len(said["members"]) == 3))
    assert found_below(auditor.ledger_dir, before.encode()), "it replayed the channel from its first block"

    height = changed(apart, "--remove", "member.example/utility", by=(AGGREGATOR, AUDITOR))
    asyncio.run(worked(child, height))
    asyncio.run(child.run(AGGREGATOR, enrolment(Role.DEVICE, a_key(502), child.ids[AGGREGATOR], after)))
    asyncio.run(until(child.status, lambda said: said["final_height"] == said["height"] > height))
    asyncio.run(until(Channel(apart, UTILITY, CHANGING).status, lambda said: said["state"] == "retired"))
    utility = apart.member(UTILITY)
    apart.run("channels", "leave", CHANGING, "--config", utility.config)
    apart.restart(UTILITY)
    assert apart.answer(UTILITY, f"/v1/channels/{CHANGING}/status")[0] == 404
    assert found_below(utility.ledger_dir, before.encode()), "nobody takes back what it has read"
    assert found_below(auditor.ledger_dir, after.encode())
    assert found_below(utility.folder, after.encode()) == []


def changed(apart: Apart, *change: object, by: tuple[str, ...]) -> int:
    """A change of the child's members as its operators make it: approved, the new key made and handed over, submitted.
    The height from which it holds."""
    folder = apart.folder.parent / secrets.token_hex(4)
    folder.mkdir()
    file, at = folder / "change.json", (*apart.at(AGGREGATOR), "--channel", CHANGING)
    say(apart, "members", "propose", "--output", file, *change, "--in-blocks", 15, *at)
    for label in by:
        key = apart.member(label).ledger_dir / "cosigner.key"
        say(apart, "members", "approve", file, "--member", f"member.example/{label}", "--key", key)
    first = by[0]
    made = apart.run("channels", "key", CHANGING, "--change", file, "--config", apart.member(first).config)
    if first != UTILITY:
        handed_over(apart, to=AUDITOR, source=first)
    apart.run("members", "submit", file, *folder.glob("*.approval.json"), "--key", apart.key(AGGREGATOR), *at)
    return int(made["epochs"][-1]["from_height"])


def say(apart: Apart, *arguments: object) -> None:
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def handed_over(apart: Apart, *, to: str, source: str = UTILITY) -> None:
    """The file of channel keys, carried from one member to another."""
    shutil.copyfile(of_channel(apart, source) / KEYS_FILE, of_channel(apart, to) / KEYS_FILE)


def of_channel(apart: Apart, label: str) -> Path:
    return apart.member(label).ledger_dir / "channels" / CHANGING


async def worked(child: Channel, height: int) -> None:
    """Blocks until `height` is there."""
    while (present := (await child.status())["height"]) < height:
        await child.run(AGGREGATOR, enrolment(Role.DEVICE, a_key(600 + present), child.ids[AGGREGATOR], "F1"))
