"""The owner's opt schedules: absences planned ahead, and the times in which the home takes part all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from runtime.errors import SettingsError
from ven.cli.options import Config, DataDir, Json, load_settings, print_json

Windows = Annotated[
    list[str], typer.Option("--window", help="UTC, as 2026-12-20T08:00/2027-01-05T18:00; may be repeated.")
]


def add(
    window: Windows,
    opt: Annotated[Literal["out", "in"], typer.Option("--opt", help="Take no part, or take part.")] = "out",
    resource: Annotated[str | None, typer.Option(help="Only this resource; without it the whole home.")] = None,
    program: Annotated[str | None, typer.Option(help="Only this programme (its marketContext).")] = None,
    reason: Annotated[str, typer.Option(help="An optReason of OpenADR 2.0b.")] = "notParticipating",
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Plan an absence (or, inside one, a presence); the newest schedule decides. The VTN is told within a poll."""
    from ven.planning import add_schedule

    windows = tuple(sorted(_window(each) for each in window))
    settings = load_settings(config, data_dir)
    schedule, owed = add_schedule(settings, opt=opt, windows=windows, resource=resource, program=program, reason=reason)
    if as_json:
        print_json({**schedule, "contracts": owed})
        return
    typer.echo(f"{schedule['opt_id']}: {opt} in {len(windows)} window(s)")
    for each in owed:
        typer.echo(
            f"{each['contract_id']} owes {each['obligation_wh']} Wh in this time: what is not given may cost "
            f"{each['deposit_minor']} minor units and its pay"
        )


def show(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """The schedules there are, and which the VTN was told."""
    from ven.planning import list_schedules

    found = list_schedules(load_settings(config, data_dir))
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("no schedules: `dr-ven opt-schedule add` plans one")
    for each in found:
        spans = ", ".join(f"{_text(first)}/{_text(last)}" for first, last in each["windows"])
        state = "taken back" if each["cancelled"] else "holds"
        told = "the VTN knows" if each["told"] else "the VTN is to be told"
        typer.echo(f"{each['opt_id']}: {each['opt']} {spans}, {each['reason']}, {state}, {told}")


def cancel(
    opt_id: Annotated[str, typer.Argument(help="Id of the schedule.")],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Take a schedule back; the VTN is told within a poll."""
    from ven.planning import cancel_schedule

    cancel_schedule(load_settings(config, data_dir), opt_id)
    typer.echo(f"{opt_id} is taken back")


def _window(text: str) -> tuple[int, int]:
    try:
        first, last = (_ms(part) for part in text.split("/"))
    except ValueError:
        raise SettingsError(f"a window is given as 2026-12-20T08:00/2027-01-05T18:00 in UTC, not {text!r}") from None
    if first >= last:
        raise SettingsError(f"the window {text!r} ends before it begins")
    return first, last


def _ms(text: str) -> int:
    at = datetime.fromisoformat(text.strip())
    return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000)


def _text(ms: Any) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M}"
