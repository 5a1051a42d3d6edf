"""Options that several commands share, and the client they make."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from contracts.core.parties import PartyKey
from ledger.cli.output import NotThere, UsageError
from ledger.client import LedgerClient
from ledger.verify.note import VerifierKey
from runtime import logs
from runtime.clock import clock_from_file
from runtime.keys import PrivateKey
from runtime.service import run
from runtime.tls import client_context

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Url = Annotated[str, typer.Option("--url", envvar="GRIDPACT_LEDGER_URL", help="Address of a ledger replica.")]
Channel = Annotated[str, typer.Option("--channel", help="Channel of the ledger.")]
Ca = Annotated[Path | None, typer.Option("--ca", help="PEM authorities that vouch for the replica's certificate.")]
ClockFile = Annotated[
    Path | None,
    typer.Option("--clock-file", envvar="GRIDPACT_CLOCK", help="Epoch and speed of the domain clock."),
]
KeyFile = Annotated[Path, typer.Option("--key", help="Private key file of the party that signs.")]
ReadKey = Annotated[
    Path | None,
    typer.Option(
        "--key", help="Private key file that reads a restricted channel: of a party, or a member's cosigner.key."
    ),
]
Wait = Annotated[float, typer.Option("--wait", min=0.1, help="Seconds to try before giving up.")]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")]
SecretsDir = Annotated[Path | None, typer.Option("--secrets-dir", help="Folder of secret files, named like settings.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Genesis, log keys and database of the replica.")]
DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="PostgreSQL server of your own.")]

FurtherChannel = Annotated[
    str | None, typer.Option("--channel", help="A further channel of the data folder; by default its first.")
]
WitnessFile = Annotated[
    Path | None,
    typer.Option("--witness-file", help="External witnesses the policy names: `witness NAME VKEY URL`."),
]
WitnessQuorum = Annotated[int, typer.Option("--witness-quorum", min=0, help="How many of them finality waits for.")]

DEFAULT_URL = "http://127.0.0.1:8440"
DEFAULT_WAIT_S = 10.0


def reading(
    url: str,
    channel: str,
    ca: Path | None,
    wait_s: float,
    key_file: Path | None,
    work: Callable[[LedgerClient], Awaitable[T]],
) -> T:
    """Runs `work` with a client that only reads, a restricted channel with the key in `key_file`."""
    key = None if key_file is None else PrivateKey.load(key_file)
    return run(_with_client(url, channel, ca, wait_s, None, key, work, only_reads=True))


def signing(
    url: str,
    channel: str,
    ca: Path | None,
    wait_s: float,
    clock_file: Path | None,
    key_file: Path,
    work: Callable[[LedgerClient], Awaitable[T]],
) -> T:
    """Runs `work` with a client that signs as the party to which the key in `key_file` belongs."""
    return run(_with_client(url, channel, ca, wait_s, clock_file, PrivateKey.load(key_file), work))


def policy_witnesses(file: Path | None, required: int) -> list[VerifierKey]:
    """Keys of the external witnesses that a policy names. Raises UsageError where fewer than `required` are there,
    WitnessInvalid."""
    from ledger.witness.trust import read_witnesses

    named = [] if file is None else [each.key for each in read_witnesses(file)]
    if required > len(named):
        raise UsageError(f"--witness-quorum {required}: --witness-file names {len(named)} witnesses")
    return named


async def _with_client(
    url: str,
    channel: str,
    ca: Path | None,
    wait_s: float,
    clock_file: Path | None,
    key: PrivateKey | None,
    work: Callable[[LedgerClient], Awaitable[T]],
    *,
    only_reads: bool = False,
) -> T:
    logs.configure("dr-ledger", level="warning")
    ssl = client_context(ca) if url.startswith("https:") else None
    if ca is not None and ssl is None:
        raise UsageError(f"--ca has no meaning for {url}: give an https address")
    clock = clock_from_file(clock_file)
    async with LedgerClient(url, channel=channel, key=key, clock=clock, ssl=ssl, deadline_s=wait_s) as reader:
        if key is None or only_reads:
            return await work(reader)
        owner = await reader.record(PartyKey, key.public)
    if owner is None:
        raise NotThere(
            f"the key {key.public} belongs to no party of this ledger: it enters with `dr-ledger init` or by enrolment"
        )
    async with LedgerClient(
        url, channel=channel, key=key, party=owner.party, clock=clock, ssl=ssl, deadline_s=wait_s
    ) as client:
        return await work(client)
