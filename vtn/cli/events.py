"""`dr-vtn events`: plain DR events of the operator, and what became of every event."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated

import typer

from openadr.errors import OpenAdrError
from openadr.model import DrEvent, Signal, SignalInterval, Target
from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc, with_vtn
from vtn.context import Vtn, only_program
from vtn.errors import InvalidInput
from vtn.services.deliveries import EventDelivery
from vtn.services.dr_events import DrEventRecord

app = typer.Typer(help="DR events: create, show, cancel.", no_args_is_help=True)

EventId = Annotated[str, typer.Argument(help="Event id.")]
Start = Annotated[
    datetime,
    typer.Option(
        "--start",
        formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"],
        help="Start with offset: 2026-07-01T17:00+02:00.",
    ),
]
Minutes = Annotated[int, typer.Option("--minutes", min=1, help="Duration.")]
Level = Annotated[int, typer.Option("--level", min=0, max=3, help="SIMPLE level: 0 normal to 3 most.")]
ToVens = Annotated[list[str] | None, typer.Option("--ven", help="venID to send it to; may be repeated.")]
ToGroup = Annotated[str | None, typer.Option("--group", help="groupID to send it to.")]
ProgramName = Annotated[str | None, typer.Option("--program", help="Program; needed where there are several.")]
Test = Annotated[bool, typer.Option("--test-event", help="Mark it as a test event.")]
Comment = Annotated[str, typer.Option("--comment", help="vtnComment.")]
Id = Annotated[str | None, typer.Option("--event-id", help="Id; without it a new one. The same twice is one event.")]


@app.command("list")
def list_events(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """List events by start."""

    async def work(vtn: Vtn) -> list[DrEventRecord]:
        return await vtn.dr_events.list()

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.event_id, each.program, each.status, each.modification_number, utc(each.event.start_ms),
         each.event.duration_s // 60)
        for each in found
    ]  # fmt: skip
    print_table("Events", ("event", "program", "status", "modification", "start", "minutes"), rows)


@app.command()
def create(
    start: Start,
    minutes: Minutes,
    level: Level = 1,
    ven: ToVens = None,
    group: ToGroup = None,
    program: ProgramName = None,
    test_event: Test = False,
    comment: Comment = "",
    event_id: Id = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Send a SIMPLE event without contracts to VENs, a group, or (without target) the whole program."""

    async def work(vtn: Vtn) -> tuple[DrEventRecord, list[str]]:
        name = program or await only_program(vtn)
        terms = await vtn.programs.get(name)
        targets = [Target(kind="ven", value=each) for each in ven or []]
        targets += [Target(kind="group", value=group)] if group else []
        interval = SignalInterval(duration_s=minutes * 60, payload=str(level))
        try:
            event = DrEvent(
                event_id=event_id or f"evt-{secrets.token_hex(8)}",
                program=terms.market_context,
                modification_number=0,
                priority=terms.terms.priority,
                test_event=test_event,
                start_ms=int(start.timestamp() * 1000),
                duration_s=minutes * 60,
                signals=(Signal("simple", "SIMPLE", "level", None, (interval,)),),
                targets=tuple(targets),
                response_required=True,
                vtn_comment=comment,
            )
        except OpenAdrError as error:
            raise InvalidInput("event_invalid", str(error)) from error
        record = await vtn.dr_events.create(event, name)
        sent = await vtn.dr_events.publish(record.event_id)
        return await vtn.dr_events.get(record.event_id), sent

    record, sent = with_vtn(config, data_dir, work)
    if as_json:
        print_json({"event": record, "sent_to": sent})
    else:
        typer.echo(f"{record.event_id} {record.status}, queued for {len(sent)} VENs; `dr-vtn events show` follows it")


@app.command()
def show(event_id: EventId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show an event and how far it got with each VEN."""

    async def work(vtn: Vtn) -> tuple[DrEventRecord, list[EventDelivery]]:
        return await vtn.dr_events.get(event_id), await vtn.dr_events.deliveries(event_id)

    record, deliveries = with_vtn(config, data_dir, work)
    if as_json:
        print_json({"event": record, "deliveries": deliveries})
        return
    title = (
        f"{record.event_id}: {record.status}, modification {record.modification_number}, {utc(record.event.start_ms)}"
    )
    rows = [
        (each.ven_id, each.state, "late" if each.late else "", utc(each.queued_ms), utc(each.delivered_ms),
         utc(each.answered_ms))
        for each in deliveries
    ]  # fmt: skip
    print_table(title, ("venID", "state", "", "queued", "delivered", "answered"), rows)


@app.command()
def cancel(event_id: EventId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Cancel an event; its VENs are told until they confirm."""

    async def work(vtn: Vtn) -> DrEventRecord:
        return await vtn.dr_events.cancel(event_id)

    record = with_vtn(config, data_dir, work)
    if as_json:
        print_json(record)
    else:
        typer.echo(f"{record.event_id} {record.status}, modification {record.modification_number}")
