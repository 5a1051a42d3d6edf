"""Push mode: the VTN posts to the VEN's transport address and tries again, later each time, until it arrives."""

from __future__ import annotations

import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conformance.v2 import reporting, wire
from tests.conformance.v2.running import a_running_vtn
from tests.conformance.v2.wire import Answer

_PATIENCE_S = 60


class PushedTo:
    """A VEN's server: what it was posted (service, message), and how it answers; `status` other than 200 fails."""

    def __init__(self) -> None:
        self.received: deque[tuple[str, Answer]] = deque()
        self.status = 200
        self.answers = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                message = Answer(body)
                outer.received.append((self.path, message))
                answer = outer.answers.get(message.name, lambda message: wire.response(message.request_id))(message)
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def next(self, name: str) -> tuple[str, Answer]:
        """The next message of a name that arrives."""
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            assert time.monotonic() < end_s, f"no {name} was pushed"
            if self.received and (found := self.received.popleft())[1].name == name:
                return found
            time.sleep(0.01)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    found = PushedTo()
    yield found
    found.close()


@pytest.fixture
def device(vtn, server):
    """A VEN registered for push."""
    device = vtn.device(register=False)
    body = wire.create_party_registration(device.ven_name, pull=False, address=server.url)
    answer = device.post("EiRegisterParty", body)
    assert answer.code == 200
    device.registration_id = answer.text("./ei:registrationID")
    yield device
    # other tests move the clock: nobody is to be tried again by then
    device.post("EiRegisterParty", wire.cancel_party_registration(device.registration_id, device.ven_id))


def eventually(condition):
    end_s = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_an_event_is_posted_acknowledged_by_the_answer_and_opted_later(vtn, device, server):
    event_id = vtn.event(device)
    path, message = server.next("oadrDistributeEvent")
    assert (path, message.event_ids) == ("/OpenADR2/Simple/2.0b/EiEvent", [event_id])
    eventually(lambda: vtn.delivery(event_id, device).state == "acknowledged")
    assert device.answer((event_id, 0, "optIn"), request_id=message.request_id).code == 200
    assert vtn.delivery(event_id, device).state == "opted_in"
    vtn.clock.advance(3_000_000)
    assert not server.received


def test_a_cancellation_is_posted_too(vtn, device, server):
    event_id = vtn.event(device)
    server.next("oadrDistributeEvent")
    vtn.do(vtn.inside.dr_events.cancel(event_id))
    while (message := server.next("oadrDistributeEvent")[1]).event_status(event_id) != "cancelled":
        pass
    assert device.answer((event_id, 1, "optIn"), request_id=message.request_id).code == 200


def test_what_fails_is_posted_again_after_a_while_and_the_operator_sees_why(vtn, device, server):
    server.status = 500
    event_id = vtn.event(device)
    server.next("oadrDistributeEvent")
    eventually(lambda: vtn.delivery(event_id, device).failures == 1)
    found = vtn.delivery(event_id, device)
    assert (found.state, found.last_error) == ("delivered", "the VEN answered HTTP 500")
    vtn.clock.advance(5_000)
    server.next("oadrDistributeEvent")
    eventually(lambda: vtn.delivery(event_id, device).failures == 2)
    server.status = 200
    vtn.clock.advance(5_000)
    time.sleep(0.2)
    assert not server.received, "the second wait is longer than the first"
    vtn.clock.advance(5_000)
    server.next("oadrDistributeEvent")
    eventually(lambda: vtn.delivery(event_id, device).failures == 0)


def test_what_is_not_acknowledged_is_posted_again(vtn, device, server):
    event_id = vtn.event(device)
    server.next("oadrDistributeEvent")
    eventually(lambda: vtn.delivery(event_id, device).state == "acknowledged")
    vtn.clock.advance(30_000)
    assert server.next("oadrDistributeEvent")[1].event_ids == [event_id]


def test_an_answer_that_is_no_openadr_message_is_a_failure(vtn, device, server):
    server.answers["oadrDistributeEvent"] = lambda _: b"thank you"
    event_id = vtn.event(device)
    eventually(lambda: vtn.delivery(event_id, device).failures == 1)
    assert vtn.delivery(event_id, device).last_error


def test_report_requests_are_confirmed_in_the_answer(vtn, device, server):
    described = reporting.metadata("past", "HISTORY_USAGE", reporting.description("meter"))
    device.post("EiReport", reporting.register_report(device.ven_id, described))
    server.answers["oadrCreateReport"] = lambda message: reporting.created_report(
        device.ven_id, *message.texts(".//ei:reportRequestID"), request_id=message.request_id
    )
    vtn.do(vtn.inside.reports.ask(device.ven_id, "past", granularity_s=900, report_back_s=900))
    path, _ = server.next("oadrCreateReport")
    assert path == "/OpenADR2/Simple/2.0b/EiReport"
    eventually(lambda: [each.status for each in vtn.do(vtn.inside.reports.requests(device.ven_id))] == ["running"])


def test_the_end_of_a_registration_is_confirmed_in_the_answer(vtn, device, server):
    server.answers["oadrCancelPartyRegistration"] = lambda message: wire.canceled_party_registration(
        message.request_id, device.registration_id, device.ven_id
    )
    vtn.do(vtn.inside.registrations.request_cancel(device.ven_id))
    path, _ = server.next("oadrCancelPartyRegistration")
    assert path == "/OpenADR2/Simple/2.0b/EiRegisterParty"
    eventually(lambda: vtn.do(vtn.inside.vens.get(device.ven_id)).registration_id is None)


def test_a_push_ven_may_poll_as_well(vtn, device, server):
    """Rule 37: every VEN supports pull."""
    server.status = 500
    event_id = vtn.event(device)
    eventually(lambda: vtn.delivery(event_id, device).failures == 1)
    vtn.clock.advance(30_000)
    assert event_id in device.poll_for("oadrDistributeEvent").event_ids
    assert device.answer((event_id, 0, "optIn")).code == 200


def test_a_ven_that_is_not_there_is_tried_again(vtn, device, server):
    server.close()
    event_id = vtn.event(device)
    eventually(lambda: vtn.delivery(event_id, device).failures == 1)


def test_of_two_workers_one_posts(vtn, device, server, tmp_path):
    with a_running_vtn(vtn.database_url, tmp_path, vtn.clock) as other:
        event_id = vtn.event(device)
        server.next("oadrDistributeEvent")
        eventually(lambda: vtn.delivery(event_id, device).state == "acknowledged")
        assert other.do(other.inside.dr_events.deliveries(event_id))[0].deliveries == 1
        time.sleep(0.5)
        assert not server.received
