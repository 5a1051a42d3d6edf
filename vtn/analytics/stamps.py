"""Stamps of a file as instants: ISO 8601 with an offset, epoch seconds or milliseconds, or local time of a zone.

Local time without offsets is read by the order in which it came: an hour the clock repeats in autumn is summer time
the first time a home tells of it and winter time the second. Days of 23 and 25 hours and days that always have 24
labels are both read: of a label told once the other hour is a gap, and a label the clock skips is no reading.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from forecasting.errors import BadReadings

UNREADABLE = np.iinfo(np.int64).min
"""In the place of a stamp that is empty, no time, or an hour the clock skips."""
_OFFSET = r"(?:[zZ]|[+-]\d{2}:?\d{2}|[+-]\d{2})$"
_SECONDS_MAX = 1e11


def epoch_ms(column: Any, path: Path | str, naive_zone: str | None = None, homes: Any = None) -> Any:
    """Stamps in UTC epoch ms (int64), UNREADABLE for those that are none.

    `homes`: whose each row is, where rows of several stand below each other. Raises BadReadings where no stamp can be
    read, some have an offset and some not, or none has one and no zone is named.
    """
    import pandas as pd

    if not len(column):
        return np.empty(0, dtype=np.int64)
    if pd.api.types.is_numeric_dtype(column):
        return _of_numbers(column.to_numpy(dtype=np.float64, na_value=np.nan), path)
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = _parsed(column, path)
    if column.dt.tz is None:
        if naive_zone is None:
            raise BadReadings(f"the stamps of {path} have no offset: name the zone they are in (--naive-zone)")
        column = _in_zone(column, naive_zone, homes)
    instants = column.dt.tz_convert("UTC").dt.as_unit("ms")
    return np.where(instants.isna(), UNREADABLE, instants.astype("int64").to_numpy())


def _of_numbers(numbers: Any, path: Path | str) -> Any:
    known = np.isfinite(numbers)
    if not known.any():
        raise BadReadings(f"the stamps of {path} cannot be read: there are none")
    factor = 1000 if np.abs(numbers[known]).max(initial=0) < _SECONDS_MAX else 1
    return np.where(known, np.nan_to_num(numbers, posinf=0, neginf=0) * factor, UNREADABLE).astype(np.int64)


def _parsed(column: Any, path: Path | str) -> Any:
    import pandas as pd

    text = column.astype("string").str.strip()
    there = text.str.match(r"\d", na=False)  # pandas takes "now" for a time
    offset = text.str.contains(_OFFSET, regex=True, na=False) & text.str.contains(":", regex=False, na=False)
    try:
        read = pd.to_datetime(text.where(there), format="ISO8601", errors="coerce", utc=bool(offset.any()))
    except (ValueError, TypeError, OverflowError) as error:
        raise BadReadings(f"the stamps of {path} cannot be read: {error}") from error
    readable = read.notna()
    if not readable.any():
        first = text.dropna().iloc[0] if text.notna().any() else ""
        raise BadReadings(f"the stamps of {path} cannot be read: {first!r}; write them like 2026-08-31T00:15:00+02:00")
    if offset[readable].any() and not offset[readable].all():
        raise BadReadings(f"some stamps of {path} have an offset and some have none: nobody knows what those mean")
    return read


def _in_zone(column: Any, naive_zone: str, homes: Any) -> Any:
    import pandas as pd

    again = pd.DataFrame({"at": column, "home": 0 if homes is None else np.asarray(homes)}).duplicated()
    return column.dt.tz_localize(naive_zone, ambiguous=~again.to_numpy(), nonexistent="NaT")
