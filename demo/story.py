"""The ten steps of one demand-response event, told live from what the ledger records and the VTN decides.

The story only asks and watches: a utility signs a need, owners opt out, a process is killed. Everything else is done by
the products. `Step` collects when each step happened and which objects it concerns.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console

from contracts.core import facts
from demo.data.series import EVENT_END_MS, EVENT_START_MS, ZONE
from demo.processes import CommandFailed, call, call_json
from demo.stage import Stage
from demo.until import until
from ledger.client import START, FactRecord, LedgerClient
from runtime.clock import Clock

#: what the utility asks for, in percent of the portfolio's forecast
NEED_PERCENT = 12
PRICE_MINOR_PER_MWH = 200_000
#: wall seconds between two looks at what the virtual nodes decided
_LOOK_S = 3.0

TITLES = {
    1: "Decide: the utility's signed need",
    2: "Virtual nodes evaluate the forecasts of their members",
    3: "Virtual nodes sign offers",
    4: "SetupDR(SC1) aggregator to virtual node, escrow held",
    5: "AcceptReduction, SetupDR(SC2) to devices, the event travels over OpenADR 2.0b",
    6: "Devices act within their owners' limits",
    7: "Delivery is watched, others are called for those who fail",
    8: "Devices sign and record their own measurements",
    9: "SettleDR: delivery recomputed from recorded measurements",
    10: "DRCompletion: payments, penalties, escrow returned",
}


@dataclass
class Step:
    """One of the ten: domain time (ISO) of its first happening, and the ids it concerns."""

    n: int
    at: str = ""
    ids: list[str] = field(default_factory=list)

    def add(self, at_ms: int, *ids: str) -> bool:
        """Notes a happening; True the first time."""
        first = not self.at
        self.at = self.at or datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
        self.ids += [each for each in ids if each not in self.ids]
        return first


class Story:
    """Runs one need on a stage and tells it."""

    def __init__(self, stage: Stage, clock: Clock, console: Console) -> None:
        self.stage = stage
        self.clock = clock
        self.console = console
        self.steps = {n: Step(n) for n in TITLES}
        self.need_id = "need-demo"
        self.target_wh = 0
        self.view: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.measured = 0
        self.last_fact = ""
        self._closed = asyncio.Event()
        self._dispatched = asyncio.Event()
        self._told: set[str] = set()

    async def run(self, vens: list[dict[str, Any]], ledger: LedgerClient, *others: Coroutine[None, None, None]) -> None:
        """From the need to its closing. Whatever fails meanwhile, of it or of `others`, is raised at once."""
        self.names = {ven["party"]: ven["ven_name"] for ven in vens}
        await self._owners_opt_out()
        await until(
            self._closed,
            self._watch(ledger),
            self._ask(vens),
            self._kill_one(),
            self._tell_start(),
            self._tell_rounds(),
            self._look_after(),
            *others,
        )
        self.view = await self._need_view()
        self._note_plans(self.view)

    def waits_for(self) -> str:
        """What has not happened yet, and how the contracts stand as far as was seen."""
        missing = [f"{step.n} ({TITLES[step.n]})" for step in self.steps.values() if not step.at]
        states = Counter(each["status"] for each in self.view.get("contracts", ()))
        return (
            f"the need {self.need_id} to be closed, at {_local(self.clock.now_ms())}; "
            f"steps not seen: {', '.join(missing) or 'none'}; contracts: {dict(states) or 'none seen'}; "
            f"last fact: {self.last_fact or 'none'}"
        )

    # ---- what people do

    async def _owners_opt_out(self) -> None:
        for home_id in self.stage.faults.opt_out:
            folder = self.stage.home_folder(home_id)
            await call(["dr-ven", "opt-out", "--data-dir", folder], self.stage.environment)
            self.say(f"[dim]the owner of {home_id} opts out for today")

    async def _ask(self, vens: list[dict[str, Any]]) -> None:
        """The utility asks the portfolio for a part of its forecast in the evening window."""
        forecast_wh = self._forecast_wh()
        self.target_wh = forecast_wh * NEED_PERCENT // 100
        await call(
            ["dr-ledger", "request-reduction", "--key", self.stage.utility_key, "--need-id", self.need_id,
             "--start", _iso(EVENT_START_MS), "--end", _iso(EVENT_END_MS),
             "--target-kwh", f"{self.target_wh / 1000:.3f}",
             "--price-minor-per-mwh", str(PRICE_MINOR_PER_MWH)],
            self.stage.environment,
        )  # fmt: skip
        self.say(
            f"      {self.target_wh / 1000:.1f} kWh less from {_local(EVENT_START_MS)} to {_local(EVENT_END_MS)}: "
            f"{NEED_PERCENT} % of the {forecast_wh / 1000:.0f} kWh forecast for {len(vens)} homes"
        )

    async def _kill_one(self) -> None:
        """kill -9 of one device's process at one third of the event."""
        await self.clock.sleep_until(EVENT_START_MS + (EVENT_END_MS - EVENT_START_MS) // 3)
        home_id = self.stage.faults.killed
        await self.stage.processes[home_id].kill()
        self.say(f"[red]kill -9[/red] of the device process of {home_id}")

    # ---- what happens

    async def _watch(self, ledger: LedgerClient) -> None:
        cursor = START
        async for record in ledger.follow(cursor):
            self.last_fact = f"{type(record.fact).__name__} at {_local(record.time_ms)}"
            if isinstance(record.fact, facts.DRSetUp) and not self.steps[4].at:
                with contextlib.suppress(CommandFailed):  # told a little later
                    self._note_plans(await self._need_view())
                self._dispatched.set()
            self._note(record)
            if isinstance(record.fact, facts.RequestClosed):
                self._closed.set()

    def _note(self, record: FactRecord) -> None:
        at_ms, fact = record.time_ms, record.fact
        match fact:
            case facts.ReductionRequested():
                self._step(1, at_ms, fact.need_id)
            case facts.DRSetUp(parent=None):
                self._step(4, at_ms, fact.contract_id)
                self.say(f"      {fact.contract_id}: {sum(fact.terms.obligation_wh) / 1000:.1f} kWh obliged")
            case facts.ReductionAccepted():
                self._step(5, at_ms, fact.contract_id)
            case facts.ReductionRejected():
                self.say(f"      {self._name(fact.payee)} rejects {fact.contract_id}: {fact.reason}")
            case facts.DRExpired():
                self.say(f"      {fact.contract_id} expired: {self._name(fact.payee)} did not answer in time")
            case facts.DRActivated():
                self.say(f"      {fact.contract_id} is active with {fact.accepted} devices")
            case facts.MeasurementsRecorded() if fact.start_ms >= EVENT_START_MS:
                self.measured += 1
                self._step(8, at_ms, fact.device)
            case facts.DRSettled():
                self._step(9, at_ms, fact.contract_id)
                if fact.parent is None:
                    self.say(f"      {fact.contract_id}: {fact.delivered_wh / 1000:.1f} kWh, {fact.outcome}")
            case facts.DRCompleted():
                self._step(10, at_ms, fact.contract_id)
            case _:
                pass

    async def _tell_start(self) -> None:
        """When the event starts, devices act: who they are is in the accepted contracts."""
        await self.clock.sleep_until(EVENT_START_MS)
        self._step(6, EVENT_START_MS)
        acting = len([each for each in self.steps[5].ids if each.startswith("sc2-")])
        self.say(f"      {acting} devices under contract")

    async def _tell_rounds(self) -> None:
        """Tells each further choice of members soon after it was made."""
        await self._dispatched.wait()
        while True:
            with contextlib.suppress(CommandFailed):  # the VTN may be down for a moment
                self.view = await self._need_view()
                self._note_plans(self.view)
            await asyncio.sleep(_LOOK_S)

    async def _look_after(self) -> None:
        """A process that ends by itself ends the story."""
        while True:
            self.stage.check_alive()
            self.stage.doing = self.waits_for()
            await asyncio.sleep(1)

    def _note_plans(self, view: dict[str, Any]) -> None:
        """Steps 2, 3, 6 and 7 out of what the VTN decided."""
        for group in view["groups"]:
            plan = group["plan"]
            name = view["names"].get(plan["virtual_node"], plan["virtual_node"])
            told = plan["virtual_node"] in self.steps[3].ids
            self._step(2, plan["planned_ms"], name)
            self._step(3, plan["planned_ms"], plan["virtual_node"])
            if plan["kind"] == "assist" and plan["contract_id"] not in self._told:
                self._told.add(plan["contract_id"])
                if plan["planned_ms"] >= EVENT_START_MS:
                    self._step(7, plan["planned_ms"], plan["contract_id"])
                obliged = sum(plan["terms"]["obligation_wh"]) / 1000
                self.say(f"      {name} assists with {obliged:.1f} kWh: {plan['contract_id']}", plan["planned_ms"])
            if not told:
                offered = sum(plan["offer"]["profile_wh"]) / 1000
                price = plan["offer"]["energy_price_minor_per_mwh"] / 100_000
                self.say(f"      {name} offers {offered:.1f} kWh at {price:.2f} a kWh")
            for chosen in group["rounds"]:
                if self.steps[6].at and chosen["dr_event_id"]:
                    self.steps[6].add(EVENT_START_MS, chosen["dr_event_id"])
                if chosen["round"] and chosen["dr_event_id"] and chosen["dr_event_id"] not in self._told:
                    self._told.add(chosen["dr_event_id"])
                    if chosen["planned_ms"] >= EVENT_START_MS:
                        self._step(7, chosen["planned_ms"], chosen["dr_event_id"])
                    called = [
                        self._name(each["device"]) for each in group["members"] if each["round"] == chosen["round"]
                    ]
                    self.say(f"      {name} calls {', '.join(called)}: {chosen['reason']}", chosen["planned_ms"])

    def redispatched(self) -> list[dict[str, Any]]:
        """Every re-dispatch: which contract, when, why, whom."""
        found = []
        for group in self.view["groups"]:
            for chosen in group["rounds"][1:]:
                members = [each for each in group["members"] if each["round"] == chosen["round"]]
                if not members:
                    continue
                found.append(
                    {
                        "sc1": group["plan"]["contract_id"],
                        "at": _iso(chosen["planned_ms"]),
                        "planned_ms": chosen["planned_ms"],
                        "reason": chosen["reason"],
                        "contracts": [each["contract_id"] for each in members],
                        "homes": [self._name(each["device"]) for each in members],
                    }
                )
            if group["plan"]["kind"] == "assist":
                found.append(
                    {
                        "sc1": group["plan"]["contract_id"],
                        "at": _iso(group["plan"]["planned_ms"]),
                        "planned_ms": group["plan"]["planned_ms"],
                        "reason": "assistance of another virtual node",
                        "contracts": [group["plan"]["contract_id"]],
                        "homes": [],
                    }
                )
        return found

    async def _need_view(self) -> dict[str, Any]:
        view: dict[str, Any] = await call_json(["dr-vtn", "needs", "show", self.need_id], self.stage.environment)
        return view

    def _step(self, n: int, at_ms: int, *ids: str) -> bool:
        first = self.steps[n].add(at_ms, *ids)
        if first:
            self.say(f"[bold cyan]{n:>2}[/bold cyan]  [bold]{TITLES[n]}[/bold]", at_ms)
        return first

    def say(self, text: str, at_ms: int | None = None) -> None:
        """A line with the domain's local time."""
        self.console.print(f"[dim]{_local(self.clock.now_ms() if at_ms is None else at_ms)}[/dim]  {text}")

    def _name(self, party: str) -> str:
        return self.names.get(party, party)

    def _forecast_wh(self) -> int:
        """What the utility expects of the portfolio: the mean of the last ten working days, from its own meters."""
        total = 0
        for series in self.stage.homes.values():
            by_day: dict[int, int] = {}
            for start_ms, energy_wh in series.net_by_start.items():
                days_before = -((start_ms - EVENT_START_MS) // 86_400_000)
                if days_before >= 1 and (start_ms - EVENT_START_MS) % 86_400_000 < EVENT_END_MS - EVENT_START_MS:
                    by_day[days_before] = by_day.get(days_before, 0) + energy_wh
            weekdays = [
                energy_wh
                for days_before, energy_wh in sorted(by_day.items())
                if datetime.fromtimestamp(EVENT_START_MS / 1000 - days_before * 86_400, ZoneInfo(ZONE)).weekday() < 5
            ][:10]
            total += sum(weekdays) // len(weekdays)
        return total


def _local(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(ZONE)).strftime("%H:%M")


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
