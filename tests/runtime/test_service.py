"""What every HTTP service answers, and how it starts and ends."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.request

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from runtime.errors import Attention, InsecureAddress, PostgresError
from runtime.service import READINESS, REGISTRY, STOPPING, ProblemError, new_app, refuse_plain_http, run, serve

PROCESS = """
from aiohttp import web
from runtime.service import STOPPING, new_app, run, serve

async def stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first\\n")
    await request.app[STOPPING].wait()
    await response.write(b"last\\n")
    return response

async def main():
    app = new_app()
    app.router.add_get("/stream", stream)
    await serve(app, "127.0.0.1", 0, name="dr-sample")

run(main())
print("ended")
"""


@pytest.fixture
async def client():
    """A client of an app with one route for each way to fail."""

    async def refuse(_: web.Request) -> web.Response:
        raise ProblemError("too-early", "Too early", 409, "The event starts at 17:00.", retry_after=30)

    async def crash(_: web.Request) -> web.Response:
        raise RuntimeError("password=hunter2")

    async def move(_: web.Request) -> web.Response:
        raise web.HTTPFound("/healthz")

    app = new_app(client_max_size=100)
    app.router.add_get("/refuse", refuse)
    app.router.add_get("/crash", crash)
    app.router.add_get("/move", move)
    app.router.add_post("/read", lambda request: request.text())
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_refusal_is_a_problem_whose_reference_is_in_the_log(client):
    with structlog.testing.capture_logs() as lines:
        answer = await client.get("/refuse")
    body = await answer.json(content_type="application/problem+json")
    reference = body.pop("reference")
    assert body == {
        "type": "too-early",
        "title": "Too early",
        "status": 409,
        "detail": "The event starts at 17:00.",
    }
    assert (answer.status, answer.headers["Retry-After"]) == (409, "30")
    assert [line["reference"] for line in lines] == [reference]


async def test_an_unexpected_error_shows_its_reference_and_nothing_of_itself(client):
    with structlog.testing.capture_logs() as lines:
        answer = await client.get("/crash")
    text = await answer.text()
    assert answer.status == 500
    assert "hunter2" not in text
    (line,) = lines
    assert line["reference"] == json.loads(text)["reference"]
    assert line["exc_info"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/refuse", 405)])
async def test_what_the_framework_refuses_is_a_problem_too(client, method, path, status):
    answer = await client.request(method, path)
    body = await answer.json(content_type="application/problem+json")
    assert (answer.status, body["status"], body["type"]) == (status, status, "about:blank")
    if status == 405:
        assert answer.headers["Allow"] == "GET,HEAD"


async def test_a_body_over_the_limit_is_refused_as_a_problem(client):
    answer = await client.post("/read", data=b"x" * 101)
    assert (answer.status, answer.content_type) == (413, "application/problem+json")


async def test_a_redirection_passes(client):
    answer = await client.get("/move", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, "/healthz")


async def test_a_service_is_alive_without_its_dependencies(client):
    async def down() -> None:
        raise PostgresError("the PostgreSQL on var does not answer")

    client.app[READINESS].register("postgres", down)
    assert (await client.get("/healthz")).status == 200


async def test_readiness_names_each_dependency_and_why_it_is_not_ready(client, monkeypatch):
    async def well() -> None:
        pass

    async def down() -> None:
        raise PostgresError("the PostgreSQL on var does not answer")

    async def secretive() -> None:
        raise RuntimeError("password=hunter2")

    async def hanging() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("runtime.service._CHECK_TIMEOUT_S", 0.1)
    readiness = client.app[READINESS]
    readiness.register("ledger", well)
    answer = await client.get("/readyz")
    assert (answer.status, await answer.json()) == (200, {"ready": True, "dependencies": {"ledger": {"ready": True}}})
    for name, check in {"postgres": down, "broker": secretive, "disk": hanging}.items():
        readiness.register(name, check)
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert await answer.json() == {
        "ready": False,
        "dependencies": {
            "ledger": {"ready": True},
            "postgres": {"ready": False, "reason": "the PostgreSQL on var does not answer"},
            "broker": {"ready": False, "reason": "RuntimeError"},
            "disk": {"ready": False, "reason": "no answer in 0.1 s"},
        },
    }


async def test_a_warning_is_shown_and_the_service_stays_ready(client):
    async def ends_soon() -> None:
        raise Attention("the certificate ends on 2026-12-01: renew it")

    client.app[READINESS].register("certificate", ends_soon)
    answer = await client.get("/readyz")
    assert answer.status == 200
    warned = {"ready": True, "warning": "the certificate ends on 2026-12-01: renew it"}
    assert await answer.json() == {"ready": True, "dependencies": {"certificate": warned}}


async def test_metrics_are_those_of_this_app_alone(client):
    from prometheus_client import Counter

    Counter("dr_events", "Events sent", registry=client.app[REGISTRY]).inc(3)
    text = await (await client.get("/metrics")).text()
    assert "dr_events_total 3.0" in text
    assert "process_resident_memory_bytes" in text
    other = new_app()
    assert "dr_events_total" not in other[REGISTRY]._names_to_collectors


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.org"])
async def test_plain_http_is_refused_off_loopback(host):
    with pytest.raises(InsecureAddress, match="loopback only"):
        await serve(new_app(), host, 0)
    refuse_plain_http(host, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_plain_http_may_stay_on_loopback(host):
    assert refuse_plain_http(host, None) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_says_where_it_answers_and_a_stream_ends_with_it(number):
    with subprocess.Popen([sys.executable, "-c", PROCESS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("dr-sample ready at http://127.0.0.1:")
        with urllib.request.urlopen(f"{line.split()[-1]}/stream", timeout=10) as stream:
            assert stream.readline() == b"first\n"
            os.kill(process.pid, number)
            assert stream.readline() == b"last\n"
        assert process.wait(timeout=10) == 0
        assert process.stdout.read() == "ended\n"


def test_run_returns_what_the_coroutine_returns():
    async def answer() -> int:
        return 42

    assert run(answer()) == 42


async def test_the_stop_is_announced_once_the_app_shuts_down():
    app = new_app()
    async with TestClient(TestServer(app)):
        assert not app[STOPPING].is_set()
    assert app[STOPPING].is_set()


async def test_a_body_that_is_not_in_the_encoding_it_names_is_the_callers_fault(client):
    answer = await client.post("/read", data=b"zzz", headers={"Content-Encoding": "gzip"})
    assert (answer.status, (await answer.json(content_type="application/problem+json"))["type"]) == (
        400,
        "body-unreadable",
    )
