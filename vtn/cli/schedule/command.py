"""`dr-vtn schedule`: when the devices of homes run, at least cost and within what their feeders bear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from runtime.errors import SettingsError
from vtn.cli.analytics import options as shared
from vtn.cli.options import Config, DataDir, Json, print_json, settings

if TYPE_CHECKING:
    from scheduling.fleet.nodes import Node
    from vtn.analytics.computing import Computing
    from vtn.analytics.sources import Loaded
    from vtn.cli.schedule.homes import HomesFile
    from vtn.cli.schedule.horizon import Horizon
    from vtn.config import VtnSettings

Homes = Annotated[Path, typer.Argument(help="JSON file of homes and their devices; demo/data/appliances.json is one.")]
Input = Annotated[Path | None, typer.Option("--input", help="CSV or Parquet of what homes use without their devices.")]
Pv = Annotated[Path | None, typer.Option("--pv", help="CSV or Parquet of what their panels make, as in --input.")]
Signals = Annotated[
    Path | None, typer.Option("--signals", help="CSV: ts, price_per_kwh, and export_price_per_kwh if it is paid for.")
]
Day = Annotated[
    str | None, typer.Option("--day", help="Local day, 2026-08-31; else the one after the file; else tomorrow.")
]
Begin = Annotated[str | None, typer.Option("--from", help="Begin of the horizon, local HH:MM; else midnight.")]
Hours = Annotated[int | None, typer.Option("--hours", min=1, max=168, help="Length; else to the same time next day.")]
Minutes = Annotated[int, typer.Option("--interval-minutes", min=5, max=60, help="Length of a slot.")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="Forecast the day by this model of `dr-vtn backtest`, though the file has it."),
]
Limits = Annotated[
    list[str] | None,
    typer.Option("--limit-w", help="Highest import of every node, W, or of one: F1=20000. May repeat."),
]
ExportLimits = Annotated[
    list[str] | None, typer.Option("--export-limit-w", help="Highest export of every node, W, or of one: F1=20000.")
]
Unit = Annotated[str, typer.Option("--unit", help="Unit in the files: Wh, kWh, MWh an interval, or W, kW, MW.")]
TimeLimit = Annotated[float, typer.Option("--time-limit-s", min=0.1, help="Seconds the solver has for a home.")]
Gap = Annotated[float, typer.Option("--gap-percent", min=0, max=50, help="How far from the best a schedule may be.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Tells starts of equal cost apart.")]
SolverName = Annotated[str, typer.Option("--solver", help="cbc or highs.")]


def schedule(
    homes: Homes,
    input_: Input = None,
    pv: Pv = None,
    signals: Signals = None,
    day: Day = None,
    begin: Begin = None,
    hours: Hours = None,
    interval_minutes: Minutes = 15,
    model: ModelName = None,
    limit_w: Limits = None,
    export_limit_w: ExportLimits = None,
    unit: Unit = "kWh",
    zone: shared.Zone = "UTC",
    naive_zone: shared.NaiveZone = None,
    time_limit_s: TimeLimit = 10.0,
    gap_percent: Gap = 0.3,
    seed: Seed = 0,
    solver: SolverName = "cbc",
    dask: shared.Scheduler = None,
    figure: shared.Figure = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Schedule batteries, cars, appliances, water heaters and heat pumps of homes at least cost, within what each
    feeder bears, beside the homes as they would run by themselves."""
    if solver not in ("cbc", "highs"):
        raise SettingsError(f"--solver is {solver}; it is cbc or highs")
    with shared.explained():
        from scheduling.errors import ScheduleError
        from scheduling.fleet.nodes import schedule_nodes
        from vtn.analytics import figures
        from vtn.analytics.computing import computing
        from vtn.cli.schedule import tables
        from vtn.cli.schedule.homes import read

        figures.check(figure)
        merged, file = settings(config, data_dir), read(homes)
        loads, made = _loaded(input_, unit, zone, naive_zone), _loaded(pv, unit, zone, naive_zone)
        horizon = _horizon(zone, day, interval_minutes, begin, hours, loads)
        with computing(dask or merged.analytics_scheduler, merged.analytics_workers) as where:
            load_wh, told = _series(where, horizon, loads, model, "load", merged)
            pv_wh, pv_told = _series(where, horizon, made, model, "PV", merged)
            nodes = _nodes(
                file, horizon, load_wh, pv_wh, _signals(signals, horizon), limit_w or [], export_limit_w or []
            )
            count = sum(len(node.homes) for node in nodes)
            rounds = 10 if limit_w or export_limit_w else 1
            with shared.progress("schedule", count * rounds) as step:
                try:
                    found = schedule_nodes(
                        nodes, where.map, seed=seed, gap=gap_percent / 100, limit_s=time_limit_s, progress=step,
                        solver="highs" if solver == "highs" else "cbc",
                    )  # fmt: skip
                except ScheduleError as error:
                    raise shared.Refused(str(error)) from error
        if figure is not None:
            tables.draw(figure, nodes, found, horizon)
    if as_json:
        print_json({"zone": zone, "interval_s": horizon.interval_s, "starts_ms": horizon.starts_ms, "load": told,
                    "pv": pv_told, "nodes": found})  # fmt: skip
        return
    for text in filter(None, (told, pv_told)):
        typer.echo(text)
    tables.show(nodes, found, horizon)


def _loaded(path: Path | None, unit: str, zone: str, naive_zone: str | None) -> Loaded | None:
    from vtn.analytics.sources import from_file

    return None if path is None else from_file(path, unit=unit, kind="load", zone=zone, naive_zone=naive_zone)


def _horizon(
    zone: str, day: str | None, minutes: int, begin: str | None, hours: int | None, loads: Loaded | None
) -> Horizon:
    from vtn.cli.schedule.horizon import horizon_of

    chosen = shared.local_day("--day", day) if day is not None else _next_day(zone, loads)
    return horizon_of(zone, chosen, minutes, begin, hours)


def _next_day(zone: str, loads: Loaded | None) -> date:
    """The first local day that begins at the end of the file or later; without a file tomorrow."""
    try:
        info = ZoneInfo(zone)
    except (KeyError, ValueError):
        raise SettingsError(f"--zone {zone} is no time zone: write Europe/Paris") from None
    if loads is None:
        return datetime.now(info).date() + timedelta(days=1)
    end = datetime.fromtimestamp(loads.panel.end_ms / 1000, UTC).astimezone(info)
    return end.date() if (end.hour, end.minute) == (0, 0) else end.date() + timedelta(days=1)


def _series(
    where: Computing, horizon: Horizon, loaded: Loaded | None, model: str | None, what: str, merged: VtnSettings
) -> tuple[dict[str, tuple[float, ...]], str]:
    """Energy of each home of a file in the slots: as the file has it, or forecast with what was known before; and a
    sentence about it."""
    if loaded is None:
        return {}, ""
    panel = loaded.panel
    if model is None and panel.start_ms <= horizon.start_ms and panel.end_ms >= horizon.end_ms:
        rows = {
            home: horizon.onto(panel.start_ms, panel.interval_s, panel.values[row].tolist(), f"{what} of {home}")
            for row, home in enumerate(panel.ids)
        }
        return rows, f"{what}: as the file has it, as if it had been known the day before"
    from forecasting.calendar import SiteCalendar
    from forecasting.serving.catalogue import HOME_DEFAULT, PV
    from vtn.analytics.computing import forecasts

    place = None
    if merged.site_latitude is not None and merged.site_longitude is not None:
        from forecasting.solar.clearsky import Place

        place = Place(merged.site_latitude, merged.site_longitude)
    name = model or HOME_DEFAULT
    if what == "PV":
        name = PV if place is not None else "recent-days"
    issued_ms = min(horizon.start_ms, panel.end_ms)
    step_ms = panel.interval_s * 1000
    start_ms = horizon.start_ms // step_ms * step_ms
    count = -(-(horizon.end_ms - start_ms) // step_ms)
    made = forecasts(
        where,
        name,
        panel,
        SiteCalendar(horizon.zone),
        start_ms=start_ms,
        count=count,
        issued_at_ms=issued_ms,
        place=place,
    )
    rows = {
        home: horizon.onto(start_ms, panel.interval_s, [max(each, 0.0) for each in made.values[row].tolist()], what)
        for row, home in enumerate(made.ids)
        if home not in made.refused
    }
    return rows, f"{what}: forecast by {name}, known until {horizon.local(made.known_until_ms):%Y-%m-%d %H:%M}"


def _signals(path: Path | None, horizon: Horizon) -> dict[str, tuple[float, ...]]:
    """Prices of the file in minor units per kWh: the last one that began at or before each slot."""
    if path is None:
        return {}
    import numpy as np

    from forecasting.errors import BadReadings
    from vtn.analytics.sources import table
    from vtn.analytics.stamps import epoch_ms

    frame = table(path)
    lost = [name for name in ("ts", "price_per_kwh") if name not in frame.columns]
    if lost:
        raise BadReadings(
            f"{path} has no column {lost[0]}; it has {', '.join(str(each) for each in frame.columns[:6])}"
        )
    stamps = epoch_ms(frame["ts"], path)
    order = np.argsort(stamps, kind="stable")
    at = np.searchsorted(stamps[order], horizon.starts_ms, side="right") - 1
    length = int(np.diff(stamps[order]).max(initial=0)) or 3_600_000
    if (at < 0).any() or horizon.end_ms > int(stamps.max()) + length:
        raise BadReadings(f"{path} does not cover {horizon.local(horizon.start_ms):%Y-%m-%d %H:%M} and what follows")
    found = {}
    for column, name in (("price_per_kwh", "import"), ("export_price_per_kwh", "export")):
        if column in frame.columns:
            values = frame[column].to_numpy(dtype=np.float64)[order][at] * 100
            if not np.isfinite(values).all():
                raise BadReadings(f"{path} has no {column} for a slot of the horizon")
            found[name] = tuple(float(each) for each in values)
    return found


def _nodes(
    file: HomesFile, horizon: Horizon, load_wh: Mapping[str, Sequence[float]], pv_wh: Mapping[str, Sequence[float]],
    signals: Mapping[str, Sequence[float]], limits: Sequence[str], export_limits: Sequence[str],
) -> list[Node]:  # fmt: skip
    from scheduling.fleet.nodes import Node
    from vtn.cli.schedule.homes import home_of

    names = list(dict.fromkeys(entry.node for entry in file.homes))
    highest, lowest = _limits("--limit-w", limits, names), _limits("--export-limit-w", export_limits, names)
    return [
        Node(
            name=name, import_limit_w=highest.get(name), export_limit_w=lowest.get(name),
            homes=tuple(home_of(entry, horizon, file.tariff, load_wh.get(entry.name), pv_wh.get(entry.name), signals)
                        for entry in file.homes if entry.node == name),
        )
        for name in names
    ]  # fmt: skip


def _limits(option: str, texts: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """20000 for every node, F1=20000 for one; the later wins. Raises SettingsError."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if name and name not in names:
            raise SettingsError(f"{option} {text} names no node of the file; there are {', '.join(names[:10])}")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise SettingsError(f"{option} {text} is no power: write 20000, or F1=20000")
        found |= dict.fromkeys([name] if name else names, value)
    return found
