"""What the aggregator's forecasts and its dispatch reach on this machine.

    python -m tests.bench.aggregator [--data FOLDER] [--homes 10000] [--only forecasts] [--quick]

Writes `var/bench/aggregator.json`, keeping what other parts wrote there. Without a folder of measured homes those of
the demo are forecast: 25 days alone, so models are tested with little history. The report says which homes it used.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

REPORT = Path("var/bench/aggregator.json")
_PARTS = ("forecasts", "clusters", "dispatches", "storms", "flexibility", "schedules")
"""Modules of tests.bench.aggregator; each has measured(data, homes, quick)."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder with load_hourly.parquet of measured homes")
    parser.add_argument("--homes", type=int, default=10_000, help="homes whose forecast is timed")
    parser.add_argument("--only", default="", help=f"parts by their beginning: {', '.join(_PARTS)}")
    parser.add_argument("--quick", action="store_true", help="without the models that take minutes")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for part in _PARTS:
        name = f"tests.bench.aggregator.{part}"
        if part.startswith(options.only) and importlib.util.find_spec(name) is not None:
            write(importlib.import_module(name).measured(options.data, options.homes, options.quick))


def write(figures: dict[str, Any]) -> None:
    """Adds figures to the report and prints those that are numbers."""
    earlier = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(earlier | figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in figures.items() if not isinstance(value, dict | list)}, indent=2))


if __name__ == "__main__":
    main()
