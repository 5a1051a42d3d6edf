"""What a VTN says, as raw 2.0b messages written by hand."""

from __future__ import annotations

from tests.conformance.v2.wire import element, request_id_element, response_element, ven_id_element, when

VEN = "ven-00123"
VTN = "vtn-1"
REGISTRATION = "reg-0001"


def lasting(name: str, length: str) -> str:
    return f"<{name}><xcal:duration>{length}</xcal:duration></{name}>"


def registered(
    *, ven_id: str | None = VEN, registration_id: str | None = REGISTRATION, vtn_id: str = VTN, poll: str = "PT10S",
    code: int = 200, request_id: str = "", profile: str = "2.0b", transport: str = "simpleHttp",
) -> bytes:  # fmt: skip
    """oadrCreatedPartyRegistration; it answers a query too, then without ids."""
    return element(
        "oadrCreatedPartyRegistration",
        response_element(request_id, code),
        "" if registration_id is None else f"<ei:registrationID>{registration_id}</ei:registrationID>",
        ven_id_element(ven_id),
        f"<ei:vtnID>{vtn_id}</ei:vtnID><oadr:oadrProfiles><oadr:oadrProfile><oadr:oadrProfileName>{profile}"
        "</oadr:oadrProfileName><oadr:oadrTransports><oadr:oadrTransport><oadr:oadrTransportName>"
        f"{transport}</oadr:oadrTransportName></oadr:oadrTransport></oadr:oadrTransports></oadr:oadrProfile>"
        "</oadr:oadrProfiles>",
        lasting("oadr:oadrRequestedOadrPollFreq", poll),
    )


def request_reregistration(ven_id: str = VEN) -> bytes:
    return element("oadrRequestReregistration", ven_id_element(ven_id))


def signal(
    *steps: tuple[str, str], name: str = "SIMPLE", type: str = "level", signal_id: str = "signal-0",
    uids: tuple[str, ...] | None = None, current: str = "0", unit: str = "",
) -> str:  # fmt: skip
    """An eiEventSignal of steps (length, value); `current` is its currentValue, `unit` its itemBase."""
    uids = tuple(str(n) for n in range(len(steps))) if uids is None else uids
    intervals = "".join(
        f"<ei:interval>{lasting('xcal:duration', length)}<xcal:uid><xcal:text>{uid}</xcal:text></xcal:uid>"
        f"<ei:signalPayload>{_float(value)}</ei:signalPayload></ei:interval>"
        for uid, (length, value) in zip(uids, steps, strict=True)
    )
    return (
        f"<ei:eiEventSignal><strm:intervals>{intervals}</strm:intervals><ei:signalName>{name}</ei:signalName>"
        f"<ei:signalType>{type}</ei:signalType><ei:signalID>{signal_id}</ei:signalID>{unit}"
        f"<ei:currentValue>{_float(current)}</ei:currentValue></ei:eiEventSignal>"
    )


PRICE_UNIT = (
    "<oadr:currencyPerKWh><oadr:itemDescription>currencyPerKWh</oadr:itemDescription><oadr:itemUnits>EUR"
    "</oadr:itemUnits><scale:siScaleCode>none</scale:siScaleCode></oadr:currencyPerKWh>"
)


def event(
    event_id: str, start_ms: int, *signals: str, number: int = 0, status: str = "far", priority: int | None = None,
    test: str = "false", length: str = "PT1H", required: str = "always", target: str = "",
    start_after: str | None = None, created_ms: int = 1_767_225_600_000, comment: str = "",
) -> str:  # fmt: skip
    """An oadrEvent, SIMPLE level 2 all along unless told otherwise; `target` is the inside of eiTarget."""
    tolerance = (
        ""
        if start_after is None
        else f"<xcal:tolerance><xcal:tolerate><xcal:startafter>{start_after}</xcal:startafter></xcal:tolerate>"
        "</xcal:tolerance>"
    )
    ranked = "" if priority is None else f"<ei:priority>{priority}</ei:priority>"
    return (
        f"<oadr:oadrEvent><ei:eiEvent><ei:eventDescriptor><ei:eventID>{event_id}</ei:eventID><ei:modificationNumber>"
        f"{number}</ei:modificationNumber>{ranked}<ei:eiMarketContext><emix:marketContext>http://programs.example/peak"
        f"</emix:marketContext></ei:eiMarketContext><ei:createdDateTime>{when(created_ms)}</ei:createdDateTime>"
        f"<ei:eventStatus>{status}</ei:eventStatus><ei:testEvent>{test}</ei:testEvent>"
        f"{'' if not comment else f'<ei:vtnComment>{comment}</ei:vtnComment>'}</ei:eventDescriptor>"
        "<ei:eiActivePeriod><xcal:properties><xcal:dtstart><xcal:date-time>"
        f"{when(start_ms)}</xcal:date-time></xcal:dtstart>{lasting('xcal:duration', length)}{tolerance}"
        f"{lasting('ei:x-eiNotification', 'PT0S')}</xcal:properties><xcal:components/></ei:eiActivePeriod>"
        f"<ei:eiEventSignals>{''.join(signals) or signal((length, '2'))}</ei:eiEventSignals><ei:eiTarget>{target}"
        f"</ei:eiTarget></ei:eiEvent><oadr:oadrResponseRequired>{required}</oadr:oadrResponseRequired></oadr:oadrEvent>"
    )


def distribute(*events: str, request_id: str = "dist-1", vtn_id: str = VTN, answered: str | None = None) -> bytes:
    """oadrDistributeEvent; `answered` is the requestID of the question, where it is the answer to one."""
    return element(
        "oadrDistributeEvent",
        "" if answered is None else response_element(answered),
        request_id_element(request_id),
        f"<ei:vtnID>{vtn_id}</ei:vtnID>",
        *events,
    )


def _float(value: str) -> str:
    return f"<ei:payloadFloat><ei:value>{value}</ei:value></ei:payloadFloat>"
