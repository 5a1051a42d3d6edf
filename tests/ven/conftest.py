"""What every test of the home agent leaves behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ven import homes


@pytest.fixture(autouse=True)
def closed_stores() -> Iterator[None]:
    """Close the stores a test opened: from Python 3.13 an open one is a warning, and a warning is an error here."""
    yield
    while homes.opened:
        homes.opened.pop().close()
