"""`dr-vtn forecasts`: forecasts that were kept, the model that serves, and whether it still does what it did."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from vtn.cli.analytics import options as shared
from vtn.cli.analytics import propose
from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc, with_vtn
from vtn.context import Vtn, only_program

if TYPE_CHECKING:
    from forecasting.evaluation.drift import Alarm
    from vtn.analytics.runs import Chosen, Run

app = typer.Typer(help="Forecasts that were kept, the choice of the model, the drift alarm.", no_args_is_help=True)

app.command()(propose.propose)

RunId = Annotated[str, typer.Argument(help="Id of the run.")]
LastDays = Annotated[int, typer.Option("--days", min=1, help="How many days back.")]
_DAY_MS = 86_400_000


@app.command("list")
def list_runs(
    scope: shared.Scope = "virtual_nodes", days: LastDays = 14, program: shared.Program = None, as_json: Json = False,
    config: Config = None, data_dir: DataDir = None,
) -> None:  # fmt: skip
    """List forecasts that were kept, which model serves and why, what the clock made last, and alarms that stand."""
    with shared.explained():
        from vtn.analytics.runs import Runs
        from vtn.analytics.service.marks import Mark, Marks

        async def work(vtn: Vtn) -> tuple[list[Run], Chosen | None, dict[str, Mark]]:
            name, runs = program or await only_program(vtn), Runs(vtn.database)
            now_ms = vtn.clock.now_ms()
            found = await runs.runs(name, scope, now_ms - days * _DAY_MS, now_ms + 30 * _DAY_MS)
            return found, await runs.chosen(name, scope), await Marks(vtn.database).of_program(name)

        found, chosen, marks = with_vtn(config, data_dir, work)
    alarms = marks[f"drift-{scope}"].alarms if f"drift-{scope}" in marks else ()
    lines = [
        (run.run_id, utc(run.issued_at_ms), utc(run.known_until_ms), utc(run.start_ms), len(run.values[0]),
         len(run.series), run.entry, run.weather[0] if run.weather else "")
        for run in found
    ]  # fmt: skip
    columns = ("run", "issued", "readings until", "start", "intervals", "series", "model", "weather")
    if as_json:
        runs = [
            {"run_id": run.run_id, "issued_at_ms": run.issued_at_ms, "known_until_ms": run.known_until_ms,
             "start_ms": run.start_ms, "interval_s": run.interval_s, "intervals": len(run.values[0]),
             "series": len(run.series), "model": run.entry, "weather": run.weather[0] if run.weather else None}
            for run in found
        ]  # fmt: skip
        print_json({"runs": runs, "chosen": chosen, "last": list(marks.values()), "alarms": alarms})
        return
    print_table("Forecasts", columns, lines)
    typer.echo(
        f"{chosen.model} serves: {chosen.reason}"
        if chosen
        else "no test has chosen a model: `dr-vtn backtest --choose`"
    )
    for mark in marks.values():
        typer.echo(f"{mark.kind} of {utc(mark.slot_ms)}: {mark.outcome}")
    for alarm in alarms:
        typer.echo(f"drift, {alarm.watch}: {alarm.text}")


@app.command()
def show(run_id: RunId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show a forecast as it was issued: what was known, the values, the bands."""
    with shared.explained():
        from vtn.analytics.runs import Runs

        async def work(vtn: Vtn) -> Run:
            return await Runs(vtn.database).run(run_id)

        run = with_vtn(config, data_dir, work)
    if as_json:
        print_json(run)
        return
    typer.echo(
        f"{run.model} version {run.version}, issued {utc(run.issued_at_ms)}, readings until {utc(run.known_until_ms)}"
    )
    typer.echo(f"history {run.history_readings} readings, sha256 {run.history_sha256}")
    typer.echo(f"weather {', '.join(str(each) for each in run.weather) if run.weather else 'none'}")
    rows = [
        (name, utc(run.start_ms + position * run.interval_s * 1000), value,
         *(levels[row][position] for levels in run.quantiles.values()))
        for row, name in enumerate(run.series)
        for position, value in enumerate(run.values[row])
    ]  # fmt: skip
    print_table(run_id, ("series", "from", "Wh", *run.quantiles), rows)


@app.command()
def drift(
    scope: shared.Scope = "virtual_nodes", days: LastDays = 14, program: shared.Program = None, as_json: Json = False,
    config: Config = None, data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Compare kept forecasts with what was metered: an alarm where bias, size of errors or coverage changed.

    The last days are compared with up to sixty days before them. Exit code 1 where there is an alarm.
    """
    with shared.explained():
        from forecasting.evaluation.drift import alarms
        from vtn.analytics.runs import Runs
        from vtn.analytics.studies import day_errors
        from vtn.analytics.subjects import Subjects, of_vtn

        async def work(vtn: Vtn) -> tuple[Subjects, list[Run]]:
            name = program or await only_program(vtn)
            first_ms = vtn.clock.now_ms() - (days + 60) * _DAY_MS
            runs = await Runs(vtn.database).runs(name, scope, first_ms, vtn.clock.now_ms())
            return await of_vtn(vtn, name, days + 60), runs

        subject, runs = with_vtn(config, data_dir, work)
        found = day_errors(runs, subject.panel(scope), subject.calendar)
        raised: list[Alarm] = alarms(found[:-days], found[-days:])
    if as_json:
        print_json(
            [{**asdict(each), "noticed": each.noticed.isoformat(), "since": each.since.isoformat()} for each in raised]
        )
    elif raised:
        rows = [(each.watch, each.noticed, each.since, each.text) for each in raised]
        print_table("Drift", ("watch", "noticed", "since", "what"), rows)
    else:
        typer.echo(f"no drift in the last {days} days, against {len(found) - days} days before")
    if raised:
        raise typer.Exit(1)
