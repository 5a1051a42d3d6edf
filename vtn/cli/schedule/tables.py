"""What a schedule looks like: a line a home before and after, when each device runs, what a node comes to, a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from scheduling.fleet.nodes import Node, NodeSchedule
from scheduling.home import Home
from scheduling.schedule import Schedule
from vtn.analytics import figures
from vtn.cli.options import print_table
from vtn.cli.schedule.horizon import Horizon

_COLUMNS = (
    "home", "cost before", "after", "less", "peak kW", "PAR net", "PAR gross", "own PV %", "off wish K h",
    "gap %", "state",
)  # fmt: skip
_SPANS_MAX = 6


def show(nodes: Sequence[Node], found: Sequence[NodeSchedule], horizon: Horizon) -> None:
    """Tables and sentences on stdout."""
    print_table(
        f"Schedules from {horizon.local(horizon.start_ms):%Y-%m-%d %H:%M %Z}, {horizon.count} slots of "
        f"{horizon.interval_s // 60} minutes (before > after)",
        _COLUMNS, list(_lines(found)),
    )  # fmt: skip
    print_table("When each device runs", ("home", "device", "local time", "kWh"), list(_runs(nodes, found, horizon)))
    typer.echo(
        "PAR: peak over mean. Net: of what is imported; gross: of all that is used, own PV and battery included.\n"
        "Off wish: Kelvin hours colder (rooms: or warmer) than wished, within the bands."
    )
    for node, made in zip(nodes, found, strict=True):
        _tell(node, made, horizon)


def draw(path: Path, nodes: Sequence[Node], found: Sequence[NodeSchedule], horizon: Horizon) -> None:
    """Net power of each node and of the first homes, as wished and as scheduled. Raises FigureRefused."""
    hours = horizon.interval_s / 3600
    curves = [
        figures.NetCurves(made.node, _power(made.wished_net_wh, hours), _power(made.net_wh, hours), [],
                          node.import_limit_w)
        for node, made in zip(nodes, found, strict=True)
    ]  # fmt: skip
    homes = [(home, each) for node, made in zip(nodes, found, strict=True)
             for home, each in zip(node.homes, made.schedules, strict=True)]  # fmt: skip
    curves += [
        figures.NetCurves(each.home, _power(each.wished.net_wh, hours), _power(each.plan.net_wh, hours),
                          list(home.tariff.import_minor_per_kwh), home.connection.import_limit_w)
        for home, each in homes
    ]  # fmt: skip
    figures.of_schedules(path, horizon.starts_ms, horizon.zone, curves[:8], _COLUMNS, list(_lines(found)))


def _lines(found: Sequence[NodeSchedule]) -> Iterator[tuple[str, ...]]:
    for made in found:
        for each in made.schedules:
            before, after = each.before, each.after
            warmth = (before.comfort_kh, after.comfort_kh) if before.comfort_kh or after.comfort_kh else (None, None)
            yield (
                each.home, _money(before.total_minor), _money(after.total_minor),
                _percent(before.total_minor, after.total_minor),
                f"{before.peak_import_w / 1000:.2f} > {after.peak_import_w / 1000:.2f}",
                _both(before.par_net, after.par_net, 2), _both(before.par_gross, after.par_gross, 2),
                _both(before.own_pv_percent, after.own_pv_percent, 0), _both(warmth[0], warmth[1], 1),
                "" if each.gap_percent is None else f"{each.gap_percent:.2f}", each.status,
            )  # fmt: skip


def _runs(
    nodes: Sequence[Node], found: Sequence[NodeSchedule], horizon: Horizon
) -> Iterator[tuple[str, str, str, str]]:
    for node, made in zip(nodes, found, strict=True):
        for home, each in zip(node.homes, made.schedules, strict=True):
            yield from _of_home(home, each, horizon)


def _of_home(home: Home, made: Schedule, horizon: Horizon) -> Iterator[tuple[str, str, str, str]]:
    rows = dict(made.plan.devices_wh)
    if home.battery is not None:
        moved = made.plan.battery_wh
        rows[f"{home.battery.name} charges"] = tuple(max(each, 0) for each in moved)
        rows[f"{home.battery.name} discharges"] = tuple(max(-each, 0) for each in moved)
    for name, energies in rows.items():
        spans = _spans(energies, horizon)
        text = ", ".join(spans[:_SPANS_MAX]) + (
            f", .. {len(spans) - _SPANS_MAX} more" if len(spans) > _SPANS_MAX else ""
        )
        yield home.name, name, text or "not at all", f"{sum(energies) / 1000:.2f}"
    if any(made.plan.curtailed_wh):
        less = made.plan.curtailed_wh
        yield home.name, "PV turned down", ", ".join(_spans(less, horizon)[:_SPANS_MAX]), f"{sum(less) / 1000:.2f}"


def _spans(energies: Sequence[int], horizon: Horizon) -> list[str]:
    """Slots beside each other in which something runs, in local time."""
    found: list[list[int]] = []
    for slot, energy in enumerate(energies):
        if not energy:
            continue
        if found and found[-1][1] == slot:
            found[-1][1] = slot + 1
        else:
            found.append([slot, slot + 1])
    edges = [*horizon.starts_ms, horizon.end_ms]
    return [f"{horizon.local(edges[a]):%H:%M}-{horizon.local(edges[b]):%H:%M}" for a, b in found]


def _tell(node: Node, made: NodeSchedule, horizon: Horizon) -> None:
    hours = horizon.interval_s / 3600
    peaks = f"peak {max(made.wished_net_wh) / hours / 1000:.2f} > {max(made.net_wh) / hours / 1000:.2f} kW"
    costs = f"cost {_money(made.wished_cost_minor)} > {_money(made.cost_minor)}"
    gap = "" if made.gap_minor is None else f", at most {_money(made.gap_minor)} above any schedule"
    typer.echo(f"{made.node}: {len(made.schedules)} homes, {costs}{gap}, {peaks}")
    if node.import_limit_w is not None or node.export_limit_w is not None:
        kept = "limit kept" if not made.beyond_wh else (
            f"limit passed by up to {made.beyond_w:,.0f} W, {made.beyond_wh:,.0f} Wh in all: the homes found no "
            "way to give more without going short"
        )  # fmt: skip
        steps = " ".join(f"{step.price / 100:.2f}" for step in made.path)
        typer.echo(f"  {kept} (as wished by {made.wished_beyond_wh:,.0f} Wh); price a kWh of room, by round: {steps}")
    for each in made.schedules:
        for short in each.shortfalls:
            since = f" (from {horizon.local(horizon.starts_ms[short.first]):%H:%M})" if short.first >= 0 else ""
            typer.echo(f"  {each.home}: {short.text}{since}")
        for note in each.notes:
            typer.echo(f"  {each.home}: {note}")
        if each.rebound is not None:
            typer.echo(
                f"  {each.home}: {each.rebound.reduced_wh:,} Wh less in the dispatch, {each.rebound.returned_wh:,} Wh "
                f"more in the four hours after it, by up to {each.rebound.returned_w:,.0f} W"
            )


def _power(energies_wh: Sequence[int], hours: float) -> list[float]:
    return [each / hours for each in energies_wh]


def _money(amount_minor: float) -> str:
    return f"{amount_minor / 100:.2f}"


def _percent(before: float, after: float) -> str:
    return f"{100 * (before - after) / before:.0f} %" if before > 1 else ""


def _both(before: float | None, after: float | None, digits: int) -> str:
    return "" if before is None or after is None else f"{before:.{digits}f} > {after:.{digits}f}"
