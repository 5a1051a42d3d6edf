"""Raw 2.0b messages of EiReport, in both directions."""

from __future__ import annotations

from tests.conformance.v2.wire import element, request_id_element, response_element, ven_id_element, when

ENERGY = (
    "<power:energyReal><power:itemDescription>RealEnergy</power:itemDescription><power:itemUnits>Wh</power:itemUnits>"
    "<scale:siScaleCode>{scale}</scale:siScaleCode></power:energyReal>"
)
POWER = (
    "<power:powerReal><power:itemDescription>RealPower</power:itemDescription><power:itemUnits>W</power:itemUnits>"
    "<scale:siScaleCode>none</scale:siScaleCode><power:powerAttributes><power:hertz>50</power:hertz>"
    "<power:voltage>230</power:voltage><power:ac>true</power:ac></power:powerAttributes></power:powerReal>"
)
FEED = (
    '<feed xmlns="http://www.w3.org/2005/Atom"><id>urn:uuid:1</id><title>usage</title>'
    "<updated>2026-01-01T00:00:00Z</updated></feed>"
)


def description(
    r_id: str, *, unit: str = ENERGY.format(scale="none"), report_type: str = "usage", reading: str = "Net",
    resource: str | None = None, period: str = "PT15M",
) -> str:  # fmt: skip
    source = (
        ""
        if resource is None
        else f"<ei:reportDataSource><ei:resourceID>{resource}</ei:resourceID></ei:reportDataSource>"
    )
    return (
        f"<oadr:oadrReportDescription><ei:rID>{r_id}</ei:rID>{source}<ei:reportType>{report_type}</ei:reportType>{unit}"
        f"<ei:readingType>{reading}</ei:readingType><oadr:oadrSamplingRate><oadr:oadrMinPeriod>{period}"
        f"</oadr:oadrMinPeriod><oadr:oadrMaxPeriod>{period}</oadr:oadrMaxPeriod><oadr:oadrOnChange>false"
        "</oadr:oadrOnChange></oadr:oadrSamplingRate></oadr:oadrReportDescription>"
    )


def metadata(specifier: str, name: str, *descriptions: str, request_id: str = "0", created_ms: int = 0) -> str:
    """An oadrReport of a METADATA report."""
    return (
        f"<oadr:oadrReport>{''.join(descriptions)}<ei:reportRequestID>{request_id}</ei:reportRequestID>"
        f"<ei:reportSpecifierID>{specifier}</ei:reportSpecifierID><ei:reportName>METADATA_{name}</ei:reportName>"
        f"<ei:createdDateTime>{when(created_ms)}</ei:createdDateTime></oadr:oadrReport>"
    )


def register_report(ven_id: str, *reports: str, request_id: str = "register-1") -> bytes:
    return element("oadrRegisterReport", request_id_element(request_id), *reports, ven_id_element(ven_id))


def number(r_id: str, value: str | int, quality: str = "Quality Good - Non Specific") -> str:
    """An oadrReportPayload with a number."""
    return (
        f"<oadr:oadrReportPayload><ei:rID>{r_id}</ei:rID><ei:payloadFloat><ei:value>{value}</ei:value></ei:payloadFloat>"
        f"<oadr:oadrDataQuality>{quality}</oadr:oadrDataQuality></oadr:oadrReportPayload>"
    )


def status(r_id: str, *, online: bool, override: bool, control: str = "") -> str:
    """An oadrReportPayload with the state of a resource."""
    return (
        f"<oadr:oadrReportPayload><ei:rID>{r_id}</ei:rID><oadr:oadrPayloadResourceStatus>"
        f"<oadr:oadrOnline>{str(online).lower()}</oadr:oadrOnline>"
        f"<oadr:oadrManualOverride>{str(override).lower()}</oadr:oadrManualOverride>{control}"
        "</oadr:oadrPayloadResourceStatus></oadr:oadrReportPayload>"
    )


def interval(*payloads: str, start_ms: int | None = None, length: str | None = None) -> str:
    start = (
        "" if start_ms is None else f"<xcal:dtstart><xcal:date-time>{when(start_ms)}</xcal:date-time></xcal:dtstart>"
    )
    lasts = "" if length is None else f"<xcal:duration><xcal:duration>{length}</xcal:duration></xcal:duration>"
    return f"<ei:interval>{start}{lasts}{''.join(payloads)}</ei:interval>"


def report(
    request_id: str, specifier: str, name: str, *intervals: str, start_ms: int | None = None, created_ms: int = 0
) -> str:
    """An oadrReport with data."""
    start = (
        "" if start_ms is None else f"<xcal:dtstart><xcal:date-time>{when(start_ms)}</xcal:date-time></xcal:dtstart>"
    )
    return (
        f"<oadr:oadrReport>{start}<strm:intervals>{''.join(intervals)}</strm:intervals><ei:eiReportID>r-1</ei:eiReportID>"
        f"<ei:reportRequestID>{request_id}</ei:reportRequestID><ei:reportSpecifierID>{specifier}</ei:reportSpecifierID>"
        f"<ei:reportName>{name}</ei:reportName><ei:createdDateTime>{when(created_ms)}</ei:createdDateTime>"
        "</oadr:oadrReport>"
    )


def update_report(ven_id: str, *reports: str, request_id: str = "update-1") -> bytes:
    return element("oadrUpdateReport", request_id_element(request_id), *reports, ven_id_element(ven_id))


def created_report(ven_id: str, *pending: str, request_id: str = "", code: int = 200) -> bytes:
    return element("oadrCreatedReport", response_element(request_id, code), _pending(pending), ven_id_element(ven_id))


def canceled_report(ven_id: str, *pending: str, request_id: str = "") -> bytes:
    return element("oadrCanceledReport", response_element(request_id), _pending(pending), ven_id_element(ven_id))


def registered_report(ven_id: str, request_id: str, *requests: str) -> bytes:
    return element("oadrRegisteredReport", response_element(request_id), *requests, ven_id_element(ven_id))


def updated_report(ven_id: str, request_id: str) -> bytes:
    return element("oadrUpdatedReport", response_element(request_id), ven_id_element(ven_id))


def report_request(
    request_id: str, specifier: str, *, r_id: str = "energy", granularity: str = "PT15M", back: str = "PT15M",
    start_ms: int | None = None, length: str = "PT0S",
) -> str:  # fmt: skip
    """An oadrReportRequest."""
    period = "" if start_ms is None else (
        f"<ei:reportInterval><xcal:properties><xcal:dtstart><xcal:date-time>{when(start_ms)}</xcal:date-time>"
        f"</xcal:dtstart><xcal:duration><xcal:duration>{length}</xcal:duration></xcal:duration></xcal:properties>"
        "</ei:reportInterval>"
    )  # fmt: skip
    return (
        f"<oadr:oadrReportRequest><ei:reportRequestID>{request_id}</ei:reportRequestID><ei:reportSpecifier>"
        f"<ei:reportSpecifierID>{specifier}</ei:reportSpecifierID><xcal:granularity><xcal:duration>{granularity}"
        f"</xcal:duration></xcal:granularity><ei:reportBackDuration><xcal:duration>{back}</xcal:duration>"
        f"</ei:reportBackDuration>{period}<ei:specifierPayload><ei:rID>{r_id}</ei:rID>"
        "<ei:readingType>x-notApplicable</ei:readingType></ei:specifierPayload></ei:reportSpecifier>"
        "</oadr:oadrReportRequest>"
    )


def create_report(ven_id: str, *requests: str, request_id: str = "create-1") -> bytes:
    return element("oadrCreateReport", request_id_element(request_id), *requests, ven_id_element(ven_id))


def cancel_report(ven_id: str, *ids: str, to_follow: bool = False, request_id: str = "cancel-1") -> bytes:
    named = "".join(f"<ei:reportRequestID>{each}</ei:reportRequestID>" for each in ids)
    follow = f"<pyld:reportToFollow>{str(to_follow).lower()}</pyld:reportToFollow>"
    return element("oadrCancelReport", request_id_element(request_id), named, follow, ven_id_element(ven_id))


def _pending(ids: tuple[str, ...]) -> str:
    named = "".join(f"<ei:reportRequestID>{each}</ei:reportRequestID>" for each in ids)
    return f"<oadr:oadrPendingReports>{named}</oadr:oadrPendingReports>"
