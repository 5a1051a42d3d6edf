"""Fixtures of the crossed runs: a database, authorities, and patience of the stock stack."""

from __future__ import annotations

from datetime import timedelta

import pytest
from openleadr import messaging

from tests.vtn.auth.conftest import pki
from tests.vtn.conftest import vtn_url

__all__ = ["pki", "vtn_url"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """openleadr takes a signature for five seconds, less than a busy machine may need for an answer."""
    monkeypatch.setattr(messaging, "REPLAY_PROTECT_MAX_TIME_DELTA", timedelta(minutes=2))
