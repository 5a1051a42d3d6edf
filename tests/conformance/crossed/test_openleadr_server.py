"""openleadr's OpenADRServer and our VEN, in real time: pull, unsigned and over mutual TLS with signatures. It
registers, reports, answers an event created, changed and cancelled, and joins again a VTN that forgot it."""

from __future__ import annotations

import contextlib
import warnings
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from openleadr import OpenADRServer
from openleadr.service import VTNService

from runtime.ports import free_ports
from tests.conformance.crossed.home import our_ven
from tests.conformance.crossed.meeting import eventually
from tests.vtn.faces.certificates import Authority

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def own_globals():
    """The stock server keeps its lookups and keys in its class: take them back."""
    kept = dict(vars(VTNService))
    yield
    for name in set(vars(VTNService)) - set(kept):
        delattr(VTNService, name)
    for name in ("_create_message", "verify_message_signatures"):
        if name in kept:
            setattr(VTNService, name, kept[name])


class Theirs:
    """A stock VTN; `opts` and `values` are what it was told. It knows VENs by the fingerprint `known`, where given."""

    def __init__(self, port, known=None, **tls):
        self.registered = False
        self.opts, self.values, self.measured = [], [], []
        self._known = known
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.server = OpenADRServer(
                vtn_id="their-vtn", http_port=port, requested_poll_freq=timedelta(seconds=1), ven_lookup=self._lookup,
                show_fingerprint=False, show_server_cert_domain=False, **tls,
            )  # fmt: skip
        self.server.add_handler("on_create_party_registration", self._register)
        self.server.add_handler("on_register_report", self._register_report)

    def _lookup(self, ven_id):
        known = {
            "ven_id": "their-ven",
            "ven_name": "H1",
            "fingerprint": self._known,
            "registration_id": "their-registration",
        }
        return known if self.registered and ven_id == "their-ven" else None

    async def _register(self, registration_info):
        assert self._known in (None, registration_info.get("fingerprint"))
        self.registered = True
        return "their-ven", "their-registration"

    async def _register_report(
        self, ven_id, resource_id, measurement, unit, scale, min_sampling_interval, max_sampling_interval
    ):
        self.measured.append((resource_id, measurement, unit))
        return (self._report, min_sampling_interval) if unit == "Wh" else None

    async def _report(self, data):
        self.values += [value for _, value in data]

    async def _opted(self, ven_id, event_id, opt_type):
        self.opts.append((event_id, opt_type))

    def add_event(self, event_id):
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        steps = [{"dtstart": start, "duration": timedelta(hours=1), "signal_payload": 2}]
        self.server.add_event(
            ven_id="their-ven", signal_name="SIMPLE", signal_type="level", intervals=steps, callback=self._opted,
            event_id=event_id,
        )  # fmt: skip

    def change(self, event_id):
        """What the server has no command for: another level under the next number."""
        [event] = [each for each in self.server.events["their-ven"] if each.event_descriptor.event_id == event_id]
        event.event_signals[0].intervals[0]["signal_payload"] = 3
        event.event_descriptor.modification_number += 1
        self.server.events_updated["their-ven"] = True

    @contextlib.asynccontextmanager
    async def serving(self):
        with contextlib.redirect_stdout(None):
            await self.server.run()
        try:
            yield self
        finally:
            await self.server.stop()


async def meets(theirs, agent):
    """Registration, a report with data, and an event through all that can happen to it."""
    await eventually(lambda: agent.engine.reached)
    await eventually(lambda: any(each[2] == "Wh" for each in theirs.measured))
    theirs.add_event("evt-1")
    await eventually(lambda: theirs.opts == [("evt-1", "optIn")])
    theirs.change("evt-1")
    await eventually(lambda: answered(agent, "evt-1") == (1, False))
    assert agent.store.events.find("evt-1").event.signals[0].intervals[0].payload == "3"
    theirs.server.cancel_event("their-ven", "evt-1")
    await eventually(lambda: answered(agent, "evt-1") == (2, True))
    await eventually(lambda: bool(theirs.values))
    assert 0 < theirs.values[0] <= 15  # 900 W for a minute or less


def answered(agent, event_id):
    """(modificationNumber, cancelled) of what the VTN has the answer to."""
    stored = agent.store.events.find(event_id)
    sent = stored is not None and stored.sent is not None and stored.event.modification_number
    return (sent, stored.cancelled) if sent is not False else None


async def test_it_goes_through_everything_unsigned_and_through_a_vtn_that_forgot_it(tmp_path):
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}/OpenADR2/Simple/2.0b"
    async with contextlib.AsyncExitStack() as first:
        theirs = await first.enter_async_context(Theirs(port).serving())
        async with our_ven(url, tmp_path) as agent:
            await meets(theirs, agent)
            await first.aclose()
            async with Theirs(port).serving() as again:
                await eventually(lambda: again.registered and bool(again.measured))
                again.add_event("evt-2")
                await eventually(lambda: again.opts == [("evt-2", "optIn")])


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
async def test_it_goes_through_everything_signed_over_mutual_tls(tmp_path, kind):
    [port] = free_ports(1)
    (folder := tmp_path / "ven").mkdir()
    authority = Authority(tmp_path)

    def issue(name):
        key = ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, 2048)
        return authority.issue(name, key)

    (vtn, _), (ven, printed) = issue("vtn"), issue("ven")
    files = {"cert": str(vtn.chain), "key": str(vtn.key), "http_cert": str(vtn.chain), "http_key": str(vtn.key)}
    own = {"certificate": ven.chain, "certificate_key": ven.key, "server_ca": authority.path, "sign_messages": True}
    url = f"https://127.0.0.1:{port}/OpenADR2/Simple/2.0b"
    server = Theirs(port, printed, http_ca_file=str(authority.path), **files)
    async with server.serving() as theirs, our_ven(url, folder, **own) as agent:
        await meets(theirs, agent)
