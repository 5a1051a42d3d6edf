"""`dr-vtn needs` and `dr-vtn statements`: what utilities asked for, why whom was called, and what everybody got."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vtn.aggregator import overview
from vtn.aggregator.statements import Statement
from vtn.cli.options import Config, DataDir, Json, kwh, money, print_json, print_table, utc, with_vtn
from vtn.context import Vtn

app = typer.Typer(help="Needs: list them, explain the dispatch.", no_args_is_help=True)

NeedId = Annotated[str, typer.Argument(help="Id of the need.")]


@app.command("list")
def list_needs(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """List needs, newest first."""

    async def work(vtn: Vtn) -> list[overview.NeedLine]:
        return await overview.needs(vtn)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.request.need_id, each.state, each.request.area, utc(each.request.start_ms),
         kwh(sum(each.request.target_wh)), money(each.request.budget_minor))
        for each in found
    ]  # fmt: skip
    print_table("Needs", ("need", "state", "area", "start", "kWh", "budget"), rows)


@app.command()
def show(need_id: NeedId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Explain a need: every candidate with cost, forecast, reliability, rank and reason; escalation; odd readings;
    delivery."""

    async def work(vtn: Vtn) -> overview.NeedView:
        return await overview.need(vtn, need_id)

    view = with_vtn(config, data_dir, work)
    if as_json:
        print_json(view)
        return
    rows: list[tuple[Any, ...]] = [
        (line.scope, line.round, line.choice.rank or None, view.names.get(line.choice.candidate.candidate),
         kwh(line.choice.candidate.forecast_wh), line.choice.candidate.cost_minor_per_mwh,
         f"{line.choice.candidate.reliability_bp / 100:g} %", kwh(sum(line.choice.obligation_wh)), line.choice.reason)
        for line in view.choices
    ]  # fmt: skip
    columns = ("choice", "round", "rank", "candidate", "forecast kWh", "cost", "reliability", "asked kWh", "reason")
    print_table(f"Need {need_id}: {kwh(sum(view.need.request.target_wh))} kWh", columns, rows)
    solved = [
        (group.plan.contract_id, each.round, each.solved.method, _percent(each.solved.asked_bp),
         _percent(each.solved.probability_bp), f"{each.solved.gap_percent:.2f}", kwh(sum(each.lacking_wh)),
         "; ".join(map(str, each.solved.limits)))
        for group in view.groups for each in group.rounds
    ]  # fmt: skip
    found_by = ("contract", "round", "method", "asked", "probability", "gap %", "lacking kWh", "limits")
    print_table("Choices of members", found_by, solved)
    if view.escalations:
        steps = [
            (utc(each.at_ms or None), each.step, view.names.get(each.virtual_node, each.virtual_node),
             kwh(each.missing_wh), kwh(each.found_wh), each.reason)
            for each in view.escalations
        ]  # fmt: skip
        print_table("Escalation", ("at", "step", "virtual node", "missing kWh", "found kWh", "why"), steps)
    if view.suspicions:
        odd = [(view.names.get(each.ven_id, each.ven_id), each.contract_id, "; ".join(each.flags))
               for each in view.suspicions]  # fmt: skip
        print_table("Odd readings (decide nothing)", ("home", "contract", "what"), odd)
    for group in view.groups:
        lines = [
            (utc(each.start_ms), each.obligation_wh, each.baseline_wh, each.metered_wh, each.delivered_wh,
             f"{each.reporting}/{each.contracted}")
            for each in group.intervals
        ]  # fmt: skip
        title = f"{group.plan.contract_id}: {len(group.rounds)} rounds"
        print_table(title, ("interval", "obliged Wh", "baseline", "metered", "delivered", "reporting"), lines)


def statements(need_id: NeedId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Show what each virtual node and home of a need was asked for, delivered and paid, and why."""

    async def work(vtn: Vtn) -> list[Statement]:
        return await overview.need_statements(vtn, need_id)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.level, each.name, each.status, each.outcome, kwh(each.obligation_wh), kwh(each.delivered_wh),
         money(each.energy_minor), money(each.penalty_minor), money(each.amount_minor),
         "yes" if each.final else "not yet" if each.transaction_id else "", each.why + "".join(
             f"; {flag}" for flag in each.flags))
        for each in found
    ]  # fmt: skip
    columns = ("", "party", "status", "outcome", "obliged", "delivered", "energy", "penalty", "amount", "final", "why")
    print_table(f"Statements of {need_id}", columns, rows)


def _percent(basis_points: int) -> str:
    """Empty where nothing is known of it."""
    return f"{basis_points / 100:.0f} %" if basis_points else ""
