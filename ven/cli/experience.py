"""What the home said it could do, and what it did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import typer

from ven.cli.options import Config, DataDir, Json, load_settings, print_json


def flexibility(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """What the VTN was told of this home's devices, what past events say of that, and each event: owed, delivered."""
    from ven.status import read_status

    found = read_status(load_settings(config, data_dir).data_dir)["flexibility"]
    if as_json:
        print_json(found)
        return
    typer.echo(flexible_line(found))
    for device in [] if found["told"] is None else found["told"].get("devices", []):
        part = found["parts"].get(device["kind"], found["part"])
        held = "" if device.get("energy_wh") is None else f", {device['energy_wh']} Wh"
        name = device["kind"] if not device.get("name") else f"{device['kind']} {device['name']}"
        typer.echo(f"  {name}: {device['power_w']} W{held}; gives {part:.0%} of its rating")
    if found["unknown_kinds"]:
        typer.echo(f"the VTN does not know {', '.join(found['unknown_kinds'])}: it takes them by their numbers")
    if found["refused"]:
        typer.echo(f"the VTN did not take it: {found['refused']}")
    for event in found["events"]:
        typer.echo(_line(event))


def flexible_line(found: dict[str, Any]) -> str:
    """The whole in one line."""
    told = found["told"]
    offered = "nothing told" if told is None else f"told {told['flexible_w']} W"
    learnt = f"{found['trials']} events gave about {found['part']:.0%} of what the devices are rated for"
    return f"flexibility: {offered}; {learnt if found['trials'] else 'nothing learnt yet'}"


def _line(event: dict[str, Any]) -> str:
    start = datetime.fromtimestamp(event["start_ms"] / 1000, UTC)
    known = f"{start:%Y-%m-%d %H:%MZ} {event['contract_id']}: owed {event['obligation_wh']} Wh"
    if event["ended"] != "delivered":
        return f"{known}, {event['ended'].replace('_', ' ')}"
    by = f" by {event['kind']}" if event["kind"] else ""
    return (
        f"{known} of {event['claimed_wh']} Wh rated, delivered {event['delivered_wh']} +- {event['noise_wh']} Wh{by}, "
        f"bias {event['bias_percent']} %"
    )
