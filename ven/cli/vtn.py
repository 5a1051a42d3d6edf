"""What the owner sees and wants of the VTN beside a running home: the registration, and the VTN's own reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openadr.errors import InvalidDuration
from runtime.errors import SettingsError
from ven.cli.options import Config, DataDir, Json, load_settings, print_json

if TYPE_CHECKING:
    from ven.home.store import Store


def registration(
    again: Annotated[bool, typer.Option("--again", help="Register again, under the same registrationID.")] = False,
    end: Annotated[bool, typer.Option("--end", help="Cancel it; the home stays unregistered until --begin.")] = False,
    begin: Annotated[bool, typer.Option("--begin", help="Register, after --end.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the OpenADR registration, renew or end it; a running agent follows within seconds, another at its start."""
    import msgspec

    from ven.faces.openadr2.registration import HomeShelf, Wish, read_wish, write_wish

    if again + end + begin > 1:
        raise SettingsError("give one of --again, --end and --begin")
    with _store(config, data_dir) as store:
        if again or end or begin:
            write_wish(store.notes, Wish(registered=not end, again=again))
        known, wish = HomeShelf(store).read(), read_wish(store.notes)
    found = {"registration": None if known is None else msgspec.to_builtins(known), "wish": msgspec.to_builtins(wish)}
    if as_json:
        print_json(found)
        return
    if known is None:
        typer.echo("not registered" if wish.registered else "not registered, and not to be: --begin changes that")
    else:
        way = f"pushed to at {known.transport_address}" if known.transport_address else "polling"
        typer.echo(f"venID {known.ven_id}, registrationID {known.registration_id} at {known.vtn_id}, {way}")
        if not wish.registered or wish.again:
            typer.echo("the agent is still to carry that out")


def list_reports(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """Show what the VTN offers to report, what was asked for, and the latest values."""
    import msgspec

    from ven.faces.openadr2.reporting.sourced import offers, values, wanted

    with _store(config, data_dir) as store:
        offered, asked, came = offers(store.notes), wanted(store.notes), values(store.notes)
    if as_json:
        print_json(
            {
                "offers": msgspec.to_builtins(offered),
                "asked": msgspec.to_builtins(asked),
                "values": msgspec.to_builtins(came),
            }
        )
        return
    if not offered and not asked:
        typer.echo("the VTN offers no reports, and none was asked for")
    for offer in offered:
        typer.echo(f"offered: {offer.specifier} ({offer.name}), {len(offer.points)} points")
    for each in asked:
        request_id = each.request.report_request_id
        state = "ending" if each.ending else "done" if each.done else "running" if each.told else "to be asked for"
        typer.echo(f"{request_id}: {each.request.report_specifier_id}, {state}, {len(came.get(request_id, []))} values")
        for value in came.get(request_id, [])[-1:]:
            at = datetime.fromtimestamp(value.start_ms / 1000, UTC)
            typer.echo(f"  latest: {value.r_id} {value.value} from {at:%Y-%m-%d %H:%MZ} ({value.quality})")


def ask_report(
    specifier: Annotated[str, typer.Argument(help="reportSpecifierID, as `vtn-reports list` shows it.")],
    granularity: Annotated[str, typer.Option(help="Length of an interval, as PT15M.")] = "PT15M",
    every: Annotated[str, typer.Option(help="How often to send, as PT1H; PT0S: once.")] = "PT0S",
    start: Annotated[datetime | None, typer.Option("--from", help="UTC; without it from now.")] = None,
    duration: Annotated[str | None, typer.Option(help="For how long, as P1D; without it until cancelled.")] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Ask the VTN for one of its reports; a running agent does so within a poll."""
    from ven.faces.openadr2.reporting.sourced import want

    with _store(config, data_dir) as store:
        found = want(
            store.notes,
            specifier,
            granularity_s=_seconds(granularity),
            report_back_s=_seconds(every),
            start_ms=None if start is None else int(start.replace(tzinfo=start.tzinfo or UTC).timestamp() * 1000),
            duration_s=None if duration is None else _seconds(duration),
        )
    typer.echo(found.request.report_request_id)


def cancel_report(
    report_request_id: Annotated[str, typer.Argument(help="As `vtn-reports list` shows it.")],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Want a report of the VTN no more."""
    from ven.faces.openadr2.reporting.sourced import end

    with _store(config, data_dir) as store:
        if not end(store.notes, report_request_id):
            raise SettingsError(f"no report was asked for under {report_request_id}: see `dr-ven vtn-reports list`")


@contextmanager
def _store(config: Path | None, data_dir: Path | None) -> Iterator[Store]:
    """The home's store, in one transaction. Raises NotEnrolled."""
    from ven.errors import NotEnrolled
    from ven.home.store import Store
    from ven.home.store.store import FILE_NAME

    folder = load_settings(config, data_dir).data_dir
    if not (folder / FILE_NAME).exists():
        raise NotEnrolled(f"there is no home in {folder}: run `dr-ven enrol` or `dr-ven run` first")
    with closing(Store(folder / FILE_NAME)) as store, store.transaction():
        yield store


def _seconds(text: str) -> int:
    from openadr.durations import parse

    try:
        return parse(text)
    except InvalidDuration as error:
        raise SettingsError(error.detail) from None
