"""What a study is about: homes or virtual nodes, their calendar, their weather, and who they are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select

from contracts.core.units import MS_PER_S
from forecasting.calendar import SiteCalendar
from forecasting.clustering.traits import Site
from forecasting.errors import BadReadings
from forecasting.panels.cleaning import Stamped
from forecasting.panels.holidays import national_holidays, national_weekend
from forecasting.panels.panel import Panel
from forecasting.panels.units import Kind
from forecasting.panels.weather import Weather
from forecasting.solar.clearsky import Place
from runtime.errors import SettingsError
from vtn.aggregator.records import sc2_plans
from vtn.analytics.runs import FEEDERS, HOMES, VIRTUAL_NODES
from vtn.analytics.sources import Loaded, from_file, from_telemetry, masked, sites_of
from vtn.analytics.weather import place_of, provider
from vtn.config import VtnSettings

if TYPE_CHECKING:
    from vtn.context import Vtn

_YEAR_MS = 366 * 86_400_000


@dataclass(frozen=True)
class Subjects:
    """Readings with what surrounds them. `now_ms`: the VTN's clock, or the end of a file. `program` is "" for a file.

    `groups`: virtual node to its homes; for a file each feeder of the sites, or all homes as one.
    """

    loaded: Loaded
    calendar: SiteCalendar
    now_ms: int
    program: str = ""
    sites: Mapping[str, Site] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weather: Weather | None = None

    def panel(self, scope: str) -> Panel:
        """Series of homes, of virtual nodes, or of feeders. Raises BadReadings where there is none."""
        if scope == HOMES:
            return self.loaded.panel
        there = set(self.loaded.panel.ids)
        wanted = self.groups if scope == VIRTUAL_NODES else self._feeders()
        groups = {name: [home for home in homes if home in there] for name, homes in wanted.items()}
        groups = {name: homes for name, homes in groups.items() if homes}
        if not groups:
            raise BadReadings(f"none of the {scope.replace('_', ' ')} has a home with readings")
        return self.loaded.panel.summed(groups)

    def without(self, event_days: Mapping[str, Collection[date]]) -> Subjects:
        """Without the event days of each home; sums of several homes take the others of the group for them."""
        panel = masked(self.loaded.panel, event_days, self.calendar)
        return replace(self, loaded=replace(self.loaded, panel=panel))

    def _feeders(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for home, site in self.sites.items():
            found[site.feeder] = (*found.get(site.feeder, ()), home)
        return found

    def place(self, settings: VtnSettings) -> Place | None:
        """Where the homes are, if the settings say so."""
        return place_of(settings)

    def with_weather(self, settings: VtnSettings, source: str | None) -> Subjects:
        """With the weather of the settings or of `source`, for all of the history and two weeks on. Raises
        WeatherUnavailable, SettingsError."""
        chosen = source or settings.weather_source
        if chosen is None:
            return self
        latitude, longitude = settings.site_latitude, settings.site_longitude
        if "://" in chosen and (latitude is None or longitude is None):
            raise SettingsError("weather of a service needs site_latitude and site_longitude")
        where = provider(chosen, settings.weather_columns, settings.weather_kind)
        first_ms = max(self.loaded.panel.start_ms, self.now_ms - 2 * _YEAR_MS)
        found = where.weather(latitude or 0.0, longitude or 0.0, first_ms, self.now_ms + 14 * 86_400_000)
        return replace(self, weather=found)


def of_file(
    path: Path, *, unit: str, kind: Kind, zone: str, country: str | None, sites: Path | None, naive_zone: str | None,
    stamped: Stamped = "start",
) -> Subjects:  # fmt: skip
    """Homes of a file. `country`: DE, or DE-BY for the holidays of a part. Raises BadReadings, ValueError."""
    loaded = from_file(path, unit=unit, kind=kind, zone=zone, naive_zone=naive_zone, stamped=stamped)
    known = sites_of(sites) if sites is not None else {}
    lost = [home for home in loaded.panel.ids if home not in known]
    if known and lost:
        raise BadReadings(f"{sites} has no site for {', '.join(lost[:5])}")
    groups: dict[str, tuple[str, ...]] = {}
    for home in loaded.panel.ids:
        name = known[home].feeder if known else "all"
        groups[name] = (*groups.get(name, ()), home)
    return Subjects(
        loaded, calendar_of(zone, country, loaded.panel), loaded.panel.end_ms,
        sites=known or {home: Site("all") for home in loaded.panel.ids}, groups=groups,
    )  # fmt: skip


class _Called(msgspec.Struct):
    """Of the terms of a contract, when it began and what was asked of its intervals."""

    start_ms: int
    interval_s: int
    obligation_wh: tuple[int, ...]


async def of_vtn(vtn: Vtn, program: str, days: int) -> Subjects:
    """Homes enrolled in a program with their history, less the days on which each was called: they say nothing of its
    habits, nor of how good a forecast of them was. Raises BadReadings, NotFound."""
    loaded, sites, groups = await from_telemetry(vtn, program, days)
    terms = (await vtn.programs.get(program)).terms
    members: dict[str, tuple[str, ...]] = {}
    for home, group in groups.items():
        members[group] = (*members.get(group, ()), home)
    found = Subjects(loaded, terms.calendar, vtn.clock.now_ms(), program=program, sites=sites, groups=members)
    return await asyncio.to_thread(found.without, await _called(vtn, terms.calendar))


async def _called(vtn: Vtn, calendar: SiteCalendar) -> dict[str, set[date]]:
    """Local days on which each home was called; two for a night."""
    found: dict[str, set[date]] = {}
    query = select(sc2_plans.c.ven_id, sc2_plans.c.terms)
    async with vtn.database.reading() as connection:
        for ven_id, terms in await connection.execute(query):
            called = msgspec.json.decode(terms, type=_Called)
            end_ms = called.start_ms + len(called.obligation_wh) * called.interval_s * MS_PER_S
            first, last = calendar.day_of(called.start_ms), calendar.day_of(end_ms - 1)
            days = found.setdefault(ven_id, set())
            days.update(first + timedelta(days=each) for each in range((last - first).days + 1))
    return found


def calendar_of(zone: str, country: str | None, panel: Panel) -> SiteCalendar:
    """Calendar with a country's weekend, and its holidays over the years of a panel and the next. Raises ValueError."""
    if country is None:
        return SiteCalendar(zone)
    name, _, part = country.partition("-")
    years = [datetime.fromtimestamp(at / 1000, UTC).year for at in (panel.start_ms, panel.end_ms)]
    found = national_holidays(name, years[0], years[1] + 1, part or None)
    return SiteCalendar(zone, found, national_weekend(name))


SCOPES = (HOMES, VIRTUAL_NODES, FEEDERS)
