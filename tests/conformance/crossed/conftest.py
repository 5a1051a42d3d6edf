"""Fixtures of the crossed runs: a database, authorities."""

from __future__ import annotations

from tests.vtn.auth.conftest import pki
from tests.vtn.conftest import vtn_url

__all__ = ["pki", "vtn_url"]
