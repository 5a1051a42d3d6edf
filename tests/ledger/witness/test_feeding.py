"""A log brought to witnesses: what is sent, what is counted, and what happens when one is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

import ledger.witness.feeding as module
from ledger.log.checkpoint import cosigner_key, log_key
from ledger.verify.note import encode_base64, parse_checkpoint
from ledger.witness.client import WitnessClient
from ledger.witness.errors import CheckpointRefused, SizeConflict, WitnessUnavailable
from ledger.witness.feeding import Feeder, feeding
from ledger.witness.trust import ExternalWitness
from runtime.errors import InsecureAddress
from tests.builders import a_key
from tests.ledger.witness.growing import ORIGIN, GrowingLog, raw
from tests.ledger.witness.served import a_witness, serving

KEY = log_key(ORIGIN, raw(a_key(61)))


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)


def sizes(log: GrowingLog) -> list[int]:
    return [parse_checkpoint(note).size for note in log.lines]


async def test_each_agreed_checkpoint_gets_a_line_that_verifies(tmp_path: Path):
    log = GrowingLog()
    async with a_witness(tmp_path / "w", [KEY]) as witness, feeding({"grown": log}, [witness], interval_s=0.01) as told:
        for size in (5, 6, 300):
            log.agree(size)
            await until(lambda size=size: sizes(log)[-1:] == [size])
        [fare] = told["grown"]
        assert (fare.size, fare.error) == (300, "")
    line = parse_checkpoint(log.lines[-1]).signatures[-1]
    assert witness.key.verify(log.text(300), line.signature)


async def test_the_same_checkpoint_is_not_sent_twice_and_a_quiet_log_is_left_in_peace(tmp_path: Path):
    log = GrowingLog()
    async with a_witness(tmp_path / "w", [KEY]) as witness, WitnessClient(witness) as client:
        feeder = Feeder(log, client, 0.01)
        assert not await feeder.once()
        log.agree(5)
        assert await feeder.once()
        assert not await feeder.once()
    assert sizes(log) == [5]


async def test_another_member_that_was_there_first_only_costs_a_second_try(tmp_path: Path):
    log = GrowingLog()
    log.agree(20)
    async with (
        a_witness(tmp_path / "w", [KEY]) as witness,
        WitnessClient(witness) as first,
        WitnessClient(witness) as second,
    ):
        await first.add_checkpoint(0, [], log.note(7))
        assert await Feeder(log, second, 1).once()
        with pytest.raises(SizeConflict) as conflict:
            await first.add_checkpoint(7, log.proof(7, 9), log.note(9))
        assert conflict.value.known == 20
        behind = GrowingLog()
        behind.agree(9)
        assert not await Feeder(behind, second, 1).once()  # ours will come


async def test_a_witness_that_is_away_is_asked_again_later_and_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_BACKOFF_S", (0.05,) * 6)
    log = GrowingLog()
    log.agree(5)
    async with a_witness(tmp_path / "w", [KEY]) as witness:
        port = int(witness.url.rpartition(":")[2])
    async with feeding({"grown": log}, [witness], interval_s=0.01) as told:
        [fare] = told["grown"]
        await until(lambda: "does not answer" in fare.error)
        log.agree(9)
        async with a_witness(tmp_path / "w", [KEY], port=port):
            await until(lambda: sizes(log) == [9] and not fare.error)


async def test_a_witness_that_signed_another_tree_of_ours_is_told_and_never_asked_to_sign_again(tmp_path: Path):
    log = GrowingLog()
    log.agree(9)
    async with a_witness(tmp_path / "w", [KEY]) as witness, WitnessClient(witness) as client:
        await client.add_checkpoint(0, [], GrowingLog("other").note(9))
        with pytest.raises(CheckpointRefused, match="another tree of 9 leaves"):
            await Feeder(log, client, 1).once()
        log.agree(12)
        with pytest.raises(CheckpointRefused, match="HTTP 422"):
            await Feeder(log, client, 1).once()
    assert log.lines == []


@pytest.mark.parametrize(
    ("status", "media", "body", "error"),
    [
        (500, "text/plain", b"oops", WitnessUnavailable),
        (302, "text/plain", b"", WitnessUnavailable),
        (200, "text/plain", b"", WitnessUnavailable),
        (200, "text/plain", b"no line\n", WitnessUnavailable),
        (200, "text/plain", b"x" * (300 << 10), WitnessUnavailable),
        (409, "text/x.tlog.size", b"many\n", WitnessUnavailable),
        (409, "text/x.tlog.size", b"", WitnessUnavailable),
        (409, "text/x.tlog.size", b"7", SizeConflict),
        (409, "text/x.tlog.size; charset=utf-8", b"7\n", SizeConflict),
        (409, "text/plain", b"other root", CheckpointRefused),
        (404, "text/plain", b"", CheckpointRefused),
        (429, "text/plain", b"", WitnessUnavailable),
    ],
)
async def test_whatever_a_witness_answers_is_a_line_a_size_or_an_error(
    status: int, media: str, body: bytes, error: type[Exception]
):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Content-Type": media, "Location": "/"})

    app = web.Application()
    app.router.add_post("/some/prefix/add-checkpoint", answer)
    async with serving(app) as url:
        witness = ExternalWitness("w", cosigner_key("w", raw(a_key(77))), f"{url}/some/prefix")
        async with WitnessClient(witness) as client:
            with pytest.raises(error) as raised:
                await client.add_checkpoint(0, [], GrowingLog().note(5))
    assert type(raised.value) is error


async def test_lines_by_other_keys_are_ignored_and_a_forged_one_by_its_own_key_is_no_cosignature(tmp_path: Path):
    log = GrowingLog()
    async with a_witness(tmp_path / "w", [KEY]) as witness, WitnessClient(witness) as client:
        line = await client.add_checkpoint(0, [], log.note(5))
    for names, error in [((witness.key.name,), "does not verify"), (("other",), "another key")]:
        answers = [f"— {name} {_line(line.key_id, bytes(72))}\n".encode() for name in names]

        async def answer(_: web.Request, body: bytes = b"".join(answers)) -> web.Response:
            return web.Response(body=body)

        app = web.Application()
        app.router.add_post("/add-checkpoint", answer)
        async with serving(app) as url, WitnessClient(ExternalWitness("w", witness.key, url)) as forger:
            with pytest.raises(WitnessUnavailable, match=error):
                await forger.add_checkpoint(0, [], log.note(5))


def test_a_witness_is_not_reached_in_clear_off_this_machine():
    with pytest.raises(InsecureAddress):
        WitnessClient(ExternalWitness("w", cosigner_key("w", raw(a_key(77))), "http://witness.example"))


def _line(key_id: bytes, signature: bytes) -> str:
    return encode_base64(key_id + signature)
