"""Every model by name: what commands, settings and stored forecasts call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forecasting.models.blend import Blend
from forecasting.models.boosted import Boosted
from forecasting.models.days import DayModel
from forecasting.models.decomposed import Prophet
from forecasting.models.recurrent import Recurrent
from forecasting.models.ridge import Ridge
from forecasting.models.weighted import LastWeek, RecentDays, SimilarDays, WeekdayMean
from forecasting.serving.daily import Daily
from forecasting.solar.clearsky import Place
from forecasting.solar.generation import ClearSkyScaled

NAIVE = "last-week"
PV = "pv"
"""Generation under a clear sky; the one model that needs a place."""
HOME_DEFAULT = "blend"
VIRTUAL_NODE_DEFAULT = "ridge"


@dataclass(frozen=True)
class Entry:
    """A model in words, and how it is made. Making it raises MissingLibrary where its library is not installed."""

    text: str
    make: Callable[[], DayModel]
    by_itself: bool = True
    history_days: int = 220


CATALOGUE: dict[str, Entry] = {
    NAIVE: Entry("the same hour a week before (seasonal naive)", LastWeek),
    "weekday-mean": Entry("mean of the last four same weekdays", WeekdayMean),
    "recent-days": Entry("weighted mean of the last days of any kind", RecentDays),
    "similar-days": Entry("weighted mean of the last days of the same kind", SimilarDays),
    "ridge": Entry("ridge regression by home and time of day; default of virtual nodes", Ridge),
    "blend": Entry("similar days and ridge; default of homes", Blend),
    "lightgbm": Entry("gradient-boosted trees over all series at once", Boosted, by_itself=False),
    "prophet": Entry("Prophet: trend, seasons, holidays; for virtual nodes and programmes", Prophet, history_days=1100),
    "lstm": Entry("recurrent network over all series, with the extra lstm", Recurrent, by_itself=False),
}
"""From the simplest to the most costly: among equals the earlier one serves."""


def model(name: str, place: Place | None = None) -> Daily:
    """The panel model of a name. Raises ValueError for an unknown name or PV without its place, MissingLibrary."""
    if name == PV:
        if place is None:
            raise ValueError(f"the model {PV} needs the place of the panels: site_latitude and site_longitude")
        return Daily(ClearSkyScaled(place))
    if name not in CATALOGUE:
        raise ValueError(f"model {name} is not known; there are {', '.join((*CATALOGUE, PV))}")
    entry = CATALOGUE[name]
    return Daily(entry.make(), history_days=entry.history_days)


def by_itself(name: str) -> bool:
    """Whether the model forecasts each series by itself, so that a panel may be cut into parts."""
    return name == PV or CATALOGUE[name].by_itself
