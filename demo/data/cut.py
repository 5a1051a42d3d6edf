"""Cuts the demo's extract out of a shared data folder. Needs pandas and pyarrow, which the product does not.

usage: python demo/data/cut.py SHARED_DATA_DIR [--out DIR]

SHARED_DATA_DIR holds load_hourly.parquet and pv_hourly.parquet (kWh per hour, one column a home, UTC index, stamp =
start of the hour) and homes.csv. Written are load_wh.csv and pv_wh.csv (integer Wh per hour, `start` = hour start in
UTC) and homes.csv. The same input gives the same bytes; README.md beside this file says why this date.
"""

from __future__ import annotations

import argparse
import csv
import importlib
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

ZONE = "America/Los_Angeles"
FIRST_DAY = "2016-08-08"  # a Monday; 17 eligible weekdays before the demo day
LAST_DAY = "2016-09-01"  # the day after the demo day, so that the homes go on metering when a run stays up
HOME_COLUMNS = ("home_id", "kind", "source_home", "feeder_id", "pv_kwp")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Cut the demo extract from a shared data folder.")
    parser.add_argument("shared", type=Path, help="folder with load_hourly.parquet, pv_hourly.parquet and homes.csv")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write into")
    options = parser.parse_args(arguments)
    pandas: Any = importlib.import_module("pandas")
    for source, target in (("load_hourly.parquet", "load_wh.csv"), ("pv_hourly.parquet", "pv_wh.csv")):
        frame = window(pandas, pandas.read_parquet(options.shared / source))
        starts = [stamp.strftime("%Y-%m-%dT%H:%M:%SZ") for stamp in frame.index]
        rows = ([start, *map(whole_wh, values)] for start, values in zip(starts, frame.to_numpy(), strict=True))
        write_rows(options.out / target, ["start", *frame.columns], rows)
    homes = pandas.read_csv(options.shared / "homes.csv", dtype=str)[list(HOME_COLUMNS)]
    write_rows(options.out / "homes.csv", HOME_COLUMNS, homes.to_numpy().tolist())


def window(pandas: Any, frame: Any) -> Any:
    """The rows from local midnight of FIRST_DAY to local midnight after LAST_DAY; raises ValueError on any gap."""
    first = pandas.Timestamp(FIRST_DAY, tz=ZONE).tz_convert("UTC")
    end = (pandas.Timestamp(LAST_DAY, tz=ZONE) + pandas.Timedelta(days=1)).tz_convert("UTC")
    cut = frame[(frame.index >= first) & (frame.index < end)]
    if len(cut) != (end - first) // pandas.Timedelta(hours=1) or cut.isna().to_numpy().any():
        raise ValueError(f"the source has gaps between {first} and {end}")
    return cut


def whole_wh(energy_kwh: float) -> int:
    """kWh to whole Wh, halves up. Rounded to 0.1 Wh first: the source has four decimals of a kWh, kept as float32."""
    tenths = Decimal(repr(float(energy_kwh))).quantize(Decimal("0.0001"))
    return int((tenths * 1000).quantize(Decimal(1), ROUND_HALF_UP))


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
