"""`dr-vtn backtest`: models side by side on history; which one serves, and by how much it is better."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.errors import SettingsError
from vtn.cli.analytics import options as shared
from vtn.cli.analytics.options import local_day
from vtn.cli.options import Config, DataDir, Json, print_json, print_table
from vtn.context import Vtn

if TYPE_CHECKING:
    from forecasting.calendar import SiteCalendar
    from forecasting.evaluation.rolling import Issue
    from forecasting.panels.panel import Panel
    from vtn.analytics.studies import Comparison

Models = Annotated[str, typer.Option("--models", help="Names with commas between, or all.")]
Days = Annotated[int, typer.Option("--days", min=1, help="Local days to test, the last ones of the readings.")]
Until = Annotated[
    str | None, typer.Option("--until", help="Last local day to test, 2026-08-31; else the last whole one.")
]
Lead = Annotated[float, typer.Option("--lead-h", min=0, help="Hours between the issue and the day's beginning.")]
Every = Annotated[
    int | None, typer.Option("--intraday-every-h", min=1, help="Issues every few hours instead of one a day.")
]
Horizon = Annotated[int, typer.Option("--horizon-h", min=1, help="Hours each intraday issue reaches.")]
Choose = Annotated[bool, typer.Option("--choose", help="Let the best model serve from now on (readings of the VTN).")]


def backtest(
    input_: shared.Input = None,
    models: Models = "all",
    scope: shared.Scope = "virtual_nodes",
    days: Days = 28,
    until: Until = None,
    lead_h: Lead = 0.0,
    intraday_every_h: Every = None,
    horizon_h: Horizon = 12,
    choose: Choose = False,
    unit: shared.Unit = "kWh",
    kind: shared.Kind = "load",
    zone: shared.Zone = "UTC",
    naive_zone: shared.NaiveZone = None,
    stamped: shared.Stamped = "start",
    country: shared.Country = None,
    sites: shared.Sites = None,
    program: shared.Program = None,
    history_days: shared.HistoryDays = 280,
    weather: shared.WeatherSource = None,
    dask: shared.Scheduler = None,
    figure: shared.Figure = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Test models on history with a rolling origin: errors by horizon and against the seasonal naive model."""
    request = shared.Request(
        input_=input_, unit=unit, kind=kind, zone=zone, naive_zone=naive_zone, stamped=stamped, country=country,
        sites=sites, program=program, history_days=history_days, weather=weather, scope=scope, config=config,
        data_dir=data_dir,
    )  # fmt: skip
    if choose and input_ is not None:
        raise SettingsError("--choose sets the model of the VTN, by its own readings: leave out --choose or --input")
    with shared.explained():
        from vtn.analytics import figures
        from vtn.analytics.computing import computing
        from vtn.analytics.studies import compared

        figures.check(figure)
        subject, merged = request.load()
        panel = subject.panel(scope)
        last = local_day("--until", until) if until else subject.calendar.day_of(panel.end_ms) - timedelta(days=1)
        issues = _issues(subject.calendar, last, days, panel, lead_h, intraday_every_h, horizon_h)
        place = subject.place(merged)
        names = _names(models, kind == "generation" and place is not None)
        with (
            computing(dask or merged.analytics_scheduler, merged.analytics_workers) as where,
            shared.progress(f"{len(issues)} issues, models", len(names)) as step,
        ):
            found = compared(
                where, names, panel, subject.calendar, issues, weather=subject.weather, place=place,
                progress=lambda _: step(1),
            )  # fmt: skip
        serves = choose and subject.program != ""
        if serves:
            _keep(request, subject.program, found)
        if figure is not None:
            figures.of_scores(figure, _points(found), *_table(found))
    observed = subject.weather is not None and subject.weather.hindsight(issues[0].issued_at_ms)
    if as_json:
        print_json(_json(found, observed))
        return
    _tell(found, f"{len(issues)} issues to {last}, {len(panel.ids)} series")
    if serves:
        typer.echo("it serves from now on")
    if observed:
        typer.echo(
            "the weather was known later than the forecasts: models knew more of it than a forecaster would have"
        )


def _names(models: str, generation: bool) -> list[str]:
    """Models to test: those named, or all that fit what is measured."""
    from forecasting.serving.catalogue import CATALOGUE, NAIVE, PV

    if models != "all":
        return models.split(",")
    return [NAIVE, "recent-days", PV] if generation else list(CATALOGUE)


def _issues(
    calendar: SiteCalendar, last: date, days: int, panel: Panel, lead_h: float, every_h: int | None, horizon_h: int
) -> tuple[Issue, ...]:
    from forecasting.evaluation.rolling import day_ahead, intraday

    tested = [last - timedelta(days=back) for back in range(days - 1, -1, -1)]
    if every_h is None:
        found = day_ahead(calendar, tested, panel.interval_s, lead_h)
    else:
        found = intraday(calendar, tested, panel.interval_s, every_h, horizon_h)
    return tuple(each for each in found if each.issued_at_ms > panel.start_ms) or found  # nothing is known before


def _keep(request: shared.Request, program: str, found: Comparison) -> None:
    from vtn.analytics.runs import Chosen, Runs, scores

    async def keep(vtn: Vtn) -> None:
        chosen = Chosen(
            program=program, scope=request.scope, chosen_ms=vtn.clock.now_ms(), model=found.choice.model,
            skill=found.choice.skill, reason=found.choice.reason, table=scores(found.table()),
        )  # fmt: skip
        await Runs(vtn.database).choose(chosen)

    request.with_vtn(keep)


def _points(found: Comparison) -> dict[str, list[tuple[float, float]]]:
    """Middle of each horizon and the nRMSE there."""
    points: dict[str, list[tuple[float, float]]] = {}
    for name, low, high, skill, _ in found.by_horizon():
        points.setdefault(name, []).append(((low + high) / 2, skill.nrmse))
    return points


def _tell(found: Comparison, title: str) -> None:
    print_table(title, *_table(found))
    columns = ("model", "hours ahead", "MAE Wh", "nRMSE", "skill", "80 % band covers")
    rows = [
        (name, f"{low:g} to {high:g}", f"{skill.mae:.0f}", f"{skill.nrmse:.3f}", f"{over:+.1%}", _share(skill.coverage))
        for name, low, high, skill, over in found.by_horizon()
    ]
    print_table("By horizon", columns, rows)
    typer.echo(f"chosen: {found.choice.model}, {found.choice.reason}")
    for name, reason in found.left_out.items():
        typer.echo(f"{name} left out: {reason}")


def _table(found: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows: list[tuple[str, ...]] = [
        (name, f"{row['mae_wh']:.0f}", f"{row['nrmse']:.3f}", f"{row['skill']:+.1%}", f"{row['bias']:+.1%}",
         f"{row['crps_wh']:.0f}", _share(row["coverage_80"]), f"{row['seconds']:.1f}",
         "chosen" if name == found.choice.model else "")
        for name, row in found.table().items()
    ]  # fmt: skip
    return ("model", "MAE Wh", "nRMSE", "skill", "bias", "CRPS Wh", "80 % band covers", "s", ""), rows


def _json(found: Comparison, observed_weather: bool) -> dict[str, object]:
    from vtn.analytics.runs import scores

    horizons = [
        {"model": name, "from_h": low, "to_h": high, "mae_wh": _number(skill.mae), "nrmse": _number(skill.nrmse),
         "skill": _number(over), "coverage_80": _number(skill.coverage), "intervals": skill.intervals}
        for name, low, high, skill, over in found.by_horizon()
    ]  # fmt: skip
    choice = {"model": found.choice.model, "skill": _number(found.choice.skill), "reason": found.choice.reason}
    return {"models": scores(found.table()), "horizons": horizons, "choice": choice, "left_out": found.left_out,
            "observed_weather": observed_weather}  # fmt: skip


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else ""
