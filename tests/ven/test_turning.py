"""A home turns to another id at the turn of the month, by itself, on a real ledger."""

from __future__ import annotations

import contextlib
import json
import signal

import aiohttp
import msgspec
import pytest
from aiohttp import web

from contracts.core.commands import Enrolment, EnrolParty, Transfer
from contracts.core.facts import PartyEnrolled, PartyRevoked
from contracts.core.parties import Party, PartyStatus, Role
from contracts.tokens import Account, party_account
from ledger.client import party_id
from runtime.clock import write_clock
from runtime.keys import verify
from tests.builders import START_MS
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, a_running_ledger
from tests.ven.faces.scripted import a_scripted_vtn, registered
from tests.ven.homes import DAY_MS
from tests.ven.test_home_on_a_ledger import World
from tests.ven.test_processes import DrVen
from ven.account.identity import read_identity, write_identity
from ven.account.wallet import Wallet

pytestmark = pytest.mark.slow

SPEED = 7200.0
HOUR_MS = 3_600_000
CREDIT_MINOR = 1_000


class Sponsor:
    """A VTN's `/enrolment/pseudonym` over the ledger of the test. The first answer is lost on its way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[dict[str, str]] = []
        self.url = ""

    async def turn(self, request: web.Request) -> web.Response:
        signed = (await request.json())["signed"]
        assert verify(self.world.wallet.public, signed["text"].encode(), bytes.fromhex(signed["signature"]))
        asked = json.loads(signed["text"])
        self.asked.append(asked)
        key = asked["public_key"]
        party = party_id(Role.DEVICE, key)
        if len(self.asked) == 1:
            enrolment = Enrolment(party=party, role=Role.DEVICE, key=key, sponsor=AGGREGATOR_ID, area="F1")
            aggregator = self.world.client(AGGREGATOR, AGGREGATOR_ID)
            await aggregator.submit(EnrolParty(enrolment=enrolment, proof=asked["proof"]))
            await aggregator.submit(Transfer(to=party, amount_minor=CREDIT_MINOR, reference=""))
            return web.Response(status=503)
        return web.json_response({"party": party})

    @contextlib.asynccontextmanager
    async def serving(self):
        app = web.Application()
        app.router.add_post("/enrolment/pseudonym", self.turn)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield
        finally:
            await runner.cleanup()


@pytest.fixture
def ledger_database(new_database) -> str:
    return new_database("ledger")


async def test_at_the_turn_of_the_month_a_home_goes_on_under_another_id_and_ends_the_old_one(tmp_path, ledger_database):
    clock_file = tmp_path / "clock.json"
    (tmp_path / "ledger").mkdir()
    clock = write_clock(clock_file, epoch_domain_ms=START_MS + 30 * DAY_MS + 12 * HOUR_MS, speed=SPEED)
    async with (
        a_running_ledger(ledger_database, tmp_path / "ledger", clock_file=clock_file) as url,
        a_scripted_vtn() as vtn,
        aiohttp.ClientSession() as session,
    ):
        world = World(tmp_path / "home", url, clock, vtn, session)
        world.event_ms = START_MS + 90 * DAY_MS
        sponsor, old = Sponsor(world), world.wallet
        async with sponsor.serving():
            vtn.script("oadrCreatePartyRegistration", *[registered(poll="PT2H")] * 9)
            await world.prepare()
            notes = world.store.notes
            known = msgspec.structs.replace(read_identity(notes), vtn_url=sponsor.url)
            write_identity(notes, known, notes.read_bytes("policy") or b"")
            home = DrVen(
                world.folder, clock_file=str(clock_file), device="dimmer", history_days="1", pseudonyms="month"
            )
            await home.start("run")
            try:
                await world.until(lambda: read_identity(notes).party != old.party, 150)
                new = Wallet.open(world.folder)
                aggregator = world.client(AGGREGATOR, AGGREGATOR_ID)
                await world.until(lambda: world.store.outbox.count() == 0, 150)
                world.wallet = new
                await world.contract()
                await world.until(lambda: [each.payee for each in world.store.contracts.all()] == [new.party], 150)
            finally:
                await home.end(signal.SIGTERM)
        facts = [each for each in await aggregator.facts() if isinstance(each.fact, PartyEnrolled | PartyRevoked)]
        ended = await aggregator.record(Party, old.party)
        left = await aggregator.record(Account, party_account(old.party))
        begun = await aggregator.record(Account, party_account(new.party))
    assert read_identity(notes).party == new.party == party_id(Role.DEVICE, new.public)
    assert not (world.folder / "ven.next.key").exists()
    assert len({each["public_key"] for each in sponsor.asked}) == 1  # the key is made once, whatever is lost
    assert {each["period"] for each in sponsor.asked} == {"2026-02"}
    assert [(type(each.fact), each.fact.party) for each in facts][-2:] == [
        (PartyEnrolled, new.party),
        (PartyRevoked, old.party),
    ]
    assert facts[-1].time_ms - facts[-2].time_ms >= 6 * HOUR_MS
    assert (ended.status, left.credits_posted - left.debits_posted) == (PartyStatus.REVOKED, 0)
    assert begun.credits_posted == CREDIT_MINOR
