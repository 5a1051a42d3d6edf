"""`dr-vtn dispatch`: whom a need would call, looked at before anybody asks for it; of the VTN's homes or a file's."""

from __future__ import annotations

import contextlib
from concurrent.futures import Executor
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vtn.aggregator.virtual_nodes.calling.files import dispatch_of, read_candidates
from vtn.aggregator.virtual_nodes.calling.seen import Preview
from vtn.aggregator.virtual_nodes.calling.spreading import spread
from vtn.aggregator.virtual_nodes.choosing import policy_by
from vtn.aggregator.virtual_nodes.preview import PORTFOLIO, preview
from vtn.cli.analytics.options import Figure, Scheduler, explained, progress
from vtn.cli.options import (
    Config,
    DataDir,
    Json,
    begin_of,
    kwh,
    money,
    print_json,
    print_table,
    settings,
    utc,
    with_vtn,
)
from vtn.config import VtnSettings
from vtn.context import Vtn, only_program
from vtn.errors import InvalidInput
from vtn.services.programs import ProgramTerms

_COLUMNS = ("rank", "home", "called", "from", "for min", "kWh", "reliability", "why")


def dispatch(
    start: Annotated[str, typer.Option("--start", help="Begin of the event, ISO 8601 with zone.")],
    target_kwh: Annotated[
        list[float] | None, typer.Option("--kwh", help="Energy asked for in an interval; once for each interval.")
    ] = None,
    target_kw: Annotated[
        list[float] | None, typer.Option("--kw", help="Instead: mean power asked for; once for each interval.")
    ] = None,
    area: Annotated[str, typer.Option("--area", help="Feeder whose homes may be called.")] = PORTFOLIO,
    program: Annotated[str | None, typer.Option("--program", help="Program, if there are several.")] = None,
    probability: Annotated[
        float | None,
        typer.Option("--probability", min=50, max=99, help="Percent with which it is to be met; else the program's."),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option("--mode", help="joint: in all intervals at once; each: in each by itself; else the program's."),
    ] = None,
    price: Annotated[
        int | None,
        typer.Option("--price", min=0, help="Price of the need, minor units a MWh; else what groups ask at most."),
    ] = None,
    input_: Annotated[
        Path | None, typer.Option("--input", help="Candidates of a .csv or .json file instead of the VTN's homes.")
    ] = None,
    interval_s: Annotated[int, typer.Option("--interval-s", min=60, help="Of --input: seconds an interval.")] = 900,
    dask: Scheduler = None,
    figure: Figure = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Preview a dispatch: who would be called, when, why, how surely, and what it costs. Nothing is sent."""
    begin = begin_of(start)
    if mode not in (None, "joint", "each"):
        raise InvalidInput("mode_invalid", f"--mode is {mode}; it is joint or each")
    if bool(target_kwh) == bool(target_kw):
        raise InvalidInput("target_invalid", "give the target once for each interval, by --kwh or by --kw")
    if input_ is not None and (area != PORTFOLIO or program is not None or price is not None):
        raise InvalidInput(
            "option_invalid", "--area, --program and --price are of the VTN's homes: leave them out with --input"
        )
    asked = _Asked(begin, target_kwh, target_kw, probability, mode)
    merged = settings(config, data_dir)
    with contextlib.ExitStack() as stack:
        if figure is not None:
            stack.enter_context(explained())
            from vtn.analytics import figures

            figures.check(figure)
        scheduler = dask or merged.analytics_scheduler
        executor = stack.enter_context(spread(scheduler, merged.analytics_workers))
        if input_ is not None:
            zone, view = "UTC", _of_file(asked, input_, interval_s, merged, executor)
        else:
            zone, view = with_vtn(config, data_dir, lambda vtn: _of_vtn(vtn, asked, area, program, price, executor))
        if figure is not None:
            figures.of_dispatch(figure, view, zone, _COLUMNS, _rows(view))
    if as_json:
        print_json(view)
    else:
        _tell(view)


class _Asked(msgspec.Struct, frozen=True):
    """The target and how surely it is to be met, as the options say."""

    begin: datetime
    kwh: list[float] | None
    kw: list[float] | None
    probability: float | None
    mode: str | None

    @property
    def start_ms(self) -> int:
        """Begin of the event."""
        return int(self.begin.timestamp() * 1000)

    def target_wh(self, interval_s: int) -> list[int]:
        """Energy per interval."""
        if self.kw:
            return [round(each * 1000 * interval_s / 3600) for each in self.kw]
        return [round(each * 1000) for each in self.kwh or ()]


async def _of_vtn(
    vtn: Vtn, asked: _Asked, area: str, program: str | None, price: int | None, executor: Executor | None
) -> tuple[str, Preview]:
    found = await vtn.programs.get(program or await only_program(vtn))
    homes = await vtn.vens.list()
    with progress("homes", 2 * len(homes)) as step:
        seen = await preview(
            vtn,
            found,
            area=area,
            start_ms=asked.start_ms,
            target_wh=asked.target_wh(found.terms.interval_s),
            probability=None if asked.probability is None else asked.probability / 100,
            mode=asked.mode,
            price_minor_per_mwh=price,
            executor=executor,
            progress=step,
        )
    return found.terms.zone, seen


def _of_file(
    asked: _Asked, path: Path, interval_s: int, merged: VtnSettings, executor: Executor | None
) -> Preview:  # fmt: skip
    """By the terms a new program has."""
    target_wh = asked.target_wh(interval_s)
    if any(wh < 0 for wh in target_wh) or not any(target_wh):
        raise InvalidInput("target_invalid", "a target is energy in one interval at least, and nowhere negative")
    policy = policy_by(ProgramTerms(), merged.dispatch, merged.dispatch_limit_s)
    if asked.probability is not None:
        policy = msgspec.structs.replace(policy, probability=asked.probability / 100)
    if asked.mode is not None:
        policy = msgspec.structs.replace(policy, mode=asked.mode)
    candidates = read_candidates(path, len(target_wh))
    with progress("homes", len(candidates)) as step:
        found = dispatch_of(
            candidates, target_wh, policy, start_ms=asked.start_ms, interval_s=interval_s, executor=executor
        )
        step(len(candidates))
    return found


def _rows(view: Preview) -> list[tuple[object, ...]]:
    minutes = view.interval_s // 60
    return [
        (each.rank or None, view.names.get(each.candidate.candidate), "yes" if each.chosen else "",
         utc(view.start_ms + each.start * view.interval_s * 1000) if each.chosen else "",
         (each.count or len(view.target_wh)) * minutes if each.chosen else None,
         kwh(sum(each.obligation_wh if each.chosen else each.candidate.available_wh)),
         f"{each.candidate.reliability_bp / 100:g} %", each.reason)
        for each in view.choices
    ]  # fmt: skip


def _tell(view: Preview) -> None:
    title = f"{utc(view.start_ms)}: {view.calls} of {view.homes} homes for {kwh(sum(view.target_wh))} kWh"
    print_table(title, _COLUMNS, _rows(view))
    if len(view.groups) > 1:
        groups = [
            (each.name, each.homes, kwh(sum(each.offered_wh)), kwh(sum(each.asked_wh)), each.calls, each.reason)
            for each in view.groups
        ]
        print_table("Virtual nodes", ("virtual node", "homes", "offered kWh", "asked kWh", "called", "why"), groups)
    meant = "in all intervals at once" if view.mode == "joint" else "in each interval"
    surely = f"met {meant} with {view.probability:.0%} (asked: {view.asked_probability:.0%})"
    merit = view.method == "merit"
    said = [f"{kwh(sum(view.expected_wh))} kWh expected", f"{kwh(sum(view.lacking_wh))} kWh lacking"]
    said += [f"{money(view.pay_minor)} to pay", *([] if merit else [surely])]
    typer.echo(f"{'merit order' if merit else view.method}: {', '.join(said)}")
    best = "" if merit else f"at most {view.gap_percent:.2f} % from the best; "
    typer.echo(f"{best}Gini of the calls {view.gini:.2f}")
    for limit in view.limits:
        typer.echo(f"  {limit}")
