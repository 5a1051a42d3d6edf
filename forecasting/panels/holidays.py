"""Public holidays and weekends of any country, as data for a calendar."""

from __future__ import annotations

from datetime import date
from typing import Any

from forecasting.calendar import WEEKEND
from forecasting.errors import MissingLibrary


def national_holidays(country: str, first_year: int, last_year: int, subdivision: str | None = None) -> frozenset[date]:
    """Holidays of a country (ISO 3166 code) and, if given, one of its parts, in each of the years.

    Raises ValueError for a country or part the library does not know, MissingLibrary.
    """
    holidays = _library()
    parts = holidays.list_supported_countries().get(country)
    if parts is None or (subdivision is not None and subdivision not in parts):
        known = ", ".join(parts or []) or "codes of ISO 3166, like DE or AU"
        asked = country if subdivision is None else f"{country}-{subdivision}"
        raise ValueError(f"no holidays are known for {asked}: there are {known}")
    found = holidays.country_holidays(country, subdiv=subdivision, years=range(first_year, last_year + 1))
    return frozenset(found)


def national_weekend(country: str) -> frozenset[int]:
    """Days of the week, Monday 0, on which a country rests: Friday and Saturday in Egypt. Raises MissingLibrary."""
    holidays = _library()
    if country not in holidays.list_supported_countries():
        return WEEKEND
    return frozenset(holidays.country_holidays(country).weekend) or WEEKEND


def _library() -> Any:
    try:
        import holidays
    except ImportError as error:
        raise MissingLibrary(
            "holidays by country need the extra intelligence: pip install '.[intelligence]'"
        ) from error
    return holidays
