"""From a typed message to bytes: openleadr's templates with our corrections, inside oadrPayload/oadrSignedObject.

Every value passes one gate on its way into the XML: text is escaped, and None, which the stock templates would print as
the word, is refused.
"""

import re
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, FunctionLoader, Template
from openleadr.messaging import TEMPLATES

from openadr import durations
from openadr.errors import RenderError
from openadr.v2 import messages
from openadr.v2.corrections import corrected
from openadr.v2.document.feeds import checked_feed
from openadr.v2.events import event_context, targets_context
from openadr.v2.fields import render_time
from openadr.v2.messages import GreenButton, Message, wire_name
from openadr.v2.reports import report_context, report_request_context

_PAYLOAD = b"""<?xml version="1.0" encoding="UTF-8"?>
<oadr:oadrPayload xmlns:oadr="http://openadr.org/oadr-2.0b/2012/07">%b</oadr:oadrPayload>"""
_MARKUP = re.compile(r"[&<>\"'\r]")
_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\r": "&#13;"}


def render(message: Message) -> bytes:
    """The message as a body to send: UTF-8 XML, valid by the schema if its enumerated values are.

    Raises RenderError for a value that XML cannot carry or a required value that is None, InvalidEvent or InvalidReport
    for what has no 2.0b form.
    """
    build: Callable[[Any], dict[str, Any]] = _CONTEXTS.get(type(message), _fields)
    context = build(message)
    template: Template = _ENVIRONMENT.get_template(f"{wire_name(message)}.xml")
    return _PAYLOAD % template.render(context).encode()


def _load(name: str) -> str:
    assert TEMPLATES.loader is not None
    return corrected(name, TEMPLATES.loader.get_source(TEMPLATES, name)[0])


def _escaped(value: Any) -> str:
    if isinstance(value, _Markup):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise RenderError(f"a value is missing or has the wrong type: {value!r}")
    if _ILLEGAL.search(value):
        raise RenderError(f"{value[:40]!r} has characters that XML cannot carry")
    return _MARKUP.sub(lambda match: _ENTITIES[match[0]], value)


class _Markup(str):
    """XML of ours that was checked and goes in as it is."""


def _feed(value: GreenButton) -> str:
    return _Markup(checked_feed(value.feed))


def _boolean(value: Any) -> str:
    if not isinstance(value, bool):
        raise RenderError(f"{value!r} is neither true nor false")
    return "true" if value else "false"


def _environment() -> Environment:
    # The gate of `finalize` escapes, so the environment itself must not do it a second time.
    environment = Environment(loader=FunctionLoader(_load), finalize=_escaped, auto_reload=False)  # noqa: S701
    environment.filters |= {
        "datetimeformat": render_time,
        "timedeltaformat": durations.render,
        "booleanformat": _boolean,
        "feedformat": _feed,
    }
    return environment


_ENVIRONMENT = _environment()


def _fields(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


def _created_party_registration(message: messages.OadrCreatedPartyRegistration) -> dict[str, Any]:
    return _fields(message) | {
        "requested_oadr_poll_freq": message.poll_interval_s,
        "profiles": [
            {
                "profile_name": profile.profile_name,
                "transports": [{"transport_name": name} for name in profile.transport_names],
            }
            for profile in message.profiles
        ],
    }


def _distribute_event(message: messages.OadrDistributeEvent) -> dict[str, Any]:
    if message.refused:
        raise RenderError("an event that was refused cannot be sent on")
    return _fields(message) | {"events": [event_context(event) for event in message.events]}


def _created_event(message: messages.OadrCreatedEvent) -> dict[str, Any]:
    return _fields(message) | {"event_responses": message.event_responses or None}


def _create_opt(message: messages.OadrCreateOpt) -> dict[str, Any]:
    components = [{"dtstart": each.start_ms, "duration": each.duration_s} for each in message.availability]
    return _fields(message) | {
        "created_date_time": message.created_ms,
        "vavailability": {"components": components} if components else None,
        "event": {"targets": targets_context(message.targets)},
    }


def _reports(message: messages.OadrRegisterReport | messages.OadrUpdateReport) -> dict[str, Any]:
    return _fields(message) | {"reports": [report_context(report) for report in message.reports]}


def _report_requests(message: messages.OadrCreateReport | messages.OadrRegisteredReport) -> dict[str, Any]:
    return _fields(message) | {
        "report_requests": [report_request_context(request) for request in message.report_requests]
    }


def _pending_reports(message: messages.OadrCreatedReport | messages.OadrCanceledReport) -> dict[str, Any]:
    ids = message.pending_report_request_ids
    return _fields(message) | {"pending_reports": [{"report_request_id": each} for each in ids]}


def _updated_report(message: messages.OadrUpdatedReport) -> dict[str, Any]:
    cancel = message.cancel_report
    context = None if cancel is None else _fields(cancel) | {"report_request_id": cancel.report_request_ids}
    return _fields(message) | {"cancel_report": context}


_CONTEXTS: dict[type[Any], Callable[[Any], dict[str, Any]]] = {
    messages.OadrCreatedPartyRegistration: _created_party_registration,
    messages.OadrDistributeEvent: _distribute_event,
    messages.OadrCreatedEvent: _created_event,
    messages.OadrCreateOpt: _create_opt,
    messages.OadrRegisterReport: _reports,
    messages.OadrUpdateReport: _reports,
    messages.OadrCreateReport: _report_requests,
    messages.OadrRegisteredReport: _report_requests,
    messages.OadrCreatedReport: _pending_reports,
    messages.OadrCanceledReport: _pending_reports,
    messages.OadrUpdatedReport: _updated_report,
}
"""Messages whose fields are not named as in openleadr's templates."""
