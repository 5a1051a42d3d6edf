"""What the ledger publishes, judged by other people's code: the Go checksum database's note and tlog packages, and the
formats of transparency-dev. Skipped where there is no Go, or where its modules cannot be had."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from contracts.core.commands import Issue
from ledger.client import LedgerClient
from ledger.config import LedgerSettings
from ledger.log.proof import write_proof
from ledger.verify import canonical, parse_policy
from ledger.verify.note import parse_checkpoint
from ledger.verify.proof import parse_proof
from ledger.witness.folder import create
from ledger.witness.trust import read_logs, read_witnesses
from tests.ledger.log.lived import lived
from tests.ledger.running import AGGREGATOR_ID, a_client, a_running_ledger
from tests.ledger.witness.founding import founded
from tests.ledger.witness.served import a_witness

HERE = Path(__file__).parent
GO = shutil.which("go")
MAIN = "/v1/channels/main"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built."""
    if GO is None:
        pytest.skip("Go is not on PATH: nobody else's code judges the log")
    modules = _go("mod", "download", timeout_s=120)
    if modules.returncode != 0:
        pytest.skip(f"the Go modules cannot be had here: {modules.stderr[-200:]}")
    path = tmp_path_factory.mktemp("interop") / "interop"
    built = _go("build", "-o", str(path), ".", timeout_s=500)
    assert built.returncode == 0, built.stderr
    return path


@pytest.fixture
async def client(new_database_url: str, tmp_path: Path) -> AsyncIterator[LedgerClient]:
    async with a_running_ledger(new_database_url, tmp_path / "ledger") as url, a_client(url) as client:
        yield client


@pytest.fixture
def new_database_url(new_database: Callable[..., str]) -> str:
    return new_database("ledger")


async def test_go_verifies_checkpoint_tiles_entries_and_proofs_of_a_growing_log(
    program: Path, client: LedgerClient, tmp_path: Path
):
    policy = LedgerSettings(data_dir=tmp_path / "ledger").policy_file
    await grow(client, 3)
    older = tmp_path / "older.note"
    older.write_bytes(await checkpoint(client))
    last = await grow(client, 600)
    said = await run(program, "log", client.url + MAIN, policy, older)
    assert int(said.split()[1]) > 600

    bundle = await client.proof(last, 0)
    entry = tmp_path / "entry"
    entry.write_bytes(canonical.encode(canonical.decode_object(bundle.opening)["entry"]))
    plain, extra = tmp_path / "plain.tlog-proof", tmp_path / "extra.tlog-proof"
    plain.write_bytes(bundle.proof)
    parsed = parse_proof(bundle.proof)
    extra.write_bytes(write_proof(parsed.index, parsed.hashes, parsed.checkpoint, bundle.opening))
    assert "extra 0 bytes" in await run(program, "proof", plain, entry, policy)
    assert f"extra {len(bundle.opening)} bytes" in await run(program, "proof", extra, entry, policy)
    entry.write_bytes(entry.read_bytes()[:-1])
    with pytest.raises(AssertionError):
        await run(program, "proof", plain, entry, policy)


@pytest.mark.parametrize(
    ("policy", "note", "verdict"),
    [
        ("policy", "note.whole", "met"),
        ("policy.levels", "note.whole", "met"),
        ("policy.strangers", "note.whole", "unmet"),
        ("policy.named", "note.whole", "met"),
        ("policy.named", "note.witnessed", "met"),
        ("policy.one", "note.whole", "unmet"),
        ("policy.one", "note.witnessed", "met"),
        ("policy.two", "note.witnessed", "unmet"),
    ],
)
async def test_go_reads_our_policies_as_we_do(program: Path, tmp_path: Path, policy: str, note: str, verdict: str):
    files = lived().files
    for name in (policy, note):
        (tmp_path / name).write_bytes(files[name])
    await run(program, "policy", tmp_path / policy, tmp_path / note, verdict)


async def test_a_log_written_in_go_is_cosigned_by_our_witness_and_every_other_request_refused(
    program: Path, tmp_path: Path
):
    """The Go program makes a log and writes its key down; then our witness starts, and the program takes it through
    every answer of c2sp.org/tlog-witness, sixteen requests at once among them."""
    create(tmp_path / "w", "witness.example/w1")
    logs = tmp_path / "logs"
    process = await asyncio.create_subprocess_exec(
        program, "feed", logs, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"wrote")
    [keys] = read_logs(logs).values()
    async with a_witness(tmp_path / "w", keys, clock=lambda: int(time.time())) as witness:
        said, error = await process.communicate(f"{witness.url} {witness.key.encode()}\n".encode())
    assert (process.returncode, said) == (0, b"ok\n"), error.decode()


async def test_a_ledger_whose_policy_requires_a_witness_written_in_go_becomes_final_by_it(
    program: Path, new_database_url: str, tmp_path: Path
):
    """The witness knows the log by its key and checks every step with the checksum database's code; what is served in
    the end is verified in Go by the policy that requires it."""
    process = await asyncio.create_subprocess_exec(
        program, "witness", "go.example/w1", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    witnesses = tmp_path / "witnesses"
    witnesses.write_bytes(b"witness " + await process.stdout.readline())
    settings = LedgerSettings(data_dir=tmp_path / "ledger")
    policy = parse_policy(founded(settings, [each.key for each in read_witnesses(witnesses)], required=1).policy)
    process.stdin.write(policy.logs[0].encode().encode() + b"\n")
    options = {"witness_file": witnesses, "witness_interval_s": 0.05}
    async with a_running_ledger(new_database_url, tmp_path / "ledger", **options) as url, a_client(url) as client:
        await grow(client, 3)
        last = await grow(client, 300)
        bundle = await client.proof(last, 0)  # of what is final alone
        lines = parse_checkpoint(parse_proof(bundle.proof).checkpoint).signatures
        assert "go.example/w1" in {line.name for line in lines}
        said = await run(program, "log", client.url + MAIN, settings.policy_file)
    async with asyncio.timeout(60):
        ended, _ = await process.communicate(b"")  # which also closes its stdin
    assert (process.returncode, ended.split()[1]) == (0, said.split()[1].encode())


async def grow(client: LedgerClient, count: int) -> str:
    """So many transactions; the id of one of them."""
    commands = [Issue(to=AGGREGATOR_ID, amount_minor=1, reference=f"{count} {number}") for number in range(count)]
    for first in range(0, count, 200):
        results = await client.submit_many(commands[first : first + 200])
        assert {result.code for result in results} == {"ok"}
    return str(results[-1].id)


async def checkpoint(client: LedgerClient) -> bytes:
    async with aiohttp.ClientSession(client.url) as http, http.get(f"{MAIN}/checkpoint") as response:
        return await response.read()


async def run(program: Path, *arguments: object) -> str:
    process = await asyncio.create_subprocess_exec(
        program, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert said.startswith(b"ok")
    return said.decode()


def _go(*arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["go", *arguments], cwd=HERE, env=os.environ, capture_output=True, text=True, check=False, timeout=timeout_s
    )
