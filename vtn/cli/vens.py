"""`dr-vtn vens`: who may join, and who has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc, with_vtn
from vtn.context import Vtn, only_program
from vtn.errors import InvalidInput
from vtn.services.enrolment import Invitation
from vtn.services.vens import Ven

app = typer.Typer(help="VENs: invitations and enrolled homes.", no_args_is_help=True)

Names = Annotated[list[str], typer.Option("--name", help="venName of the home; may be repeated.")]
Area = Annotated[str, typer.Option("--area", help="Feeder the homes are on.")]
ProgramName = Annotated[str | None, typer.Option("--program", help="Program; needed where there are several.")]
Output = Annotated[Path | None, typer.Option("--output", help="Folder for one invitation file a home.")]
VenId = Annotated[str, typer.Argument(help="venID.")]


@app.command("list")
def list_vens(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """List enrolled VENs, with the end of the last interval each has reported."""

    async def work(vtn: Vtn) -> tuple[list[Ven], dict[str, int]]:
        return await vtn.vens.list(), await vtn.telemetry.last_readings()

    found, reported = with_vtn(config, data_dir, work)
    if as_json:
        print_json([msgspec.structs.asdict(each) | {"reported_ms": reported.get(each.ven_id)} for each in found])
        return
    rows = [
        (each.ven_id, each.ven_name, each.area, each.virtual_node, each.status, utc(each.registered_ms),
         utc(reported.get(each.ven_id)))
        for each in found
    ]  # fmt: skip
    print_table("VENs", ("venID", "venName", "area", "virtual node", "status", "registered", "reported"), rows)


@app.command()
def show(ven_id: VenId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show one VEN."""

    async def work(vtn: Vtn) -> Ven:
        return await vtn.vens.get(ven_id)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    print_table(f"VEN {ven_id}", ("field", "value"), list(msgspec.structs.asdict(found).items()))


@app.command()
def invite(
    name: Names,
    area: Area,
    program: ProgramName = None,
    output: Output = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Invite homes: each invitation holds a one-time code for `dr-ven enrol`."""

    if output is not None:
        _refuse_paths(name)
        output.mkdir(parents=True, exist_ok=True)

    async def work(vtn: Vtn) -> list[Invitation]:
        chosen = program or await only_program(vtn)
        return [await vtn.invite(each, area, chosen) for each in name]

    found = with_vtn(config, data_dir, work)
    if output is not None:
        for each in found:
            _write_private(output / f"{each.ven_name}.json", msgspec.json.format(msgspec.json.encode(each)))
    if as_json:
        print_json(found)
    elif output is not None:
        typer.echo(f"{len(found)} invitation{'s' * (len(found) != 1)} in {output}")
    else:
        for each in found:
            typer.echo(f"{each.ven_name}: {each.code}")


@app.command()
def remove(ven_id: VenId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Take a VEN out of service; its history stays."""

    async def work(vtn: Vtn) -> Ven:
        return await vtn.vens.remove(ven_id)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{ven_id} is {found.status}")


def _refuse_paths(names: list[str]) -> None:
    """A name comes from a list of customers: it must not choose a folder. Before the codes are made, which are not
    kept."""
    for name in names:
        if "/" in name or "\\" in name or name.startswith("."):
            raise InvalidInput(
                "name_invalid", f"{name!r} is no name of a file: leave out --output, the code is printed"
            )


def _write_private(path: Path, content: bytes) -> None:
    """A file for its owner alone, also where one that others can read stood before."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600, exist_ok=False)
    partial.write_bytes(content)
    partial.replace(path)
