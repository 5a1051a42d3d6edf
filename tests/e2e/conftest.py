"""Evenings played once for the whole module, and what is left of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from demo.outcome import SUMMARY
from demo.play import DEADLINE_S, Disturbance, evening
from demo.processes import CommandFailed, call_json, call_json_lines
from demo.stage import Stage
from tests.e2e.arithmetic import Recorded

#: for the questions after an evening
_ASK_S = 90.0


@dataclass
class Evening:
    """summary.json, every fact of the ledger, what was refused at its door, what `dr-ledger verify` says, and what
    further questions (asked while everything still ran) were answered."""

    folder: Path
    summary: dict[str, Any]
    facts: list[dict[str, Any]]
    refusals: list[dict[str, Any]]
    verified: dict[str, Any]
    needs: dict[str, Any]
    statements: list[dict[str, Any]]
    answers: dict[str, Any] = field(default_factory=dict)

    @property
    def recorded(self) -> Recorded:
        found = Recorded()
        for record in self.facts:
            found.take(record["fact"])
        return found

    def step(self, n: int) -> dict[str, Any]:
        [step] = [each for each in self.summary["steps"] if each["n"] == n]
        return step

    def of(self, name: str) -> list[dict[str, Any]]:
        """Facts by class name."""
        return [record["fact"] for record in self.facts if record["fact"]["fact"] == name]


async def play(
    folder: Path,
    seed: int,
    speed: float,
    *,
    members: int,
    dispatch: Literal["merit", "optimal"] = "merit",
    disturb: Disturbance | None = None,
    ask: Any = None,
    deadline_s: float = DEADLINE_S,
) -> Evening:
    """Plays an evening to its end and reads what it left; `ask(stage)` may ask more while everything still runs.

    There is no fallback to fewer members. An evening that does not end in time fails with what it waited for, what was
    told so far and the end of every log."""
    with (folder.parent / f"{folder.name}.txt").open("w+") as told:
        console = Console(file=told, width=160, force_terminal=False)
        try:
            async with evening(
                folder,
                seed,
                speed,
                console,
                members=members,
                dispatch=dispatch,
                disturb=disturb,
                deadline_s=deadline_s,
            ) as stage:
                return await _left(folder, stage, ask)
        except CommandFailed as error:
            told.seek(0)
            raise CommandFailed(f"{error}\n--- told so far\n{told.read()}") from None


async def _left(folder: Path, stage: Stage, ask: Any) -> Evening:
    async with asyncio.timeout(_ASK_S):
        environment = stage.environment
        facts, verified, needs, statements, *refusals = await asyncio.gather(
            _facts(stage),
            call_json(["dr-ledger", "verify"], environment),
            call_json(["dr-vtn", "needs", "show", "need-demo"], environment),
            call_json(["dr-vtn", "statements", "need-demo"], environment),
            *(call_json_lines(["dr-ledger", "refusals", "--url", url], environment) for url in stage.consortium.urls),
        )
        return Evening(
            folder=folder,
            summary=json.loads((folder / SUMMARY).read_text()),
            facts=facts,
            refusals=[each for found in refusals for each in found],
            verified=verified,
            needs=needs,
            statements=statements,
            answers=await ask(stage) if ask is not None else {},
        )


def play_once(folder: Path, seed: int, speed: float, *, members: int, **more: Any) -> Evening:
    """As `play`, for a fixture of a wider scope than a test's event loop."""
    return asyncio.run(play(folder, seed, speed, members=members, **more))


async def _facts(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = "0.0.0"
    while True:
        page = await call_json_lines(["dr-ledger", "facts", "--after", after, "--limit", "1000"], stage.environment)
        if not page:
            return found
        found += page
        after = page[-1]["cursor"]
