"""A VTN that runs in a thread of its own for many tests, and a device that talks raw XML to it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from openadr.model import DrEvent, Signal, SignalInterval, Target, Unit
from runtime.clock import ManualClock
from tests.builders import a_clock
from tests.conformance.v2 import wire
from tests.conformance.v2.wire import Answer
from tests.vtn.faces.peer import facing
from tests.vtn.opened import PROGRAM, opened

T = TypeVar("T")
PATH = "/OpenADR2/Simple/2.0b"
CONTEXT = f"urn:gridpact:program:{PROGRAM}"
HOUR_MS = 3_600_000
EUR = Unit("currency_per_kwh", "EUR")
_PATIENCE_S = 60
_numbers = itertools.count(1)


class RunningVtn:
    """`inside` is the open VTN (call it with `do`), `url` its address, `clock` the time of the test."""

    def __init__(self, database_url: str, folder: Path, clock: ManualClock, **settings: object) -> None:
        self.clock = clock
        self.database_url = database_url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._open = contextlib.AsyncExitStack()
        self.do(self._start(database_url, folder, settings))

    async def _start(self, database_url: str, folder: Path, settings: dict[str, object]) -> None:
        found = await self._open.enter_async_context(opened(database_url, self.clock, folder, **settings))
        self.inside = found.vtn
        self.url = await self._open.enter_async_context(facing(found.vtn))

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something of the VTN's inside."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        """Stop it."""
        self.do(self._open.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def device(self, *, group: str | None = None, register: bool = True) -> Device:
        """A new enrolled VEN, registered unless told otherwise."""
        ven_name = f"device-{next(_numbers)}"
        ven = self.do(self.inside.vens.add(ven_name, "F1", PROGRAM, virtual_node=group))
        device = Device(self, ven_name, ven.ven_id)
        if register:
            answer = device.post("EiRegisterParty", wire.create_party_registration(ven_name))
            device.registration_id = answer.text("./ei:registrationID") or ""
        return device

    def event(self, *devices: Device, **given: Any) -> str:
        """Create an event in an hour, of an hour, publish it to these devices and return its id."""
        event = self.an_event(**given)
        self.do(self.inside.dr_events.create(event, PROGRAM))
        self.do(self.inside.dr_events.publish(event.event_id, [device.ven_id for device in devices] or None))
        return event.event_id

    def an_event(self, **given: Any) -> DrEvent:
        """An event in an hour, of an hour, SIMPLE level 1, answers required."""
        duration_s = given.get("duration_s", 3600)
        start_ms = (self.clock.now_ms() // 1000) * 1000 + HOUR_MS
        defaults: dict[str, Any] = {
            "event_id": f"evt-{next(_numbers)}", "program": CONTEXT, "modification_number": 0, "priority": 0,
            "test_event": False, "start_ms": start_ms, "duration_s": duration_s, "response_required": True,
            "signals": (a_signal(("1", duration_s)),), "targets": (Target("group", "everybody"),),
        }  # fmt: skip
        return DrEvent(**{**defaults, **given})

    def delivery(self, event_id: str, device: Device) -> Any:
        """What the operator sees of an event and a device."""
        [found] = [each for each in self.do(self.inside.dr_events.deliveries(event_id)) if each.ven_id == device.ven_id]
        return found


def a_signal(*steps: tuple[str, int], name: str = "SIMPLE", type: str = "level", **given: Any) -> Signal:
    """A signal of steps (value, seconds)."""
    intervals = tuple(SignalInterval(duration_s, value) for value, duration_s in steps)
    return Signal(given.pop("signal_id", "signal-0"), name, type, given.pop("unit", None), intervals, **given)


class Device:
    """A VEN over raw HTTP; `ven_id` is its venID."""

    def __init__(self, running: RunningVtn, ven_name: str, ven_id: str) -> None:
        self.ven_name = ven_name
        self.ven_id = ven_id
        self.registration_id = ""
        self._running = running

    def post(self, service: str, body: bytes, content_type: str = "application/xml") -> Answer:
        """Post bytes to a service; the answer is a valid 2.0b message or the test fails."""
        parts = urlsplit(self._running.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        try:
            connection.request("POST", f"{PATH}/{service}", body, {"Content-Type": content_type})
            answer = connection.getresponse()
            assert (answer.headers.get_content_type(), answer.version) == ("application/xml", 11)
            return Answer(answer.read(), answer.status)
        finally:
            connection.close()

    def poll(self) -> Answer:
        """One poll."""
        return self.post("OadrPoll", wire.poll(self.ven_id))

    def poll_for(self, name: str) -> Answer:
        """Poll until a message of this name comes: a notification takes its moment."""
        end_s = time.monotonic() + _PATIENCE_S
        while (answer := self.poll()).name != name:
            assert time.monotonic() < end_s, f"no {name} came, only {answer.name}"
            time.sleep(0.01)
        return answer

    def events(self, request_id: str = "events-1") -> Answer:
        """oadrRequestEvent."""
        return self.post("EiEvent", wire.request_event(self.ven_id, request_id))

    def answer(self, *answers: tuple[str, int, str], request_id: str = "dist") -> Answer:
        """oadrCreatedEvent with (eventID, modificationNumber, optType) each."""
        return self.post("EiEvent", wire.created_event(self.ven_id, *answers, request_id=request_id))


@contextlib.contextmanager
def a_running_vtn(
    database_url: str, folder: Path, clock: ManualClock | None = None, **settings: object
) -> Iterator[RunningVtn]:
    """A VTN for the time of the block."""
    running = RunningVtn(database_url, folder, clock or a_clock(), **settings)
    try:
        yield running
    finally:
        running.close()
