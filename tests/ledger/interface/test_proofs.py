"""Proofs that a replica serves over HTTP while it is busy, checked offline by both verifiers; no byte may change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contracts.core.commands import Issue
from contracts.core.facts import DRExpired
from contracts.core.parties import Party
from contracts.demand_response.contract import ContractRecord
from contracts.tokens import Account, party_account
from ledger.client import LedgerClient, ProofBundle, Refused
from ledger.log import merkle
from ledger.log.extension import write_extension
from ledger.log.tiles import TileId, tile_path, tile_width
from ledger.verify import VerificationError, verify_balance, verify_extension, verify_proof
from ledger.verify.note import parse_checkpoint
from tests.ledger.interface.commands import dr_ledger, output
from tests.ledger.operations.evidence import a_story_served
from tests.ledger.running import AGGREGATOR_ID, a_client

TWIN = Path(__file__).parents[1] / "log" / "verdicts.mjs"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not on PATH: the browser twin is not run")


@dataclass
class Gathered:
    """What a client took home while the ledger was busy."""

    policy: bytes
    expired: ProofBundle
    summary: ProofBundle
    account: ProofBundle
    absent_account: ProofBundle
    absent: ProofBundle
    contract: ProofBundle
    balances: list[ProofBundle]
    notes: list[bytes]
    tiles: dict[TileId, bytes]
    written: Path
    balance: Any


@pytest.fixture(scope="module")
def gathered(databases: Any, tmp_path_factory: pytest.TempPathFactory) -> Gathered:
    """Taken once, from a ledger on which sc1-1 expired by its deadline and payments go on."""
    folder, url = tmp_path_factory.mktemp("proofs"), databases.new("ledger")

    async def gather() -> Gathered:
        async with (
            a_story_served(url, folder / "member") as served,
            a_client(served.url) as client,
            paying(client),
        ):
            return await taken_home(client, folder / "written")

    return asyncio.run(gather())


@contextlib.asynccontextmanager
async def paying(client: LedgerClient) -> AsyncIterator[None]:
    """Ten payments after the others, from two sides, until it is left."""

    async def pay(side: int) -> None:
        for number in range(1_000_000):
            references = [f"{side}/{number}/{each}" for each in range(10)]
            await client.submit_many([Issue(to=AGGREGATOR_ID, amount_minor=1, reference=each) for each in references])

    tasks = [asyncio.create_task(pay(side)) for side in range(2)]
    try:
        yield
    finally:
        failed = [task.exception() for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert failed == []


async def taken_home(client: LedgerClient, folder: Path) -> Gathered:
    [expired] = [record for record in await client.facts(contract="sc1-1") if isinstance(record.fact, DRExpired)]
    assert expired.transaction_id is None
    account = party_account(AGGREGATOR_ID)
    command = ["proof", "--at", expired.index, "--fact", expired.ordinal, "--url", client.url, "-o", folder / "expired"]
    written = await asyncio.to_thread(dr_ledger, *command)
    assert written.returncode == 0, written.stderr
    asked = ["balance", "--party", AGGREGATOR_ID, "--url", client.url, "--prove", folder / "kept"]
    balance = await asyncio.to_thread(output, *asked)
    first = await client.checkpoint()
    balances = await asyncio.gather(*(client.record_proof(Account, account) for _ in range(20)))
    balances += [await client.record_proof(Account, account, read="leader") for _ in range(5)]
    later = await client.checkpoint()
    while parse_checkpoint(later).size < parse_checkpoint(first).size + 300:  # over the edge of a tile
        await asyncio.sleep(0.05)
        later = await client.checkpoint()
    for index, fact in [(expired.index, 99), (expired.index - 1, 0), (10**9, None), (10**15 - 1, None)]:
        with pytest.raises(Refused, match="not-found"):
            await client.proof_at(index, fact)
    return Gathered(
        policy=await client.policy(),
        expired=await client.proof_at(expired.index, expired.ordinal),
        summary=await client.proof_at(expired.index - 1),
        account=await client.record_proof(Account, account),
        absent_account=await client.record_proof(Account, party_account("nobody")),
        absent=await client.record_proof(Party, "nobody"),
        contract=await client.record_proof(ContractRecord, "sc1-1"),
        balances=list(balances),
        notes=[first, later],
        tiles=await tiles_between(client, parse_checkpoint(first).size, parse_checkpoint(later).size),
        written=folder,
        balance=balance,
    )


async def tiles_between(client: LedgerClient, old: int, new: int) -> dict[TileId, bytes]:
    """The tiles of which a consistency proof is made, as any C2SP client takes them."""
    found = {}
    async with aiohttp.ClientSession() as http:
        for tile in merkle.range_tiles(merkle.consistency_ranges(old, new)):
            async with http.get(f"{client.url}/v1/channels/main/{tile_path(tile, tile_width(tile, new))}") as response:
                assert response.status == 200
                found[tile] = await response.read()
    return found


def test_a_deadline_is_proved_by_its_place(gathered: Gathered) -> None:
    verified = verify_proof(gathered.expired.proof, gathered.policy, gathered.expired.opening, strict=True)
    assert verified.entry["kind"] == "tick"
    assert (verified.fact["fact"], verified.fact["contract_id"]) == ("DRExpired", "sc1-1")
    assert verified.members == ("member.example/1",)
    before = verify_proof(gathered.summary.proof, gathered.policy, gathered.summary.opening, strict=True)
    assert (before.entry["kind"], before.entry["height"]) == ("block", verified.entry["height"] - 1)


def test_a_balance_is_proved_while_every_block_changes_it(gathered: Gathered) -> None:
    shown = [verify_balance(each.proof, gathered.policy, each.opening) for each in gathered.balances]
    assert {each.account for each in shown} == {party_account(AGGREGATOR_ID)}
    by_height = sorted((each.height, each.credits_posted) for each in shown)
    assert by_height == sorted(by_height, key=lambda pair: pair[1])
    assert len(set(by_height)) > 5, "blocks went on between the proofs"


def test_a_record_is_proved_and_so_is_that_there_is_none(gathered: Gathered) -> None:
    contract = verify_proof(gathered.contract.proof, gathered.policy, gathered.contract.opening, strict=True)
    assert contract.record is not None
    assert (contract.record.key, contract.record.body["status"]) == ("sc1-1", "expired")
    absent = verify_proof(gathered.absent.proof, gathered.policy, gathered.absent.opening, strict=True)
    assert absent.record is not None
    assert (absent.record.kind, absent.record.key, absent.record.body) == ("party", "nobody", None)
    nothing = verify_balance(gathered.absent_account.proof, gathered.policy, gathered.absent_account.opening)
    assert nothing.free_minor == 0


def test_the_log_between_two_checkpoints_only_grew_as_its_tiles_show(gathered: Gathered) -> None:
    older, newer = gathered.notes
    old, new = parse_checkpoint(older).size, parse_checkpoint(newer).size
    assert new - old > 256
    path = merkle.prove(merkle.consistency_ranges(old, new), gathered.tiles)
    extended = verify_extension(older, write_extension(old, path, newer), gathered.policy, strict=True)
    assert (extended.older.checkpoint.size, extended.newer.checkpoint.size) == (old, new)
    tile = max(gathered.tiles)
    altered = bytearray(gathered.tiles[tile])
    altered = bytearray(byte ^ 1 for byte in altered)
    wrong = merkle.prove(merkle.consistency_ranges(old, new), gathered.tiles | {tile: bytes(altered)})
    with pytest.raises(VerificationError, match="merkle"):
        verify_extension(older, write_extension(old, wrong, newer), gathered.policy, strict=True)


def test_the_commands_write_files_that_verify(gathered: Gathered) -> None:
    deadline = verify_proof(*files_of(gathered.written / "expired"), strict=True)
    assert deadline.fact["fact"] == "DRExpired"
    kept = verify_balance(*files_of(gathered.written / "kept" / "balance"))
    assert (kept.height, kept.free_minor) == (gathered.balance["height"], gathered.balance["free_minor"])
    assert gathered.balance["account"] == party_account(AGGREGATOR_ID)


def files_of(stem: Path) -> tuple[bytes, bytes, bytes]:
    """Proof, policy, opening."""
    proof, policy, opening = (
        stem.with_name(stem.name + ending).read_bytes() for ending in (".tlog-proof", ".policy", ".opening.json")
    )
    return proof, policy, opening


def test_no_altered_byte_of_a_balance_or_a_deadline_goes_unnoticed(gathered: Gathered) -> None:
    for verifies, bundle in of_both(gathered):
        for data, name in ((bundle.proof, "proof"), (bundle.opening, "opening")):
            for changed in flips(data, range(0, len(data), 7)):
                files = {"proof": bundle.proof, "policy": gathered.policy, "opening": bundle.opening, name: changed}
                with pytest.raises(VerificationError):
                    verifies(**files, strict=True)


@needs_node
def test_the_browser_twin_gives_the_same_verdicts(gathered: Gathered, tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = []
    files: dict[str, bytes] = {"policy": gathered.policy}
    expected = []
    for call, bundle in (("verify_balance", gathered.account), ("verify_balance", gathered.absent_account),
                         ("verify_proof", gathered.expired), ("verify_proof", gathered.absent)):  # fmt: skip
        sound = (bundle.proof, bundle.opening)
        altered = [(each, sound[1]) for each in flips(sound[0], range(30, len(sound[0]), 97))]
        altered += [(sound[0], each) for each in flips(sound[1], range(30, len(sound[1]), 97))]
        for number, (proof, opening) in enumerate([sound, *altered]):
            names = {name: f"{len(cases)} {name}" for name in ("proof", "opening")}
            files |= {names["proof"]: proof, names["opening"]: opening}
            cases.append({"call": call, "files": names | {"policy": "policy"}, "options": {"strict": True}})
            expected.append(number == 0)
    document = {"files": {name: b64encode(data).decode() for name, data in files.items()}, "cases": cases}
    (tmp_path / "cases.json").write_text(json.dumps(document))
    node = shutil.which("node") or ""
    done = subprocess.run([node, TWIN, tmp_path / "cases.json"], capture_output=True, check=True, timeout=60)
    verdicts = json.loads(done.stdout)
    assert [("value" in verdict, "crash" in verdict) for verdict in verdicts] == [(good, False) for good in expected]
    account, _, deadline, _ = (verdict["value"] for verdict in verdicts if "value" in verdict)
    shown = verify_balance(gathered.account.proof, gathered.policy, gathered.account.opening)
    assert (account["height"], account["free_minor"]) == (shown.height, str(shown.free_minor))
    assert deadline["fact"]["fact"] == "DRExpired"


def of_both(gathered: Gathered) -> Sequence[tuple[Callable[..., object], ProofBundle]]:
    return (verify_balance, gathered.account), (verify_proof, gathered.expired)


def flips(data: bytes, positions: range) -> list[bytes]:
    """The file with one bit of one byte changed, at each of these positions."""
    return [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in positions]
