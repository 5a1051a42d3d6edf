"""What the machine allows at most, measured in the same run as the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from ledger.cluster import order
from ledger.cluster.layout import Layout
from ledger.errors import OrderingUnavailable
from ledger.ordering.etcd.client import EtcdClient, put
from ledger.ordering.etcd.errors import Unanswered
from runtime.keys import verify
from runtime.postgres import EmbeddedPostgres
from tests.bench.profile_machine import _REFERENCE_S, _reference_s
from tests.bench.traffic import UTILITY

_PUT_BYTES = 64 * 1024
_ABREAST = 4


async def commits_per_s(folder: Path, seconds: float) -> float:
    """Transactions of one row a second, on one connection of a PostgreSQL of its own, waiting for the disk."""
    server = EmbeddedPostgres(folder)
    await server.start()
    try:
        url = await server.ensure_database("bare")
        return await asyncio.to_thread(_bare_commits, url, seconds)
    finally:
        await server.stop()


def verifies_per_s(seconds: float = 1.0) -> float:
    """Ed25519 verifications a second of CPU time of one core."""
    message = bytes(350)
    signature = UTILITY.sign(message)
    count, started_s = 0, time.process_time()
    while time.process_time() - started_s < seconds:
        assert verify(UTILITY.public, message, signature)
        count += 1
    return count / (time.process_time() - started_s)


async def puts_per_s(layout: Layout, seconds: float) -> float:
    """Values of 64 kB a second that the consortium's etcd takes, four under way at a time."""
    member = layout.members[0]
    password = order.read_password(layout.root_password_file)
    client = EtcdClient(order.settings_of(layout, endpoints=(member,), user="root", password=password))
    count, end_s = 0, time.monotonic() + seconds

    async def one_after_the_other(place: int) -> None:
        nonlocal count
        while time.monotonic() < end_s:
            with contextlib.suppress(Unanswered, OrderingUnavailable):
                await client.txn([], [put(b"/bench/%d" % place, bytes(_PUT_BYTES))], deadline_s=2.0)
                count += 1

    try:
        await asyncio.gather(*map(one_after_the_other, range(_ABREAST)))
    finally:
        await client.close()
    return count / seconds


def disturbed() -> float:
    """By which factor CPU is dearer than on the quiet machine: others share its caches and cores."""
    return sum(_reference_s() for _ in range(20)) / 20 / _REFERENCE_S


def _bare_commits(url: str, seconds: float) -> float:
    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE TABLE bare (n bigint PRIMARY KEY, body bytea)")
        connection.commit()
        count, started_s = 0, time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            connection.execute("INSERT INTO bare VALUES (%s, %b)", (count, bytes(1024)))
            connection.commit()
            count += 1
        return count / (time.perf_counter() - started_s)
