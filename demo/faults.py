"""What goes wrong in the demo, chosen by the seed and done from outside: no product knows of it.

offline    one home is enrolled and never runs
opt-out    two owners decline before the event
killed     one device's process gets kill -9 at one third of the event and stays dead
forger     one device reaches the ledger through a proxy that changes readings on the way
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp import web

_FORGED_COMMAND = b"RecordMeasurements"
_READINGS = re.compile(rb'(\\"energy_wh\\":\[)(-?\d+)')
_HOP_HEADERS = ("host", "content-length", "transfer-encoding", "connection", "content-encoding")


@dataclass(frozen=True)
class Faults:
    """Home ids of each fault."""

    offline: str
    opt_out: tuple[str, str]
    killed: str
    forged: str

    @property
    def alone(self) -> tuple[str, str]:
        """Homes that run as a process of their own."""
        return self.killed, self.forged


def choose(seed: int, home_ids: Sequence[str], largest: Sequence[str], likely: Sequence[str]) -> Faults:
    """Faults of a seed: the killed home is one of the `largest`, so that it is missed; the forged one and those that
    opt out are drawn from `likely` ones, which are worth calling; the offline one from all."""
    rng = random.Random(seed)
    killed = rng.choice(sorted(largest))
    forged, *opt_out = rng.sample(sorted(set(likely) - {killed}), 3)
    offline = rng.choice(sorted(set(home_ids) - {killed, forged, *opt_out}))
    return Faults(offline=offline, opt_out=(opt_out[0], opt_out[1]), killed=killed, forged=forged)


class ForgingProxy:
    """A reverse proxy to the ledger that lowers the first reading of every RecordMeasurements that passes through.

    It can only forward, because the device signs: what it changed is refused. `forged` counts what it changed."""

    def __init__(self, target: str) -> None:
        self.forged = 0
        self._target = target
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self, port: int) -> None:
        """Listens on a loopback port."""
        self._session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def stop(self) -> None:
        """Closes everything."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        body = self._forge(await request.read())
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        url = self._target + request.path_qs
        try:
            async with self._session.request(request.method, url, data=body, headers=headers) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_HEADERS}
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return response
        except aiohttp.ClientError:
            return web.Response(status=502)

    def _forge(self, body: bytes) -> bytes:
        if _FORGED_COMMAND not in body:
            return body
        changed = _READINGS.sub(lambda found: found[1] + b"%d" % (int(found[2]) - 100), body)
        self.forged += changed != body
        return changed
