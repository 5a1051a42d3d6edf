"""Options the commands of analytics share, what they load, and how they show that they work."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from runtime.errors import GridpactError, SettingsError
from vtn.cli.options import settings, with_vtn
from vtn.config import VtnSettings
from vtn.context import Vtn, only_program

if TYPE_CHECKING:
    from forecasting.panels.cleaning import Stamped as CleaningStamped
    from forecasting.panels.units import Kind as CleaningKind
    from vtn.analytics.subjects import Subjects

T = TypeVar("T")

Input = Annotated[
    Path | None, typer.Option("--input", help="CSV or Parquet file of readings; without it the VTN's telemetry.")
]
Unit = Annotated[str, typer.Option("--unit", help="Unit in the file: Wh, kWh, MWh an interval, or W, kW, MW.")]
Kind = Annotated[str, typer.Option("--kind", help="What the file holds: load, net (may be negative) or generation.")]
Zone = Annotated[str, typer.Option("--zone", help="Time zone of the homes of the file.")]
NaiveZone = Annotated[
    str | None, typer.Option("--naive-zone", help="Zone of the file's stamps if they have no offset.")
]
Stamped = Annotated[
    str, typer.Option("--stamped", help="What the stamps of the file are: the start or the end of their interval.")
]
Country = Annotated[str | None, typer.Option("--country", help="Holidays and weekend of the homes: DE, or DE-BY.")]
Sites = Annotated[
    Path | None, typer.Option("--sites", help="CSV with home_id, feeder and, if known, programme, pv_kwp.")
]
Program = Annotated[str | None, typer.Option("--program", help="Program of the VTN; not needed where there is one.")]
HistoryDays = Annotated[int, typer.Option("--history-days", help="How much telemetry of the VTN is looked at.")]
Scope = Annotated[str, typer.Option("--scope", help="homes, virtual_nodes or feeders; of a file both are its feeders.")]
WeatherSource = Annotated[
    str | None, typer.Option("--weather", help="File or URL of weather; without it the setting weather_source.")
]
Scheduler = Annotated[
    str | None, typer.Option("--dask", help="local, or the address of a Dask scheduler; else analytics_scheduler.")
]
Figure = Annotated[Path | None, typer.Option("--figure", help="Write a figure too: .png, or .html with the numbers.")]


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What analytics refuse, as one sentence with the exit code of other commands."""
    try:
        from forecasting.errors import ForecastError
        from vtn.analytics import figures, subjects

        assert figures, subjects
    except ImportError as error:
        raise SettingsError(
            f"analytics need the extra intelligence: pip install '.[intelligence]' ({error})"
        ) from error
    try:
        yield
    except ForecastError as error:
        raise Refused(str(error)) from error
    except ValueError as error:
        raise SettingsError(str(error)) from error


def local_day(option: str, text: str) -> date:
    """The day an option names. Raises SettingsError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option} {text} is no day: write 2026-08-31") from None


class Refused(GridpactError):
    """The readings or the weather do not serve; the message says why."""


@contextlib.contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, on a terminal alone; the function moves it on."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task(text, total=total)
        yield lambda steps: bar.advance(task, steps)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which readings a command is about, as its options say."""

    input_: Path | None
    unit: str
    kind: str
    zone: str
    naive_zone: str | None
    stamped: str
    country: str | None
    sites: Path | None
    program: str | None
    history_days: int
    weather: str | None
    scope: str
    config: Path | None
    data_dir: Path | None

    def load(self) -> tuple[Subjects, VtnSettings]:
        """Readings of the file or of the VTN, with their weather; what was left out is told on stderr. Raises
        ForecastError, SettingsError, ValueError."""
        from vtn.analytics.subjects import SCOPES

        if self.scope not in SCOPES:
            raise SettingsError(f"--scope is {self.scope}; it is one of {', '.join(SCOPES)}")
        merged = settings(self.config, self.data_dir)
        found = (self._of_file() if self.input_ is not None else self._of_vtn()).with_weather(merged, self.weather)
        tell_refused(found)
        return found, merged

    def with_vtn(self, work: Callable[[Vtn], Awaitable[T]]) -> T:
        """Work on the VTN of the settings."""
        return with_vtn(self.config, self.data_dir, work)

    def _of_file(self) -> Subjects:
        from vtn.analytics.subjects import of_file

        if self.input_ is None or self.kind not in ("load", "net", "generation"):
            raise SettingsError(f"--kind is {self.kind}; it is load, net or generation")
        if self.stamped not in ("start", "end"):
            raise SettingsError(f"--stamped is {self.stamped}; it is start or end")
        return of_file(
            self.input_, unit=self.unit, kind=cast("CleaningKind", self.kind), zone=self.zone, country=self.country,
            sites=self.sites, naive_zone=self.naive_zone, stamped=cast("CleaningStamped", self.stamped),
        )  # fmt: skip

    def _of_vtn(self) -> Subjects:
        from vtn.analytics.subjects import of_vtn

        async def work(vtn: Vtn) -> Subjects:
            return await of_vtn(vtn, self.program or await only_program(vtn), self.history_days)

        return self.with_vtn(work)


def tell_refused(subject: Subjects) -> None:
    """Homes that were left out and faults that were mended, on stderr."""
    for home, reason in list(subject.loaded.refused.items())[:20]:
        typer.echo(f"{home} left out: {reason}", err=True)
    if len(subject.loaded.refused) > 20:
        typer.echo(f".. and {len(subject.loaded.refused) - 20} more left out", err=True)
    faults: dict[tuple[str, str], int] = {}
    for found in subject.loaded.findings.values():
        for each in found:
            faults[each.fault, each.done] = faults.get((each.fault, each.done), 0) + each.count
    for (fault, done), count in sorted(faults.items()):
        typer.echo(f"{count} readings {fault}: {done}", err=True)
