"""Why a forecast cannot be made.

ForecastError
|-- SeriesError   readings contradict each other or do not lie on the grid
|-- NoHistory     nothing was known when the forecast was issued
"""

from __future__ import annotations


class ForecastError(Exception):
    """Root of the package's errors; the message names the value that was refused."""


class SeriesError(ForecastError):
    """A reading is given twice, off the grid, or is not a finite number."""


class NoHistory(ForecastError):
    """No usable reading had ended when the forecast was to be issued."""
