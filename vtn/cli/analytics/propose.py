"""`dr-vtn forecasts propose`: where a forecast is out of balance, and the event each policy would call."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from runtime.errors import SettingsError
from vtn.cli.analytics import options as shared
from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc, with_vtn
from vtn.context import Vtn

if TYPE_CHECKING:
    from vtn.analytics.runs import Run

Of = Annotated[str, typer.Argument(help="Id of a kept run, or a file with what `dr-vtn forecast --json` printed.")]
Signals = Annotated[
    Path,
    typer.Option("--signals", help="CSV: ts, price_per_kwh, carbon_kg_per_kwh, and generation_wh if there is any."),
]
Series = Annotated[str | None, typer.Option("--series", help="Series of the run; not needed where there is one.")]
PolicyName = Annotated[str, typer.Option("--policy", help="renewable, cost, peak, co2, or all of them side by side.")]
Limit = Annotated[
    float | None,
    typer.Option("--limit-w", min=0, help="Import or export the feeder bears, W: events have to bring it back there."),
]
Flexible = Annotated[
    float, typer.Option("--flexible-percent", min=0, max=100, help="How much of the load can be shed.")
]
Rebound = Annotated[float, typer.Option("--rebound-percent", min=0, max=200, help="How much of it comes back.")]

_CHANCE = 0.1
"""Passing the limit counts from this chance on: the outer quantiles of a forecast."""


def propose(
    of: Of, signals: Signals, series: Series = None, policy: PolicyName = "all", limit_w: Limit = None,
    flexible_percent: Flexible = 20.0, rebound_percent: Rebound = 90.0, as_json: Json = False, config: Config = None,
    data_dir: DataDir = None,
) -> None:  # fmt: skip
    """Propose an event for a forecast: by renewable use, cost, peak or CO2, with what each would bring.

    Nothing is called: an operator decides, and a need is the utility's to sign.
    """
    with shared.explained():
        from vtn.analytics.proposing.policies import Policy, bounds
        from vtn.analytics.proposing.policies import propose as proposed
        from vtn.analytics.proposing.scenarios import net_of, quantiles_of, scenario, signals_of

        run = _run(of, config, data_dir)
        if series is None and len(run.series) > 1:
            raise SettingsError(f"the run has {', '.join(run.series[:5])}: name one with --series")
        name = series or run.series[0]
        net = net_of(run, name)
        if policy != "all" and policy not in [each.value for each in Policy]:
            raise SettingsError(f"--policy is {policy}; it is all, {', '.join(Policy)}")
        given = signals_of(signals, run.start_ms, run.interval_s, len(net))
        limit_wh = None if limit_w is None else limit_w * run.interval_s / 3600
        limits = None if limit_wh is None else bounds(net, quantiles_of(run, name), _CHANCE, limit_wh, limit_wh)
        day = scenario(
            net, run.interval_s, given, flexible=flexible_percent / 100, rebound=rebound_percent / 100, bounds=limits
        )
        beyond = _beyond(run, name, limit_w)
        found = [proposed(day, each) for each in Policy if policy in ("all", each.value)]
    starts = [run.start_ms + each * run.interval_s * 1000 for each in range(len(net))]
    if as_json:
        proposals = [{**asdict(each), "start_ms": starts[each.first] if each.count else None} for each in found]
        print_json({"imbalances": beyond, "proposals": proposals})
        return
    if limit_w is not None:
        rows = [(utc(int(line["start_ms"])), f"{line['beyond_w']:.0f}", f"{line['chance_min']:.0%}") for line in beyond]
        print_table(f"Beyond {limit_w:g} W", ("from", "by W at most", "chance at least"), rows)
    columns = ("policy", "from", "hours", "own renewable kWh", "cost", "peak W", "CO2 kg", "reason")
    print_table(f"Events for {name}", columns, [
        (str(each.policy), utc(starts[each.first]) if each.count else "", f"{each.count * run.interval_s / 3600:g}",
         f"{each.figures.renewable_kwh:.2f}", f"{each.figures.cost:.2f}", f"{each.figures.peak_w:.0f}",
         f"{each.figures.co2_kg:.2f}", each.reason)
        for each in found
    ])  # fmt: skip


def _run(of: str, config: Path | None, data_dir: Path | None) -> Run:
    from vtn.analytics.runs import Run, Runs

    if Path(of).is_file():
        try:
            return msgspec.json.decode(Path(of).read_bytes(), type=Run)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise SettingsError(f"{of} is not what `dr-vtn forecast --json` prints: {error}") from error

    async def work(vtn: Vtn) -> Run:
        return await Runs(vtn.database).run(of)

    return with_vtn(config, data_dir, work)


def _beyond(run: Run, name: str, limit_w: float | None) -> list[dict[str, float]]:
    from vtn.analytics.proposing.policies import imbalances
    from vtn.analytics.proposing.scenarios import net_of, quantiles_of

    if limit_w is None:
        return []
    hours = run.interval_s / 3600
    return [
        {"start_ms": run.start_ms + each.position * run.interval_s * 1000, "beyond_w": round(each.beyond_wh / hours, 1),
         "chance_min": each.chance_min}
        for each in imbalances(net_of(run, name), quantiles_of(run, name), limit_w * hours)
    ]  # fmt: skip
