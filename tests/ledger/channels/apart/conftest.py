"""One consortium for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ledger.channels.apart.consortium import CHANGING, CHILD, Apart, found_channels, open_channels


@pytest.fixture(scope="package")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """The consortium is up, and the utility and the aggregator have opened a channel for each test."""
    consortium = Apart(tmp_path_factory.mktemp("apart"))
    try:
        consortium.found()
        found_channels(consortium, CHILD, CHANGING)
        consortium.start()
        open_channels(consortium, CHILD, CHANGING)
        yield consortium
    finally:
        consortium.end()
