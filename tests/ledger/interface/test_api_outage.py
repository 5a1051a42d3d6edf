"""When PostgreSQL is away a reader is told to come back, and nothing of the inside."""

from __future__ import annotations

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy.exc import OperationalError

from ledger.api.routes import _explain
from ledger.store.reading import reaching
from runtime.service import new_app


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("connection to /tmp/secret-socket failed"),
        OperationalError("select", {}, Exception("server closed")),
    ],
)
async def test_a_lost_database_is_a_503_with_a_time_to_come_back(error: Exception) -> None:
    async def failing(_: web.Request) -> web.Response:
        with reaching():
            raise error

    app = new_app()
    app.middlewares.append(_explain)
    app.router.add_get("/read", failing)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/read")
        problem = await answer.json()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert problem["type"].endswith("database-unavailable")
    assert "secret-socket" not in str(problem)
