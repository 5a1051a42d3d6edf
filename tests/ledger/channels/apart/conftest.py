"""One consortium for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ledger.channels.apart.consortium import Apart, open_channel


@pytest.fixture(scope="package")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """The consortium is up, and the utility and the aggregator have opened vn-1."""
    consortium = Apart(tmp_path_factory.mktemp("apart"))
    try:
        consortium.start()
        open_channel(consortium)
        yield consortium
    finally:
        consortium.end()
