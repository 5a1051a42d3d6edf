"""Commands of the operator: back up and restore a member, export evidence, run a proxy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import urlsplit

import typer

from ledger.cli.options import (
    DEFAULT_URL,
    DEFAULT_WAIT_S,
    Ca,
    Channel,
    Config,
    DatabaseUrl,
    DataDir,
    Json,
    ReadKey,
    SecretsDir,
    Url,
    Wait,
    reading,
)
from ledger.cli.output import UsageError, show, write_whole
from ledger.client import LedgerClient
from ledger.client.transport import Transport
from ledger.config import LedgerSettings
from ledger.errors import StoreUnavailable
from runtime import logs, service
from runtime.tls import Certificate, client_context, server_context

if TYPE_CHECKING:  # SQL drivers are loaded by the commands that need them
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

File = Annotated[Path, typer.Argument(help="The backup.")]


def backup_key(
    path: Annotated[Path, typer.Argument(help="Private key file to make, for example keys/backup.key")],
    json: Json = False,
) -> None:
    """Make a key that backups are sealed for: keep PATH away from the replica, its .pub half goes to it."""
    from ledger.operations.backup_key import BackupKey

    key = BackupKey.create(path)
    public = {"public": key.recipient.text, "public_file": str(path.with_suffix(".pub"))}
    show({"private_key_file": str(path), **public, "fingerprint": key.recipient.fingerprint}, as_json=json)


def backup(
    file: File,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", help="Backup key to seal the file for: a .pub file or its text; repeatable."),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Do not seal: whoever gets the file reads everything.")
    ] = False,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Add this member's private keys; only into a sealed backup.")
    ] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
    json: Json = False,
) -> None:
    """Write all tables and the founding files, at one height, into one checked file; the replica may go on beside."""
    from ledger.operations.backup import backup, private_keys
    from ledger.operations.backup_key import Recipient

    settings = _settings(config, secrets_dir, data_dir, database_url)
    recipients = [Recipient.read(text) for text in recipient or ()]

    async def work(engine: AsyncEngine) -> object:
        return await backup(
            engine,
            settings.data_dir,
            file,
            created_ms=settings.clock().wall_ms(),
            recipients=recipients,
            plain=plain,
            keys=private_keys(settings) if with_keys else (),
        )

    show(_with_database(settings, work), as_json=json)


def restore(
    file: File,
    key: Annotated[Path | None, typer.Option("--key", help="Private backup key that opens a sealed file.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Execute everything again afterwards, as `dr-ledger verify`.")
    ] = True,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
    json: Json = False,
) -> None:
    """Read a backup into an empty database and data folder; a damaged or foreign file changes nothing."""
    from ledger.operations.backup_key import BackupKey
    from ledger.operations.restore import restore

    settings = _settings(config, secrets_dir, data_dir, database_url)
    opener = None if key is None else BackupKey.load(key)

    async def work(engine: AsyncEngine) -> object:
        return await restore(engine, settings.data_dir, file, key=opener, verify=verify)

    show(_with_database(settings, work), as_json=json)


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle to write, for example sc2-1.zip")],
    contract: Annotated[str | None, typer.Option("--contract", help="A contract or need.")] = None,
    period: Annotated[
        str | None, typer.Option("--period", help="FROM..TO in UTC, TO excluded: 2026-01-01..2026-02-01T12:00")
    ] = None,
    party: Annotated[str | None, typer.Option("--party", help="Only facts that concern this party.")] = None,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Write what proves a contract or a period to others; `python -m ledger.verify` checks it without a ledger."""
    from ledger.operations.export import Exported, LogReader, export
    from ledger.verify.bundle import Scope

    if (contract is None) == (period is None):
        raise UsageError("say what to export: --contract ID or --period FROM..TO, one of them")
    from_ms, to_ms = (None, None) if period is None else _period(period)
    scope = Scope(contract=contract, from_ms=from_ms, to_ms=to_ms, party=party)
    if output.exists():
        raise UsageError(f"{output} exists: choose another name")

    async def work(client: LedgerClient) -> Exported:
        tls = client_context(ca) if url.startswith("https:") else None
        transport = Transport(url, channel, session=None, ssl=tls, deadline_s=wait, key=client.key)
        try:
            return await export(client, LogReader(transport.get), scope, wait_s=wait)
        finally:
            await transport.close()

    made = reading(url, channel, ca, wait, key, work)
    write_whole(output, made.bundle)
    shown = {"bundle": str(output), "bytes": len(made.bundle), "facts": len(made.verified.facts)}
    place = {"origin": made.verified.origin, "size": made.verified.size, "cosigned_by": made.verified.cosigned_by}
    show(shown | place, as_json=json)
    typer.echo(f"Check it anywhere: python -m ledger.verify {output} --policy policy.txt", err=True)


def proxy(
    upstream: Annotated[
        list[str], typer.Option("--upstream", help="Address of a replica; repeatable, or several with commas.")
    ],
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:8450",
    certificate: Annotated[Path | None, typer.Option("--certificate", help="PEM chain of the certificate.")] = None,
    certificate_key: Annotated[Path | None, typer.Option("--certificate-key", help="Its PEM private key.")] = None,
    ca: Ca = None,
    requests_max: Annotated[
        int, typer.Option("--requests-max", min=1, max=10_000, help="Most requests and streams at once; then HTTP 503.")
    ] = 500,
) -> None:
    """Forward transactions and reads to replicas until SIGTERM or Ctrl-C; it holds no key and keeps nothing."""
    from ledger.operations.proxy import build

    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"--listen {listen}: write HOST:PORT, for example 127.0.0.1:8450")
    if (certificate is None) != (certificate_key is None):
        raise UsageError("--certificate and --certificate-key belong together")
    replicas = [url for given in upstream for url in given.split(",") if url]
    for url in replicas:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--upstream {url}: write https://HOST:PORT")
        if parts.scheme == "http":
            service.refuse_plain_http(parts.hostname, None)
    if not replicas:
        raise UsageError("--upstream names no replica")
    tls = None
    if certificate is not None and certificate_key is not None:
        tls = server_context([Certificate(certificate, certificate_key)])
    service.refuse_plain_http(host, tls)
    logs.configure("dr-ledger proxy")
    trust = client_context(ca) if any(url.startswith("https:") for url in replicas) else None

    async def work() -> None:
        app = build(replicas, ssl=trust, requests_max=requests_max)
        await service.serve(app, host, int(port), tls, name="dr-ledger proxy")

    service.run(work())


def _settings(
    config: Path | None, secrets_dir: Path | None, data_dir: Path | None, database_url: str | None
) -> LedgerSettings:
    flags = {"data_dir": data_dir, "database_url": database_url}
    settings = LedgerSettings.load(config=config, secrets_dir=secrets_dir, flags=flags)
    logs.configure("dr-ledger", settings.log_json, settings.log_level)
    return settings


def _period(text: str) -> tuple[int, int]:
    start, separator, end = text.partition("..")
    try:
        if not separator:
            raise ValueError("no `..`")
        found = _time_ms(start), _time_ms(end)
    except ValueError:
        raise UsageError(f"{text!r} is no period: write FROM..TO, for example 2026-01-01..2026-02-01T12:00Z") from None
    if found[0] >= found[1]:
        raise UsageError(f"the period {text} ends before it begins")
    return found


def _time_ms(text: str) -> int:
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _with_database(settings: LedgerSettings, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Runs `work` on the member's database, beside a serving replica or alone."""
    from ledger.store.reading import STORE_ERRORS, first_line
    from runtime.database import create_engine
    from runtime.postgres import postgres

    async def run() -> T:
        binaries = settings.postgres_binaries
        async with postgres(
            settings.database_url, settings.postgres_dir, "ledger", binaries=binaries, attach=True
        ) as url:
            engine = create_engine(url, application_name="dr-ledger operations")
            try:
                return await work(engine)
            except STORE_ERRORS as error:
                if isinstance(error, OSError):  # of a file that the command reads or writes
                    raise
                raise StoreUnavailable(f"PostgreSQL could not do it ({first_line(error)}): nothing was kept") from error
            finally:
                await engine.dispose()

    return service.run(run())
