"""`dr-vtn nodes capability | status | forecast | dispatch | absorption | profiles`: what it can, does, and will do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vtn.cli.nodes.groups import Node, ProgramName, on_nodes
from vtn.cli.options import Config, DataDir, Json, begin_of, kwh, print_json, print_table, utc
from vtn.errors import InvalidInput
from vtn.services.virtual_nodes.figures import Figures
from vtn.services.virtual_nodes.operations import VirtualNodes

if TYPE_CHECKING:
    from vtn.services.virtual_nodes.outlook import NodeForecast, Profiles

Hours = Annotated[int, typer.Option("--hours", min=1, max=24 * 14, help="How many hours back.")]
Ahead = Annotated[int, typer.Option("--hours", min=1, max=24 * 7, help="How many hours ahead.")]
Start = Annotated[str, typer.Option("--start", help="Begin of the interval, ISO 8601 with zone.")]
Target = Annotated[list[float], typer.Option("--kwh", help="Energy asked for in an interval; once for each.")]
Probability = Annotated[
    float | None, typer.Option("--probability", min=50, max=99, help="Percent with which all is to be met.")
]
Whom = Annotated[list[str] | None, typer.Option("--home", help="venID; instead of the homes of a virtual node.")]
MaybeNode = Annotated[str | None, typer.Argument(help="Virtual node whose homes are shown.")]


def capability(
    node: Node, program: ProgramName = None, as_json: Json = False, config: Config = None, data_dir: DataDir = None
) -> None:
    """Show what the homes can do together: power down and up, energy, how long, what comes back."""
    found = on_nodes(config, data_dir, program, lambda nodes: Figures(nodes).capability(node))
    if as_json:
        print_json(found)
        return
    rows = [
        (found.homes, found.down_w, found.up_w, kwh(found.energy_wh), f"{found.duration_s / 3600:.1f}",
         kwh(found.rebound_wh))
    ]  # fmt: skip
    columns = ("homes", "W down", "W up", "kWh", "hours", "kWh back")
    print_table(f"What {node} can do", columns, rows)


def status(
    node: Node, hours: Hours = 24, program: ProgramName = None, as_json: Json = False, config: Config = None,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Show who is connected, silent, in an event; the load now; and the balance at the boundary, hour by hour."""
    found = on_nodes(config, data_dir, program, lambda nodes: Figures(nodes).status(node, hours))
    if as_json:
        print_json(found)
        return
    load = f"{found.load_w:.0f} W at {utc(found.load_ms)}" if found.load_w is not None else found.note or "unknown"
    typer.echo(
        f"{node} is {found.state}: {found.connected} of {found.homes} homes connected, {found.in_event} in an event, "
        f"load {load}"
    )
    if found.silent:
        typer.echo(f"  silent: {', '.join(found.silent)}")
    rows = [
        (utc(each.start_ms), kwh(each.used_inside_wh), kwh(each.import_wh), kwh(each.export_wh))
        for each in found.balance
    ]  # fmt: skip
    print_table("Balance", ("from", "kWh used inside", "kWh in", "kWh out"), rows)


def forecast(
    node: Node, hours: Ahead = 24, program: ProgramName = None, as_json: Json = False, config: Config = None,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Forecast a virtual node at its boundary, with the band of 80 %, and what is used inside before that."""
    from vtn.cli.analytics.options import explained

    with explained():
        from vtn.services.virtual_nodes.outlook import Outlook

        async def work(nodes: VirtualNodes) -> NodeForecast:
            return await Outlook(nodes).forecast(node, hours)

        found = on_nodes(config, data_dir, program, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (utc(each.start_ms), kwh(round(each.net_wh)), kwh(round(each.least_wh)), kwh(round(each.most_wh)),
         kwh(each.used_inside_wh))
        for each in found.intervals
    ]  # fmt: skip
    title = f"{node} by {found.models[0]}, its homes by {found.models[1]}"
    print_table(title, ("from", "kWh", "least", "most", "used inside"), rows)


def dispatch(
    node: Node, start: Start, target_kwh: Target, probability: Probability = None, program: ProgramName = None,
    as_json: Json = False, config: Config = None, data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Preview whom a virtual node would call for a target, and why. Nothing is sent."""
    target_wh = [round(each * 1000) for each in target_kwh]
    surely = None if probability is None else probability / 100
    start_ms = int(begin_of(start).timestamp() * 1000)
    found = on_nodes(
        config, data_dir, program, lambda nodes: Figures(nodes).dispatch(node, start_ms, target_wh, surely)
    )
    if as_json:
        print_json(found)
        return
    seen = found.preview
    rows = [
        (each.rank or None, seen.names.get(each.candidate.candidate), "yes" if each.chosen else "",
         kwh(sum(each.candidate.available_wh)), each.reason)
        for each in seen.choices
    ]  # fmt: skip
    title = f"{node}, {utc(seen.start_ms)}: {seen.calls} of {seen.homes} homes for {kwh(sum(seen.target_wh))} kWh"
    print_table(title, ("rank", "home", "called", "kWh", "why"), rows)
    typer.echo(f"{kwh(sum(seen.expected_wh))} kWh expected, {kwh(sum(seen.lacking_wh))} kWh lacking")


def absorption(
    node: Node, start: Start, program: ProgramName = None, as_json: Json = False, config: Config = None,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Show who would take the surplus of an interval: what is left after inside use, members before others."""
    start_ms = int(begin_of(start).timestamp() * 1000)
    found = on_nodes(config, data_dir, program, lambda nodes: Figures(nodes).absorption(node, start_ms))
    if as_json:
        print_json(found)
        return
    balance = found.balance
    typer.echo(
        f"{node}, {utc(start_ms)}: {kwh(-balance.gave_wh)} kWh of its own, {kwh(balance.used_inside_wh)} kWh used "
        f"inside, {kwh(-balance.export_wh)} kWh left"
    )
    rows = [(home, "member", kwh(wh)) for home, wh in found.asked.members_wh.items()]
    rows += [(home, "other", kwh(wh)) for home, wh in found.asked.others_wh.items()]
    print_table("Who would take it", ("home", "of", "kWh"), rows)
    typer.echo(f"{kwh(found.asked.left_wh)} kWh leave the feeder")


def profiles(
    node: MaybeNode = None, home: Whom = None, program: ProgramName = None, as_json: Json = False,
    config: Config = None, data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Show customers: typical days, segment and why; of homes whose consent lets the aggregator see them."""
    if (node is None) == (not home):
        raise InvalidInput("homes_missing", "name a virtual node, or homes with --home")
    from vtn.cli.analytics.options import explained

    with explained():
        from vtn.services.virtual_nodes.outlook import Outlook

        async def work(nodes: VirtualNodes) -> Profiles:
            return await Outlook(nodes).profiles(home, node)

        found = on_nodes(config, data_dir, program, work)
    if as_json:
        print_json(found)
        return
    rows = [(each.ven_name, each.segment, each.mean_w, each.peak_hour, each.why) for each in found.homes]
    print_table("Customers", ("home", "segment", "mean W", "peak hour", "why"), rows)
    hours = [
        (each.ven_name, kind, *("" if wh is None else wh for wh in day))
        for each in found.homes
        for kind, day in (("working", each.working_day_wh), ("other", each.other_day_wh))
    ]
    if home:
        print_table("Typical days, Wh by hour", ("home", "day", *(f"{hour:02}" for hour in range(24))), hours)
    if found.withheld:
        typer.echo(f"{found.withheld} homes gave no consent that the aggregator sees theirs")
