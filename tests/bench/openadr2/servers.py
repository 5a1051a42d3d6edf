"""The servers under measurement: stock openleadr in a process of its own, and `dr-vtn serve` as it is shipped."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
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
_READY = " ready at "


@dataclass(frozen=True)
class Fleet:
    """VENs; `kind` is unsigned, or p256 or rsa of the first `certified` of them. `signs`: everything is signed."""

    folder: Path
    pki: Path
    kind: str
    ven_ids: tuple[str, ...]
    fingerprints: tuple[str, ...]
    signs: bool

    @classmethod
    def create(cls, folder: Path, pki: Pki, vens: int, kind: str, *, certified: int = 0, signs: bool = True) -> Fleet:
        """So many VENs, the first of them with certificates."""
        folder.mkdir()
        ven_ids = tuple(f"ven-{number:05}" for number in range(vens))
        if kind == "unsigned":
            return cls(folder, pki.folder, kind, ven_ids, (), False)
        keys = [new_key(rsa_bits=2048 if kind == "rsa" else None) for _ in range(_DEVICE_KEYS)]
        printed = []
        for number, ven_id in enumerate(ven_ids[:certified]):
            key = keys[number % _DEVICE_KEYS]
            issued = pki.issue(request_certificate(key, ven_id), ven_id, "Bench")
            (folder / f"{ven_id}.pem").write_bytes(issued.chain)
            write_key(folder / f"{ven_id}.key", key)
            printed.append(fingerprint(issued.certificate.public_bytes(Encoding.DER)))
        return cls(folder, pki.folder, kind, ven_ids, tuple(printed), signs)

    def files(self, ven_id: str) -> Certificate:
        """Chain and key of a VEN."""
        return Certificate(self.folder / f"{ven_id}.pem", self.folder / f"{ven_id}.key")

    @property
    def server(self) -> Certificate:
        """What stock shows and signs with: it takes one certificate."""
        name = "ecdsa" if self.kind == "p256" else "rsa"
        return Certificate(self.pki / f"server-{name}.pem", self.pki / f"server-{name}.key")

    @property
    def tls(self) -> bool:
        return self.kind != "unsigned"


@dataclass(frozen=True)
class Worker:
    """A running server process."""

    address: str
    pid: int


@contextlib.asynccontextmanager
async def stock(fleet: Fleet) -> AsyncIterator[Worker]:
    """openleadr's server."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_stock_process, args=(fleet, there), daemon=True)
    process.start()
    there.close()
    try:
        while not here.poll():
            await asyncio.sleep(0.1)
        yield Worker(here.recv(), process.pid or 0)
        here.send("end")
        process.join(30)
    finally:
        if process.is_alive():
            process.kill()
            process.join()


def _stock_process(fleet: Fleet, pipe: Any) -> None:
    os.sched_setaffinity(0, {SERVER_CORE})
    logging.disable(logging.CRITICAL)
    asyncio.run(_stock(fleet, pipe))


async def _stock(fleet: Fleet, pipe: Any) -> None:
    from openleadr import OpenADRServer

    known = dict(zip(fleet.ven_ids, fleet.fingerprints or fleet.ven_ids, strict=False))

    def lookup(ven_id: str) -> dict[str, str] | None:
        found = known.get(ven_id)
        return found and {"ven_id": ven_id, "ven_name": ven_id, "registration_id": "r", "fingerprint": found}  # type: ignore[return-value]

    options: dict[str, Any] = {}
    if fleet.tls:
        options = {
            "http_cert": str(fleet.server.chain), "http_key": str(fleet.server.key),
            "http_ca_file": str(fleet.pki / "authorities.pem"),
        }  # fmt: skip
    if fleet.signs:
        options |= {"cert": str(_leaf(fleet)), "key": str(fleet.server.key)}
    with contextlib.redirect_stdout(io.StringIO()):
        server = OpenADRServer("GRIDPACT", http_port=0, ven_lookup=lookup, show_fingerprint=False, **options)
        await server.run()
    port = server.app_runner.addresses[0][1]
    pipe.send(f"{'https' if fleet.tls else 'http'}://127.0.0.1:{port}")
    while not pipe.poll():
        await asyncio.sleep(0.1)
    await server.stop()


def _leaf(fleet: Fleet) -> Path:
    path = fleet.folder / "stock-leaf.pem"
    path.write_bytes(read_chain(fleet.server.chain)[0].public_bytes(Encoding.PEM))
    return path


@dataclass(frozen=True)
class Ours:
    """This VTN: its database, and what runs on it."""

    folder: Path
    url: str
    workers: tuple[Worker, ...]


@contextlib.asynccontextmanager
async def ours(fleet: Fleet, cores: Sequence[int] = (SERVER_CORE,)) -> AsyncIterator[Ours]:
    """`dr-vtn serve`, one process for each of `cores`, on one database; that runs wherever there is room."""
    from runtime.clock import SystemClock
    from runtime.database import upgrade
    from runtime.postgres import EmbeddedPostgres
    from tests.vtn.opened import opened

    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = EmbeddedPostgres(folder / "postgres")
        await server.start()
        try:
            url = server.url("postgres")
            await upgrade(url, "vtn")
            async with opened(url, SystemClock(), folder, pki_dir=folder / "none") as found:
                await _enrol(found.vtn, fleet)
            async with contextlib.AsyncExitStack() as stack:
                workers = [await stack.enter_async_context(_worker(fleet, folder, url, core)) for core in cores]
                yield Ours(folder, url, tuple(workers))
        finally:
            await server.stop()


@contextlib.asynccontextmanager
async def _worker(fleet: Fleet, folder: Path, url: str, core: int) -> AsyncIterator[Worker]:
    settings = {
        "DATABASE_URL": url,
        "DATA_DIR": str(folder),
        "PKI_DIR": str(fleet.pki if fleet.tls else folder / "none"),
        "PORT": "0",
        "ENROLMENT_PORT": "0",
        "AGGREGATOR": "false",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRIDPACT_")}
    environment |= {f"GRIDPACT_VTN_{name}": value for name, value in settings.items()}
    program = Path(sys.executable).with_name("dr-vtn")
    with (folder / "log").open("ab") as log:
        quiet: Any = {"env": environment, "stdout": asyncio.subprocess.PIPE, "stderr": log}
        await (await asyncio.create_subprocess_exec(program, "init", **quiet)).communicate()
        process = await asyncio.create_subprocess_exec(
            program, "serve", **quiet, preexec_fn=lambda: os.sched_setaffinity(0, {core})
        )
    try:
        assert process.stdout is not None
        while _READY not in (line := (await process.stdout.readline()).decode()):
            if not line:
                raise RuntimeError((folder / "log").read_text()[-2000:])
        await asyncio.sleep(1)  # it has heard its database by then
        yield Worker(line.rpartition(_READY)[2].strip(), process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


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
