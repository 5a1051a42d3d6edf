"""`dr-vtn proposals`: events that forecasts call for, decided by the operator, signed by the utility."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from contracts.core.codec import encode
from contracts.core.commands import RequestReduction
from ledger.client import LedgerUnavailable
from vtn.analytics.proposing import records
from vtn.analytics.proposing.desk import ProposalDesk, outbox_key, utility
from vtn.analytics.proposing.records import Proposal
from vtn.cli.options import Config, DataDir, Json, kwh, money, print_json, print_table, utc, with_vtn
from vtn.context import Vtn

app = typer.Typer(help="Events that forecasts call for: decide about them.", no_args_is_help=True)

ProposalId = Annotated[str, typer.Argument(help="Id of the proposal.")]
All = Annotated[bool, typer.Option("--all", help="Also those that were decided or are over.")]
Output = Annotated[
    Path | None, typer.Option("--output", help="File for the need the utility signs; else <need>.json here.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]


@app.command("list")
def list_proposals(
    everything: All = False, as_json: Json = False, config: Config = None, data_dir: DataDir = None
) -> None:
    """List proposals that wait for a decision or for the utility."""

    async def work(vtn: Vtn) -> list[Proposal]:
        states = () if everything else (records.OPEN, records.APPROVED, records.REQUESTED)
        return list(await ProposalDesk(vtn, None).found(*states))

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.proposal_id, each.state, each.area, utc(each.proposal.request.start_ms),
         kwh(sum(each.proposal.request.target_wh)), each.proposal.policy, utc(each.expires_ms), each.proposal.reason)
        for each in found
    ]  # fmt: skip
    print_table("Proposals", ("proposal", "state", "area", "start", "kWh", "policy", "decide until", "why"), rows)


@app.command()
def show(proposal_id: ProposalId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show what was known, where the limit is passed, and what the event would change."""

    async def work(vtn: Vtn) -> Proposal:
        async with vtn.database.reading() as connection:
            return await records.find(connection, proposal_id)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    what = found.proposal
    request = what.request
    decided = f" by {found.decided_by} at {utc(found.decided_ms)}" if found.decided_by else ""
    typer.echo(f"{found.proposal_id} is {found.state}{decided}{f': {found.note}' if found.note else ''}")
    typer.echo(what.reason)
    typer.echo(f"forecast {what.run_id} by {what.model}, issued {utc(what.issued_at_ms)}, "
               f"readings until {utc(what.known_until_ms)}; signals {what.signals or 'none'}")  # fmt: skip
    limits = [f"{name} {watts} W" for name, watts in (("import", what.import_w), ("export", what.export_w)) if watts]
    rows = [(utc(each.start_ms), f"{each.beyond_w:.0f}", f"{each.chance:.0%}") for each in what.beyond]
    print_table(f"Beyond {', '.join(limits)}", ("from", "by W at most", "chance at least"), rows)
    figures = [(name, f"{what.without[name]:.2f}", f"{value:.2f}") for name, value in what.figures.items()]
    print_table("The day", ("figure", "without", "with the event"), figures)
    targets = [(utc(request.start_ms + n * request.interval_s * 1000), wh) for n, wh in enumerate(request.target_wh)]
    title = f"Need {request.need_id}: {kwh(sum(request.target_wh))} kWh, budget {money(request.budget_minor)}"
    print_table(title, ("from", "Wh less"), targets)


@app.command()
def approve(proposal_id: ProposalId, output: Output = None, config: Config = None, data_dir: DataDir = None) -> None:
    """Approve an event: its need is sent where the utility's key is here, otherwise written for the utility to sign."""

    async def work(vtn: Vtn) -> Proposal:
        async with utility(vtn) as party:
            desk = ProposalDesk(vtn, party)
            found = await desk.approve(proposal_id)
            if party is not None:
                try:
                    await vtn.ledger_outbox.deliver([outbox_key(found)])
                    await desk.look()
                except LedgerUnavailable as error:
                    typer.echo(f"the running VTN sends it when the ledger answers: {error}", err=True)
            async with vtn.database.reading() as connection:
                return await records.find(connection, proposal_id)

    found = with_vtn(config, data_dir, work)
    typer.echo(f"{proposal_id} is {found.state}{f': {found.note}' if found.note else ''}")
    if found.state == records.APPROVED:
        request = found.proposal.request
        path = output or Path(f"{request.need_id}.json")
        path.write_bytes(encode(request) + b"\n")
        typer.echo(f"{path} is the need; the utility signs it:\n  {signing(request, path)}")


@app.command()
def reject(
    proposal_id: ProposalId, reason: Reason = "the operator declined", config: Config = None, data_dir: DataDir = None
) -> None:
    """Reject an event; its feeder gets no other proposal for this day."""

    async def work(vtn: Vtn) -> Proposal:
        return await ProposalDesk(vtn, None).reject(proposal_id, reason)

    with_vtn(config, data_dir, work)
    typer.echo(f"{proposal_id} is rejected")


def signing(request: RequestReduction, path: Path) -> str:
    """The command the utility signs the need with."""
    start = datetime.fromtimestamp(request.start_ms / 1000, UTC).isoformat()
    return f"dr-ledger request-reduction --from {shlex.quote(str(path))} --key utility.key  # before {start}"
