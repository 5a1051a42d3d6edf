"""A VTN that says what the test wrote, in raw XML over real HTTP, and keeps what it was told."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from lxml import etree

NAMESPACES = (
    'xmlns:oadr="http://openadr.org/oadr-2.0b/2012/07" xmlns:ei="http://docs.oasis-open.org/ns/energyinterop/201110" '
    'xmlns:pyld="http://docs.oasis-open.org/ns/energyinterop/201110/payloads" '
    'xmlns:emix="http://docs.oasis-open.org/ns/emix/2011/06" xmlns:xcal="urn:ietf:params:xml:ns:icalendar-2.0" '
    'xmlns:strm="urn:ietf:params:xml:ns:icalendar-2.0:stream"'
)
VEN = "ven-7"


def payload(inner: str) -> str:
    return (
        f'<?xml version="1.0"?><oadr:oadrPayload {NAMESPACES}><oadr:oadrSignedObject>{inner}'
        "</oadr:oadrSignedObject></oadr:oadrPayload>"
    )


def ei_response(code: int = 200, request_id: str = "q") -> str:
    return (
        f"<ei:eiResponse><ei:responseCode>{code}</ei:responseCode><ei:responseDescription>said so"
        f"</ei:responseDescription><pyld:requestID>{request_id}</pyld:requestID></ei:eiResponse>"
    )


def plain(code: int = 200) -> str:
    return payload(f'<oadr:oadrResponse ei:schemaVersion="2.0b">{ei_response(code)}</oadr:oadrResponse>')


def registered(registration_id: str = "reg-1", poll: str = "PT60S", code: int = 200) -> str:
    ids = f"<ei:registrationID>{registration_id}</ei:registrationID><ei:venID>{VEN}</ei:venID>" if code == 200 else ""
    return payload(
        f'<oadr:oadrCreatedPartyRegistration ei:schemaVersion="2.0b">{ei_response(code)}{ids}<ei:vtnID>vtn-1</ei:vtnID>'
        "<oadr:oadrProfiles><oadr:oadrProfile><oadr:oadrProfileName>2.0b</oadr:oadrProfileName><oadr:oadrTransports>"
        "<oadr:oadrTransport><oadr:oadrTransportName>simpleHttp</oadr:oadrTransportName></oadr:oadrTransport>"
        "</oadr:oadrTransports></oadr:oadrProfile></oadr:oadrProfiles><oadr:oadrRequestedOadrPollFreq>"
        f"<xcal:duration>{poll}</xcal:duration></oadr:oadrRequestedOadrPollFreq></oadr:oadrCreatedPartyRegistration>"
    )


def report_request(request_id: str = "rr-1", back: str = "PT15M", start: str = "", r_id: str = "meter") -> str:
    period = (
        f"<ei:reportInterval><xcal:properties><xcal:dtstart><xcal:date-time>{start}</xcal:date-time></xcal:dtstart>"
        "<xcal:duration><xcal:duration>PT0S</xcal:duration></xcal:duration></xcal:properties></ei:reportInterval>"
        if start
        else ""
    )
    return (
        f"<oadr:oadrReportRequest><ei:reportRequestID>{request_id}</ei:reportRequestID><ei:reportSpecifier>"
        "<ei:reportSpecifierID>usage</ei:reportSpecifierID><xcal:granularity><xcal:duration>PT15M</xcal:duration>"
        f"</xcal:granularity><ei:reportBackDuration><xcal:duration>{back}</xcal:duration></ei:reportBackDuration>"
        f"{period}<ei:specifierPayload><ei:rID>{r_id}</ei:rID><ei:readingType>Net</ei:readingType>"
        "</ei:specifierPayload></ei:reportSpecifier></oadr:oadrReportRequest>"
    )


def registered_report(*requests: str) -> str:
    return payload(
        f'<oadr:oadrRegisteredReport ei:schemaVersion="2.0b">{ei_response()}{"".join(requests)}'
        "</oadr:oadrRegisteredReport>"
    )


def create_report(*requests: str) -> str:
    return payload(
        '<oadr:oadrCreateReport ei:schemaVersion="2.0b"><pyld:requestID>cr-1</pyld:requestID>'
        f"{''.join(requests)}</oadr:oadrCreateReport>"
    )


def cancel_report(request_id: str = "rr-1", follow: str = "false") -> str:
    return payload(
        '<oadr:oadrCancelReport ei:schemaVersion="2.0b"><pyld:requestID>xr-1</pyld:requestID>'
        f"<ei:reportRequestID>{request_id}</ei:reportRequestID><pyld:reportToFollow>{follow}</pyld:reportToFollow>"
        "</oadr:oadrCancelReport>"
    )


def updated_report(code: int = 200) -> str:
    return payload(f'<oadr:oadrUpdatedReport ei:schemaVersion="2.0b">{ei_response(code)}</oadr:oadrUpdatedReport>')


def time_text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def event(
    event_id: str = "evt-1", start_ms: int = 0, modification: int = 0, status: str = "far", level: int = 2
) -> str:
    return (
        f"<oadr:oadrEvent><ei:eiEvent><ei:eventDescriptor><ei:eventID>{event_id}</ei:eventID>"
        f"<ei:modificationNumber>{modification}</ei:modificationNumber><ei:eiMarketContext><emix:marketContext>"
        "http://programs.example/peak</emix:marketContext></ei:eiMarketContext><ei:createdDateTime>"
        f"2026-01-01T00:00:00Z</ei:createdDateTime><ei:eventStatus>{status}</ei:eventStatus>"
        "<ei:testEvent>false</ei:testEvent></ei:eventDescriptor><ei:eiActivePeriod><xcal:properties><xcal:dtstart>"
        f"<xcal:date-time>{time_text(start_ms)}</xcal:date-time></xcal:dtstart><xcal:duration><xcal:duration>PT1H"
        "</xcal:duration></xcal:duration><ei:x-eiNotification><xcal:duration>PT0S</xcal:duration></ei:x-eiNotification>"
        "</xcal:properties><xcal:components/></ei:eiActivePeriod><ei:eiEventSignals><ei:eiEventSignal><strm:intervals>"
        "<ei:interval><xcal:duration><xcal:duration>PT1H</xcal:duration></xcal:duration><xcal:uid><xcal:text>0"
        f"</xcal:text></xcal:uid><ei:signalPayload><ei:payloadFloat><ei:value>{level}</ei:value></ei:payloadFloat>"
        "</ei:signalPayload></ei:interval></strm:intervals><ei:signalName>SIMPLE</ei:signalName><ei:signalType>level"
        "</ei:signalType><ei:signalID>s1</ei:signalID><ei:currentValue><ei:payloadFloat><ei:value>0</ei:value>"
        "</ei:payloadFloat></ei:currentValue></ei:eiEventSignal></ei:eiEventSignals><ei:eiTarget/></ei:eiEvent>"
        "<oadr:oadrResponseRequired>always</oadr:oadrResponseRequired></oadr:oadrEvent>"
    )


def distribute(*events: str, request_id: str = "dist-1", vtn_id: str = "vtn-1") -> str:
    return payload(
        f'<oadr:oadrDistributeEvent ei:schemaVersion="2.0b"><pyld:requestID>{request_id}</pyld:requestID>'
        f"<ei:vtnID>{vtn_id}</ei:vtnID>{''.join(events)}</oadr:oadrDistributeEvent>"
    )


REREGISTER = payload(
    f'<oadr:oadrRequestReregistration ei:schemaVersion="2.0b"><ei:venID>{VEN}</ei:venID>'
    "</oadr:oadrRequestReregistration>"
)


def cancel_registration(registration_id: str = "reg-1") -> str:
    return payload(
        '<oadr:oadrCancelPartyRegistration ei:schemaVersion="2.0b"><pyld:requestID>cx</pyld:requestID>'
        f"<ei:registrationID>{registration_id}</ei:registrationID><ei:venID>{VEN}</ei:venID>"
        "</oadr:oadrCancelPartyRegistration>"
    )


class Told:
    """A message the VTN was told."""

    def __init__(self, service: str, body: bytes) -> None:
        self.service = service
        self.body = body
        self.text = body.decode()
        self.root = etree.fromstring(body)
        self.element = self.root[-1][0]  # a signature stands before the signed object
        self.name = etree.QName(self.element).localname

    def values(self, name: str) -> list[str]:
        """Texts of all elements of that local name."""
        return [each.text or "" for each in self.element.iter() if etree.QName(each).localname == name]

    def value(self, name: str) -> str:
        [found] = self.values(name)
        return found


Reply = str | int | Callable[[Told], Any]


class ScriptedVtn:
    """`queued` is said to polls, one a poll; `replies` overrides the answer to a message, once each (an int is an HTTP
    status). Everything else gets the plain good answer. `seal` signs what is said."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.queued: deque[Reply] = deque()
        self.replies: dict[str, deque[Reply]] = {}
        self.events: list[str] = []
        self.url = ""
        self.seal: Callable[[bytes], bytes] = lambda body: body

    def script(self, message: str, *replies: Reply) -> None:
        self.replies.setdefault(message, deque()).extend(replies)

    def of(self, *names: str) -> list[Told]:
        return [each for each in self.told if each.name in names]

    def names(self) -> list[str]:
        """Names of the messages told, polls left out."""
        return [each.name for each in self.told if each.name != "oadrPoll"]

    async def answer(self, request: web.Request) -> web.Response:
        told = Told(request.match_info["service"], await request.read())
        self.told.append(told)
        queue = self.queued if told.name == "oadrPoll" else self.replies.get(told.name)
        reply = queue.popleft() if queue else self._usual(told)
        if callable(reply):
            reply = reply(told)
        if isinstance(reply, int):
            return web.Response(status=reply)
        return web.Response(body=self.seal(reply.encode()), content_type="application/xml")

    def _usual(self, told: Told) -> str:
        usual = {
            "oadrQueryRegistration": registered(),
            "oadrCreatePartyRegistration": registered(),
            "oadrRegisterReport": registered_report(),
            "oadrRequestEvent": distribute(*self.events),
            "oadrUpdateReport": updated_report(),
        }
        return usual.get(told.name, plain())


@contextlib.asynccontextmanager
async def a_scripted_vtn() -> AsyncIterator[ScriptedVtn]:
    vtn = ScriptedVtn()
    app = web.Application()
    app.router.add_post("/OpenADR2/Simple/2.0b/{service}", vtn.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vtn.url = f"http://127.0.0.1:{runner.addresses[0][1]}/OpenADR2/Simple/2.0b"
    try:
        yield vtn
    finally:
        await runner.cleanup()
