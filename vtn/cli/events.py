"""`dr-vtn events`: DR events of the operator beside the aggregator's own, and what became of every event."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer

from openadr.errors import OpenAdrError
from openadr.model import DrEvent, Signal, SignalInterval, Target, TargetKind
from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc, with_vtn
from vtn.cli.signals import parse_signal
from vtn.context import Vtn, only_program
from vtn.errors import InvalidInput
from vtn.services.deliveries import EventDelivery
from vtn.services.dr_events import DrEventRecord
from vtn.services.opts import Opt

app = typer.Typer(help="DR events: create, modify, show, cancel.", no_args_is_help=True)

_FORMATS = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]
EventId = Annotated[str, typer.Argument(help="Event id.")]
OfVen = Annotated[str, typer.Argument(help="venID.")]
Start = Annotated[
    datetime, typer.Option("--start", formats=_FORMATS, help="Start with offset: 2026-07-01T17:00+02:00.")
]
NewStart = Annotated[datetime | None, typer.Option("--start", formats=_FORMATS, help="New start with offset.")]
Minutes = Annotated[int, typer.Option("--minutes", min=0, help="Duration; 0 until further notice.")]
NewMinutes = Annotated[int | None, typer.Option("--minutes", min=0, help="New duration; 0 until further notice.")]
Level = Annotated[int, typer.Option("--level", min=0, max=3, help="SIMPLE level: 0 normal to 3 most.")]
NewLevel = Annotated[int | None, typer.Option("--level", min=0, max=3, help="New SIMPLE level.")]
Signals = Annotated[
    list[str] | None,
    typer.Option(
        "--signal",
        help="A signal instead of the SIMPLE level; may be repeated: 'ELECTRICITY_PRICE price EUR/kWh 0.45@60,0.3@60'.",
    ),
]
ToVens = Annotated[list[str] | None, typer.Option("--ven", help="venID to send it to; may be repeated.")]
ToGroups = Annotated[list[str] | None, typer.Option("--group", help="groupID to send it to; may be repeated.")]
ToResources = Annotated[list[str] | None, typer.Option("--resource", help="resourceID to send it to; may be repeated.")]
ToParties = Annotated[list[str] | None, typer.Option("--party", help="partyID to send it to; may be repeated.")]
ProgramName = Annotated[str | None, typer.Option("--program", help="Program; needed where there are several.")]
Test = Annotated[bool, typer.Option("--test-event", help="Mark it as a test event.")]
Comment = Annotated[str, typer.Option("--comment", help="vtnComment.")]
NewComment = Annotated[str | None, typer.Option("--comment", help="New vtnComment.")]
Priority = Annotated[
    int | None, typer.Option("--priority", min=0, help="1 is the highest, 0 the lowest; without it the program's.")
]
StartAfter = Annotated[int, typer.Option("--start-after", min=0, help="Each VEN starts up to so many minutes later.")]
Notice = Annotated[int, typer.Option("--notification", min=0, help="Minutes of notice before the start.")]
RampUp = Annotated[int, typer.Option("--ramp-up", min=0, help="Minutes of ramp-up before the start.")]
Recovery = Annotated[int, typer.Option("--recovery", min=0, help="Minutes of recovery after the end.")]
NoAnswer = Annotated[bool, typer.Option("--no-response", help="VENs need not answer it.")]
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
    signal: Signals = None,
    ven: ToVens = None,
    group: ToGroups = None,
    resource: ToResources = None,
    party: ToParties = None,
    program: ProgramName = None,
    priority: Priority = None,
    start_after: StartAfter = 0,
    notification: Notice = 0,
    ramp_up: RampUp = 0,
    recovery: Recovery = 0,
    no_response: NoAnswer = False,
    test_event: Test = False,
    comment: Comment = "",
    event_id: Id = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Send an event without contracts to VENs, groups, resources, parties, or (without target) the whole program."""
    named: dict[TargetKind, list[str] | None] = {"ven": ven, "group": group, "resource": resource, "party": party}

    async def work(vtn: Vtn) -> tuple[DrEventRecord, list[str]]:
        name = program or await only_program(vtn)
        terms = await vtn.programs.get(name)
        try:
            event = DrEvent(
                event_id=event_id or f"evt-{secrets.token_hex(8)}",
                program=terms.market_context,
                modification_number=0,
                priority=terms.terms.priority if priority is None else priority,
                test_event=test_event,
                start_ms=int(start.timestamp() * 1000),
                duration_s=minutes * 60,
                signals=_signals(signal, level, minutes * 60),
                targets=tuple(Target(kind, value) for kind, values in named.items() for value in values or []),
                response_required=not no_response,
                start_after_s=60 * start_after,
                notification_s=60 * notification,
                ramp_up_s=60 * ramp_up,
                recovery_s=60 * recovery,
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
def publish(event_id: EventId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Send an event to the VENs its targets name that do not have it yet: those that joined since."""

    async def work(vtn: Vtn) -> list[str]:
        return await vtn.dr_events.publish(event_id)

    sent = with_vtn(config, data_dir, work)
    if as_json:
        print_json({"sent_to": sent})
    else:
        typer.echo(f"{event_id} queued for {len(sent)} more VENs")


@app.command()
def modify(
    event_id: EventId,
    start: NewStart = None,
    minutes: NewMinutes = None,
    level: NewLevel = None,
    signal: Signals = None,
    priority: Priority = None,
    comment: NewComment = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Change an event, also while it is active: its VENs are told and answer anew. What is not named stays.

    A new duration needs new signals, or a level, unless each signal has one interval."""

    async def work(vtn: Vtn) -> DrEventRecord:
        event = (await vtn.dr_events.get(event_id)).event
        duration_s = event.duration_s if minutes is None else 60 * minutes
        changes: dict[str, Any] = {"duration_s": duration_s}
        if start is not None:
            changes["start_ms"] = int(start.timestamp() * 1000)
        if priority is not None:
            changes["priority"] = priority
        if comment is not None:
            changes["vtn_comment"] = comment
        if signal or level is not None:
            changes["signals"] = _signals(signal, level or 0, duration_s)
        elif all(len(each.intervals) == 1 for each in event.signals):
            changes["signals"] = tuple(_stretched(each, duration_s) for each in event.signals)
        try:
            changed = msgspec.structs.replace(event, **changes)
        except OpenAdrError as error:
            raise InvalidInput("event_invalid", str(error)) from error
        return await vtn.dr_events.modify(changed)

    record = with_vtn(config, data_dir, work)
    if as_json:
        print_json(record)
    else:
        typer.echo(f"{record.event_id} {record.status}, modification {record.modification_number}")


@app.command()
def show(event_id: EventId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show an event and how far it got with each VEN: queued, delivered, acknowledged, opted in or out, late."""

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
        (each.ven_id, f"{each.state}{' (withdrawn)' if each.withdrawn else ''}", "late" if each.late else "",
         utc(each.queued_ms), each.deliveries, utc(each.delivered_ms), utc(each.answered_ms), each.last_error or "")
        for each in deliveries
    ]  # fmt: skip
    print_table(title, ("venID", "state", "", "queued", "sent", "delivered", "answered", "error"), rows)


@app.command()
def cancel(event_id: EventId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Cancel an event, also while it is active; its VENs are told until they confirm."""

    async def work(vtn: Vtn) -> DrEventRecord:
        return await vtn.dr_events.cancel(event_id)

    record = with_vtn(config, data_dir, work)
    if as_json:
        print_json(record)
    else:
        typer.echo(f"{record.event_id} {record.status}, modification {record.modification_number}")


@app.command()
def opts(ven_id: OfVen, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show the opt messages of a VEN: for events, and schedules in which it does not want to be called."""

    async def work(vtn: Vtn) -> list[Opt]:
        await vtn.vens.get(ven_id)
        return await vtn.opts.list(ven_id)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.opt_id, each.opt_type, each.opt_reason, each.event_id or "",
         "; ".join(f"{utc(start_ms)} {length_s // 60} min" for start_ms, length_s in each.schedule.availability),
         utc(each.created_ms), utc(each.cancelled_ms))
        for each in found
    ]  # fmt: skip
    print_table(f"Opts of {ven_id}", ("opt", "type", "reason", "event", "schedule", "created", "cancelled"), rows)


def _signals(texts: list[str] | None, level: int, duration_s: int) -> tuple[Signal, ...]:
    if texts:
        return tuple(parse_signal(text, number, duration_s) for number, text in enumerate(texts))
    return (Signal("simple", "SIMPLE", "level", None, (SignalInterval(duration_s, str(level)),)),)


def _stretched(signal: Signal, duration_s: int) -> Signal:
    [interval] = signal.intervals
    return msgspec.structs.replace(signal, intervals=(msgspec.structs.replace(interval, duration_s=duration_s),))
