"""Plays the whole evening: stage, story, outcome."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

from rich.console import Console

from demo import outcome
from demo.consortium import etcd_missing
from demo.data.series import INTERVAL_S
from demo.stage import Dispatch, Stage
from demo.story import Story
from demo.until import within
from ledger.client import LedgerClient
from runtime.clock import Clock

Disturbance = Callable[[Stage, Clock], Coroutine[None, None, None]]
#: wall seconds in which an evening ends at 240 times speed, on a machine that has other things to do as well
DEADLINE_S = 420.0


@contextlib.asynccontextmanager
async def evening(
    folder: Path,
    seed: int,
    speed: float,
    console: Console,
    *,
    members: int = 1,
    dispatch: Dispatch = "merit",
    fallback: bool = False,
    disturb: Disturbance | None = None,
    deadline_s: float = DEADLINE_S,
) -> AsyncIterator[Stage]:
    """Yields when the event is over and summary.json is written; everything still runs inside the block.

    folder: absolute. members: of the ledger; with `fallback` one of them where etcd cannot be had. dispatch: how homes
    are chosen. disturb: further trouble, run beside the story (tests kill whole services with it). Raises
    CommandFailed: a process ended, or the evening was not over after `deadline_s`; the message says what was waited
    for, and how each log ends."""
    started = time.monotonic()
    why_one = await etcd_missing({}) if members > 1 and fallback else None
    if why_one is not None:
        console.print(f"[yellow]One member instead of {members}, because there is no etcd:[/yellow] {why_one}")
    members = 1 if why_one is not None else members
    stage = Stage(folder=folder, seed=seed, speed=speed, members=members, dispatch=dispatch)
    stage.prepare()
    told = f"{stage.members} members" if stage.members > 1 else "one member"
    console.print(
        f"[bold]Gridpact[/bold]: 52 homes, a ledger of {told}, one evening at {speed:g} times speed, seed {seed}"
    )
    try:
        async with within(deadline_s, stage):
            await _play(stage, console, disturb, started, why_one)
        yield stage
    finally:
        await stage.close()


async def _play(
    stage: Stage, console: Console, disturb: Disturbance | None, started: float, why_one: str | None
) -> None:
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
    stage.check_lead(clock)
    story = Story(stage, clock, console)
    story.say(f"{len(vens)} homes enrolled in 2 virtual nodes; {stage.faults.offline} is offline")
    async with LedgerClient(stage.ledger_url, clock=clock) as ledger:
        await story.run(vens, ledger, *([disturb(stage, clock)] if disturb is not None else []))
        stage.doing = "the outcome to be told"
        result = await outcome.collect(story, ledger)
    outcome.show(story, result)
    proofs = await outcome.prove_payments(story, result)
    path = outcome.write_summary(story, result, proofs, started, why_one)
    console.print(f"\n[bold]{path}[/bold] after {time.monotonic() - started:.0f} s")
