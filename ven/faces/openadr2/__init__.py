"""OpenADR 2.0b as a home: registration, events, telemetry reports, on the injected clock."""

from ven.faces.openadr2.engine import Engine

__all__ = ["Engine"]
