"""Enrolment over HTTP: once, by a key made here, repeatable."""

from __future__ import annotations

import contextlib
from datetime import date

import aiohttp
import msgspec
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from contracts.core.commands import Enrolment, RejectReduction, enrolment_bytes
from contracts.core.parties import Role
from ledger.client import party_id
from runtime.clock import SystemClock
from runtime.keys import verify
from tests.ven.homes import a_store
from ven.account.enrolment import Invitation, enrol, read_invitation
from ven.account.identity import read_identity, read_policy
from ven.account.wallet import Wallet
from ven.agent import Surroundings
from ven.app import ledger_of
from ven.errors import EnrolmentRefused, NotEnrolled, VtnUnreachable
from ven.flexibility.describing import Offer
from ven.metrics import Metrics

OFFER = Offer(flexible_w=1500, flexible_percent=30, max_events_per_week=7)


class EnrollingVtn:
    """Enrols every key with a right proof; `answers` go out first."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.answers: list[web.Response] = []
        self.further: dict[str, object] = {}
        self.url = ""
        self.ledger_url = "http://127.0.0.1:2"

    async def answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked)
        if self.answers:
            return self.answers.pop(0)
        party = party_id(Role.DEVICE, asked["public_key"])
        enrolment = Enrolment(party=party, role=Role.DEVICE, key=asked["public_key"], sponsor="agg-1", area="F1")
        if not verify(asked["public_key"], enrolment_bytes(enrolment), bytes.fromhex(asked["proof"])):
            return web.json_response({"title": "wrong proof"}, status=403)
        found = {"ven_id": "ven-7", "party": party, "policy": "log x\nquorum none\n", "interval_s": 900}
        return web.json_response(found | {"ledger_url": self.ledger_url, **self.further})


@contextlib.asynccontextmanager
async def running(vtn: EnrollingVtn):
    app = web.Application()
    app.router.add_post("/enrolment", vtn.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vtn.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def vtn():
    vtn = EnrollingVtn()
    async with running(vtn):
        yield vtn


@pytest.fixture
def store(tmp_path):
    store = a_store(tmp_path)
    yield store
    store.close()


def an_invitation(url: str) -> Invitation:
    return Invitation(
        vtn_url=url,
        openadr2_url=f"{url}/OpenADR2/Simple/2.0b",
        ledger_url="http://127.0.0.1:1",
        code="c0de",
        ven_name="H1",
        area="F1",
        sponsor="agg-1",
        site_zone="Europe/Berlin",
    )


async def attempt(vtn, folder, store):
    async with aiohttp.ClientSession() as session:
        return await enrol(an_invitation(vtn.url), folder, store, OFFER, session)


async def test_a_home_joins_with_a_key_that_never_leaves_it(vtn, tmp_path, store):
    identity = await attempt(vtn, tmp_path, store)
    key = (tmp_path / "ven.key").read_text().strip()
    assert (tmp_path / "ven.key").stat().st_mode & 0o077 == 0
    assert key.partition(":")[2] not in str(vtn.asked)
    assert vtn.asked[0]["resource"] == msgspec.to_builtins(OFFER)
    assert (identity.ven_id, identity.party[:4], identity.ledger_url) == ("ven-7", "dev-", "http://127.0.0.1:2")
    assert identity.openadr2_url == f"{vtn.url}/OpenADR2/Simple/2.0b"
    assert read_identity(store.notes) == identity
    assert read_policy(store.notes) == (tmp_path / "policy.txt").read_bytes() == b"log x\nquorum none\n"


async def test_its_like_days_are_those_of_the_program(vtn, tmp_path, store):
    vtn.further = {"holidays": ["2026-12-02"], "weekend": [4, 5]}
    calendar = (await attempt(vtn, tmp_path, store)).calendar()
    tuesday, wednesday, friday, sunday = (date(2026, 12, day) for day in (1, 2, 4, 6))
    assert calendar.alike(tuesday, sunday)
    assert calendar.alike(wednesday, friday)
    assert not calendar.alike(tuesday, friday)


async def test_a_home_works_in_the_channel_that_its_invitation_names(vtn, tmp_path, store):
    invitation = msgspec.structs.replace(an_invitation(vtn.url), channel="vn-1")
    async with aiohttp.ClientSession() as session:
        await enrol(invitation, tmp_path, store, OFFER, session)
        identity = read_identity(store.notes)
        around = Surroundings(SystemClock(), session, Metrics(CollectorRegistry()))
        async with ledger_of(identity, around, tmp_path) as ledger:
            assert ledger.channel == "vn-1"
            assert ledger.key.public == Wallet.open(tmp_path).public, "by which it reads a restricted channel"
    command = RejectReduction(contract_id="sc2-1", reason="")
    assert Wallet.open(tmp_path, identity.channel).seal(command, 1).header.channel == "vn-1"
    assert Wallet.open(tmp_path).seal(command, 1).header.channel == "main"


async def test_enrolling_again_asks_nobody(vtn, tmp_path, store):
    first = await attempt(vtn, tmp_path, store)
    assert await attempt(vtn, tmp_path, store) == first
    assert len(vtn.asked) == 1


async def test_an_answer_that_got_lost_is_asked_for_again_with_the_same_key(vtn, tmp_path, store):
    vtn.answers = [web.Response(status=503), web.Response(text="what?")]
    for _ in range(2):
        with pytest.raises(VtnUnreachable):
            await attempt(vtn, tmp_path, store)
    with pytest.raises(NotEnrolled):
        read_identity(store.notes)
    await attempt(vtn, tmp_path, store)
    assert len({asked["public_key"] for asked in vtn.asked}) == 1


async def test_a_refusal_says_why(vtn, tmp_path, store):
    vtn.answers = [web.json_response({"title": "Not allowed", "detail": "another key has used it"}, status=403)]
    with pytest.raises(EnrolmentRefused, match="another key has used it"):
        await attempt(vtn, tmp_path, store)


async def test_a_vtn_that_enrolled_somebody_else_is_not_believed(vtn, tmp_path, store):
    vtn.answers = [web.json_response({"ven_id": "v", "party": "dev-x", "policy": ""})]
    with pytest.raises(EnrolmentRefused, match="dev-x"):
        await attempt(vtn, tmp_path, store)


async def test_a_clock_in_the_answer_is_kept_for_the_run(vtn, tmp_path, store):
    clock = {"epoch_wall_ms": 5, "epoch_domain_ms": 7, "speed": 240.0}
    party = Wallet.open_or_create(tmp_path).party
    vtn.answers = [web.json_response({"ven_id": "v", "party": party, "policy": "", "clock": clock})]
    await attempt(vtn, tmp_path, store)
    assert msgspec.json.decode((tmp_path / "clock.json").read_bytes()) == clock


def test_a_file_that_is_no_invitation_is_named(tmp_path):
    (tmp_path / "i.json").write_text("{}")
    with pytest.raises(EnrolmentRefused, match=r"i\.json is not an invitation"):
        read_invitation(tmp_path / "i.json")
