"""A service and commands that come to the same data folder: nobody keeps the other out for longer than it works."""

import asyncio
import os

import pytest

from runtime.errors import DataFolderLocked
from runtime.postgres import postgres
from tests.runtime.test_postgres import query


async def test_a_service_waits_for_a_command_that_runs_the_server_for_itself(tmp_path):
    async with postgres(None, tmp_path / "postgres", "ledger", attach=True) as url:
        query(url, "CREATE TABLE kept AS SELECT 42 AS value")
        service = postgres(None, tmp_path / "postgres", "ledger")
        starting = asyncio.create_task(service.__aenter__())
        await asyncio.sleep(0.3)
        assert not starting.done()
    try:
        assert query(await starting, "SELECT value FROM kept") == [(42,)]
    finally:
        await service.__aexit__(None, None, None)


async def test_a_service_does_not_wait_for_a_command_for_ever(tmp_path):
    async with postgres(None, tmp_path / "postgres", "ledger", attach=True):
        with pytest.raises(DataFolderLocked, match=f"in use by process {os.getpid()}:"):
            async with postgres(None, tmp_path / "postgres", "ledger", patience_s=0.2):
                pass


async def test_a_command_waits_for_a_server_that_is_only_starting(tmp_path):
    folder = tmp_path / "postgres"
    service = postgres(None, folder, "ledger")
    starting = asyncio.create_task(service.__aenter__())
    while not (folder / "lock").exists():
        await asyncio.sleep(0)
    async with postgres(None, folder, "ledger", attach=True) as attached:
        assert attached == await starting
    await service.__aexit__(None, None, None)
