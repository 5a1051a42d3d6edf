"""Rule 311: reportRequestID is 0 in an oadrRegisterReport."""

from __future__ import annotations

import pytest

from tests.conformance.v2 import reporting


def test_the_vtn_describes_its_reports_under_0(vtn, device):
    vtn.do(vtn.inside.report_source.offer(device.ven_id))
    described = device.poll_for("oadrRegisterReport")
    assert set(described.texts(".//ei:reportRequestID")) == {"0"}


@pytest.mark.parametrize("request_id", ["0", "ask-7"])
def test_the_description_of_a_ven_is_taken_under_0_and_under_the_request_it_answers(device, request_id):
    described = reporting.metadata("usage", "TELEMETRY_USAGE", reporting.description("meter"), request_id=request_id)
    answer = device.post("EiReport", reporting.register_report(device.ven_id, described))
    assert (answer.code, answer.texts(".//ei:reportSpecifierID")) == (200, ["usage"])
