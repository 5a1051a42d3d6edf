"""Commands that show a part of a channel, forget what is old, and name homes anew each billing period."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
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
from ledger.cli.output import NotThere, UsageError, show, write_whole
from ledger.client import LedgerClient
from ledger.client.transport import Transport
from ledger.config import LedgerSettings
from ledger.verify.disclosure import verify_disclosure
from runtime import logs, service
from runtime.clock import SystemClock
from runtime.tls import client_context

disclosures = typer.Typer(no_args_is_help=True, help="Parts of a channel, shown to somebody outside it.")
pseudonyms = typer.Typer(no_args_is_help=True, help="Ids of homes, new in each billing period.")

Table = Annotated[Path, typer.Option("--table", help="Enrolment table: a secret file that only the sponsor has.")]
PeriodOption = Annotated[str, typer.Option("--period", help="Billing period, year and month: 2026-01")]


def disclose(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, for example sc2-1.disclosure")],
    channel: Annotated[str, typer.Option("--channel", help="The channel of which a part is shown.")],
    contract: Annotated[str | None, typer.Option("--contract", help="Show the facts of this contract or need.")] = None,
    transaction: Annotated[
        list[str] | None, typer.Option("--transaction", help="Show this transaction with its command.")
    ] = None,
    main: Annotated[str, typer.Option("--main", help="The channel that anchors it.")] = "main",
    url: Url = DEFAULT_URL,
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Write what an auditor outside the channel can check with main's policy file alone."""
    from ledger.channels.disclosing import Made, disclose
    from ledger.operations.export import LogReader

    if contract is None and not transaction:
        raise UsageError("say what to show: --contract ID or --transaction ID")
    if output.exists():
        raise UsageError(f"{output} exists: choose another name")

    async def work(client: LedgerClient) -> Made:
        tls = client_context(ca) if url.startswith("https:") else None
        transport = Transport(url, channel, session=None, ssl=tls, deadline_s=wait, key=client.key)
        try:
            async with LedgerClient(url, channel=main, clock=SystemClock(), ssl=tls, deadline_s=wait) as anchoring:
                return await disclose(
                    anchoring, client, LogReader(transport.get), contract=contract, transactions=transaction or ()
                )
        finally:
            await transport.close()

    made = reading(url, channel, ca, wait, key, work)
    write_whole(output, made.disclosure)
    show({"file": str(output), "bytes": len(made.disclosure), "shown": len(made.disclosed.items)}, as_json=json)
    typer.echo(f"Check it anywhere: dr-ledger disclosure verify {output} --policy policy.txt", err=True)


@disclosures.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The disclosure.")],
    policy: Annotated[Path, typer.Option("--policy", help="Policy file of the main log, from somebody you believe.")],
    json: Json = False,
) -> None:
    """Check a disclosure offline and print what it proves (exit code 8 if it proves nothing)."""
    proved = verify_disclosure(file.read_bytes(), policy.read_bytes())
    shown: list[dict[str, Any]] = [
        {
            "index": item.index,
            "kind": item.entry["kind"],
            "code": None if item.receipt is None else item.receipt["code"],
            "fact": item.fact,
            "command": item.body,
            "record": None if item.record is None else item.record.body,
        }
        for item in proved.items
    ]
    place = {"channel": proved.channel, "origin": proved.origin, "size": proved.size, "height": proved.height}
    show({**place, "time_ms": proved.time_ms, "cosigned_by": list(proved.members), "items": shown}, as_json=json)


def erase(
    before: Annotated[
        str | None, typer.Option("--before", help="Everything before this time (UTC), for example 2026-01-01")
    ] = None,
    transaction: Annotated[list[str] | None, typer.Option("--transaction", help="This transaction.")] = None,
    channel: Channel = "main",
    dispute_days: Annotated[
        int, typer.Option("--dispute-days", min=1, help="Nothing younger is erased: it may still be disputed.")
    ] = 120,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
    json: Json = False,
) -> None:
    """Delete salt, command and facts of old transactions here; entries, receipts and proofs of them stay."""
    from ledger.channels.erasure import erase_before, erase_transactions
    from runtime.database import check_schema, create_engine
    from runtime.postgres import postgres

    if (before is None) == (not transaction):
        raise UsageError("say what to erase: --before TIME or --transaction ID, one of them")
    before_ms = None if before is None else _time_ms(before)
    flags = {"data_dir": data_dir, "database_url": database_url}
    settings = LedgerSettings.load(config=config, secrets_dir=secrets_dir, flags=flags)
    logs.configure("dr-ledger", settings.log_json, settings.log_level)
    clock = settings.clock()

    async def work() -> object:
        binaries = settings.postgres_binaries
        async with postgres(
            settings.database_url, settings.postgres_dir, "ledger", binaries=binaries, attach=True
        ) as url:
            engine = create_engine(url, application_name="dr-ledger erase")
            try:
                await check_schema(engine, "ledger")
                times = {"now_ms": clock.now_ms(), "wall_ms": clock.wall_ms(), "dispute_days": dispute_days}
                if before_ms is not None:
                    return await erase_before(engine, channel, before_ms, **times)
                return await erase_transactions(engine, channel, transaction or [], **times)
            finally:
                await engine.dispose()

    show(msgspec.to_builtins(service.run(work())), as_json=json)
    typer.echo("Every member erases for itself; backups and the order's window keep what they hold for now.", err=True)


@pseudonyms.command("add")
def add(
    home: Annotated[str, typer.Argument(help="What the sponsor calls the home: a contract number or venID.")],
    table: Table,
    area: Annotated[str, typer.Option("--area", help="Feeder of the home.")] = "portfolio",
) -> None:
    """Add a home to the enrolment table; a table that is not there is made, with a new secret."""
    from ledger.channels.pseudonyms import SECRET_BYTES, EnrolmentTable, Home

    if table.exists():
        known = EnrolmentTable.load(table)
    else:
        known = EnrolmentTable(secrets.token_bytes(SECRET_BYTES))
        table.parent.mkdir(parents=True, exist_ok=True)
    if home in known.homes:
        raise UsageError(f"{home} is in {table} already")
    known.with_home(Home(home=home, area=area)).save(table)


@pseudonyms.command("show")
def show_pseudonym(
    home: Annotated[str, typer.Argument(help="What the sponsor calls the home.")],
    period: PeriodOption,
    table: Table,
    channel: Channel = "main",
    json: Json = False,
) -> None:
    """The party id of a home in a billing period."""
    from ledger.channels.pseudonyms import EnrolmentTable

    known = EnrolmentTable.load(table)
    if home not in known.homes:
        raise NotThere(f"there is no home {home} in {table}: `dr-ledger pseudonyms add` adds it")
    try:
        party = known.pseudonym(home, channel, period)
    except ValueError as error:
        raise UsageError(str(error)) from None
    show({"home": home, "channel": channel, "period": period, "party": party}, as_json=json)


@pseudonyms.command("find")
def find(
    party: Annotated[str, typer.Argument(help="A party id on the ledger.")],
    period: Annotated[list[str], typer.Option("--period", help="A billing period it may be of; several may be given.")],
    table: Table,
    channel: Channel = "main",
    json: Json = False,
) -> None:
    """Whose id this is: only the table can tell."""
    from ledger.channels.pseudonyms import EnrolmentTable

    try:
        found = EnrolmentTable.load(table).find(party, channel, period)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if found is None:
        raise NotThere(f"{party} is no home of {table} in {', '.join(period)}")
    show({"party": party, "home": found[0], "period": found[1]}, as_json=json)


def _time_ms(text: str) -> int:
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text} is no time: write it like 2026-01-01 or 2026-01-01T12:00") from None
    return int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1000)
