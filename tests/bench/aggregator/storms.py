"""What a storm leaves of a delivery: a real ledger and VTN on PostgreSQL, homes that die at once, are late or lie."""

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
from tests.vtn.storm.world import INTERVALS, Home, World, a_world

HOMES = 160
AREAS = ("F1", "F2", "F3", "F4")
TARGET_WH = 10_000
STRUCK_AT = 3
#: two silent intervals, and one until those called instead begin
ANSWERED_AFTER = 3


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
        await world.advance(1, parts=3)
        await world.restart()
        await world.advance(INTERVALS - STRUCK_AT - 1, parts=3)
        return _figures(world, called, time.monotonic() - began)


def _strike(called: list[Home]) -> None:
    """Three in ten die, one in ten is late, one in twenty does nothing and claims an export."""
    for number, home in enumerate(called):
        home.dead = number % 10 in (0, 3, 6)
        home.late = 1 if number % 10 == 1 else 0
        home.lying = number % 20 == 2


def _figures(world: World, called: list[Home], seconds: float) -> dict[str, Any]:
    answered = [world.delivered_wh[n] for n in range(STRUCK_AT + ANSWERED_AFTER, INTERVALS)]
    return {
        "redispatch_delivered_percent": round(100 * sum(answered) / TARGET_WH / len(answered), 1),
        "redispatch": {
            "homes": HOMES, "called": len(called), "dead": sum(home.dead for home in called),
            "delivered_percent_by_interval": [
                round(100 * wh / TARGET_WH, 1) for _, wh in sorted(world.delivered_wh.items())
            ],
            "whole_event_percent": round(100 * sum(world.delivered_wh.values()) / TARGET_WH / INTERVALS, 1),
            "seconds": round(seconds, 1),
        },
    }  # fmt: skip


def _conninfo(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
