"""`dr-vtn upstream`: how we stand with the utility's VTN, its events, and what the operator says to them."""

from __future__ import annotations

from typing import Annotated

import typer

from vtn.cli.options import Config, DataDir, Json, kwh, print_json, print_table, utc, with_vtn
from vtn.context import Vtn
from vtn.upstream import overview
from vtn.upstream.overview import EventView, LinkView
from vtn.upstream.reports.requests import RunningReport

app = typer.Typer(help="The utility's VTN to which the aggregator is a VEN.", no_args_is_help=True)

EventId = Annotated[str, typer.Argument(help="eventID of the utility.")]
Power = Annotated[
    float | None, typer.Option("--kw", min=0.001, help="Reduction over the whole event; without it what it asks for.")
]
Reason = Annotated[str, typer.Option("--reason", help="What the utility and the record are told.")]


@app.command("status")
def show_status(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show whether we are registered, when the utility was reached last, and what waits."""

    async def work(vtn: Vtn) -> LinkView:
        return await overview.link(vtn)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    registered = f"as {found.ven_id} at {found.vtn_id}" if found.registered else "no"
    rows = [
        ("address", found.url),
        ("registered", registered if found.enabled else "no, ended: `dr-vtn upstream register`"),
        ("last answer", utc(found.reached_ms)),
        ("last failure", f"{utc(found.failed_ms)} {found.error}" if found.error else ""),
        ("events", ", ".join(f"{number} {state}" for state, number in sorted(found.events.items()))),
        ("reports asked for", found.reports_running),
    ]
    print_table("Upstream", ("", ""), rows)


@app.command("events")
def list_events(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """List the utility's events, newest first: what each asks for, where it stands and why, the answer, its needs."""

    async def work(vtn: Vtn) -> list[EventView]:
        return await overview.events(vtn)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.event_id, each.state, utc(each.start_ms), kwh(sum(each.proposal.target_wh)) if each.proposal else "",
         f"{each.opt_type or ''}{' (not sent yet)' if each.owed and each.opt_type else ''}",
         "; ".join(filter(None, (each.why, *(f"{need.need_id} {need.state}" for need in each.needs)))))
        for each in found
    ]  # fmt: skip
    columns = ("event", "state", "start", "kWh", "answer", "why, needs")
    print_table("Events of the utility", columns, rows)


@app.command()
def approve(event_id: EventId, power_kw: Power = None, config: Config = None, data_dir: DataDir = None) -> None:
    """Take an event that is held: a need is put on the ledger, and the utility hears optIn when the ledger took it."""

    async def work(vtn: Vtn) -> None:
        await overview.approve(vtn, event_id, None if power_kw is None else round(1000 * power_kw))

    with_vtn(config, data_dir, work)
    typer.echo(f"{event_id} is approved")


@app.command()
def reject(
    event_id: EventId, reason: Reason = "the operator declined", config: Config = None, data_dir: DataDir = None
) -> None:
    """Opt out of an event, also of one that was taken: its homes are let go."""

    async def work(vtn: Vtn) -> None:
        await overview.reject(vtn, event_id, reason)

    with_vtn(config, data_dir, work)
    typer.echo(f"{event_id} is rejected")


@app.command()
def register(config: Config = None, data_dir: DataDir = None) -> None:
    """Register with the utility's VTN, or again; the running VTN does it within seconds."""

    async def work(vtn: Vtn) -> None:
        await overview.register(vtn)

    with_vtn(config, data_dir, work)
    typer.echo("the running VTN registers with the utility")


@app.command()
def cancel(config: Config = None, data_dir: DataDir = None) -> None:
    """End the registration with the utility's VTN; needs that were taken stay."""

    async def work(vtn: Vtn) -> None:
        await overview.cancel(vtn)

    with_vtn(config, data_dir, work)
    typer.echo("the running VTN ends its registration with the utility")


@app.command("reports")
def list_reports(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """List what the utility asked to be reported, and how far it was."""

    async def work(vtn: Vtn) -> list[RunningReport]:
        return await overview.reports(vtn)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.report_request_id, each.report_specifier_id, ", ".join(each.r_ids), each.granularity_s,
         each.report_back_s or "once", utc(each.reported_ms), utc(each.due_ms), each.error or "")
        for each in found
    ]  # fmt: skip
    columns = ("request", "report", "points", "values each s", "sent each s", "sent up to", "next", "error")
    print_table("Reports to the utility", columns, rows)
