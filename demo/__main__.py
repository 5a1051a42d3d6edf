"""`python -m demo`: one real evening, from a utility's need to payments that a home can prove."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from rich.console import Console

from demo.play import evening
from demo.processes import CommandFailed

#: columns where nobody says how wide the terminal is
WIDTH = 160


def main() -> int:
    """Exit code 0 when the event ended settled, 1 when a product failed."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="which homes fail, and how (default 1)")
    parser.add_argument("--speed", type=float, default=240.0, help="domain seconds a wall second (default 240)")
    parser.add_argument(
        "--members", type=int, default=3, choices=(1, 2, 3), help="replicas of the ledger (default 3; 1 needs no etcd)"
    )
    parser.add_argument(
        "--dispatch",
        default="merit",
        choices=("merit", "optimal"),
        help="how homes are chosen: in merit order, or as the best plan (needs the extra intelligence)",
    )
    parser.add_argument("--folder", type=Path, default=Path("var/demo"), help="where everything is kept")
    parser.add_argument("--end", action="store_true", help="end by itself also on a terminal")
    chosen = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    try:
        chosen.folder = chosen.folder.resolve()
        asyncio.run(_play(chosen, console))
    except (CommandFailed, TimeoutError, RuntimeError) as error:
        console.print("[red]The demo stopped:[/red]")
        console.print(str(error), markup=False)
        console.print(f"Logs: {chosen.folder / 'logs'}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _play(chosen: argparse.Namespace, console: Console) -> None:
    async with evening(
        chosen.folder,
        chosen.seed,
        chosen.speed,
        console,
        members=chosen.members,
        dispatch=chosen.dispatch,
        fallback=True,
    ):
        if sys.stdout.isatty() and sys.stdin.isatty() and not chosen.end:
            console.print("Everything stays up; Ctrl-C ends it.")
            await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
