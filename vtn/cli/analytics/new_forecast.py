"""`dr-vtn forecast`: what homes or virtual nodes will use, with bands; kept with what was known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.errors import SettingsError
from vtn.cli.analytics import options as shared
from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc
from vtn.context import Vtn

if TYPE_CHECKING:
    from forecasting.calendar import SiteCalendar
    from forecasting.panels.forecasts import PanelForecast
    from vtn.analytics.runs import Run

AUTO = "auto"
ModelName = Annotated[str, typer.Option("--model", help="A model of `dr-vtn backtest`; auto takes the chosen one.")]
Day = Annotated[str | None, typer.Option("--day", help="Local day to forecast, 2026-08-31; else the next one.")]
Issued = Annotated[str | None, typer.Option("--issued", help="Forecast as if made at this time (ISO 8601); else now.")]
Hours = Annotated[int, typer.Option("--hours", min=1, max=8760, help="Hours to forecast.")]
Intraday = Annotated[bool, typer.Option("--intraday", help="Begin at once instead of at the next local midnight.")]
Levels = Annotated[list[float] | None, typer.Option("--level", help="Quantiles, each between 0 and 1.")]


def forecast(
    input_: shared.Input = None,
    model: ModelName = AUTO,
    scope: shared.Scope = "virtual_nodes",
    day: Day = None,
    issued: Issued = None,
    hours: Hours = 24,
    intraday: Intraday = False,
    level: Levels = None,
    unit: shared.Unit = "kWh",
    kind: shared.Kind = "load",
    zone: shared.Zone = "UTC",
    naive_zone: shared.NaiveZone = None,
    stamped: shared.Stamped = "start",
    country: shared.Country = None,
    sites: shared.Sites = None,
    program: shared.Program = None,
    history_days: shared.HistoryDays = 250,
    weather: shared.WeatherSource = None,
    dask: shared.Scheduler = None,
    figure: shared.Figure = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Forecast homes or virtual nodes, with bands, from a file or from what homes reported."""
    request = shared.Request(
        input_=input_, unit=unit, kind=kind, zone=zone, naive_zone=naive_zone, stamped=stamped, country=country,
        sites=sites, program=program, history_days=history_days, weather=weather, scope=scope, config=config,
        data_dir=data_dir,
    )  # fmt: skip
    with shared.explained():
        from vtn.analytics import figures
        from vtn.analytics.computing import computing, forecasts
        from vtn.analytics.runs import run_of

        figures.check(figure)
        subject, merged = request.load()
        panel = subject.panel(scope)
        name, reason = (model, "as asked") if model != AUTO else _chosen(request, subject.program)
        issued_ms = _at_ms(issued) if issued else subject.now_ms
        start_ms, count = _span(subject.calendar, panel.interval_s, issued_ms, day, hours, intraday)
        with (
            computing(dask or merged.analytics_scheduler, merged.analytics_workers) as where,
            shared.progress(f"forecast by {name}", len(panel.ids)) as step,
        ):
            made = forecasts(
                where, name, panel, subject.calendar, start_ms=start_ms, count=count, issued_at_ms=issued_ms,
                levels=level or [0.1, 0.9], weather=subject.weather,
                place=subject.place(merged), progress=step,
            )  # fmt: skip
        run = run_of(made, panel, entry=name, scope=scope, program=subject.program, weather=subject.weather)
        if subject.program:
            _keep(request, run)
        columns, rows = _table(made)
        if figure is not None:
            figures.of_forecast(figure, made, panel, subject.calendar.zone, columns, rows)
    if as_json:
        print_json(run)
        return
    typer.echo(f"{run.run_id}: {made.model}; {reason}")
    known = f"readings until {utc(made.known_until_ms)}, weather {made.weather or 'none'}"
    typer.echo(f"issued {utc(made.issued_at_ms)}, {known}")
    print_table(f"Forecast from {utc(made.start_ms)} for {count * panel.interval_s / 3600:g} h", columns, rows)


def _chosen(request: shared.Request, program: str) -> tuple[str, str]:
    """The model that serves, and why."""
    from vtn.analytics.runs import Chosen, Runs
    from vtn.analytics.studies import default_of

    async def newest(vtn: Vtn) -> Chosen | None:
        return await Runs(vtn.database).chosen(program, request.scope)

    chosen = request.with_vtn(newest) if program else None
    if chosen is not None:
        return chosen.model, chosen.reason
    return default_of(request.scope), "the default: no test has chosen one (`dr-vtn backtest --choose`)"


def _keep(request: shared.Request, run: Run) -> None:
    from vtn.analytics.runs import Runs

    async def keep(vtn: Vtn) -> None:
        await Runs(vtn.database).keep(run, vtn.clock.now_ms())

    request.with_vtn(keep)


def _span(
    calendar: SiteCalendar, interval_s: int, issued_ms: int, day: str | None, hours: int, intraday: bool
) -> tuple[int, int]:
    """Start on the grid, and number of intervals."""
    step_ms = interval_s * 1000
    if day is not None:
        start_ms = calendar.start_ms(shared.local_day("--day", day))
    elif intraday:
        start_ms = issued_ms
    else:
        today = calendar.day_of(issued_ms)
        start_ms = calendar.start_ms(today)
        if start_ms < issued_ms:
            start_ms = calendar.start_ms(today + timedelta(days=1))
    start_ms = -(-start_ms // step_ms) * step_ms
    if start_ms < issued_ms:
        raise SettingsError(f"{day} began before the issue at {utc(issued_ms)}: name an earlier --issued")
    if hours == 24 and not intraday:  # a local day has 23 to 25 hours
        after = calendar.day_of(start_ms) + timedelta(days=1)
        return start_ms, -(-(calendar.start_ms(after) - start_ms) // step_ms)
    return start_ms, max(hours * 3600 // interval_s, 1)


def _at_ms(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--issued {text} is no time: write 2026-08-31T12:00Z") from None
    if at.tzinfo is None:
        raise SettingsError(f"--issued {text} has no offset: write {text}Z for UTC")
    return int(at.astimezone(UTC).timestamp() * 1000)


def _table(made: PanelForecast) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Each series: energy, its peak, the band of the whole where there are few, why it was not as usual."""
    rows: list[tuple[str, ...]] = []
    for row, name in enumerate(made.ids):
        values = made.values[row]
        if name in made.refused:
            rows.append((name, "", "", "", made.refused[name]))
            continue
        top = int(values.argmax())
        power = float(values[top]) * 3600 / made.interval_s
        rows.append((name, f"{float(values.sum()) / 1000:.2f}", f"{power / 1000:.2f}", utc(made.starts_ms[top]),
                     "; ".join(made.reasons.get(name, ()))))  # fmt: skip
    return ("series", "kWh", "peak kW", "at", "not as usual"), rows
