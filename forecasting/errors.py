"""Why a forecast cannot be made.

ForecastError
|-- SeriesError   readings contradict each other or do not lie on the grid
|   |-- BadReadings   a whole series cannot be what it is said to be: unit, clock, sign or a meter's register
|-- NoHistory     nothing was known when the forecast was issued
|-- WeatherUnavailable  the provider of weather gave none
|-- MissingLibrary      a model was asked for whose library is not installed
"""

from __future__ import annotations


class ForecastError(Exception):
    """Root of the package's errors; the message names the value that was refused."""


class SeriesError(ForecastError):
    """A reading is given twice, off the grid, or is not a finite number."""


class BadReadings(SeriesError):
    """A series as a whole is wrong; the message says what it looks like and what to give instead."""


class NoHistory(ForecastError):
    """No usable reading had ended when the forecast was to be issued."""


class WeatherUnavailable(ForecastError):
    """The provider cannot be reached, or what it answers is no weather of that place and time."""


class MissingLibrary(ForecastError):
    """A model was asked for whose library is not installed; the message names the extra that brings it."""
