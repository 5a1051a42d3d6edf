"""Weather services that answer never, too much or nonsense, or send one elsewhere: forecasts are made without them."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from forecasting.errors import WeatherUnavailable
from runtime.errors import SettingsError
from vtn.analytics import weather as module
from vtn.analytics.weather import WeatherShelf, provider
from vtn.config import VtnSettings

FAR = json.dumps({"hourly": {"time": [0, 900, 1800, 2**52], "temp_c": [1, 2, 3, 4]}}).encode()


@pytest.fixture
def service():
    """Its address, what it answers, and how often it was asked."""
    asked, answers = [], {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answers["it"](self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1?key=s3cret", answers, asked
    server.shutdown()
    thread.join()
    server.server_close()


def says(body):
    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def leads_to(place):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("location", place)
        handler.end_headers()

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        says(b"[" * 100_000),
        says(FAR),
        says(json.dumps({"hourly": {"time": [0, 900], "temp_c": [1e308, {}]}}).encode()),
        says(json.dumps({"hourly": {"time": ["now", "x"], "temp_c": [1, 2]}}).encode()),
        lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"),
        lambda handler: handler.request.shutdown(socket.SHUT_RDWR),
        leads_to("http://169.254.169.254/latest"),
        leads_to("file:///etc/passwd"),
    ],
    ids=["deep", "a thousand years", "no numbers", "no times", "no http", "hung up", "elsewhere", "a file"],
)
def test_nonsense_is_refused_and_the_key_in_the_address_is_not_told(service, answer):
    url, answers, asked = service
    answers["it"] = answer
    with pytest.raises(WeatherUnavailable) as refused:
        provider(url).weather(0, 0, 0, 0)
    assert "s3cret" not in str(refused.value)
    assert {*asked} == {"/v1?key=s3cret"}, "nobody followed"


def test_an_answer_that_comes_a_byte_at_a_time_is_given_up_and_its_source_left_alone(service, monkeypatch):
    """The time limit was one of each byte: whoever evaluated homes for a need waited for days."""
    url, answers, asked = service
    over = threading.Event()

    def drips(handler):
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.05):
            handler.wfile.write(b" ")

    answers["it"] = drips
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.5)
    shelf = WeatherShelf(VtnSettings(weather_source=url, site_latitude=48.0, site_longitude=11.0))
    begun = time.monotonic()
    try:
        assert [shelf.around(hours * 3_600_000) for hours in range(400_000, 400_005)] == [None] * 5
    finally:
        over.set()
    assert time.monotonic() - begun < 10
    assert len(asked) == 1


def test_an_address_with_unknown_braces_is_refused_when_it_is_set():
    with pytest.raises(SettingsError, match="braces"):
        provider("https://weather.example/{place}")
