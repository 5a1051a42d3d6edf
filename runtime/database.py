"""SQLAlchemy on psycopg 3, and the schema of each package.

Migrations lie in the package's own folder in a wheel, in `migrations/<package>` in a checkout. Packages may share a
database: each has its own version table. There is no env.py: `upgrade` and `check_schema` are the only two entrances.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
import traceback
import zlib
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from runtime.errors import DatabaseUnreachable, SchemaError, StaleSchema

# The server notices within a minute that a client's machine is gone, and frees the locks it held.
_OPTIONS = "-c timezone=UTC -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"

_migrating = threading.Lock()  # alembic's `op` is one proxy per process


def create_engine(url: str, *, application_name: str = "gridpact", pool_size: int = 5) -> AsyncEngine:
    """An async engine for a URL of `runtime.postgres`; at most twice `pool_size` connections.

    A connection is tested before use, because an embedded server may have been started again meanwhile.
    """
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "application_name": application_name,
            "options": _OPTIONS,
            "client_encoding": "utf8",  # of a database in SQL_ASCII texts would come back as bytes
            "connect_timeout": 10,
            "async_creator_fn": connect,
        },
    )


async def connect(*arguments: Any, **options: Any) -> psycopg.AsyncConnection[Any]:
    """As psycopg's, and whoever is cancelled meanwhile leaves no socket half open: the server would wait for a password
    for a minute, and hold up whatever waits for all its backends (DROP DATABASE, for one)."""
    try:
        return await psycopg.AsyncConnection.connect(*arguments, **options)
    except asyncio.CancelledError as cancelled:
        traceback.clear_frames(cancelled.__traceback__)  # the socket lives in them for as long as the exception does
        raise


async def upgrade(target: str | AsyncEngine, package: str, version: str = "heads") -> None:
    """Bring the tables of `package` to the newest version (or an older one, of `versions`) in one transaction; safe to
    call from many processes at once.

    Raises SchemaError if there are no migrations or one fails.
    """
    url = sqlalchemy.make_url(target) if isinstance(target, str) else target.url
    await asyncio.to_thread(_upgrade, url, package, version)


def versions(package: str) -> list[str]:
    """The schema versions this program knows, newest first. Raises SchemaError."""
    return [script.revision for script in _scripts(package).walk_revisions()]


async def found_version(engine: AsyncEngine, package: str) -> str | None:
    """The version of the tables of `package` in this database, None where there are none."""
    async with engine.connect() as connection:
        found = await connection.run_sync(_current, package)
    return ", ".join(sorted(found)) or None


async def check_schema(engine: AsyncEngine, package: str) -> None:
    """Return if the tables of `package` are at the version of this program; raises StaleSchema naming the command,
    or DatabaseUnreachable."""
    wanted = set(_scripts(package).get_heads())
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(_current, package)
    except OperationalError as error:
        place = engine.url.render_as_string(hide_password=True)
        raise DatabaseUnreachable(f"no connection to {place}: {error.orig}; check the URL and the server") from error
    if found == wanted:
        return
    command = f"dr-{package} migrate"
    if not found:
        raise StaleSchema(f"the database has no tables of {package} yet: run `{command}`")
    shown = ", ".join(sorted(found))
    known = {script.revision for script in _scripts(package).walk_revisions()}
    if not found <= known:
        raise StaleSchema(f"the {package} tables are at version {shown}, made by a newer program: install that one")
    raise StaleSchema(
        f"the {package} tables are at version {shown}, this program needs {', '.join(sorted(wanted))}: run `{command}`"
    )


def migrations_folder(package: str) -> Path:
    """Where the migrations of `package` are. Raises SchemaError."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        for folder in (Path(location) / "migrations", Path(location).parent / "migrations" / package):
            if (folder / "versions").is_dir():
                return folder
    raise SchemaError(f"there are no migrations of {package}: this installation is not complete, install it again")


def version_table(package: str) -> str:
    """The table that holds the schema version of `package`."""
    return f"alembic_version_{package}"


def _upgrade(url: sqlalchemy.URL, package: str, version: str) -> None:
    scripts = _scripts(package)
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args={"client_encoding": "utf8"})
    try:
        with _migrating, engine.begin() as connection:
            lock = zlib.crc32(version_table(package).encode())
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
            _run(connection, package, scripts, version)
    except (CommandError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise SchemaError(f"the {package} tables cannot be migrated: {error}") from error
    finally:
        engine.dispose()


def _run(connection: Connection, package: str, scripts: ScriptDirectory, version: str) -> None:
    def steps(revision: tuple[str, ...], _: MigrationContext) -> list[RevisionStep]:
        return list(scripts._upgrade_revs(version, revision))  # type: ignore[arg-type]  # as alembic.command.upgrade

    with EnvironmentContext(scripts_config(package), scripts, fn=steps) as environment:
        environment.configure(connection=connection, version_table=version_table(package))
        with environment.begin_transaction():
            environment.run_migrations()


def scripts_config(package: str) -> Config:
    """Alembic's configuration for the migrations of `package`."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder(package)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts(package: str) -> ScriptDirectory:
    return ScriptDirectory.from_config(scripts_config(package))


def _current(connection: Connection, package: str) -> set[str]:
    context = MigrationContext.configure(connection, opts={"version_table": version_table(package)})
    return set(context.get_current_heads())
