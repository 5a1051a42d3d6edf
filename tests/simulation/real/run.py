"""One real run: three members under load, one fault after the other, and the count at the end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.simulation.real.consortium import Consortium
from tests.simulation.real.load import Load
from tests.simulation.real.strikes import Strike
from tests.simulation.real.vtn import Vtn


@dataclass
class Outcome:
    """lost: acknowledged transactions some member lacks or has otherwise; diverged: where logs differ; unproved: what
    some member cannot prove offline."""

    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    retried: int = 0
    height: int = 0
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)


async def strike_all(
    folder: Path, strikes: Sequence[Strike], *, seed: int = 0, rest_s: float = 2.0, with_vtn: bool = False
) -> Outcome:
    """Founds a consortium in `folder`, strikes it under load with a rest after each, and judges it. with_vtn: one runs
    on it, and is killed for good before the first strike."""
    outcome, random, began_s = Outcome(), Random(seed), time.monotonic()
    vtn = Vtn(folder / "vtn") if with_vtn else None
    aggregators = [await vtn.init()] if vtn is not None else []
    async with Consortium.running(folder / "cluster", aggregators) as consortium:
        load = Load(consortium)
        if vtn is not None:
            try:
                await vtn.start(consortium.layout)
            finally:
                await vtn.kill()
            outcome.faults["kill_vtn"] += 1
        sending = asyncio.create_task(load.run())
        try:
            await _acknowledged(load, 1)
            for strike in strikes:
                await consortium.ready()
                outcome.faults[strike.__name__] += await strike(consortium, random)
                await _acknowledged(load, len(load.acknowledged) + 1)
                await asyncio.sleep(rest_s)
            load.end()
            await sending
        finally:
            sending.cancel()
        await consortium.ready()
        outcome.height = await consortium.level()
        said = await consortium.status(consortium.members[0])
        outcome.lost = await load.lost()
        outcome.diverged = await load.diverged(int(said["size"]) if said is not None else 0)
        outcome.unproved = await load.unproved()
        outcome.acknowledged, outcome.retried = len(load.acknowledged), load.retried
    outcome.seconds = time.monotonic() - began_s
    return outcome


async def _acknowledged(load: Load, count: int, timeout_s: float = 60.0) -> None:
    """Service goes on: more is acknowledged. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while len(load.acknowledged) < count:
            await asyncio.sleep(0.05)
