"""`dr-ledger copy-state`: the state of another member, where what led to it cannot be executed again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from contracts.core.codec import digest
from ledger.cli.options import Config, DatabaseUrl, DataDir, FurtherChannel, Json, SecretsDir
from ledger.cli.output import UsageError, show
from ledger.config import LedgerSettings
from runtime import logs, service


def copy_state(
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", help="NAME=URL of a further member to ask; the founders and peer_seeds are known."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--verify-later",
            help="Check the whole chain first. Later: until `dr-ledger verify` has passed, facts and bodies are the "
            "word of the one member that gave them.",
        ),
    ] = True,
    channel: FurtherChannel = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
    json: Json = False,
) -> None:
    """Copy log and state from another member, believed by the signatures of a quorum of them; its replica must not run.

    For a new or late member where all others erased the bodies it would execute. A member that can execute needs none
    of it: it takes blocks by itself. What could be executed again, and what is known by its hashes only, is shown."""
    from ledger import founding, genesis
    from ledger.marker import FileMarker
    from ledger.ordering.signatures import CheckpointSigner
    from ledger.replication.statecopy.asking import HttpStatePeers
    from ledger.replication.statecopy.taking import Copied, Copying
    from ledger.store.postgres import PostgresStore
    from runtime.database import check_schema, create_engine
    from runtime.postgres import postgres
    from runtime.tls import client_context

    flags = {"data_dir": data_dir, "database_url": database_url}
    settings = LedgerSettings.load(config=config, secrets_dir=secrets_dir, flags=flags)
    logs.configure("dr-ledger", settings.log_json, settings.log_level)
    of_channel = settings if channel is None else settings.of_channel(channel)
    founded = founding.load(of_channel)
    certificate = settings.peer_certificates()
    tls = None if certificate is None else client_context(settings.peer_ca, certificate)

    async def work() -> dict[str, Any]:
        marker = FileMarker(of_channel.data_dir / "signed", digest(founded.genesis))
        signer = CheckpointSigner(founded.genesis.origin, founded.log_key, founded.member, founded.cosigner_key)
        addresses = _addresses(settings, founded, peer or [])
        peers = HttpStatePeers(founded.genesis.channel, addresses, tls)
        async with postgres(
            settings.database_url, settings.postgres_dir, "ledger", binaries=settings.postgres_binaries
        ) as url:
            engine = create_engine(url, application_name="dr-ledger copy-state")
            try:
                await check_schema(engine, "ledger")
                store = PostgresStore(engine, founded.genesis.channel)
                if await store.is_empty():
                    time_s = settings.clock().wall_ms() // 1000
                    await genesis.create(store, founded, signer, time_s, marker, alone=False)
                await store.close()
                wall_ms = settings.clock().wall_ms()
                copied: Copied = await Copying(
                    engine, founded, peers, marker, verify=verify, wall_ms=wall_ms, addresses=addresses
                ).run()
            finally:
                await peers.close()
                await engine.dispose()
        return asdict(copied)

    show(service.run(work()), as_json=json)
    typer.echo(f"Copied. Next: dr-ledger serve --data-dir {settings.data_dir}", err=True)


def _addresses(settings: LedgerSettings, founded: Any, given: list[str]) -> dict[str, str]:
    found = {each.name: each.peer_url for each in founded.genesis.members} | settings.known_peers()
    for each in given:
        name, equals, url = each.partition("=")
        if not (name and equals and url.startswith("http")):
            raise UsageError(f"--peer {each}: write NAME=URL")
        found[name] = url
    found.pop(founded.member, None)
    return found
