"""What a storm leaves of a delivery: a real ledger and VTN on PostgreSQL, homes that die at once, are late or lie, and
a VTN that is killed while it answers.

    redispatch_delivered_percent    sum over the intervals from the strike on of min(delivered, target) / target: what
                                    is given beyond an interval's target makes up for nothing
    after_answer_percent            the same from the first interval on in which those called instead act
    whole_event_percent             the same from the first interval of the event on
    total_percent                   all that was delivered over the target, with what nobody is paid for
    ceiling_percent                 of the first, if those called instead made everything whole from the next interval
                                    on: no contract begins before
    detected_after_min              from the strike to the first new choice of members
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import make_url

from runtime.database import upgrade
from runtime.postgres import EmbeddedPostgres
from tests.vtn.storm.world import EVENT_MS, INTERVALS, STEP_MS, Home, World, a_world, claims_export
from vtn.aggregator import overview

HOMES = 160
AREAS = ("F1", "F2", "F3", "F4")
TARGET_WH = 10_000
STRUCK_AT = 3
KILLED_AT = ("plan stored, no event", "event published, no contract", "homes let go")


def measured(data: Path | None, homes: int, quick: bool) -> dict[str, Any]:
    """The figures; `data` and `homes` are the forecasts' and not used."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_on_postgres(Path(folder)))


async def _on_postgres(folder: Path) -> dict[str, Any]:
    server = EmbeddedPostgres(folder / "postgres")
    await server.start()
    try:
        return await _storm(server, folder)
    finally:
        await server.stop()


async def _storm(server: EmbeddedPostgres, folder: Path) -> dict[str, Any]:
    urls = {}
    for package in ("ledger", "vtn"):
        urls[package] = server.url(package)
        with psycopg.connect(_conninfo(server.url("postgres")), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(package)))
        await upgrade(urls[package], package)
    began = time.monotonic()
    async with a_world(urls["ledger"], urls["vtn"], folder, homes=HOMES, areas=AREAS) as world:
        await world.ask((TARGET_WH,) * INTERVALS)
        await world.advance(4 + STRUCK_AT, parts=3)
        acting = {contract.payee for contract in (await world.contracts()).values()}
        called = [home for home in world.homes if home.party in acting]
        _strike(called)
        world.kill_at(*KILLED_AT)
        await world.advance(INTERVALS - STRUCK_AT, parts=3)
        return await _figures(world, called, time.monotonic() - began)


def _strike(called: list[Home]) -> None:
    """Three in ten die, one in ten is late, one in twenty does nothing and claims an export."""
    for number, home in enumerate(called):
        home.dead = number % 10 in (0, 3, 6)
        home.late = 1 if number % 10 == 1 else 0
        if number % 20 == 2:
            home.tells, home.gives_percent = claims_export, 0


async def _figures(world: World, called: list[Home], seconds: float) -> dict[str, Any]:
    given = [world.delivered_wh[n] for n in range(INTERVALS)]
    groups = (await overview.need(world.vtn, "n")).groups
    struck_ms = EVENT_MS + STRUCK_AT * STEP_MS
    answers = [each for group in groups for each in group.rounds if each.round and each.planned_ms > struck_ms]
    begins = [
        plan.terms.start_ms
        for group in groups
        for plan in group.members
        if any((each.sc1, each.round) == (plan.sc1, plan.round) for each in answers)
    ]
    answered = (min(begins, default=EVENT_MS + INTERVALS * STEP_MS) - EVENT_MS) // STEP_MS
    ceiling = [given[STRUCK_AT]] + [TARGET_WH] * (INTERVALS - STRUCK_AT - 1)
    return {
        "redispatch_delivered_percent": _met_percent(given[STRUCK_AT:]),
        "redispatch": {
            "homes": HOMES, "called": len(called), "dead": sum(home.dead for home in called),
            "late": sum(home.late for home in called), "lying": sum(home.tells is not None for home in called),
            "vtn_killed": world.kills,
            "struck_in_interval": STRUCK_AT,
            "detected_after_min": (min((each.planned_ms for each in answers), default=0) - struck_ms) / 60_000,
            "answered_in_interval": answered,
            "rounds": [[(each.planned_ms - EVENT_MS) // 60_000, each.reason] for each in answers],
            "delivered_percent_by_interval": [round(100 * wh / TARGET_WH, 1) for wh in given],
            "after_answer_percent": _met_percent(given[answered:]),
            "whole_event_percent": _met_percent(given),
            "total_percent": round(100 * sum(given) / TARGET_WH / INTERVALS, 1),
            "ceiling_percent": _met_percent(ceiling),
            "seconds": round(seconds, 1),
        },
    }  # fmt: skip


def _met_percent(given: list[int]) -> float:
    return round(100 * sum(min(wh, TARGET_WH) for wh in given) / TARGET_WH / max(1, len(given)), 1)


def _conninfo(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
