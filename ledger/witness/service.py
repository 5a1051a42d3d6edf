"""The HTTP interface of a witness (c2sp.org/tlog-witness); submission and monitoring prefix are the root.

    POST add-checkpoint    200 cosignature lines; 400, 403, 404, 422; 409 with the size cosigned last, of the type
                           text/x.tlog.size; 503 where the disk or the queue is full
    GET  status            name, vkey, and for each log what was cosigned last
    GET  healthz, readyz, metrics

Requests are worked off one after the other in a thread of their own: the disk decides how many a second.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from prometheus_client import Counter, Gauge

from ledger.witness.cosigner import REQUEST_BYTES_MAX, Cosigner
from ledger.witness.errors import CheckpointRefused, SizeConflict
from runtime.logs import get_logger
from runtime.service import REGISTRY, ProblemError, new_app

_log = get_logger("ledger.witness")

SIZE_TYPE: Final = "text/x.tlog.size"
WAITING_MAX: Final = 256
"""Requests that wait for the disk; beyond it 503."""
_TITLES: Final = {
    400: ("request-malformed", "The request is no checkpoint with a consistency proof"),
    403: ("signature-missing", "The log did not sign this"),
    404: ("log-unknown", "The log is not known here"),
    422: ("not-consistent", "The checkpoint does not extend the one before"),
}


def build(cosigner: Cosigner) -> web.Application:
    """The application of one witness; whoever made the cosigner closes its record afterwards."""
    app = new_app(client_max_size=REQUEST_BYTES_MAX)
    witness = _Service(cosigner)
    witness.requests = Counter("witness_requests", "Checkpoints judged, by answer", ["status"], registry=app[REGISTRY])
    Gauge("witness_waiting", "Requests that wait for the disk", registry=app[REGISTRY]).set_function(
        lambda: witness.waiting
    )
    app.router.add_post("/add-checkpoint", witness.add_checkpoint)
    app.router.add_get("/status", witness.status)

    async def thread(_: web.Application) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(witness.thread.shutdown)  # what was begun is finished: its record may be durable

    app.cleanup_ctx.append(thread)
    return app


class _Service:
    requests: Counter

    def __init__(self, cosigner: Cosigner) -> None:
        self._cosigner = cosigner
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="witness")
        self.waiting = 0

    async def add_checkpoint(self, request: web.Request) -> web.Response:
        """POST add-checkpoint."""
        body = await request.read()
        if self.waiting >= WAITING_MAX:
            raise ProblemError("witness-busy", "The witness is busy", 503, "Try again shortly.", retry_after=1)
        self.waiting += 1
        try:
            lines = await self._judged(body)
        except SizeConflict as error:
            self.requests.labels("409").inc()
            _log.info("not cosigned", status=409, error=str(error))
            return web.Response(body=f"{error.known}\n".encode(), status=409, headers={"Content-Type": SIZE_TYPE})
        except CheckpointRefused as error:
            self.requests.labels(str(error.status)).inc()
            raise ProblemError(*_TITLES[error.status], error.status, str(error)) from None
        except sqlite3.Error as error:
            self.requests.labels("503").inc()
            _log.error("nothing can be cosigned: what is signed cannot be kept", error=str(error))
            detail = "Nothing was signed. Try again later."
            raise ProblemError("record-unavailable", "Nothing can be kept", 503, detail, retry_after=5) from None
        finally:
            self.waiting -= 1
        self.requests.labels("200").inc()
        return web.Response(body=lines, content_type="text/plain", charset="utf-8")

    async def _judged(self, body: bytes) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._cosigner.add_checkpoint, body)

    async def status(self, _: web.Request) -> web.Response:
        """GET status."""
        last = await asyncio.get_running_loop().run_in_executor(self.thread, self._cosigner.logs)
        logs = [
            {
                "origin": origin,
                "size": 0 if each is None else each.size,
                "root": None if each is None else each.root.hex(),
                "cosigned_at": None if each is None else datetime.fromtimestamp(each.time_s, UTC).isoformat(),
            }
            for origin, each in last.items()
        ]
        key = self._cosigner.key
        return web.json_response({"name": key.name, "vkey": key.encode(), "logs": logs})
