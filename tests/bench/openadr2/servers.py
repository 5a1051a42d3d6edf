"""The two servers under measurement, each in a process of its own, and the VENs both know."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from openadr.v2 import fingerprint
from runtime.tls import Certificate
from runtime.tls.certificates import new_key, read_chain, request_certificate, write_key
from vtn.auth.pki import Pki

SERVER_CORE = 0
_DEVICE_KEYS = 4
"""RSA keys are made for so many VENs; the others share them under certificates of their own."""


@dataclass(frozen=True)
class Fleet:
    """VENs with certificates; `kind` unsigned, p256 or rsa."""

    folder: Path
    pki: Path
    kind: str
    ven_ids: tuple[str, ...]
    fingerprints: tuple[str, ...]

    @classmethod
    def create(cls, folder: Path, pki: Pki, vens: int, kind: str) -> Fleet:
        """Certificates for so many VENs, where they sign."""
        folder.mkdir()
        ven_ids = tuple(f"ven-{number:05}" for number in range(vens))
        if kind == "unsigned":
            return cls(folder, pki.folder, kind, ven_ids, ())
        keys = [new_key(rsa_bits=2048 if kind == "rsa" else None) for _ in range(_DEVICE_KEYS)]
        printed = []
        for number, ven_id in enumerate(ven_ids):
            key = keys[number % _DEVICE_KEYS]
            issued = pki.issue(request_certificate(key, ven_id), ven_id, "Bench")
            (folder / f"{ven_id}.pem").write_bytes(issued.chain)
            write_key(folder / f"{ven_id}.key", key)
            printed.append(fingerprint(issued.certificate.public_bytes(Encoding.DER)))
        return cls(folder, pki.folder, kind, ven_ids, tuple(printed))

    def files(self, ven_id: str) -> Certificate:
        """Chain and key of a VEN."""
        return Certificate(self.folder / f"{ven_id}.pem", self.folder / f"{ven_id}.key")

    @property
    def server(self) -> Certificate:
        """What stock shows and signs with: it takes one certificate."""
        name = "ecdsa" if self.kind == "p256" else "rsa"
        return Certificate(self.pki / f"server-{name}.pem", self.pki / f"server-{name}.key")

    @property
    def signs(self) -> bool:
        return self.kind != "unsigned"


def stock(fleet: Fleet, pipe: Any) -> None:
    """openleadr's server until something comes through the pipe."""
    os.sched_setaffinity(0, {SERVER_CORE})
    logging.disable(logging.CRITICAL)
    asyncio.run(_stock(fleet, pipe))


async def _stock(fleet: Fleet, pipe: Any) -> None:
    from openleadr import OpenADRServer

    known = dict(zip(fleet.ven_ids, fleet.fingerprints or fleet.ven_ids, strict=True))

    def lookup(ven_id: str) -> dict[str, str] | None:
        found = known.get(ven_id)
        return found and {"ven_id": ven_id, "ven_name": ven_id, "registration_id": "r", "fingerprint": found}  # type: ignore[return-value]

    options: dict[str, Any] = {}
    if fleet.signs:
        own = _leaf(fleet)
        options = {
            "cert": str(own), "key": str(fleet.server.key), "http_cert": str(fleet.server.chain),
            "http_key": str(fleet.server.key), "http_ca_file": str(fleet.pki / "authorities.pem"),
        }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        server = OpenADRServer("GRIDPACT", http_port=0, ven_lookup=lookup, show_fingerprint=False, **options)
        await server.run()
    port = server.app_runner.addresses[0][1]
    await _until_told(pipe, f"{'https' if fleet.signs else 'http'}://127.0.0.1:{port}")
    await server.stop()


def _leaf(fleet: Fleet) -> Path:
    path = fleet.folder / "stock-leaf.pem"
    path.write_bytes(read_chain(fleet.server.chain)[0].public_bytes(Encoding.PEM))
    return path


def ours(fleet: Fleet, pipe: Any) -> None:
    """This VTN with its database until something comes through the pipe; the database is on the other cores."""
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(_ours(fleet, pipe))


async def _ours(fleet: Fleet, pipe: Any) -> None:
    from runtime import logs
    from runtime.clock import SystemClock
    from runtime.database import upgrade
    from runtime.postgres import EmbeddedPostgres

    logs.configure("bench", level="error")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = EmbeddedPostgres(folder / "postgres")
        await server.start()  # before the process is pinned: what it starts inherits that
        try:
            os.sched_setaffinity(0, {SERVER_CORE})
            url = server.url("postgres")
            await upgrade(url, "vtn")
            await _serve(fleet, pipe, folder, url, SystemClock())
        finally:
            await server.stop()


async def _serve(fleet: Fleet, pipe: Any, folder: Path, url: str, clock: Any) -> None:
    from aiohttp import web

    from runtime.connections import BoundedSite
    from tests.vtn.opened import opened
    from vtn.app import build_app

    # a pki_dir that is not there: plain HTTP
    settings: dict[str, Any] = {"pki_dir": fleet.pki if fleet.signs else folder / "none"}
    async with opened(url, clock, folder, **settings) as found:
        await _enrol(found.vtn, fleet)
        tls = found.vtn.settings.tls()
        runner = web.AppRunner(build_app(found.vtn, tls=tls), access_log=None)
        await runner.setup()
        await BoundedSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        await asyncio.sleep(1)  # it has heard its database by then
        port = runner.addresses[0][1]
        await _until_told(pipe, f"{'https' if tls else 'http'}://127.0.0.1:{port}")
        await runner.cleanup()


async def _enrol(vtn: Any, fleet: Fleet) -> None:
    from sqlalchemy import insert

    from tests.vtn.opened import PROGRAM
    from vtn.auth.gate import signing_vens
    from vtn.records.tables import vens

    rows = [
        {
            "ven_id": ven_id, "ven_name": ven_id, "area": "F1", "program": PROGRAM, "status": "enrolled",
            "resource": b"{}", "registration_id": f"reg-{ven_id}", "poll_interval_s": 60, "enrolled_ms": 0,
        }
        for ven_id in fleet.ven_ids
    ]  # fmt: skip
    async with vtn.database.transaction() as connection:
        await connection.execute(insert(vens), rows)
        if fleet.signs:
            await connection.execute(insert(signing_vens), [{"ven_id": ven_id} for ven_id in fleet.ven_ids])
    for ven_id, printed in zip(fleet.ven_ids, fleet.fingerprints, strict=False):
        await vtn.certificates.bind(ven_id, printed)


async def _until_told(pipe: Any, address: str) -> None:
    pipe.send(address)
    while not pipe.poll():
        await asyncio.sleep(0.1)
