"""Our VTN, lenient, and pyoadr-ven 0.6.0: the bytes it sent on 2026-11-21 to this VTN, ids put in anew. It needs
libraries of its own and is not installed here; vtn/DESIGN.md (Interoperability) says how the run was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.clock import ManualClock
from tests.conformance.v2.running import Device, RunningVtn, a_running_vtn
from tests.conftest import Databases

RECORDED = Path(__file__).parent / "pyoadr"
WHEN_MS = 1_795_299_600_000
"""2026-11-21T22:20:00Z, when it had been sent."""


@pytest.fixture(scope="module")
def vtn(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVtn]:
    """Lenient, as it is delivered."""
    database = databases.new("vtn")
    with a_running_vtn(database, tmp_path_factory.mktemp("vtn"), ManualClock(WHEN_MS)) as running:
        yield running
    databases.drop(database)


@pytest.fixture(scope="module")
def strict(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVtn]:
    """The same in strict mode."""
    database = databases.new("vtn")
    with a_running_vtn(database, tmp_path_factory.mktemp("strict"), ManualClock(WHEN_MS), lenient=False) as running:
        yield running
    databases.drop(database)


def sent(name: str, device: Device, **ids: str) -> bytes:
    text = (RECORDED / f"{name}.xml").read_text().replace("VEN<", f"{device.ven_id}<")
    for word, value in ids.items():
        text = text.replace(word, value)
    return text.replace("<oadr:oadrVenName>pyoadr<", f"<oadr:oadrVenName>{device.ven_name}<").encode()


def test_it_registers_describes_a_report_hears_an_event_opts_in_and_reports(vtn):
    device = vtn.device(register=False)
    registered = device.post("EiRegisterParty", sent("oadrCreatePartyRegistration", device))
    assert (registered.name, registered.code, registered.text("./ei:venID")) == (
        "oadrCreatedPartyRegistration", 200, device.ven_id,
    )  # fmt: skip
    assert device.post("EiEvent", sent("oadrRequestEvent", device)).name == "oadrDistributeEvent"
    described = device.post("EiReport", sent("oadrRegisterReport", device))
    assert (described.name, described.code) == ("oadrRegisteredReport", 200)
    asked = vtn.do(vtn.inside.reports.ask(device.ven_id, "usage", granularity_s=5, report_back_s=5))
    event_id = vtn.event(device)
    messages = [device.post("OadrPoll", sent("oadrPoll", device)) for _ in range(2)]
    assert {each.name for each in messages} == {"oadrCreateReport", "oadrDistributeEvent"}
    [told] = [each for each in messages if each.name == "oadrDistributeEvent"]
    ids = {"evt-1": event_id, "DISTRIBUTION": told.request_id}
    assert device.post("EiEvent", sent("oadrCreatedEvent-undecided", device, **ids)).code == 200
    assert vtn.delivery(event_id, device).answered_ms is None, "none is no answer yet"
    assert device.post("EiEvent", sent("oadrCreatedEvent", device, **ids)).code == 200
    assert vtn.delivery(event_id, device).state == "opted_in"
    report = sent("oadrUpdateReport", device, REQUEST=asked.report_request_id)
    updated = device.post("EiReport", report)
    assert (updated.name, updated.code) == ("oadrUpdatedReport", 200)
    values = vtn.do(vtn.inside.collected.values(device.ven_id, "meter", 0, 2**52))
    assert {(each.value, each.interval_s) for each in values} == {("1234.5", 5)}


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("oadr*.xml")))
def test_a_strict_vtn_says_what_the_schema_has_against_it(strict, name):
    device = strict.device(register=False)
    answer = device.post("EiEvent", sent(name, device))
    assert (answer.name, answer.code) == ("oadrResponse", 454)
