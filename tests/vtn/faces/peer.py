"""A VEN in few lines: posts typed messages to a VTN and reads the typed answers, strictly."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

import aiohttp
from aiohttp import web

from openadr import v2
from runtime.service import READINESS
from tests.vtn.opened import PROGRAM, serving
from vtn.app import build_app
from vtn.context import Vtn
from vtn.faces.openadr2 import PREFIX

SERVICES: dict[type[Any], str] = {
    v2.OadrPoll: "OadrPoll",
    v2.OadrQueryRegistration: "EiRegisterParty",
    v2.OadrCreatePartyRegistration: "EiRegisterParty",
    v2.OadrCancelPartyRegistration: "EiRegisterParty",
    v2.OadrCanceledPartyRegistration: "EiRegisterParty",
    v2.OadrRequestEvent: "EiEvent",
    v2.OadrCreatedEvent: "EiEvent",
    v2.OadrRegisterReport: "EiReport",
    v2.OadrCreatedReport: "EiReport",
    v2.OadrCanceledReport: "EiReport",
    v2.OadrUpdateReport: "EiReport",
    v2.OadrCreateOpt: "EiOpt",
    v2.OadrCancelOpt: "EiOpt",
}


class Peer:
    """One VEN; `ven_id` is known after `register`."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, ven_name: str, tls: ssl.SSLContext | None = None
    ) -> None:
        self.session = session
        self.url = url
        self.ven_name = ven_name
        self.ven_id = ""
        self.registration_id = ""
        self._tls = tls

    async def post(
        self, service: str, body: bytes | BinaryIO, content_type: str = "application/xml"
    ) -> tuple[int, bytes]:
        """Bytes out, status and bytes in."""
        headers = {"Content-Type": content_type}
        url = f"{self.url}{PREFIX}/{service}"
        async with self.session.post(url, data=body, headers=headers, ssl=self._tls or True) as response:
            assert response.content_type == "application/xml"
            return response.status, await response.read()

    async def send(self, message: v2.Message, service: str | None = None) -> Any:
        """A message out, a message in."""
        status, body = await self.post(service or SERVICES[type(message)], v2.render(message))
        assert status == 200
        return v2.parse(body)

    async def register(self, ven_id: str | None = None) -> Any:
        """Register and remember the ids."""
        answer = await self.send(
            v2.OadrCreatePartyRegistration(request_id="reg-1", ven_name=self.ven_name, ven_id=ven_id)
        )
        self.ven_id = answer.ven_id or ""
        self.registration_id = answer.registration_id or ""
        return answer

    async def poll(self) -> Any:
        """One poll."""
        return await self.send(v2.OadrPoll(self.ven_id))

    async def poll_for(self, kind: type[Any]) -> Any:
        """Poll until a message of this kind comes: a notification takes its moment."""
        async with asyncio.timeout(5):
            while not isinstance(answer := await self.poll(), kind):
                await asyncio.sleep(0.01)
        return answer

    async def answer(self, distributed: v2.OadrDistributeEvent, opt_type: str = "optIn") -> Any:
        """oadrCreatedEvent for every event of a message."""
        responses = tuple(
            v2.EventResponse(
                each.dr_event.event_id, each.dr_event.modification_number, opt_type, distributed.request_id
            )
            for each in distributed.events
        )
        response = v2.EiResponse(request_id=distributed.request_id)
        return await self.send(v2.OadrCreatedEvent(self.ven_id, responses, response))


@contextlib.asynccontextmanager
async def facing(vtn: Vtn) -> AsyncIterator[str]:
    """The URL of a VTN's application that hears its database."""
    app = build_app(vtn)
    async with serving(app) as url:
        await heard(app)
        yield url


async def heard(app: web.Application) -> None:
    """Return when the application is ready."""
    async with asyncio.timeout(5):
        while any((await app[READINESS].report()).values()):
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def registered(vtn: Vtn, url: str, ven_name: str = "home-1", virtual_node: str = "vn-1") -> AsyncIterator[Peer]:
    """A VEN that is enrolled and registered."""
    await vtn.vens.add(ven_name, "F1", PROGRAM, virtual_node=virtual_node)
    async with aiohttp.ClientSession() as session:
        peer = Peer(session, url, ven_name)
        assert (await peer.register()).response.response_code == 200
        yield peer
