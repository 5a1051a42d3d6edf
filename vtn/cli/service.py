"""`dr-vtn init | migrate | serve | check`: the process itself."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.core.parties import Role
from ledger.client import party_id
from runtime import logs
from runtime.keys import PrivateKey
from runtime.service import run
from runtime.settings import render
from vtn import app as application
from vtn.cli.options import Config, DatabaseUrl, DataDir, Json, LedgerUrl, SecretsDir, print_json
from vtn.config import VtnSettings
from vtn.context import migrate as migrate_tables

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on.")]
JsonLogs = Annotated[bool | None, typer.Option("--json-logs/--pretty-logs", help="Form of the log on stderr.")]


def init(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Make the aggregator's key, with which `dr-ledger init` founds the ledger; one that exists is kept."""
    settings = VtnSettings.load(config=config, flags={"data_dir": data_dir})
    path = settings.aggregator_key_file
    key = PrivateKey.load(path) if path.exists() else PrivateKey.create(path)
    party = party_id(Role.AGGREGATOR, key.public)
    if as_json:
        print_json({"party": party, "public_key": key.public, "key_file": str(path)})
    else:
        typer.echo(f"aggregator {party}, public key {key.public}, private key in {path}")


def migrate(config: Config = None, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Bring the tables to the version of this program."""
    settings = VtnSettings.load(config=config, flags={"data_dir": data_dir, "database_url": database_url})
    run(migrate_tables(settings))
    typer.echo("the tables are up to date")


def serve(
    host: Host = None,
    port: Port = None,
    ledger_url: LedgerUrl = None,
    json_logs: JsonLogs = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Run the VTN until SIGTERM."""
    flags = {
        "host": host,
        "port": port,
        "ledger_url": ledger_url,
        "data_dir": data_dir,
        "database_url": database_url,
    }
    settings = VtnSettings.load(config=config, secrets_dir=secrets_dir, flags=flags)
    logs.configure("dr-vtn", json=json_logs)
    run(application.serve(settings))


def check(config: Config = None, secrets_dir: SecretsDir = None, data_dir: DataDir = None) -> None:
    """Print the merged settings with secrets hidden, and name what is wrong."""
    settings = VtnSettings.load(config=config, secrets_dir=secrets_dir, flags={"data_dir": data_dir})
    typer.echo(render(settings))
