"""Commands of the member that runs a replica: found it, bring its tables up to date, serve, check, audit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.core.codec import digest
from contracts.core.commands import Enrolment
from contracts.core.parties import Role
from contracts.rules import Genesis
from ledger.cli.keys import read_public
from ledger.cli.options import (
    Config,
    DatabaseUrl,
    DataDir,
    FurtherChannel,
    Json,
    SecretsDir,
    WitnessFile,
    WitnessQuorum,
    policy_witnesses,
)
from ledger.cli.output import show
from ledger.client import party_id
from ledger.config import LedgerSettings
from runtime import logs, service
from runtime.settings import render

Keys = list[str]
ClockFlag = Annotated[Path | None, typer.Option("--clock-file", help="Epoch and speed of the domain clock.")]


def init(
    utility: Annotated[Keys, typer.Option("--utility", help="Public key of a utility: a .pub file or its text.")],
    aggregator: Annotated[Keys, typer.Option("--aggregator", help="Public key of an aggregator.")],
    auditor: Annotated[Keys | None, typer.Option("--auditor", help="Public key of an auditor.")] = None,
    origin: Annotated[
        str | None, typer.Option("--origin", help="Name of the log, HOST/CHANNEL; by default gridpact.local/CHANNEL.")
    ] = None,
    member: Annotated[
        str, typer.Option("--member", help="Name of this member, under which it cosigns.")
    ] = "member.gridpact.local/1",
    peer_url: Annotated[
        str | None,
        typer.Option("--peer-url", help="Where other members will reach this one, so that it may grow."),
    ] = None,
    channel: Annotated[str, typer.Option("--channel", help="Channel of the ledger.")] = "main",
    member_file: Annotated[
        list[Path] | None,
        typer.Option("--member-file", help="member.json of a member, for each of them; without it one member founds."),
    ] = None,
    quorum: Annotated[
        int | None, typer.Option("--quorum", min=1, help="Cosignatures that make a checkpoint final.")
    ] = None,
    founded_ms: Annotated[
        int | None, typer.Option("--founded-ms", min=0, help="Domain time of the genesis; by default now.")
    ] = None,
    witness_file: WitnessFile = None,
    witness_quorum: WitnessQuorum = 0,
    data_dir: DataDir = None,
    clock_file: ClockFlag = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Found a ledger: genesis from the parties' public keys, log keys and policy, in an empty data folder.

    With --member-file the genesis is of all these members: hand the three files it writes to each of them."""
    from ledger import founding  # SQL drivers are loaded by the commands that need them

    settings = LedgerSettings.load(config=config, flags={"data_dir": data_dir, "clock_file": clock_file})
    given = {Role.UTILITY: utility, Role.AGGREGATOR: aggregator, Role.AUDITOR: auditor or []}
    agreed: dict[str, Any] = {
        "parties": [_founder(role, read_public(text)) for role, texts in given.items() for text in texts],
        "channel": channel,
        "origin": origin or f"gridpact.local/{channel}",
        "contracts_root": founding.contracts_root(),
        "created_ms": settings.clock().now_ms() if founded_ms is None else founded_ms,
        "witnesses": policy_witnesses(witness_file, witness_quorum),
        "required": witness_quorum,
    }
    if member_file:
        members = [founding.read_member(path) for path in member_file]
        genesis, policy = founding.consortium(members, quorum=quorum, **agreed)
        founding.found_consortium(settings, genesis, policy)
    else:
        genesis = founding.found(settings, member=member, peer_url=peer_url, **agreed).genesis
    show(_founded(settings, genesis, member), as_json=json)
    if member_file:
        typer.echo(f"Founded. Next, at each member: dr-ledger join --from {settings.data_dir} --data-dir ...", err=True)
    else:
        typer.echo(f"Founded. Next: dr-ledger migrate --data-dir {settings.data_dir}", err=True)


def _founded(settings: LedgerSettings, genesis: Genesis, member: str) -> dict[str, Any]:
    return {
        "data_dir": str(settings.data_dir),
        "genesis": digest(genesis),
        "channel": genesis.channel,
        "origin": genesis.origin,
        "members": [each.name for each in genesis.members] or [member],
        "policy_file": str(settings.policy_file),
        "parties": _shown(genesis),
    }


def migrate(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
) -> None:
    """Bring the ledger's tables to the version of this program."""
    from runtime.database import upgrade
    from runtime.postgres import postgres

    settings = _settings(config, secrets_dir, {"data_dir": data_dir, "database_url": database_url})

    async def work() -> None:
        binaries = settings.postgres_binaries
        async with postgres(
            settings.database_url, settings.postgres_dir, "ledger", binaries=binaries, attach=True
        ) as url:
            await upgrade(url, "ledger")

    service.run(work())
    typer.echo("The ledger's tables are up to date.")


def serve(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = None,
    clock_file: ClockFlag = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="PEM chain of the certificate.")] = None,
    certificate_key: Annotated[Path | None, typer.Option("--certificate-key", help="Its PEM private key.")] = None,
    client_ca: Annotated[Path | None, typer.Option("--client-ca", help="PEM authorities for clients.")] = None,
    etcd_endpoints: Annotated[
        str | None, typer.Option("--etcd-endpoints", help="URLs of the etcd cluster, comma-separated.")
    ] = None,
    peer_port: Annotated[int | None, typer.Option("--peer-port", help="Port for the other members.")] = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
) -> None:
    """Run the replica until SIGTERM or Ctrl-C. Refuses tables of another version, and plain HTTP off loopback."""
    from ledger.founding import load

    flags = {
        "data_dir": data_dir,
        "database_url": database_url,
        "host": host,
        "port": port,
        "clock_file": clock_file,
        "certificate": certificate,
        "certificate_key": certificate_key,
        "client_ca": client_ca,
        "etcd_endpoints": etcd_endpoints,
        "peer_port": peer_port,
    }
    settings = _settings(config, secrets_dir, flags)
    tls = settings.tls()
    service.refuse_plain_http(settings.host, tls)
    founded = load(settings)
    from ledger.app import serve as serving

    service.run(serving(settings, founded, tls))


def check(config: Config = None, secrets_dir: SecretsDir = None, data_dir: DataDir = None) -> None:
    """Print the merged settings, secrets hidden; a misspelt setting or variable is an error."""
    settings = LedgerSettings.load(config=config, secrets_dir=secrets_dir, flags={"data_dir": data_dir})
    typer.echo(render(settings))


def verify(
    channel: FurtherChannel = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
    json: Json = False,
) -> None:
    """Execute everything again from the genesis and compare; names the first block that does not fit (exit code 8)."""
    from ledger.audit import audit
    from ledger.founding import load
    from runtime.database import check_schema, create_engine
    from runtime.postgres import postgres

    settings = _settings(config, secrets_dir, {"data_dir": data_dir, "database_url": database_url})
    founded = load(settings if channel is None else settings.of_channel(channel))

    async def work() -> object:
        binaries = settings.postgres_binaries
        async with postgres(
            settings.database_url, settings.postgres_dir, "ledger", binaries=binaries, attach=True
        ) as url:
            engine = create_engine(url, application_name="dr-ledger verify")
            try:
                await check_schema(engine, "ledger")
                return await audit(engine, founded)
            finally:
                await engine.dispose()

    show(service.run(work()), as_json=json)


def _settings(config: Path | None, secrets_dir: Path | None, flags: Mapping[str, object]) -> LedgerSettings:
    settings = LedgerSettings.load(config=config, secrets_dir=secrets_dir, flags=flags)
    logs.configure("dr-ledger", settings.log_json, settings.log_level)
    return settings


def _founder(role: Role, public: str) -> Enrolment:
    party = party_id(role, public)
    return Enrolment(party=party, role=role, key=public, sponsor=party, area="portfolio")


def _shown(genesis: Genesis) -> list[dict[str, str]]:
    return [{"party": each.party, "role": each.role.value, "key": each.key} for each in genesis.parties]
