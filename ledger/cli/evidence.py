"""Commands that judge members: evidence that a key signed two trees, and where two replicas began to differ."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
import typer

from ledger.cli.options import (
    DEFAULT_URL,
    DEFAULT_WAIT_S,
    Ca,
    Channel,
    ClockFile,
    Config,
    DatabaseUrl,
    DataDir,
    Json,
    KeyFile,
    SecretsDir,
    Url,
    Wait,
    signing,
)
from ledger.cli.output import show
from ledger.config import LedgerSettings
from ledger.errors import Diverged
from ledger.replication.evidence import as_report
from ledger.verify import verify_equivocation
from ledger.verify.note import Checkpoint
from runtime import logs, service
from runtime.tls import Certificate, client_context

app = typer.Typer(help="Evidence of members that signed two trees.", no_args_is_help=True)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="Evidence file.")],
    policy: Annotated[Path | None, typer.Option("--policy", help="Policy file that must name the accused key.")] = None,
    json: Json = False,
) -> None:
    """Check offline that one key signed two checkpoints that contradict each other (exit code 8 if it did not)."""
    found = verify_equivocation(file.read_bytes(), None if policy is None else policy.read_bytes())
    shown: dict[str, Any] = {
        "equivocated": True,
        "name": found.name,
        "key": found.key.encode(),
        "origin": found.first.origin,
        "first": _shown(found.first),
        "second": _shown(found.second),
    }
    if found.signed_at_s is not None:
        shown["signed_at"] = [datetime.fromtimestamp(at, UTC).isoformat() for at in found.signed_at_s]
    show(shown, as_json=json)


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="Evidence file.")],
    member: Annotated[str, typer.Option("--member", help="Member whose key the evidence accuses.")],
    key: KeyFile,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    ca: Ca = None,
    clock_file: ClockFile = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Let the ledger judge the evidence: the member is none from the next block on, if it holds."""
    command = as_report(file.read_bytes(), member)
    show(signing(url, channel, ca, wait, clock_file, key, lambda client: client.submit(command)), as_json=json)


def diverge(
    peer: Annotated[str, typer.Option("--with", help="Address of the other member's listener for peers.")],
    full: Annotated[bool, typer.Option("--full", help="Compare every block, not only the chain of summaries.")] = False,
    ca: Annotated[Path | None, typer.Option("--ca", help="PEM authorities that vouch for the peer.")] = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="PEM chain shown to the peer.")] = None,
    certificate_key: Annotated[Path | None, typer.Option("--certificate-key", help="Its PEM private key.")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
    json: Json = False,
) -> None:
    """Find the first block, and in it the first transaction, in which the own tables differ from a peer's (exit 8)."""
    from ledger.founding import load  # SQL drivers are loaded by the commands that need them
    from ledger.replication.divergence import first_difference, first_divergence
    from ledger.replication.network.sides import HttpSide, StoredSide
    from ledger.store.history import History
    from runtime.database import check_schema, create_engine
    from runtime.postgres import postgres

    settings = LedgerSettings.load(
        config=config, secrets_dir=secrets_dir, flags={"data_dir": data_dir, "database_url": database_url}
    )
    logs.configure("dr-ledger", settings.log_json, settings.log_level)
    channel = load(settings).genesis.channel
    shown = None if certificate is None else Certificate(certificate, certificate_key or certificate)
    tls = client_context(ca, shown) if peer.startswith("https:") else None
    service.refuse_plain_http(urlsplit(peer).hostname or "", tls)

    async def work() -> dict[str, Any]:
        binaries = settings.postgres_binaries
        async with postgres(
            settings.database_url, settings.postgres_dir, "ledger", binaries=binaries, attach=True
        ) as url:
            engine = create_engine(url, application_name="dr-ledger diverge")
            try:
                await check_schema(engine, "ledger")
                async with History.open(engine, channel) as history, aiohttp.ClientSession() as session:
                    ours, theirs = StoredSide(history), HttpSide(session, peer, channel, tls)
                    found = await ours.edited_state() or await first_divergence(ours, theirs)
                    if found is None and full:
                        found = await first_difference(ours, theirs)
                    if found is not None:
                        raise Diverged(str(found))
                    return {"equal_up_to": min(await ours.height(), await theirs.height()), "compared": full}
            finally:
                await engine.dispose()

    show(service.run(work()), as_json=json)


def _shown(checkpoint: Checkpoint) -> dict[str, object]:
    return {"size": checkpoint.size, "root": checkpoint.root.hex()}
