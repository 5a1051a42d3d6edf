"""Raw 2.0b messages of a VEN, written by hand, and answers read with XPath: nothing of the product's message layer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lxml import etree
from openleadr.messaging import XML_SCHEMA

NAMES = {
    "oadr": "http://openadr.org/oadr-2.0b/2012/07",
    "ei": "http://docs.oasis-open.org/ns/energyinterop/201110",
    "pyld": "http://docs.oasis-open.org/ns/energyinterop/201110/payloads",
    "xcal": "urn:ietf:params:xml:ns:icalendar-2.0",
    "strm": "urn:ietf:params:xml:ns:icalendar-2.0:stream",
    "emix": "http://docs.oasis-open.org/ns/emix/2011/06",
    "power": "http://docs.oasis-open.org/ns/emix/2011/06/power",
    "scale": "http://docs.oasis-open.org/ns/emix/2011/06/siscale",
    "atom": "http://www.w3.org/2005/Atom",
}
_DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMES.items())


class Answer:
    """A message as received. It has to be valid by the schema, whatever it says."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.body = body
        self.status = status
        self.root = etree.fromstring(body)
        assert XML_SCHEMA.validate(self.root), (XML_SCHEMA.error_log, body)
        self.message = self.root.find("oadr:oadrSignedObject", NAMES)[0]
        self.name = etree.QName(self.message).localname

    def texts(self, path: str, within: Any = None) -> list[str]:
        """Texts of the elements at an XPath under the message (or another element)."""
        start = self.message if within is None else within
        return [element.text or "" for element in start.xpath(path, namespaces=NAMES)]

    def text(self, path: str, within: Any = None) -> str | None:
        """The text at an XPath that is there once at most."""
        found = self.texts(path, within)
        assert len(found) <= 1, found
        return found[0] if found else None

    def elements(self, path: str) -> list[Any]:
        """Elements at an XPath under the message."""
        found: list[Any] = self.message.xpath(path, namespaces=NAMES)
        return found

    @property
    def code(self) -> int:
        """Response code of the message."""
        return int(self.text("./ei:eiResponse/ei:responseCode") or 0)

    @property
    def answered(self) -> str | None:
        """requestID of the question."""
        return self.text("./ei:eiResponse/pyld:requestID")

    @property
    def request_id(self) -> str:
        """The message's own requestID."""
        return self.text("./pyld:requestID") or ""

    @property
    def event_ids(self) -> list[str]:
        """Ids of all events, in their order."""
        return self.texts("./oadr:oadrEvent//ei:eventID")

    def event(self, event_id: str) -> Any:
        """The oadrEvent element of an event."""
        [found] = [
            each for each in self.elements("./oadr:oadrEvent") if self.texts(".//ei:eventID", each) == [event_id]
        ]
        return found

    def modification(self, event_id: str) -> int:
        """modificationNumber of an event."""
        return int(self.text(".//ei:modificationNumber", self.event(event_id)) or -1)

    def event_status(self, event_id: str) -> str | None:
        """eventStatus of an event."""
        return self.text(".//ei:eventStatus", self.event(event_id))


def payload(message: str) -> bytes:
    """A message element in oadrPayload and oadrSignedObject."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><oadr:oadrPayload {_DECLARED}><oadr:oadrSignedObject>'
        f"{message}</oadr:oadrSignedObject></oadr:oadrPayload>"
    ).encode()


def when(moment_ms: int) -> str:
    """A time as the wire has it."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def element(name: str, *parts: str) -> bytes:
    """A whole message of that name."""
    return payload(f'<oadr:{name} ei:schemaVersion="2.0b">{"".join(parts)}</oadr:{name}>')


def request_id_element(request_id: str) -> str:
    return f"<pyld:requestID>{request_id}</pyld:requestID>"


def ven_id_element(ven_id: str | None) -> str:
    return "" if ven_id is None else f"<ei:venID>{ven_id}</ei:venID>"


def response_element(request_id: str, code: int = 200) -> str:
    return (
        f"<ei:eiResponse><ei:responseCode>{code}</ei:responseCode><ei:responseDescription>said</ei:responseDescription>"
        f"{request_id_element(request_id)}</ei:eiResponse>"
    )


def poll(ven_id: str) -> bytes:
    return element("oadrPoll", ven_id_element(ven_id))


def response(request_id: str = "", ven_id: str | None = None, code: int = 200) -> bytes:
    return element("oadrResponse", response_element(request_id, code), ven_id_element(ven_id))


def query_registration(request_id: str = "query-1") -> bytes:
    return element("oadrQueryRegistration", request_id_element(request_id))


def create_party_registration(
    ven_name: str | None = None,
    ven_id: str | None = None,
    *,
    registration_id: str | None = None,
    request_id: str = "reg-1",
    profile: str = "2.0b",
    transport: str = "simpleHttp",
    address: str | None = None,
    pull: bool = True,
) -> bytes:
    return element(
        "oadrCreatePartyRegistration",
        request_id_element(request_id),
        "" if registration_id is None else f"<ei:registrationID>{registration_id}</ei:registrationID>",
        ven_id_element(ven_id),
        f"<oadr:oadrProfileName>{profile}</oadr:oadrProfileName>",
        f"<oadr:oadrTransportName>{transport}</oadr:oadrTransportName>",
        "" if address is None else f"<oadr:oadrTransportAddress>{address}</oadr:oadrTransportAddress>",
        "<oadr:oadrReportOnly>false</oadr:oadrReportOnly><oadr:oadrXmlSignature>false</oadr:oadrXmlSignature>",
        "" if ven_name is None else f"<oadr:oadrVenName>{ven_name}</oadr:oadrVenName>",
        f"<oadr:oadrHttpPullModel>{'true' if pull else 'false'}</oadr:oadrHttpPullModel>",
    )


def cancel_party_registration(registration_id: str, ven_id: str | None = None, request_id: str = "cancel-1") -> bytes:
    return element(
        "oadrCancelPartyRegistration",
        request_id_element(request_id),
        f"<ei:registrationID>{registration_id}</ei:registrationID>",
        ven_id_element(ven_id),
    )


def canceled_party_registration(request_id: str, registration_id: str, ven_id: str) -> bytes:
    return element(
        "oadrCanceledPartyRegistration",
        response_element(request_id),
        f"<ei:registrationID>{registration_id}</ei:registrationID>",
        ven_id_element(ven_id),
    )


def request_event(ven_id: str, request_id: str = "events-1", limit: int | None = None) -> bytes:
    reply_limit = "" if limit is None else f"<pyld:replyLimit>{limit}</pyld:replyLimit>"
    return element(
        "oadrRequestEvent",
        f"<pyld:eiRequestEvent>{request_id_element(request_id)}{ven_id_element(ven_id)}{reply_limit}</pyld:eiRequestEvent>",
    )


def created_event(
    ven_id: str, *answers: tuple[str, int, str], request_id: str = "dist", outer: str | None = None, code: int = 200
) -> bytes:
    """`answers`: (eventID, modificationNumber, optType); `request_id` that of the oadrDistributeEvent (rule 41)."""
    responses = "".join(
        f"<ei:eventResponse><ei:responseCode>{code}</ei:responseCode>{request_id_element(request_id)}<ei:qualifiedEventID>"
        f"<ei:eventID>{event_id}</ei:eventID><ei:modificationNumber>{number}</ei:modificationNumber>"
        f"</ei:qualifiedEventID><ei:optType>{opt_type}</ei:optType></ei:eventResponse>"
        for event_id, number, opt_type in answers
    )
    inner = response_element(request_id if outer is None else outer)
    inner += f"<ei:eventResponses>{responses}</ei:eventResponses>" if answers else ""
    return element("oadrCreatedEvent", f"<pyld:eiCreatedEvent>{inner}{ven_id_element(ven_id)}</pyld:eiCreatedEvent>")


def create_opt(
    ven_id: str,
    opt_id: str,
    opt_type: str,
    *,
    event: tuple[str, int] | None = None,
    available: tuple[tuple[int, str], ...] = (),
    target: str = "",
    request_id: str = "opt-request-1",
    created_ms: int = 1_767_225_600_000,
) -> bytes:
    """`event`: (eventID, modificationNumber); `available`: (start ms, duration); `target`: inside of eiTarget."""
    schedule = "".join(
        f"<xcal:available><xcal:properties><xcal:dtstart><xcal:date-time>{when(start_ms)}</xcal:date-time>"
        f"</xcal:dtstart><xcal:duration><xcal:duration>{length}</xcal:duration></xcal:duration></xcal:properties>"
        "</xcal:available>"
        for start_ms, length in available
    )
    return element(
        "oadrCreateOpt",
        f"<ei:optID>{opt_id}</ei:optID><ei:optType>{opt_type}</ei:optType>",
        f"<ei:optReason>notParticipating</ei:optReason>{ven_id_element(ven_id)}",
        f"<xcal:vavailability><xcal:components>{schedule}</xcal:components></xcal:vavailability>" if available else "",
        f"<ei:createdDateTime>{when(created_ms)}</ei:createdDateTime>{request_id_element(request_id)}",
        ""
        if event is None
        else f"<ei:qualifiedEventID><ei:eventID>{event[0]}</ei:eventID>"
        f"<ei:modificationNumber>{event[1]}</ei:modificationNumber></ei:qualifiedEventID>",
        f"<ei:eiTarget>{target}</ei:eiTarget>",
    )


def cancel_opt(ven_id: str, opt_id: str, request_id: str = "opt-request-2") -> bytes:
    return element(
        "oadrCancelOpt", request_id_element(request_id), f"<ei:optID>{opt_id}</ei:optID>", ven_id_element(ven_id)
    )
