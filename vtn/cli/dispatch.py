"""`dr-vtn dispatch`: whom a need would call, looked at before anybody asks for it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from vtn.aggregator.virtual_nodes.preview import PORTFOLIO, Preview, preview
from vtn.cli.options import Config, DataDir, Json, kwh, money, print_json, print_table, utc, with_vtn
from vtn.context import Vtn, only_program
from vtn.errors import InvalidInput


def dispatch(
    start: Annotated[str, typer.Option("--start", help="Begin of the event, ISO 8601 with zone.")],
    target_kwh: Annotated[
        list[float], typer.Option("--kwh", help="Energy asked for in an interval; once for each interval.")
    ],
    area: Annotated[str, typer.Option("--area", help="Feeder whose homes may be called.")] = PORTFOLIO,
    program: Annotated[str | None, typer.Option("--program", help="Program, if there are several.")] = None,
    probability: Annotated[
        float | None,
        typer.Option("--probability", min=50, max=99, help="Percent with which all is to be met; else the program's."),
    ] = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Preview a dispatch: who would be called, why, how surely, and what it costs. Nothing is sent."""
    try:
        begin = datetime.fromisoformat(start)
    except ValueError as error:
        raise InvalidInput("start_invalid", f"--start {start!r} is no time: write 2026-03-19T17:00+01:00") from error
    if begin.tzinfo is None:
        raise InvalidInput("start_invalid", f"--start {start!r} names no zone: write 2026-03-19T17:00+01:00")

    async def work(vtn: Vtn) -> Preview:
        found = await vtn.programs.get(program or await only_program(vtn))
        return await preview(
            vtn,
            found,
            area=area,
            start_ms=int(begin.timestamp() * 1000),
            target_wh=[round(each * 1000) for each in target_kwh],
            probability=None if probability is None else probability / 100,
        )

    view = with_vtn(config, data_dir, work)
    if as_json:
        print_json(view)
        return
    rows = [
        (each.rank or None, view.names.get(each.candidate.candidate), "yes" if each.chosen else "",
         kwh(sum(each.candidate.available_wh)), each.candidate.reliability_bp, each.reason)
        for each in view.choices
    ]  # fmt: skip
    title = f"{utc(view.start_ms)}: {view.calls} of {view.homes} homes for {kwh(sum(view.target_wh))} kWh"
    print_table(title, ("rank", "home", "called", "kWh", "reliability", "why"), rows)
    surely = f"met with {view.probability:.0%} (asked: {view.asked_probability:.0%})" if view.probability else ""
    method = "merit order" if view.method == "merit" else view.method
    said = [f"{kwh(sum(view.expected_wh))} kWh expected", f"{kwh(sum(view.lacking_wh))} kWh lacking"]
    said += [each for each in (f"{money(view.pay_minor)} to pay", surely) if each]
    typer.echo(f"{method}: {', '.join(said)}")
    best = f"at most {view.gap_percent:.2f} % from the best; " if view.method != "merit" else ""
    typer.echo(f"{best}Gini of the calls {view.gini:.2f}")
    for limit in view.limits:
        typer.echo(f"  {limit}")
