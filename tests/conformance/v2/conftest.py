"""One VTN for all conformance tests of a worker: each test has devices and events of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.v2.running import Device, RunningVtn, a_running_vtn
from tests.conftest import Databases


@pytest.fixture(scope="session")
def running_vtn(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVtn]:
    """The VTN, lenient as it is delivered."""
    database_url = databases.new("vtn")
    with a_running_vtn(database_url, tmp_path_factory.mktemp("vtn")) as running:
        yield running
    databases.drop(database_url)


@pytest.fixture
def vtn(running_vtn: RunningVtn) -> RunningVtn:
    """The VTN that all tests share."""
    return running_vtn


@pytest.fixture
def device(vtn: RunningVtn) -> Device:
    """A registered VEN of this test alone."""
    return vtn.device()
