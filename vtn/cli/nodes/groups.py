"""`dr-vtn nodes create | maintain | delete | query | moves | review`: which homes are a virtual node, and why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from vtn.aggregator.virtual_nodes.groups.records import GroupReview, HomeMove
from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc, with_vtn
from vtn.context import Vtn, only_program
from vtn.services.virtual_nodes.messages import NodeView
from vtn.services.virtual_nodes.operations import VirtualNodes, WaitingFeeder

T = TypeVar("T")

app = typer.Typer(
    help="Virtual nodes: DER groups after IEC 61968-5. Create, maintain, delete, query; capability, status, forecast, "
    "dispatch.",
    no_args_is_help=True,
)

Node = Annotated[str, typer.Argument(help="Name of the virtual node on the wire, or what it is called.")]
Nodes = Annotated[list[str] | None, typer.Argument(help="Names; without one all virtual nodes.")]
Homes = Annotated[list[str], typer.Option("--home", help="venID or venName; once for each home.")]
Add = Annotated[list[str] | None, typer.Option("--add", help="venID or venName of a home to add; may be repeated.")]
Remove = Annotated[list[str] | None, typer.Option("--remove", help="venID or venName of a home to take out.")]
Label = Annotated[str, typer.Option("--label", help="What people call it.")]
NewLabel = Annotated[str | None, typer.Option("--label", help="Call it so; its name on the wire stays.")]
Area = Annotated[str | None, typer.Option("--area", help="Feeder; without it all.")]
Ended = Annotated[bool, typer.Option("--ended", help="Also those that have ended.")]
Moves = Annotated[int, typer.Option("--moves", min=0, help="How many of its last moves are shown.")]
Home = Annotated[str | None, typer.Option("--home", help="venID; without it the moves of all homes.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")]
ProgramName = Annotated[str | None, typer.Option("--program", help="Program, if there are several.")]


def on_nodes(
    config: Path | None, data_dir: Path | None, program: str | None, work: Callable[[VirtualNodes], Awaitable[T]]
) -> T:
    """Runs `work` on the virtual nodes of a program."""

    async def opened(vtn: Vtn) -> T:
        found = await vtn.programs.get(program or await only_program(vtn))
        return await work(VirtualNodes(vtn, found))

    return with_vtn(config, data_dir, opened)


@app.command()
def create(
    label: Label, home: Homes, program: ProgramName = None, as_json: Json = False, config: Config = None,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Put homes of one feeder together as a virtual node of your own; they leave the groups they are in."""
    found = on_nodes(config, data_dir, program, lambda nodes: nodes.create(label, home))
    _tell(found, "made", as_json)


@app.command()
def maintain(
    node: Node, add: Add = None, remove: Remove = None, label: NewLabel = None, program: ProgramName = None,
    as_json: Json = False, config: Config = None, data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Add homes to a virtual node, take homes out, or rename it; not homes that are under contract."""
    found = on_nodes(
        config, data_dir, program,
        lambda nodes: nodes.maintain(node, add=add or (), remove=remove or (), label=label),
    )  # fmt: skip
    _tell(found, "changed", as_json)


@app.command()
def delete(
    node: Node, program: ProgramName = None, as_json: Json = False, config: Config = None, data_dir: DataDir = None
) -> None:
    """End a virtual node without running contracts: its homes are grouped anew, its money goes back."""
    found = on_nodes(config, data_dir, program, lambda nodes: nodes.delete(node))
    _tell(found, found.state, as_json)


@app.command()
def query(
    nodes: Nodes = None, area: Area = None, ended: Ended = False, moves: Moves = 0, program: ProgramName = None,
    as_json: Json = False, config: Config = None, data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Show virtual nodes with homes, feeder, quality and why they are as they are; and feeders that wait for one."""

    async def work(service: VirtualNodes) -> tuple[list[NodeView], list[WaitingFeeder]]:
        found = await service.query(nodes or (), area=area, ended=ended, moves=moves)
        return found, [] if nodes else await service.waiting()

    found, waiting = on_nodes(config, data_dir, program, work)
    if as_json:
        print_json({"DERGroups": found, "waiting": waiting})
        return
    rows = [
        (each.name, each.label if each.label != each.name else "", each.area, each.homes, each.made_by, each.state,
         "" if each.quality.silhouette is None else f"{each.quality.silhouette:.2f}", each.quality.reason,
         "; ".join(each.quality.flags))
        for each in found
    ]  # fmt: skip
    columns = ("virtual node", "called", "feeder", "homes", "made by", "state", "silhouette", "why", "flags")
    print_table("Virtual nodes", columns, rows)
    if nodes:
        for each in found:
            names = [(device.mrid, device.names[0].name) for device in each.group.devices]
            print_table(f"Homes of {each.name}", ("venID", "venName"), names)
            if moves:
                _moves(f"Moves of {each.name}", list(each.moves))
    if waiting:
        lines = [(each.area, each.homes, each.reason) for each in waiting]
        print_table("Homes in no virtual node", ("feeder", "homes", "why"), lines)


@app.command("moves")
def show_moves(
    home: Home = None, limit: Limit = 50, program: ProgramName = None, as_json: Json = False, config: Config = None,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Show which homes moved between virtual nodes, when and why."""
    found = on_nodes(config, data_dir, program, lambda nodes: nodes.nodes.moves(ven_id=home, limit=limit))
    if as_json:
        print_json(found)
    else:
        _moves("Moves", found)


@app.command()
def reviews(
    limit: Limit = 1, program: ProgramName = None, as_json: Json = False, config: Config = None,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Show the last reviews of who belongs where: each feeder before and after, who leans where, which moves wait."""

    async def work(nodes: VirtualNodes) -> list[GroupReview]:
        return await nodes.nodes.reviews(nodes.program.name, limit)

    found = on_nodes(config, data_dir, program, work)
    if as_json:
        print_json(found)
        return
    for each in found:
        rows = [
            (area, _ratio(line.silhouette_before), _ratio(line.silhouette_after), line.outcome)
            for area, line in each.areas.items()
        ]
        print_table(
            f"{utc(each.reviewed_ms)}: {each.moved} moved, {len(each.leaning)} lean, {len(each.waiting)} wait",
            ("feeder", "silhouette before", "after", "outcome"), rows,
        )  # fmt: skip
        if each.waiting:
            _moves("Moves that wait", list(each.waiting))
    if not found:
        typer.echo("no review yet")


def _tell(found: NodeView, done: str, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    typer.echo(f"{found.name} ({found.label}) on {found.area} with {found.homes} homes: {done}")
    for note in (*found.quality.flags, *found.notes):
        typer.echo(f"  {note}")


def _moves(title: str, found: list[HomeMove]) -> None:
    rows = [
        (utc(each.moved_ms or None), each.ven_id, each.came_from, each.went_to, each.kind, each.reason)
        for each in found
    ]  # fmt: skip
    print_table(title, ("when", "home", "from", "to", "by", "why"), rows)


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
