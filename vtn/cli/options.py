"""Options that several commands share, the VTN they open, and how they print."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from runtime import logs
from runtime.output import print_whole
from runtime.service import run
from vtn.auth.audit import acting, operator
from vtn.config import VtnSettings
from vtn.context import Vtn, open_vtn
from vtn.errors import InvalidInput

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")]
SecretsDir = Annotated[Path | None, typer.Option("--secrets-dir", help="Folder of secret files, named like settings.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Keys and embedded PostgreSQL of the VTN.")]
DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="PostgreSQL server of your own.")]
LedgerUrl = Annotated[str | None, typer.Option("--ledger-url", help="A replica of the ledger.")]
Name = Annotated[str, typer.Argument(help="Name of the program.")]


def settings(config: Path | None, data_dir: Path | None, **flags: Any) -> VtnSettings:
    """The merged settings of a command. Raises SettingsError."""
    return VtnSettings.load(config=config, flags={"data_dir": data_dir, **flags})


def with_vtn(config: Path | None, data_dir: Path | None, work: Callable[[Vtn], Awaitable[T]]) -> T:
    """Runs `work` on the VTN of the settings, beside a `serve` that is running or without one; only what it prints is
    on stdout."""
    logs.configure("dr-vtn", level="warning")

    async def opened() -> T:
        async with open_vtn(settings(config, data_dir), attach=True) as vtn:
            return await work(vtn)

    with acting(operator()):
        return run(opened())


def begin_of(start: str) -> datetime:
    """The moment that --start names, with its zone. Raises InvalidInput."""
    try:
        begin = datetime.fromisoformat(start)
    except ValueError as error:
        raise InvalidInput("start_invalid", f"--start {start!r} is no time: write 2026-03-19T17:00+01:00") from error
    if begin.tzinfo is None:
        raise InvalidInput("start_invalid", f"--start {start!r} names no zone: write 2026-03-19T17:00+01:00")
    return begin


def print_json(value: object) -> None:
    """JSON on stdout, indented."""
    print_whole(msgspec.json.format(msgspec.json.encode(value)).decode())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; numbers to the right. Sentences wrap, words are never cut: nobody could give the rest of an id
    to the next command. A table that needs it is wider than the terminal."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    for position, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[position], int) for row in rows)
        texts = [column, *("" if row[position] is None else str(row[position]) for row in rows)]
        longest = max(len(word) for text in texts for word in (text.split() or [""]))
        wraps = any(" " in text for text in texts)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=not wraps, min_width=longest)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console()
    console.width = max(console.width, table.__rich_measure__(console, console.options).minimum)
    console.print(table)


def utc(at_ms: int | None) -> str:
    """An instant for people: 2026-08-31 17:00Z."""
    return "" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


def kwh(energy_wh: int) -> str:
    """Energy for people."""
    return f"{energy_wh / 1000:.2f}"


def money(amount_minor: int) -> str:
    """Money for people: whole units with two decimals."""
    return f"{amount_minor / 100:.2f}"
