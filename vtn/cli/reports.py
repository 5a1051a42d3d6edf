"""`dr-vtn reports`: what VENs can report, what they are asked for, and the state of their resources."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc, with_vtn
from vtn.context import Vtn
from vtn.services.reports import RequestedReport, ResourceState, Specifier

app = typer.Typer(help="Reports: show, request, cancel.", no_args_is_help=True)

_FORMATS = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]
VenId = Annotated[str, typer.Argument(help="venID.")]
SpecifierId = Annotated[str, typer.Argument(help="reportSpecifierID, as `reports show` has it.")]
RequestId = Annotated[str, typer.Argument(help="reportRequestID, as `reports show` has it.")]
RIds = Annotated[list[str] | None, typer.Option("--r-id", help="rID to ask for; may be repeated; without it all.")]
Granularity = Annotated[int, typer.Option("--granularity", min=0, help="Minutes each value stands for.")]
Every = Annotated[int, typer.Option("--every", min=0, help="Minutes between two reports; 0 is one report only.")]
Start = Annotated[datetime | None, typer.Option("--start", formats=_FORMATS, help="First value, with offset.")]
Minutes = Annotated[int, typer.Option("--minutes", min=0, help="Length of the period from --start; 0 has no end.")]
ToFollow = Annotated[bool, typer.Option("--report-to-follow", help="Ask for a last report.")]


@app.command()
def show(ven_id: VenId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show what a VEN can report, what it was asked for, and the last state of its resources."""

    async def work(vtn: Vtn) -> tuple[list[Specifier], list[RequestedReport], list[ResourceState]]:
        await vtn.vens.get(ven_id)
        states = await vtn.collected.states(ven_id)
        return await vtn.reports.specifiers(ven_id), await vtn.reports.all_requests(ven_id), states

    specifiers, requests, states = with_vtn(config, data_dir, work)
    if as_json:
        print_json({"specifiers": specifiers, "requests": requests, "states": states})
        return
    points = [
        (each.report_specifier_id, each.report_name, point.r_id, point.reading_type, _unit(point.unit))
        for each in specifiers
        for point in each.points
    ]
    print_table(f"Reports of {ven_id}", ("specifier", "report", "rID", "reading", "unit"), points)
    rows = [
        (each.report_request_id, each.report_specifier_id, each.status, each.granularity_s, each.report_back_s,
         utc(each.start_ms))
        for each in requests
    ]  # fmt: skip
    print_table("Requests", ("request", "specifier", "status", "granularity s", "every s", "start"), rows)
    if states:
        found = [(each.r_id, utc(each.start_ms), each.online, each.manual_override) for each in states]
        print_table("Resources", ("rID", "at", "online", "overridden"), found)


@app.command()
def request(
    ven_id: VenId,
    specifier: SpecifierId,
    r_id: RIds = None,
    granularity: Granularity = 15,
    every: Every = 15,
    start: Start = None,
    minutes: Minutes = 0,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Ask a VEN for a report it described: usage, status, history or Green Button data."""

    async def work(vtn: Vtn) -> RequestedReport:
        return await vtn.reports.ask(
            ven_id,
            specifier,
            r_ids=r_id or (),
            granularity_s=60 * granularity,
            report_back_s=60 * every,
            start_ms=None if start is None else int(start.timestamp() * 1000),
            duration_s=60 * minutes or None,
        )

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{found.report_request_id} {found.status}; `dr-vtn reports show {ven_id}` follows it")


@app.command()
def cancel(
    ven_id: VenId,
    request_id: RequestId,
    report_to_follow: ToFollow = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """End a request; the VEN is told until it confirms."""

    async def work(vtn: Vtn) -> None:
        await vtn.reports.cancel(ven_id, request_id, report_to_follow=report_to_follow)

    with_vtn(config, data_dir, work)
    typer.echo(f"{request_id} cancelled")


@app.command()
def metadata(ven_id: VenId, config: Config = None, data_dir: DataDir = None) -> None:
    """Ask a VEN to describe its reports again."""

    async def work(vtn: Vtn) -> None:
        await vtn.reports.ask_metadata(ven_id)

    with_vtn(config, data_dir, work)
    typer.echo(f"{ven_id} is asked for its METADATA")


def _unit(unit: object) -> str:
    scale, symbol = getattr(unit, "scale", "none"), getattr(unit, "symbol", "")
    return f"{'' if scale == 'none' else scale}{symbol}"
