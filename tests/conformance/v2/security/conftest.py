"""A VTN with TLS whose clock stands at today: stock openleadr signs with the time of the machine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from openleadr import messaging

from runtime.clock import ManualClock
from runtime.tls.certificates import read_chain
from tests.vtn.auth.conftest import pki, session
from tests.vtn.auth.devices import Device, a_device, a_secured_vtn, a_worker
from tests.vtn.conftest import vtn_url
from vtn.auth.pki import Pki
from vtn.faces.openadr2 import PREFIX

__all__ = ["pki", "session", "vtn_url"]

OADR = "{http://openadr.org/oadr-2.0b/2012/07}"
EI = "{http://docs.oasis-open.org/ns/energyinterop/201110}"


@dataclass
class Peer:
    """A device that sends bytes and reads the tree of the answer."""

    device: Device
    url: str
    session: aiohttp.ClientSession

    async def post(self, body: bytes, service: str = "OadrPoll") -> tuple[int, Any]:
        """HTTP status and the root of the answer."""
        headers = {"Content-Type": "application/xml"}
        url = f"{self.url}{PREFIX}/{service}"
        async with self.session.post(url, data=body, ssl=self.device.tls, headers=headers) as answer:
            return answer.status, etree.fromstring(await answer.read())

    async def code(self, body: bytes) -> str:
        """The response code of the answer."""
        _, root = await self.post(body)
        return str(root.findtext(f".//{EI}responseCode"))

    def signed(self, **fields: Any) -> bytes:
        """A message as stock openleadr signs it."""
        leaf = read_chain(self.device.files.chain)[0]
        certificate, key = leaf.public_bytes(Encoding.PEM), self.device.files.key.read_bytes()
        message: str = messaging.create_message("oadrPoll", cert=certificate, key=key, **fields)
        return message.encode()


@pytest.fixture
async def peer(vtn_url: str, tmp_path: Path, pki: Pki, session: aiohttp.ClientSession) -> AsyncIterator[Peer]:
    """A registered device of a VTN."""
    clock = ManualClock(time.time_ns() // 1_000_000)
    async with a_secured_vtn(vtn_url, clock, tmp_path, pki) as vtn, a_worker(vtn) as url:
        yield Peer(await a_device(vtn, tmp_path), url, session)
