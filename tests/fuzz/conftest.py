"""The VTN's fixtures."""

from tests.vtn.conftest import clock, opened_vtn, vtn_url
from tests.vtn.faces.conftest import peer, url

__all__ = ["clock", "opened_vtn", "peer", "url", "vtn_url"]
