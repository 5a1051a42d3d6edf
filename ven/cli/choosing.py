"""What the owner chooses beside a running home."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from openadr.errors import InvalidEvent
from openadr.model import decimal
from runtime.errors import SettingsError
from ven.cli.options import Config, DataDir, Json, load_settings, print_json


def opt_out(
    data_dir: DataDir = None,
    until: Annotated[datetime | None, typer.Option("--until", help="UTC; without it until `opt-in`.")] = None,
    config: Config = None,
) -> None:
    """Take part in nothing from now on; a running agent follows at once."""
    settings = load_settings(config, data_dir)
    until = None if until is None else until.replace(tzinfo=until.tzinfo or UTC).astimezone(UTC)
    if until is not None and until.timestamp() * 1000 <= settings.clock().now_ms():
        raise SettingsError(f"--until {until:%Y-%m-%dT%H:%MZ} is over: name a later time, or none")
    until_ms = None if until is None else int(until.timestamp() * 1000)
    _change_owner(settings.data_dir, opt_out=True, opt_out_until_ms=until_ms)
    typer.echo(f"opted out until {'`dr-ven opt-in`' if until is None else f'{until:%Y-%m-%d %H:%MZ}'}")


def opt_in(data_dir: DataDir = None, config: Config = None) -> None:
    """Take part again."""
    _change_owner(load_settings(config, data_dir).data_dir, opt_out=False, opt_out_until_ms=None)
    typer.echo("opted in")


def limits(
    data_dir: DataDir = None,
    max_shed_w: Annotated[int | None, typer.Option(min=0, help="Most W the home may be asked for.")] = None,
    max_duration_s: Annotated[int | None, typer.Option(min=0, help="Longest event in seconds.")] = None,
    max_events_per_day: Annotated[int | None, typer.Option(min=0, help="Most events on one local day.")] = None,
    hours: Annotated[str | None, typer.Option(help="Local hours in which to take part, as 07:00-21:30.")] = None,
    price_min: Annotated[int | None, typer.Option(min=0, help="Least price, minor units per MWh.")] = None,
    deposit_max: Annotated[int | None, typer.Option(min=0, help="Most minor units at stake in a contract.")] = None,
    price_level: Annotated[
        list[str] | None,
        typer.Option(help="From this price per kWh on follow this SIMPLE level, as 0.40:1; may be repeated."),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Lift all limits first.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show or change what the owner allows; a running agent follows at once."""
    from ven.home.owner import Owner

    changes: dict[str, Any] = {}
    if reset:
        fresh = Owner()
        names = (
            "max_shed_w",
            "max_duration_s",
            "max_events_per_day",
            "hours",
            "price_min_minor_per_mwh",
            "deposit_max_minor",
            "price_levels",
        )
        changes |= {name: getattr(fresh, name) for name in names}
    given = {
        "max_shed_w": max_shed_w,
        "max_duration_s": max_duration_s,
        "max_events_per_day": max_events_per_day,
        "hours": None if hours is None else _minutes(hours),
        "price_min_minor_per_mwh": price_min,
        "deposit_max_minor": deposit_max,
        "price_levels": None if price_level is None else tuple(sorted(map(_price_level, price_level), key=_price)),
    }
    changes |= {name: value for name, value in given.items() if value is not None}
    owner = _change_owner(load_settings(config, data_dir).data_dir, **changes)
    if as_json:
        print_json(owner)
    else:
        for name, value in _shown(owner):
            typer.echo(f"{name:<25} {value}")


def _shown(owner: dict[str, Any]) -> list[tuple[str, object]]:
    """The limits for people, each as its option takes it."""
    hours = None if owner["hours"] is None else "-".join(f"{at // 60:02d}:{at % 60:02d}" for at in owner["hours"])
    levels = ", ".join(f"{price}:{level}" for price, level in owner["price_levels"]) or None
    names = ("max_shed_w", "max_duration_s", "max_events_per_day", "price_min_minor_per_mwh", "deposit_max_minor")
    found = {**{name: owner[name] for name in names}, "hours": hours, "price_levels": levels}
    return [(name, "no limit" if value is None else value) for name, value in found.items()]


def _change_owner(folder: Path, **changes: Any) -> dict[str, Any]:
    import msgspec

    from ven.errors import NotEnrolled
    from ven.home.owner import read_owner, write_owner
    from ven.home.store import Store
    from ven.home.store.store import FILE_NAME

    if not (folder / FILE_NAME).exists():
        raise NotEnrolled(f"there is no home in {folder}: run `dr-ven enrol` first")
    with closing(Store(folder / FILE_NAME)) as store:
        with store.transaction():
            owner = msgspec.structs.replace(read_owner(store.notes), **changes)
            write_owner(store.notes, owner)
        found: dict[str, Any] = msgspec.to_builtins(owner)
        return found


def _minutes(hours: str) -> tuple[int, int]:
    """ "07:00-21:30" as minutes of the day."""
    try:
        first, last = (datetime.strptime(part.strip(), "%H:%M") for part in hours.split("-"))  # noqa: DTZ007
    except ValueError:
        raise SettingsError(f"hours are given as 07:00-21:30, not {hours!r}") from None
    return first.hour * 60 + first.minute, last.hour * 60 + last.minute


def _price_level(text: str) -> tuple[str, int]:
    """ "0.40:1" as a decimal and a level."""
    price, _, level = text.partition(":")
    try:
        found = decimal(price.strip()), int(level)
    except (InvalidEvent, ValueError):
        found = "", 0
    if not 1 <= found[1] <= 3:
        raise SettingsError(f"a price and its level are given as 0.40:1, the level 1 to 3, not {text!r}")
    return found


def _price(each: tuple[str, int]) -> Decimal:
    return Decimal(each[0])
