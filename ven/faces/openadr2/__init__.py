"""OpenADR 2.0b, pull: registration, poll, events, telemetry reports, on the injected clock."""

from ven.faces.openadr2.engine import Engine
from ven.faces.openadr2.link import Link

__all__ = ["Engine", "Link"]
