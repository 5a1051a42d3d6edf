"""Figures of analytics: PNG, or an HTML page that holds the picture and the numbers and needs nothing else."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from forecasting.clustering.formation import Clustering
from forecasting.clustering.traits import Homes
from forecasting.errors import MissingLibrary
from forecasting.panels.forecasts import PanelForecast
from forecasting.panels.panel import Panel
from runtime.errors import GridpactError
from vtn.aggregator.virtual_nodes.calling.seen import Preview

Rows = Sequence[Sequence[object]]


class FigureRefused(GridpactError):
    """The figure's name has an ending that is neither .png nor .html."""

    exit_code = 2


def check(path: Path | None) -> None:
    """Raises FigureRefused before work is done for a figure that cannot be written."""
    if path is not None and path.suffix not in (".png", ".html"):
        raise FigureRefused(f"{path}: a figure is .png or .html")


def of_forecast(
    path: Path, forecast: PanelForecast, history: Panel, zone: str, columns: Sequence[str], rows: Rows
) -> None:
    """Up to six series: the last three days, the forecast and its band. Raises FigureRefused, MissingLibrary."""
    figure, plots = _canvas(min(len(forecast.ids), 6))
    info, hours = ZoneInfo(zone), 3600 / forecast.interval_s
    past = history.between(forecast.start_ms - 3 * 86_400_000, forecast.start_ms)
    for place, plot in enumerate(plots):
        row = history.ids.index(forecast.ids[place])
        plot.plot(_times(past.starts_ms, info), past.values[row] * hours, color="0.5", lw=1, label="measured")
        times = _times(forecast.starts_ms, info)
        levels = sorted(forecast.quantiles)
        if len(levels) > 1:
            low, high = (forecast.quantiles[level][place] * hours for level in (levels[0], levels[-1]))
            plot.fill_between(times, low, high, alpha=0.25, step="post", label=f"{levels[0]:g} to {levels[-1]:g}")
        plot.step(times, forecast.values[place] * hours, where="post", lw=1.5, label="forecast")
        plot.set_title(forecast.ids[place], fontsize=9)
        plot.set_ylabel("W")
        _dated(plot, zone)
        plot.legend(fontsize=7, loc="upper left")
    _write(path, figure, f"Forecast by {forecast.model}", columns, rows)


def of_scores(
    path: Path, by_horizon: Mapping[str, Sequence[tuple[float, float]]], columns: Sequence[str], rows: Rows
) -> None:
    """nRMSE over the horizon for each model: (hours, nRMSE) points. Raises FigureRefused, MissingLibrary."""
    figure, (plot,) = _canvas(1)
    for name, points in by_horizon.items():
        plot.plot([at for at, _ in points], [error for _, error in points], marker="o", ms=3, label=name)
    plot.set_xlabel("hours after the issue")
    plot.set_ylabel("nRMSE")
    plot.set_ylim(bottom=0)
    plot.legend(fontsize=8)
    _write(path, figure, "Test on history", columns, rows)


def of_clusters(path: Path, clustering: Clustering, homes: Homes, columns: Sequence[str], rows: Rows) -> None:
    """Mean working day of each cluster over that of its homes. Raises FigureRefused, MissingLibrary."""
    shown = clustering.clusters[:12]
    figure, plots = _canvas(len(shown))
    row_of = {home: row for row, home in enumerate(homes.ids)}
    for cluster, plot in zip(shown, plots, strict=True):
        profiles = homes.profiles[[row_of[home] for home in cluster.homes]]
        plot.plot(np.arange(24), profiles[:60].T, color="0.8", lw=0.6)
        plot.plot(np.arange(24), profiles.mean(axis=0), lw=2)
        plot.set_title(f"{cluster.name}: {len(cluster.homes)} homes", fontsize=9)
        plot.set_ylabel("W")
    _write(path, figure, "Clusters", columns, rows)


@dataclass(frozen=True)
class NetCurves:
    """Net power (W, import > 0) of a home or node in each slot, as wished and as scheduled, the price (minor units a
    kWh; empty: not drawn) and the highest import it may have."""

    name: str
    wished_w: Sequence[float]
    scheduled_w: Sequence[float]
    price_minor_per_kwh: Sequence[float]
    limit_w: float | None


def of_schedules(
    path: Path, starts_ms: Sequence[int], zone: str, curves: Sequence[NetCurves], columns: Sequence[str], rows: Rows
) -> None:
    """A plot for each home or node. Raises FigureRefused, MissingLibrary."""
    figure, plots = _canvas(len(curves))
    times = _times(starts_ms, ZoneInfo(zone))
    for curve, plot in zip(curves, plots, strict=True):
        plot.step(times, curve.wished_w, where="post", color="0.6", lw=1, label="as wished")
        plot.step(times, curve.scheduled_w, where="post", lw=1.5, label="scheduled")
        if curve.limit_w is not None:
            plot.axhline(curve.limit_w, color="tab:red", lw=0.8, ls="--", label="limit")
        if len(curve.price_minor_per_kwh):
            prices = plot.twinx()
            prices.step(times, curve.price_minor_per_kwh, where="post", color="tab:green", lw=0.8, ls=":")
            prices.set_ylabel("price a kWh", fontsize=7)
        plot.set_title(curve.name, fontsize=9)
        plot.set_ylabel("W")
        _dated(plot, zone)
        plot.legend(fontsize=7, loc="upper left")
    _write(path, figure, "Schedules", columns, rows)


def of_dispatch(path: Path, seen: Preview, zone: str, columns: Sequence[str], rows: Rows) -> None:
    """What is asked for, what is expected with its band of 80 %, and how many homes are on. Raises FigureRefused,
    MissingLibrary."""
    figure, (energy, calls) = _canvas(2)
    step_ms, count, info = seen.interval_s * 1000, len(seen.target_wh), ZoneInfo(zone)
    times = _times([seen.start_ms + n * step_ms for n in range(count + 1)], info)
    hours = 3600 / seen.interval_s

    def stairs(values: Sequence[float]) -> list[float]:
        return [value * hours / 1000 for value in (*values, *values[-1:])]

    energy.step(times, stairs(seen.target_wh), where="post", color="0.3", lw=1.5, label="asked for")
    energy.step(times, stairs(seen.expected_wh), where="post", lw=1.5, label="expected")
    if seen.spread_wh:
        band = [
            (wh - 1.2816 * dev, wh + 1.2816 * dev) for wh, dev in zip(seen.expected_wh, seen.spread_wh, strict=True)
        ]
        low, high = (stairs([each[side] for each in band]) for side in (0, 1))
        energy.fill_between(times, low, high, alpha=0.25, step="post", label="80 %")
    energy.set_ylabel("kW")
    energy.set_ylim(bottom=0)
    energy.legend(fontsize=7, loc="lower left")
    on = [sum(1 for each in seen.choices if each.chosen and each.obligation_wh[n]) for n in range(count)]
    calls.step(times, [*on, on[-1]], where="post")
    calls.set_ylabel("homes called")
    calls.set_ylim(bottom=0)
    for plot in (energy, calls):
        _dated(plot, zone)
    _write(path, figure, f"Dispatch: {seen.calls} of {seen.homes} homes", columns, rows)


def _canvas(count: int) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingLibrary("figures need the extra intelligence: pip install '.[intelligence]'") from error
    across = 1 if count < 2 else 2
    down = -(-count // across)
    figure = Figure(figsize=(6 * across, 2.6 * down + 0.6), layout="constrained")
    plots = figure.subplots(down, across, squeeze=False).ravel()
    for unused in plots[count:]:
        unused.set_axis_off()
    return figure, plots[:count]


def _times(starts_ms: Any, zone: ZoneInfo) -> list[datetime]:
    """Wall-clock times without their zone, as the axis shows them."""
    return [datetime.fromtimestamp(at / 1000, UTC).astimezone(zone).replace(tzinfo=None) for at in starts_ms]


def _dated(plot: Any, zone: str) -> None:
    """Times below a plot, a date only where one begins, and whose times they are: whole stamps overlap."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3)
    plot.xaxis.set_major_locator(locator)
    plot.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    plot.tick_params(axis="x", labelsize=7)
    plot.set_xlabel(zone, fontsize=7)


def _write(path: Path, figure: Any, title: str, columns: Sequence[str], rows: Rows) -> None:
    check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    if path.suffix == ".png":
        path.write_bytes(buffer.getvalue())
        return
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape('' if cell is None else str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    picture = base64.b64encode(buffer.getvalue()).decode()
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        "<style>body{font:14px sans-serif;margin:2em}img{max-width:100%}"
        "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}</style>"
        f"<h1>{html.escape(title)}</h1><img alt='{html.escape(title)}' "
        f"src='data:image/png;base64,{picture}'><table><tr>{head}</tr>{cells}</table></html>\n",
        encoding="utf-8",
    )
