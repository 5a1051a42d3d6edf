"""Rule 22: a VEN acts only if it is targeted, so an event goes to those its targets name, with all its targets."""

from __future__ import annotations

import pytest

from openadr.model import Target
from tests.conformance.v2 import reporting
from tests.conformance.v2.running import PROGRAM


def publish(vtn, *targets):
    event = vtn.an_event(targets=targets)
    vtn.do(vtn.inside.dr_events.create(event, PROGRAM))
    return event.event_id, vtn.do(vtn.inside.dr_events.publish(event.event_id))


@pytest.mark.parametrize("kind", ["venID", "groupID", "resourceID"])
def test_each_kind_of_target_finds_its_ven_and_no_other(vtn, kind):
    group = f"group-{kind}"
    device, other = vtn.device(group=group), vtn.device(group="elsewhere")
    resource = f"heater-{device.ven_id}"
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter", resource=resource))
    device.post("EiReport", reporting.register_report(device.ven_id, described))
    targets = {
        "venID": Target("ven", device.ven_id),
        "groupID": Target("group", group),
        "resourceID": Target("resource", resource),
    }
    event_id, told = publish(vtn, targets[kind])
    assert told == [device.ven_id]
    answer = device.events()
    assert answer.texts(f"./ei:eiEvent/ei:eiTarget/ei:{kind}", answer.event(event_id)) == [targets[kind].value]
    assert event_id not in other.events().event_ids


def test_several_targets_are_sent_together_to_every_one_of_them(vtn):
    first, second = vtn.device(group="both"), vtn.device()
    targets = (Target("group", "both"), Target("ven", second.ven_id), Target("party", "party-1"))
    event_id, told = publish(vtn, *targets)
    assert told == sorted([first.ven_id, second.ven_id])
    for each in (first, second):
        answer = each.events()
        target = answer.event(event_id).find("./{*}eiEvent/{*}eiTarget")
        found = {(child.tag.rpartition("}")[2], child.text) for child in target}
        assert found == {("groupID", "both"), ("venID", second.ven_id), ("partyID", "party-1")}
