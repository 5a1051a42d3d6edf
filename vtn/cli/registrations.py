"""`dr-vtn registrations`: 2.0b party registrations, and what the VTN asks of registered VENs."""

from __future__ import annotations

from typing import Annotated

import typer

from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc, with_vtn
from vtn.context import Vtn
from vtn.services.vens import Ven

app = typer.Typer(help="2.0b registrations: list, renew, cancel.", no_args_is_help=True)

VenId = Annotated[str, typer.Argument(help="venID.")]


@app.command("list")
def list_registrations(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """List registered VENs and how they are reached."""

    async def work(vtn: Vtn) -> list[Ven]:
        return [each for each in await vtn.vens.list() if each.registration_id is not None]

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.ven_id, each.ven_name, each.registration_id, "pull" if each.http_pull else "push",
         each.transport_address or "", utc(each.registered_ms))
        for each in found
    ]  # fmt: skip
    print_table("Registrations", ("venID", "venName", "registration", "mode", "address", "since"), rows)


@app.command()
def renew(ven_id: VenId, config: Config = None, data_dir: DataDir = None) -> None:
    """Ask a VEN to register again (oadrRequestReregistration); it is told until it does."""

    async def work(vtn: Vtn) -> None:
        await vtn.registrations.request_reregistration(ven_id)

    with_vtn(config, data_dir, work)
    typer.echo(f"{ven_id} is asked to register again")


@app.command()
def cancel(ven_id: VenId, config: Config = None, data_dir: DataDir = None) -> None:
    """End a registration (oadrCancelPartyRegistration); the VEN is told until it confirms."""

    async def work(vtn: Vtn) -> None:
        await vtn.registrations.request_cancel(ven_id)

    with_vtn(config, data_dir, work)
    typer.echo(f"{ven_id} is told that its registration ends")
