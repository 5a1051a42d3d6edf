"""Running homes, and looking at what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ven.cli.experience import flexible_line
from ven.cli.options import Config, DataDir, Device, Json, Profile, load_settings, print_json


def run(
    data_dir: DataDir = None,
    profile: Profile = None,
    device: Device = None,
    config: Config = None,
    secrets_dir: Annotated[Path | None, typer.Option("--secrets-dir", help="Folder of secret files.")] = None,
) -> None:
    """Run one home until SIGTERM or Ctrl-C, which frees the device."""
    from runtime.service import run
    from ven.app import run_home

    settings = load_settings(config, data_dir, secrets_dir=secrets_dir, profile=profile, device=device)
    run(run_home(settings))


def simulate(
    homes: Annotated[int, typer.Option("--homes", min=1, help="Number of homes.")],
    profiles: Annotated[Path, typer.Option("--profiles", help="Folder with one profile file a home.")],
    invitations: Annotated[
        Path | None, typer.Option("--invitations", help="Folder with one invitation a home; enrolled ones need none.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Run many simulated homes in one process, each with its own key, store and device."""
    from runtime.service import run
    from ven.simulator import simulate

    run(simulate(load_settings(config, data_dir), profiles, invitations, homes))


def status(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """What the home is doing: registration, readings, events, contracts, payments, what waits to be sent."""
    from ven.status import read_status

    found = read_status(load_settings(config, data_dir).data_dir)
    if as_json:
        print_json(found)
        return
    typer.echo(f"{found['ven_name'] or 'not enrolled'}: venID {found['ven_id']}, ledger party {found['party']}")
    typer.echo(f"opted out: {'yes' if found['owner']['opt_out'] else 'no'}; {found['meter']['readings']} readings")
    if found["clock"]["state"] == "wrong":
        typer.echo(found["clock"]["text"])
    for now in found["decisions"][:1]:
        asked = (
            "nothing" if now["asked"] is None else ", ".join(f"{name} {value}" for name, value in now["asked"].items())
        )
        typer.echo(f"now: {asked}; {now['governs'] or 'nobody'} governs: {now['why']}")
        for each in now["waits"]:
            typer.echo(f"  {each['id']}: {each['why']}")
    waiting = (found["transactions_waiting"], found["report_intervals_owed"])
    typer.echo(f"waiting: {waiting[0]} transactions, {waiting[1]} report intervals")
    for contract in found["contracts"]:
        outcome = contract["outcome"]
        paid = "" if outcome is None else f", {outcome['outcome']}, {outcome['amount_minor']} minor units"
        if contract["missing"]:
            paid += f", {contract['missing']} intervals settled without a reading"
        reason = f" ({contract['reason']})" if contract["reason"] else ""
        line = f"{contract['contract_id']} {contract['state']}{reason}: {contract['obligation_wh']} Wh{paid}"
        typer.echo(line)
    typer.echo(flexible_line(found["flexibility"]))
    typer.echo(f"proofs verified: {len(found['proofs'])}; paid in all: {found['paid_minor']} minor units")


def check(config: Config = None, data_dir: DataDir = None) -> None:
    """Print the merged settings with secrets hidden; unknown names are an error."""
    from runtime.settings import render

    typer.echo(render(load_settings(config, data_dir)))
