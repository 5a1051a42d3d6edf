"""Fixtures every package's tests share: a real PostgreSQL, one server for each pytest worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from itertools import count

import psycopg
import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from psycopg import sql
from sqlalchemy import make_url

from runtime.database import upgrade
from runtime.postgres import EmbeddedPostgres

# a busy machine is no finding
hypothesis_settings.register_profile("gridpact", deadline=None)
hypothesis_settings.load_profile("gridpact")

# the tests' data may be lost with the machine, so nothing waits for the disk
_FAST = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "1GB", "max_connections": "200"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: at the end one worker would be busy with them alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A command that a test runs in this process sets up logging on streams that end with the test: take it back."""
    root = logging.getLogger()
    root.handlers[:] = [each for each in root.handlers if not getattr(getattr(each, "stream", None), "closed", False)]
    handlers, level, settings = root.handlers[:], root.level, structlog.get_config()
    processors = settings["processors"][:]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    settings["processors"][:] = processors
    structlog.configure(**settings)
    structlog.contextvars.clear_contextvars()


class Databases:
    """Hands out fresh databases of one server; a migrated one is a copy of a template made once."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._numbers = count(1)
        self._templates: dict[tuple[str, ...], str] = {}
        self._admin = psycopg.connect(_conninfo(server.url("postgres")), autocommit=True)

    def new(self, *packages: str) -> str:
        """The URL of a new database with the tables of `packages`, or an empty one."""
        name = f"test_{next(self._numbers)}"
        template = sql.Identifier(self._template(packages) if packages else "template0")
        self._admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(name), template)
        )
        return self._server.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected."""
        name = make_url(url).database or ""
        self._admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def close(self) -> None:
        self._admin.close()

    def _template(self, packages: tuple[str, ...]) -> str:
        if packages not in self._templates:
            url = self.new()
            for package in packages:
                asyncio.run(upgrade(url, package))
            self._templates[packages] = make_url(url).database or ""
        return self._templates[packages]


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """The databases of this worker's PostgreSQL server."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), options=_FAST)
    asyncio.run(server.start())
    databases = Databases(server)
    yield databases
    databases.close()
    asyncio.run(server.stop())


@pytest.fixture
def new_database(databases: Databases) -> Iterator[Callable[..., str]]:
    """Makes databases for one test: `new_database("ledger", "vtn")` has their tables, `new_database()` none."""
    made: list[str] = []

    def new(*packages: str) -> str:
        made.append(databases.new(*packages))
        return made[-1]

    yield new
    for url in made:
        databases.drop(url)


@pytest.fixture
def database_url(new_database: Callable[..., str]) -> str:
    """The URL of an empty database of this test's own."""
    return new_database()


def _conninfo(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
