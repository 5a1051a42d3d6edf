"""`dr-vtn programs`: the terms under which events are called and paid."""

from __future__ import annotations

from typing import Annotated, Any, get_type_hints

import msgspec
import typer

from vtn.cli.options import Config, DataDir, Json, Name, print_json, print_table, utc, with_vtn
from vtn.context import Vtn
from vtn.errors import InvalidInput
from vtn.services.programs import Program, ProgramTerms

app = typer.Typer(help="Programs: prices, percentages and deadlines of contracts.", no_args_is_help=True)

Term = Annotated[
    list[str] | None,
    typer.Option("--term", help="A term as name=value, e.g. zone=Europe/Paris; may be repeated. `programs show`."),
]
Context = Annotated[str | None, typer.Option("--market-context", help="URI that names the program on the wire.")]


@app.command("list")
def list_programs(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """List programs."""

    async def work(vtn: Vtn) -> list[Program]:
        return await vtn.programs.list()

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [(each.name, each.version, each.market_context, each.terms.zone, utc(each.changed_ms)) for each in found]
    print_table("Programs", ("name", "version", "market context", "zone", "changed"), rows)


@app.command()
def show(name: Name, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show the terms of a program."""

    async def work(vtn: Vtn) -> Program:
        return await vtn.programs.get(name)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = list(msgspec.structs.asdict(found.terms).items())
    print_table(f"Program {found.name}, version {found.version}", ("term", "value"), rows)


@app.command()
def create(
    name: Name,
    term: Term = None,
    market_context: Context = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Create a program; terms not given are the defaults."""

    async def work(vtn: Vtn) -> Program:
        return await vtn.programs.create(name, _terms(ProgramTerms(), term), market_context)

    _done(with_vtn(config, data_dir, work), as_json)


@app.command()
def update(
    name: Name, term: Term = None, as_json: Json = False, config: Config = None, data_dir: DataDir = None
) -> None:
    """Change terms for contracts made after the next start of the VTN; running ones keep theirs."""

    async def work(vtn: Vtn) -> Program:
        return await vtn.programs.update(name, _terms((await vtn.programs.get(name)).terms, term))

    _done(with_vtn(config, data_dir, work), as_json)


def _terms(base: ProgramTerms, given: list[str] | None) -> ProgramTerms:
    hints = get_type_hints(ProgramTerms)
    fields: dict[str, Any] = {}
    for item in given or []:
        name, sign, text = item.partition("=")
        if not sign or name not in ProgramTerms.__struct_fields__:
            known = ", ".join(ProgramTerms.__struct_fields__)
            raise InvalidInput("term_unknown", f"{item!r} is not name=value with a name of: {known}")
        is_list = hints[name] not in (int, str)
        fields[name] = [part for part in text.split(",") if part] if is_list else text
    try:
        return msgspec.convert({**msgspec.structs.asdict(base), **fields}, ProgramTerms, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput("term_invalid", str(error)) from None


def _done(program: Program, as_json: bool) -> None:
    if as_json:
        print_json(program)
    else:
        typer.echo(f"program {program.name} version {program.version}: {program.market_context}")
