"""What every HTTP service of Gridpact has: problems, health, readiness, metrics and a clean end.

app = new_app()
app[READINESS].register("postgres", ping)
app.router.add_get(...)
await serve(app, host, port, name="dr-vtn")
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import secrets
import signal
import ssl as ssl_module
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NamedTuple, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from runtime.connections import HEAD_S, BoundedSite, spoke
from runtime.errors import Attention, GridpactError, InsecureAddress
from runtime.logs import get_logger

T = TypeVar("T")
Check = Callable[[], Awaitable[None]]

_log = get_logger("runtime.service")
_CHECK_TIMEOUT_S = 2.0
_SHUTDOWN_TIMEOUT_S = 5.0


def new_app(*, client_max_size: int = 1024 * 1024) -> web.Application:
    """An application with the problem middleware, `/healthz`, `/readyz` and `/metrics`.

    `client_max_size` is the largest request body in bytes.
    """
    app = web.Application(middlewares=[problem_middleware], client_max_size=client_max_size)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    app[READINESS] = Readiness()
    app[REGISTRY] = registry
    app[STOPPING] = asyncio.Event()
    app.on_shutdown.append(_announce_stop)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    return app


class ProblemError(GridpactError):
    """An error answered as an RFC 9457 problem.

    `type` is a stable slug ("unknown-event"), `title` the same for every problem of that type, `detail` about this one;
    `retry_after` in seconds becomes the header of that name.
    """

    def __init__(
        self, type: str, title: str, status: int, detail: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.type = type
        self.title = title
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


class Finding(NamedTuple):
    """Why a dependency cannot be used, or what to look at although it can."""

    reason: str | None = None
    warning: str | None = None

    def shown(self) -> dict[str, object]:
        """As `/readyz` shows it."""
        texts = {"reason": self.reason, "warning": self.warning}
        return {"ready": self.reason is None} | {name: text for name, text in texts.items() if text}


class Readiness:
    """The named dependencies without which the service cannot answer."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def register(self, name: str, check: Check) -> None:
        """Add a dependency: `check` returns when it can be used and raises when not (two seconds are allowed), or
        raises Attention where it can be used but somebody should look at it."""
        self._checks[name] = check

    async def report(self) -> dict[str, str | None]:
        """For each dependency None, or why it cannot be used."""
        return {name: finding.reason for name, finding in (await self.findings()).items()}

    async def findings(self) -> dict[str, Finding]:
        """What each dependency's check says."""
        found = await asyncio.gather(*(_finding(name, check) for name, check in self._checks.items()))
        return dict(zip(self._checks, found, strict=True))


READINESS = web.AppKey("readiness", Readiness)
REGISTRY = web.AppKey("registry", CollectorRegistry)
STOPPING = web.AppKey("stopping", asyncio.Event)
"""Set when the service is about to end: handlers that stream return then."""


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem whose `reference` is also in the log; an unexpected one shows no more."""
    spoke(request)
    try:
        return await handler(request)
    except ProblemError as error:
        return _problem(request, error)
    except web.HTTPRequestEntityTooLarge:
        return _problem(request, _too_large(request))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        problem = ProblemError("about:blank", error.reason, error.status)
        return _problem(request, problem, allow=error.headers.get("Allow"))
    except web.RequestPayloadError as error:
        detail = "The body does not arrive whole, or is not in the Content-Encoding it names."
        _log.debug("unreadable body", path=request.path, error=str(error))
        return _problem(request, ProblemError("body-unreadable", "The body cannot be read", 400, detail))
    except Exception as error:
        if isinstance(error, ConnectionResetError) and _is_gone(request):
            _log.debug("whoever asked is gone", path=request.path)  # no answer arrives; and no trace is worth its price
            return web.Response(status=499)
        reference = secrets.token_hex(8)
        _log.exception("request failed", reference=reference, method=request.method, path=request.path)
        unexpected = ProblemError("internal-error", "Internal error", 500, "The log explains it under this reference.")
        return _problem(request, unexpected, reference=reference)


async def serve(
    app: web.Application,
    host: str,
    port: int,
    ssl: ssl_module.SSLContext | None = None,
    *,
    name: str = "gridpact",
) -> None:
    """Serve `app` until SIGTERM or SIGINT, then let requests end (5 s).

    Prints one line with the address to stdout when it answers; port 0 takes a free one. Raises InsecureAddress.
    """
    refuse_plain_http(host, ssl)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT_S, keepalive_timeout=HEAD_S)
    with _stop_signal() as stop:
        await runner.setup()
        try:
            await BoundedSite(runner, host, port, ssl_context=ssl).start()
            print(f"{name} ready at {address(runner, host, ssl)}", flush=True)
            await stop.wait()
        finally:
            await runner.cleanup()


def address(runner: web.AppRunner, host: str, ssl: ssl_module.SSLContext | None) -> str:
    """The URL a started runner answers at."""
    port = runner.addresses[0][1]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if ssl else 'http'}://{shown}:{port}"


def refuse_plain_http(host: str, ssl: ssl_module.SSLContext | None) -> None:
    """Raise InsecureAddress for plain HTTP on an address other machines can reach."""
    if ssl is None and not _is_loopback(host):
        raise InsecureAddress(
            f"plain HTTP is served on loopback only, not on {host or 'every address'}: "
            "give a certificate, or listen on 127.0.0.1 behind a proxy that has one"
        )


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a process's main coroutine, on uvloop where it is installed.

    SIGTERM cancels it, so that what it opened (an embedded PostgreSQL) is closed; `serve` has its own way to end.
    """
    try:
        import uvloop
    except ImportError:
        runner: Callable[[Coroutine[Any, Any, T]], T] = asyncio.run
    else:
        runner = uvloop.run
    try:
        return runner(_terminable(main))
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)


async def _terminable(main: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    if sys.platform != "win32" and task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await main


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


async def _readyz(request: web.Request) -> web.Response:
    findings = await request.app[READINESS].findings()
    ready = all(finding.reason is None for finding in findings.values())
    dependencies = {name: finding.shown() for name, finding in findings.items()}
    return web.json_response({"ready": ready, "dependencies": dependencies}, status=200 if ready else 503)


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(request.app[REGISTRY]), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _announce_stop(app: web.Application) -> None:
    app[STOPPING].set()


async def _finding(name: str, check: Check) -> Finding:
    # not asyncio.timeout: a driver whose server was stopped takes its time to be cancelled, and the prober has none
    asking = asyncio.ensure_future(check())
    try:
        await asyncio.wait({asking}, timeout=_CHECK_TIMEOUT_S)
        if not asking.done():
            return Finding(f"no answer in {_CHECK_TIMEOUT_S:g} s")
        asking.result()
    except TimeoutError:
        return Finding(f"no answer in {_CHECK_TIMEOUT_S:g} s")
    except Attention as error:
        return Finding(warning=str(error))
    except GridpactError as error:
        return Finding(str(error))
    except Exception as error:
        _log.warning("dependency not ready", dependency=name, error=repr(error))
        return Finding(type(error).__name__)
    finally:
        if not asking.done():
            asking.add_done_callback(_forget)
            asking.cancel()
    return Finding()


def _forget(asked: asyncio.Future[None]) -> None:
    if not asked.cancelled():
        asked.exception()


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _problem(
    request: web.Request, error: ProblemError, *, reference: str | None = None, allow: str | None = None
) -> web.Response:
    if reference is None:
        reference = secrets.token_hex(8)
        _log.info(
            "request refused",
            reference=reference,
            method=request.method,
            path=request.path,
            status=error.status,
            type=error.type,
            detail=error.detail,
        )
    body = {"type": error.type, "title": error.title, "status": error.status, "reference": reference}
    if error.detail is not None:
        body["detail"] = error.detail
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if allow is not None:
        headers["Allow"] = allow
    text = json.dumps(body)
    return web.Response(text=text, status=error.status, headers=headers, content_type="application/problem+json")


def _too_large(request: web.Request) -> ProblemError:
    most, announced = request.client_max_size, request.content_length
    found = "has more" if announced is None or announced <= most else f"has {announced}"
    detail = f"At most {most} bytes are read; this body {found}. Send it in smaller parts."
    return ProblemError("request-too-large", "The request is too large", 413, detail)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _stop_signal() -> Iterator[asyncio.Event]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    if sys.platform == "win32":  # asyncio has no signal handlers there
        for number in signals:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        yield stop
        return
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    # they stay until the loop ends: a second signal must not cut short how databases are closed after this
    yield stop
