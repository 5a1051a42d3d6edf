"""`dr-vtn consents | readings | audit`: who may see readings, what they see, and what was done."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from vtn.auth.audit import AuditEntry
from vtn.auth.consent import Consent
from vtn.auth.permissions import GRANTEES, Role
from vtn.auth.series import Viewer
from vtn.cli.options import Config, DataDir, Json, kwh, print_json, print_table, utc, with_vtn
from vtn.context import Vtn
from vtn.errors import InvalidInput

app = typer.Typer(help="Consents: who may see a home's readings, and until when.", no_args_is_help=True)
readings_app = typer.Typer(help="Readings as far as consents allow: of a home, or summed.", no_args_is_help=True)

VenOption = Annotated[str | None, typer.Option("--ven", help="venID; without it those of all.")]
Hours = Annotated[int, typer.Option("--hours", min=1, max=24 * 366, help="How many hours back.")]


@app.command("list")
def list_consents(
    ven: VenOption = None, as_json: Json = False, config: Config = None, data_dir: DataDir = None
) -> None:
    """List consents."""

    async def work(vtn: Vtn) -> list[Consent]:
        return await vtn.consents.given(ven)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.consent_id, each.ven_id, each.grantee, each.purpose, utc(each.until_ms), utc(each.revoked_ms),
         "key" if each.signed else "paper")
        for each in found
    ]  # fmt: skip
    print_table("Consents", ("consent", "venID", "to", "for", "until", "revoked", "given by"), rows)


@app.command()
def record(
    ven_id: Annotated[str, typer.Argument(help="venID.")],
    to: Annotated[str, typer.Option("--to", help=f"Role: {', '.join(GRANTEES)}.")],
    purpose: Annotated[str, typer.Option("--purpose", help="What the readings are for.")],
    until: Annotated[datetime, typer.Option("--until", help="Until when, UTC.")],
    paper: Annotated[str, typer.Option("--paper", help="Where the signed paper is kept.")],
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Note a consent that a home without a ledger key gave on paper."""
    if to not in GRANTEES:
        raise InvalidInput("consent_invalid", f"--to is one of {', '.join(GRANTEES)}")
    until_ms = int(until.replace(tzinfo=until.tzinfo or UTC).timestamp() * 1000)

    async def work(vtn: Vtn) -> str:
        return await vtn.consents.record_paper(ven_id, Role(to), purpose, until_ms, f"{paper} ({getpass.getuser()})")

    typer.echo(with_vtn(config, data_dir, work))


@app.command()
def revoke(
    consent: Annotated[str, typer.Argument(help="Id of the consent.")], config: Config = None, data_dir: DataDir = None
) -> None:
    """End a consent."""

    async def work(vtn: Vtn) -> None:
        await vtn.consents.revoke(consent)

    with_vtn(config, data_dir, work)
    typer.echo(f"{consent} is revoked")


@readings_app.command()
def home(
    ven_id: Annotated[str, typer.Argument(help="venID.")],
    hours: Hours = 24,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Show the readings of a home that consented to the aggregator."""

    async def work(vtn: Vtn) -> dict[int, int]:
        now_ms = vtn.clock.now_ms()
        return await vtn.series.of_home(Viewer(Role.AGGREGATOR), ven_id, now_ms - hours * 3_600_000, now_ms)

    _show(with_vtn(config, data_dir, work), f"Readings of {ven_id}", as_json)


@readings_app.command()
def total(
    area: Annotated[str, typer.Option("--area", help="Feeder whose homes are summed: five at least.")],
    hours: Hours = 24,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Show the summed readings of an area's homes."""

    async def work(vtn: Vtn) -> dict[int, int]:
        now_ms = vtn.clock.now_ms()
        return await vtn.series.of_group(Viewer(Role.AGGREGATOR), now_ms - hours * 3_600_000, now_ms, area=area)

    _show(with_vtn(config, data_dir, work), f"Readings of area {area}", as_json)


def audit(
    subject: Annotated[str | None, typer.Option("--subject", help="What was done to this venID alone.")] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Entries behind the one with this number.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many entries.")] = 200,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Show who did what: enrolments, certificates, consents."""

    async def work(vtn: Vtn) -> list[AuditEntry]:
        return await vtn.audit.entries(subject=subject, after=after, limit=limit)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    for each in found:
        detail = ", ".join(f"{name} {value}" for name, value in each.detail.items())
        typer.echo(
            f"{each.sequence} {each.at:%Y-%m-%d %H:%M:%SZ} {each.actor}: {each.act} {each.subject} {detail}".rstrip()
        )


def _show(series: dict[int, int], title: str, as_json: bool) -> None:
    if as_json:
        print_json([{"start_ms": start_ms, "energy_wh": energy_wh} for start_ms, energy_wh in sorted(series.items())])
        return
    rows = [(utc(start_ms), kwh(energy_wh)) for start_ms, energy_wh in sorted(series.items())]
    print_table(title, ("start", "kWh"), rows)
