"""PostgreSQL without installation: a server of the process's own, or one that a URL names.

async with postgres(settings.database_url, settings.data_dir / "postgres", "ledger") as url:
    engine = create_engine(url)

             ┌ URL given ──────────▶ that server
postgres() ──┤                       ┌ not root ──────────▶ as we are
             └ none: binaries of ────┤ root: user namespace ▶ `unshare --user --map-user=1000`
               the wheel or a folder └ refused: ───────────▶ system user, data under /var/lib/gridpact
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from runtime.errors import DataFolderLocked, PostgresError, SettingsError
from runtime.postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "normal_url", "postgres"]

_AGAIN_S = 0.1


@contextlib.asynccontextmanager
async def postgres(
    database_url: str | None,
    data_dir: Path,
    database: str,
    *,
    binaries: Path | None = None,
    attach: bool = False,
    patience_s: float = 30.0,
) -> AsyncIterator[str]:
    """The SQLAlchemy URL (`postgresql+psycopg://`) of `database`, created if absent, for the time of the block.

    Without `database_url` an embedded server runs on `data_dir` and is started again should it die. `binaries` is the
    folder of another PostgreSQL's programs. With `attach`, for commands, a server that another process runs on
    `data_dir` is used; where none runs, the command runs one itself, and a service that starts meanwhile waits for it
    at most `patience_s`. Raises PostgresError and what it is the base of.
    """
    if database_url:
        yield normal_url(database_url, database)
        return
    server = EmbeddedPostgres(data_dir, binaries=binaries, briefly=attach)
    attached = await _start_or_attach(server, database, attach=attach, patience_s=patience_s)
    if attached is not None:
        yield attached
        return
    watch: asyncio.Task[None] | None = None
    try:
        url = await server.ensure_database(database)
        watch = asyncio.create_task(server.supervise())
        yield url
    finally:
        if watch is not None:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        await asyncio.shield(server.stop())


async def _start_or_attach(server: EmbeddedPostgres, database: str, *, attach: bool, patience_s: float) -> str | None:
    """None once our own server runs, else the URL of the one that another process runs.

    A lock that is taken may be a command's, which lets go soon; and a server whose lock is taken may still be starting,
    or be ending: both are tried again."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            await server.start()
            return None
        except DataFolderLocked as error:
            if not attach and (not error.briefly or time.monotonic() > deadline):
                raise
        if attach:
            try:
                return await server.ensure_database(database)
            except PostgresError:
                if time.monotonic() > deadline:
                    raise
        await asyncio.sleep(_AGAIN_S)


def normal_url(database_url: str, database: str) -> str:
    """`database_url` for SQLAlchemy on psycopg 3, with `database` where it names none. Raises SettingsError."""
    try:
        url = make_url(database_url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):  # the text may hold a password: it is not repeated
        raise SettingsError("the database URL is none: write it like postgresql://USER@HOST:5432/NAME") from None
    return (url if url.database else url.set(database=database)).render_as_string(hide_password=False)
