"""OpenADR 2.0b over simple HTTP: aiohttp handlers on `openadr.v2` messages and the VTN's services."""

from vtn.faces.openadr2.face import PREFIX, Openadr2Face

__all__ = ["PREFIX", "Openadr2Face"]
