"""Plays the whole evening: stage, story, outcome."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

from rich.console import Console

from demo import outcome
from demo.data.series import INTERVAL_S
from demo.stage import Stage
from demo.story import Story
from ledger.client import LedgerClient
from runtime.clock import Clock

Disturbance = Callable[[Stage, Clock], Coroutine[None, None, None]]


@contextlib.asynccontextmanager
async def evening(
    folder: Path, seed: int, speed: float, console: Console, disturb: Disturbance | None = None
) -> AsyncIterator[Stage]:
    """Yields when the event is over and summary.json is written; everything still runs inside the block.

    folder: absolute. disturb: further trouble, run beside the story (tests kill whole services with it)."""
    started = time.monotonic()
    stage = Stage(folder=folder, seed=seed, speed=speed)
    stage.prepare()
    console.print(f"[bold]Gridpact[/bold]: 52 homes, one evening at {speed:g} times speed, seed {seed}")
    try:
        with console.status("a ledger is founded"):
            await stage.open_ledger()
        with console.status("the VTN opens its program"):
            await stage.open_vtn()
        with console.status("52 homes enrol and report their history"):
            await stage.open_homes()
            await stage.wait_for_homes(since_ms=1)
        with console.status("everything starts again under the evening's clock"):
            clock = await stage.begin()
            vens = await stage.wait_for_homes(since_ms=clock.now_ms() - INTERVAL_S * 1000)
        story = Story(stage, clock, console)
        story.say(f"{len(vens)} homes enrolled in 2 virtual nodes; {stage.faults.offline} is offline")
        trouble = asyncio.create_task(disturb(stage, clock)) if disturb is not None else None
        async with LedgerClient(stage.ledger_url, clock=clock) as ledger:
            await story.run(vens, ledger)
            if trouble is not None:
                await trouble
            result = await outcome.collect(story, ledger)
        outcome.show(story, result)
        proofs = await outcome.prove_payments(story, result)
        path = outcome.write_summary(story, result, proofs, started)
        console.print(f"\n[bold]{path}[/bold] after {time.monotonic() - started:.0f} s")
        yield stage
    finally:
        await stage.close()
