"""What a virtual node will use, with bands, and what its homes are like; needs the extra `intelligence`.

kept run of the service that covers the time ─┐
or a forecast made now ───────────────────────┴─▶ import and export at the boundary, with the band of 80 %
forecasts of the homes ──▶ balanced ──▶ own generation that will be used inside
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

import msgspec
import numpy as np

from contracts.core.units import MS_PER_S
from forecasting.clustering.segments import load_profiles, segments
from forecasting.errors import ForecastError
from forecasting.evaluation.rolling import BAND
from forecasting.panels.panel import Panel
from vtn.aggregator.gateway import EnrolledMembers
from vtn.aggregator.virtual_nodes.groups.balance import balanced
from vtn.aggregator.virtual_nodes.groups.likeness import panel_of, seen
from vtn.analytics.computing import computing, forecasts
from vtn.analytics.runs import HOMES, VIRTUAL_NODES, Runs
from vtn.analytics.studies import default_of
from vtn.analytics.weather import WeatherShelf
from vtn.auth.permissions import Access, Role, Subject, access
from vtn.errors import InvalidInput, NotAllowed
from vtn.services.vens import Ven
from vtn.services.virtual_nodes.figures import not_shown
from vtn.services.virtual_nodes.messages import (
    DERMonitorableParameter,
    EndDeviceGroup,
    group_of,
    power,
    schedule,
    stamp,
)
from vtn.services.virtual_nodes.operations import VirtualNodes

_HISTORY_DAYS = 120


class OutlookLine(msgspec.Struct, frozen=True, kw_only=True):
    """An interval to come at the boundary: net with its band of 80 %, and what is used inside. Wh."""

    start_ms: int
    net_wh: float
    least_wh: float
    most_wh: float
    used_inside_wh: int
    import_wh: float
    export_wh: float


class NodeForecast(msgspec.Struct, frozen=True, kw_only=True):
    """DERGroupForecast. models: that of the sum, and that of the homes."""

    group: EndDeviceGroup = msgspec.field(name="EndDeviceGroup")
    created: str = msgspec.field(name="predictionCreationDate")
    interval_s: int
    models: tuple[str, str]
    intervals: tuple[OutlookLine, ...]


class HomeProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A customer: segment and why, mean power, and typical days of 24 local hours in Wh."""

    ven_id: str
    ven_name: str
    segment: str
    why: str
    mean_w: int
    peak_hour: int
    working_day_wh: tuple[int | None, ...]
    other_day_wh: tuple[int | None, ...]
    days: tuple[int, int]


class Profiles(msgspec.Struct, frozen=True, kw_only=True):
    """Homes that may be shown, and how many may not, because they gave no consent."""

    homes: tuple[HomeProfile, ...]
    withheld: int


class Outlook:
    """Forecasts and profiles of the virtual nodes of one program."""

    def __init__(self, nodes: VirtualNodes) -> None:
        self._nodes = nodes
        self._vtn = nodes.vtn
        self._program = nodes.program
        vtn = nodes.vtn
        self._members = EnrolledMembers(vtn.vens, vtn.telemetry, vtn.opts, vtn.contacts, nodes.program)

    async def forecast(self, name: str, hours: int = 24) -> NodeForecast:
        """From the next interval on. Raises NotFound, NotAllowed for too few homes, InvalidInput without history."""
        row = await self._nodes.find(name)
        homes = await self._nodes.members(row)
        if reason := not_shown(len(homes)):
            raise NotAllowed("group_too_small", reason)
        interval_s = self._program.terms.interval_s
        step_ms, now_ms = interval_s * MS_PER_S, self._vtn.clock.now_ms()
        start_ms, count = -(-now_ms // step_ms) * step_ms, hours * 3600 // interval_s
        ids = [ven.ven_id for ven in homes]
        panel = await panel_of(self._members, self._program, ids, now_ms, _HISTORY_DAYS)
        runs = Runs(self._vtn.database)
        chosen = {scope: await runs.chosen(self._program.name, scope) for scope in (HOMES, VIRTUAL_NODES)}
        models = {scope: each.model if each else default_of(scope) for scope, each in chosen.items()}
        try:
            made, inside = await asyncio.to_thread(self._made, panel, row.name, models, start_ms, count, now_ms)
        except (ForecastError, ValueError) as error:
            raise InvalidInput("forecast_refused", f"{row.name}: {error}") from error
        lines = tuple(
            OutlookLine(
                start_ms=start_ms + n * step_ms, net_wh=net, least_wh=low, most_wh=high, used_inside_wh=inside[n],
                import_wh=max(net, 0.0), export_wh=min(net, 0.0),
            )
            for n, (net, low, high) in enumerate(made)
        )  # fmt: skip
        band = [tuple(power(wh, interval_s) for wh in each) for each in made]
        curve = schedule(start_ms, interval_s, band, confidence=100 * round(BAND[1] - BAND[0], 2))
        return NodeForecast(
            group=group_of(row, parameters=[DERMonitorableParameter(schedule=curve)]),
            created=stamp(now_ms),
            interval_s=interval_s,
            models=(models[VIRTUAL_NODES], models[HOMES]),
            intervals=lines,
        )  # fmt: skip

    async def profiles(self, ven_ids: list[str] | None = None, name: str | None = None) -> Profiles:
        """What homes are like: of a virtual node, or the ones named. A home's own series is shown to whom its consent
        names. Raises NotFound, NotAllowed where none may be shown, InvalidInput without history."""
        homes = await self._wanted(ven_ids, name)
        shown = await self._shown(homes)
        if not shown:
            raise NotAllowed("consent_missing", f"{len(homes)} homes: none consented that the aggregator sees it")
        now_ms = self._vtn.clock.now_ms()
        try:
            known = await seen(self._members, self._program, WeatherShelf(self._vtn.settings), shown, now_ms)
        except ForecastError as error:
            raise InvalidInput("profile_refused", str(error)) from error
        told = {each.home: each for each in segments(known.homes)}
        calendar = self._program.terms.calendar
        with np.errstate(all="ignore"):
            days = {each.home: each for each in load_profiles(known.panel, calendar)}
        found = [
            HomeProfile(
                ven_id=ven.ven_id, ven_name=ven.ven_name, segment=told[ven.ven_id].segment, why=told[ven.ven_id].why,
                mean_w=round(told[ven.ven_id].mean_w), peak_hour=told[ven.ven_id].peak_hour,
                working_day_wh=days[ven.ven_id].working_wh, other_day_wh=days[ven.ven_id].other_wh,
                days=days[ven.ven_id].days,
            )
            for ven in shown
        ]  # fmt: skip
        return Profiles(homes=tuple(found), withheld=len(homes) - len(shown))

    async def _wanted(self, ven_ids: list[str] | None, name: str | None) -> list[Ven]:
        if name is not None:
            return await self._nodes.members(await self._nodes.find(name))
        return [await self._vtn.vens.get(each) for each in ven_ids or []]

    async def _shown(self, homes: list[Ven]) -> list[Ven]:
        allowed = access(Role.AGGREGATOR, Subject.READINGS)
        if allowed is Access.ALL:
            return homes
        if allowed is not Access.CONSENTED:
            return []
        consenting = await self._vtn.consents.consenting([ven.ven_id for ven in homes], Role.AGGREGATOR)
        return [ven for ven in homes if ven.ven_id in consenting]

    def _made(
        self, panel: Panel, name: str, models: Mapping[str, str], start_ms: int, count: int, now_ms: int
    ) -> tuple[list[tuple[float, float, float]], list[int]]:
        """(net, low, high) of the virtual node by interval, and what its homes will use of each other's surplus."""
        calendar = self._program.terms.calendar
        settings = self._vtn.settings
        forecast = partial(forecasts, start_ms=start_ms, count=count, issued_at_ms=now_ms)
        with np.errstate(all="ignore"), computing(settings.analytics_scheduler, settings.analytics_workers) as where:
            summed = panel.summed({name: panel.ids})
            of_node = forecast(where, models[VIRTUAL_NODES], summed, calendar, levels=BAND)
            if of_node.refused:
                raise ForecastError(next(iter(of_node.refused.values())))
            of_homes = forecast(where, models[HOMES], panel, calendar)
        low, high = (of_node.quantiles[level][0] for level in BAND)
        made = [
            (round(float(of_node.values[0][n]), 1), round(float(low[n]), 1), round(float(high[n]), 1))
            for n in range(count)
        ]  # fmt: skip
        each_home = np.nan_to_num(of_homes.values)
        return made, [balanced(round(float(wh)) for wh in each_home[:, n]).used_inside_wh for n in range(count)]
