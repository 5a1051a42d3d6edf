"""Where openleadr's message templates are wrong or too narrow, and what they should say.

Each correction is a replacement in the flattened source of one template. `corrected` refuses to go on when a text is
not found, so a new release of openleadr cannot undo one silently.
"""

import re

from openadr.errors import RenderError

_GUARD = "{{% if {0} is not none %}}{1}{{% endif %}}"


def corrected(name: str, source: str) -> str:
    """Source of a template as we render it: on one line (values keep their white space) and with its corrections."""
    flat = "".join(line.strip() for line in re.sub(r"\{#.*?#\}", "", source, flags=re.DOTALL).splitlines())
    for old, new in _CORRECTIONS.get(name, ()):
        if old not in flat:
            raise RenderError(f"openleadr's template {name} no longer has {old!r}")
        flat = flat.replace(old, new)
    return flat


def _guarded(variable: str, text: str) -> tuple[str, str]:
    return text, _GUARD.format(variable, text)


# Ids the schema calls optional are left out when there is none, instead of being sent empty or as "None".
_VEN_ID = _guarded("ven_id", "<ei:venID>{{ ven_id }}</ei:venID>")
_REGISTRATION_ID = _guarded("registration_id", "<ei:registrationID>{{ registration_id }}</ei:registrationID>")
_POWER = 'xmlns:power="http://docs.oasis-open.org/ns/emix/2011/06/power"'

# Written out for each control, because a template has no way to call one.
_LOAD_CONTROL = (
    "{% set control = report_payload.status.load_control %}{% if control is not none %}<oadr:oadrLoadControlState>"
    "{% for name, value in [('oadrCapacity', control.capacity), ('oadrLevelOffset', control.level_offset), "
    "('oadrPercentOffset', control.percent_offset), ('oadrSetPoint', control.set_point)] %}"
    "{% if value is not none %}<oadr:{{ name }}>"
    "{% if value.min is not none %}<oadr:oadrMin>{{ value.min }}</oadr:oadrMin>{% endif %}"
    "{% if value.max is not none %}<oadr:oadrMax>{{ value.max }}</oadr:oadrMax>{% endif %}"
    "<oadr:oadrCurrent>{{ value.current }}</oadr:oadrCurrent>"
    "{% if value.normal is not none %}<oadr:oadrNormal>{{ value.normal }}</oadr:oadrNormal>{% endif %}"
    "</oadr:{{ name }}>{% endif %}{% endfor %}</oadr:oadrLoadControlState>{% endif %}"
)

_CORRECTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "oadrResponse.xml": (_VEN_ID,),
    "oadrCancelPartyRegistration.xml": (_VEN_ID,),
    "oadrCanceledPartyRegistration.xml": (_VEN_ID, _REGISTRATION_ID),
    "oadrCreateReport.xml": (_VEN_ID,),
    "oadrCanceledOpt.xml": (_guarded("opt_id", "<ei:optID>{{ opt_id }}</ei:optID>"),),
    "oadrCreatePartyRegistration.xml": (
        _guarded("transport_address", "<oadr:oadrTransportAddress>{{ transport_address }}</oadr:oadrTransportAddress>"),
        _guarded("ven_name", "<oadr:oadrVenName>{{ ven_name }}</oadr:oadrVenName>"),
        _guarded(
            "http_pull_model",
            "<oadr:oadrHttpPullModel>{{ http_pull_model|booleanformat }}</oadr:oadrHttpPullModel>",
        ),
    ),
    # A refused registration has no ids: empty ones look like ids to some devices.
    "oadrCreatedPartyRegistration.xml": (
        ("{% else %}<ei:registrationID />{% endif %}", "{% endif %}"),
        ("{% else %}<ei:venID />{% endif %}", "{% endif %}"),
    ),
    # The requestID was dropped as soon as there were event responses.
    "oadrCreatedEvent.xml": (
        (
            "{% if (event_responses is not defined or event_responses is none) and "
            "(response.request_id is defined and response.request_id is not none) %}",
            "{% if response.request_id is not none %}",
        ),
    ),
    # One target element with all designations, where one element each broke the schema.
    "oadrCreateOpt.xml": (
        (
            "{% if targets is defined and targets is not none and targets|length > 0 %}{% for target in targets %}"
            "{% include 'parts/eiTarget.xml' %}{% endfor %}{% else %}<ei:eiTarget/>{% endif %}",
            "{% include 'parts/eiEventTarget.xml' %}",
        ),
        (
            "{% if signal_target_mrid is defined and signal_target_mrid is not none %}<oadr:oadrDeviceClass>"
            "<power:endDeviceAsset><power:mrid>{{ signal_target_mrid }}</power:mrid></power:endDeviceAsset>",
            "{% if device_classes %}<oadr:oadrDeviceClass>{% for device_class in device_classes %}"
            "<power:endDeviceAsset><power:mrid>{{ device_class }}</power:mrid></power:endDeviceAsset>{% endfor %}",
        ),
    ),
    "oadrCancelReport.xml": (
        _VEN_ID,
        (
            "<ei:reportRequestID>{{ report_request_id }}</ei:reportRequestID>",
            "{% for report_request_id in report_request_ids %}"
            "<ei:reportRequestID>{{ report_request_id }}</ei:reportRequestID>{% endfor %}",
        ),
    ),
    "oadrRegisterReport.xml": (
        (
            "</oadr:oadrRegisterReport>",
            "{% if report_request_id is not none %}<ei:reportRequestID>{{ report_request_id }}</ei:reportRequestID>"
            "{% endif %}</oadr:oadrRegisterReport>",
        ),
    ),
    # Several data points in one interval, inherited starts, durations of the report, and status payloads.
    "oadrUpdateReport.xml": (
        (
            "</xcal:dtstart>{% endif %}{% if report.intervals %}",
            "</xcal:dtstart>{% endif %}{% if report.duration is not none %}<xcal:duration><xcal:duration>"
            "{{ report.duration|timedeltaformat }}</xcal:duration></xcal:duration>{% endif %}"
            "{% if report.intervals %}",
        ),
        _guarded(
            "interval.dtstart",
            "<xcal:dtstart><xcal:date-time>{{ interval.dtstart|datetimeformat }}</xcal:date-time></xcal:dtstart>",
        ),
        ("<oadr:oadrReportPayload>", "{% for report_payload in interval.payloads %}<oadr:oadrReportPayload>"),
        ("</oadr:oadrReportPayload>", "</oadr:oadrReportPayload>{% endfor %}"),
        ("interval.report_payload.", "report_payload."),
        (
            "<ei:payloadFloat><ei:value>{{ report_payload.value }}</ei:value></ei:payloadFloat>",
            "{% if report_payload.status is none %}<ei:payloadFloat><ei:value>{{ report_payload.value }}</ei:value>"
            "</ei:payloadFloat>{% else %}<oadr:oadrPayloadResourceStatus>"
            "<oadr:oadrOnline>{{ report_payload.status.online|booleanformat }}</oadr:oadrOnline>"
            "<oadr:oadrManualOverride>{{ report_payload.status.manual_override|booleanformat }}"
            "</oadr:oadrManualOverride>" + _LOAD_CONTROL + "</oadr:oadrPayloadResourceStatus>{% endif %}",
        ),
        (
            "</ei:interval>",
            "{% for each in interval.green_button %}<oadr:oadrGBPayload>{{ each|feedformat }}</oadr:oadrGBPayload>"
            "{% endfor %}</ei:interval>",
        ),
        _guarded("report.report_id", "<ei:eiReportID>{{ report.report_id }}</ei:eiReportID>"),
    ),
    # Green Button data is described by a feed of its own.
    "parts/oadrReportDescription.xml": (
        (
            "{% include 'parts/reportDescriptionEmix.xml' %}",
            "{% include 'parts/reportDescriptionEmix.xml' %}{% if report_description.green_button is not none %}"
            "<oadr:oadrGBDataDescription>{{ report_description.green_button|feedformat }}"
            "</oadr:oadrGBDataDescription>{% endif %}",
        ),
    ),
    # A signal can be narrowed to kinds of device.
    "parts/eiEventSignal.xml": (
        (
            "</strm:intervals>",
            "</strm:intervals>{% if event_signal.device_classes %}<ei:eiTarget " + _POWER + ">"
            "{% for device_class in event_signal.device_classes %}<power:endDeviceAsset>"
            "<power:mrid>{{ device_class }}</power:mrid></power:endDeviceAsset>{% endfor %}</ei:eiTarget>{% endif %}",
        ),
    ),
}
