"""`python -m demo.delta`: one reduction on the small testbed, from the utility's need to two proved payments."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from rich.console import Console

from demo.delta.play import reduction
from demo.processes import CommandFailed


def main() -> int:
    """Exit code 0 when both sites were paid and their payments proved, 1 when a product failed."""
    parser = argparse.ArgumentParser(prog="python -m demo.delta", description=__doc__)
    parser.add_argument("--speed", type=float, default=240.0, help="domain seconds a wall second (default 240)")
    parser.add_argument("--folder", type=Path, default=Path("var/demo-delta"), help="where everything is kept")
    parser.add_argument(
        "--members", type=int, default=2, choices=(1, 2, 3), help="replicas of the ledger (default 2; 1 needs no etcd)"
    )
    chosen = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    folder = chosen.folder.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it ends all that it started
    try:
        asyncio.run(reduction(folder, chosen.speed, console, members=chosen.members, fallback=True))
    except (CommandFailed, TimeoutError, RuntimeError) as error:
        console.print("[red]The testbed stopped:[/red]")
        console.print(str(error), markup=False)
        console.print(f"Logs: {folder / 'logs'}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
