"""What other workers, and commands, changed: PostgreSQL's NOTIFY, delivered to callbacks.

    transaction commits ──▶ NOTIFY gridpact_vtn 'message:ven-1' ──▶ every worker's listener ──▶ callbacks of "message"

A notification can be missed while the connection is down, so after each (re)connection `resynchronise` runs first, and
in between `up` is False: nobody may then rely on having heard everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from runtime.logs import get_logger
from vtn.records.database import WAKE_CHANNEL

_RETRY_S = 0.5
_QUIET_S = 15.0
"""After so long without a notification the connection is tried, so that a dead one is noticed."""

_log = get_logger("vtn.wakeups")


class Wakeups:
    """Listens on a connection of its own; `run` it as a task."""

    def __init__(self, database_url: str, resynchronise: Callable[[], Awaitable[None]]) -> None:
        self.up = False
        self._conninfo = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._resynchronise = resynchronise
        self._callbacks: dict[str, Callable[[str], None]] = {}

    def on(self, topic: str, callback: Callable[[str], None]) -> None:
        """Call `callback(key)` for each notification of `topic`."""
        self._callbacks[topic] = callback

    async def run(self) -> None:
        """Listen until cancelled; a lost connection is made again."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError) as error:
                _log.warning("listening interrupted", error=str(error).strip())
            except Exception:
                _log.exception("listening failed")
            finally:
                self.up = False
            await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, connect_timeout=5, application_name="dr-vtn-wakeups"
        )
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(WAKE_CHANNEL)))
            await self._resynchronise()
            self.up = True
            while True:
                async for notification in connection.notifies(timeout=_QUIET_S):
                    topic, _, key = notification.payload.partition(":")
                    callback = self._callbacks.get(topic)
                    if callback is not None:
                        callback(key)
                await connection.execute("SELECT 1")
