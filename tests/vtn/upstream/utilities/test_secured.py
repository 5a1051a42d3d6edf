"""At a utility that wants certificates and signatures: both sides know each other, or nothing is said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from runtime.clock import SystemClock
from runtime.errors import Attention
from runtime.keys import PrivateKey
from tests.vtn.faces.certificates import Authority
from tests.vtn.faces.peer import heard
from tests.vtn.opened import PROGRAM, Opened, opened
from tests.vtn.upstream.world import SETTINGS
from vtn.app import build_app
from vtn.faces.openadr2 import PREFIX
from vtn.upstream import session
from vtn.upstream.service import Upstream


@contextlib.asynccontextmanager
async def a_utility(url: str, folder: Path, authority: Authority) -> AsyncIterator[tuple[Opened, str]]:
    """A VTN under mutual TLS that signs and wants everything signed."""
    tls = authority.server()
    settings: dict[str, Any] = {"client_ca": authority.path, "require_signatures": True, "poll_interval_s": 1}
    for setting, name in (("certificate", "vtn-ecc"), ("second_certificate", "vtn-rsa")):
        (folder / f"{name}.key").chmod(0o600)
        settings |= {setting: folder / f"{name}.pem", f"{setting}_key": folder / f"{name}.key"}
    async with opened(url, SystemClock(), folder, **settings) as found:
        app = build_app(found.vtn, tls=tls)
        server = TestServer(app, scheme="https", host="127.0.0.1")
        await server.start_server(ssl=tls)
        await heard(app)
        yield found, f"https://127.0.0.1:{server.port}{PREFIX}"
        await server.close()


@pytest.mark.parametrize("genuine", [True, False])
async def test_it_registers_signed_and_believes_the_utility_alone(
    urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, genuine: bool
) -> None:
    monkeypatch.setattr(session, "_LOOK_S", 0.05)
    authority = Authority(tmp_path)
    _, printed = authority.issue("aggregator", ec.generate_private_key(ec.SECP256R1()))
    (tmp_path / "aggregator.key").chmod(0o600)
    PrivateKey.create(tmp_path / "utility.key")
    async with a_utility(urls[0], tmp_path, authority) as (utility, url):
        await utility.vtn.vens.add("aggregator-1", "F1", PROGRAM, fingerprint=printed)
        settings = SETTINGS | {
            "upstream_url": url,
            "upstream_key": tmp_path / "utility.key",
            "upstream_certificate": tmp_path / "aggregator.pem",
            "upstream_certificate_key": tmp_path / "aggregator.key",
            "upstream_ca": authority.path,
            "upstream_sign_messages": True,
            "upstream_fingerprint": None if genuine else printed,  # whom it believes
        }
        async with opened(urls[1], SystemClock(), tmp_path / "books", **settings) as aggregator:
            upstream = Upstream(aggregator.vtn, CollectorRegistry())
            running = asyncio.create_task(upstream.run(aggregator.vtn))
            try:
                async with asyncio.timeout(60):
                    while not (said := await outcome(upstream)):
                        await asyncio.sleep(0.05)
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
        ven = await utility.vtn.vens.find_by_name("aggregator-1")
    assert ven is not None
    assert (said == "reached") == genuine
    if not genuine:
        assert "is not this VEN's VTN" in said


async def outcome(upstream: Upstream) -> str:
    """Reached, what went wrong, or nothing yet."""
    try:
        await upstream.check()
    except Attention as error:
        return "" if "not reached yet" in str(error) else str(error)
    return "reached"
