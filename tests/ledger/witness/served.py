"""A witness in the test's own process, over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from aiohttp import web

from ledger.verify.note import VerifierKey
from ledger.witness.cosigner import Cosigner
from ledger.witness.folder import create, open_witness
from ledger.witness.service import build
from ledger.witness.trust import ExternalWitness

TIME_S = 1_800_000_000


@contextlib.asynccontextmanager
async def a_witness(
    folder: Path,
    keys: Sequence[VerifierKey],
    name: str = "witness.example/w1",
    port: int = 0,
    clock: Callable[[], int] = lambda: TIME_S,
) -> AsyncIterator[ExternalWitness]:
    """Cosigns the logs that `keys` are of; the same folder continues the same witness."""
    if not folder.exists():
        create(folder, name)
    opened = open_witness(folder)
    logs = {key.name: [each for each in keys if each.name == key.name] for key in keys}
    app = build(Cosigner(opened.key, opened.private.sign, logs, opened.record, clock))
    try:
        async with serving(app, port) as url:
            yield ExternalWitness(name, opened.key, url)
    finally:
        opened.record.close()


@contextlib.asynccontextmanager
async def serving(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """The address of an application on loopback."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
