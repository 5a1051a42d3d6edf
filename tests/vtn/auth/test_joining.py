"""A home joins over TLS with the VEN's own code: its keys never leave it, and what it gets opens the 2.0b face."""

from __future__ import annotations

import contextlib
import time

import msgspec
import pytest
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.serialization import Encoding

from openadr.client.link import Link
from openadr.client.registration import Registrar
from openadr.client.signing import MessageSigning
from openadr.v2 import OadrPoll, fingerprint
from runtime.clock import ManualClock
from runtime.service import REGISTRY, new_app
from runtime.tls.certificates import read_chain
from tests.ven.homes import a_store
from tests.vtn.auth.devices import a_secured_vtn, a_worker
from tests.vtn.opened import PROGRAM
from ven.account import credentials as credentials_module
from ven.account.consents import ConsentChoice, mark_revoked, read_consents, revocation
from ven.account.credentials import Credentials
from ven.account.enrolment import Invitation, enrol, post, renew
from ven.account.renewal import Renewal
from ven.account.wallet import Wallet
from ven.errors import ApprovalPending, EnrolmentRefused, VtnRefused, VtnUnreachable
from ven.faces.openadr2.registration import HomeShelf
from ven.flexibility.describing import Offer
from vtn.auth.permissions import Role
from vtn.faces.enrolment import EnrolmentFace
from vtn.metrics import VtnMetrics

OFFER = Offer(flexible_w=1500, flexible_percent=30, max_events_per_week=7)
CONSENTS = (ConsentChoice("aggregator", "settlement", 30),)


@contextlib.asynccontextmanager
async def enrolment_port(vtn):
    """The port for those without a certificate, as `dr-vtn serve` opens it."""
    app = new_app()
    EnrolmentFace(vtn, VtnMetrics(app[REGISTRY])).add_to(app)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=vtn.settings.enrolment_tls())
    try:
        yield str(server.make_url("/")).rstrip("/")
    finally:
        await server.close()


class Home:
    """A home in a folder and what it does at the VTN."""

    def __init__(self, vtn, folder, url, enrolment_url, session):
        self.vtn, self.folder, self.url, self.enrolment_url, self.session = vtn, folder, url, enrolment_url, session
        self.store = a_store(folder)
        self.credentials = Credentials(folder)

    async def join(self, name="home-1"):
        invited = msgspec.to_builtins(await self.vtn.invite(name, "F1", PROGRAM))
        invitation = msgspec.convert(invited | {"vtn_url": self.enrolment_url}, Invitation, strict=False)
        return await self.join_with(invitation)

    async def join_with(self, invitation):
        identity = await enrol(invitation, self.folder, self.store, OFFER, self.session, CONSENTS)
        return msgspec.structs.replace(identity, openadr2_url=f"{self.url}/OpenADR2/Simple/2.0b")

    def link(self, identity, clock=None, authorities=None):
        signing = None
        if clock is not None:
            signing = MessageSigning(
                self.credentials.signing, clock, host="127.0.0.1", authorities=authorities or self.credentials.ca
            )
        return Link(identity.openadr2_url, self.session, timeout_s=10, tls=self.credentials.context, signing=signing)

    async def registered(self, identity, clock=None):
        link = self.link(identity, clock)
        await Registrar(link, HomeShelf(self.store), ven_name=identity.ven_name, ven_id=identity.ven_id).register()
        return link

    def printed(self):
        return fingerprint(read_chain(self.folder / "client.pem")[0].public_bytes(Encoding.DER))


@pytest.fixture
def clock() -> ManualClock:
    """It stands at today: certificates and consents are of this world."""
    return ManualClock(time.time_ns() // 1_000_000)


@pytest.fixture
async def home(secured, tmp_path, session):
    """A home and a VTN that has both ports."""
    (tmp_path / "home").mkdir()
    async with a_worker(secured) as url, enrolment_port(secured) as enrolment_url:
        home = Home(secured, tmp_path / "home", url, enrolment_url, session)
        yield home
        home.store.close()


async def test_from_an_invitation_to_polls_with_a_certificate_of_its_own(home, secured):
    identity = await home.join()
    link = await home.registered(identity)
    assert (await link.ask(OadrPoll(identity.ven_id))).response.response_code == 200
    ven = await secured.vens.get(identity.ven_id)
    assert (ven.fingerprint, ven.party) == (home.printed(), identity.party)
    assert (home.folder / "client.pem").stat().st_mode & 0o077 == 0
    assert not (home.folder / "client.new.key").exists()
    assert await secured.consents.consenting([ven.ven_id], Role.AGGREGATOR) == {ven.ven_id}
    assert await secured.consents.consenting([ven.ven_id], Role.UTILITY) == set()


async def test_without_a_certificate_the_face_is_not_reached(home, session, clock):
    identity = await home.join()
    bare = Link(identity.openadr2_url, session, timeout_s=10)
    with pytest.raises(VtnUnreachable):
        await bare.ask(OadrPoll(identity.ven_id))


async def test_both_sides_sign_at_the_high_level(home, secured, clock):
    identity = await home.join()
    await secured.signing.require(identity.ven_id, True)
    link = await home.registered(identity, clock)
    assert (await link.ask(OadrPoll(identity.ven_id))).response.response_code == 200
    refused = await home.link(identity).ask(OadrPoll(identity.ven_id))
    assert refused.response.response_code == 463


async def test_an_answer_that_the_vtn_did_not_sign_is_not_believed(home, clock):
    identity = await home.join()
    await home.registered(identity, clock)
    (others := home.folder / "others.pem").write_bytes(home.credentials.signing()[1])
    link = home.link(identity, clock, authorities=others)
    with pytest.raises(VtnUnreachable, match="not this VEN's VTN"):
        await link.ask(OadrPoll(identity.ven_id))


async def test_a_certificate_is_renewed_by_the_ledger_key_before_it_ends(home, secured, clock, monkeypatch):
    identity = await home.join()
    link = await home.registered(identity)
    old = home.printed()
    wallet = Wallet.open(home.folder)
    renewal = Renewal(
        msgspec.structs.replace(identity, vtn_url=home.enrolment_url), wallet, home.credentials, home.session, clock
    )
    await renewal.look()
    assert home.printed() == old, "there is time"
    monkeypatch.setattr(credentials_module, "RENEW_BELOW", 1.1)
    clock.advance(1000)
    await renewal.look()
    assert home.printed() != old
    assert (await link.ask(OadrPoll(identity.ven_id))).response.response_code == 200
    assert [each.status for each in await secured.certificates.bound(identity.ven_id)] == ["active", "active"]


async def test_a_revoked_home_gets_no_certificate_until_it_is_reinstated(home, secured, clock, monkeypatch):
    identity = msgspec.structs.replace(await home.join(), vtn_url=home.enrolment_url)
    link = await home.registered(identity)
    await secured.vens.revoke(identity.ven_id, "stolen")
    answer = await link.ask(OadrPoll(identity.ven_id))
    assert answer.response.response_code == 463
    monkeypatch.setattr(credentials_module, "RENEW_BELOW", 1.1)
    renewal = Renewal(identity, Wallet.open(home.folder), home.credentials, home.session, clock)
    old = home.printed()
    await renewal.look()
    assert home.printed() == old
    await secured.vens.reinstate(identity.ven_id)
    await renewal.look()
    assert home.printed() != old
    with pytest.raises(VtnRefused, match="is not a registration"):
        await home.registered(identity)
    assert (await (await home.registered(identity)).ask(OadrPoll(identity.ven_id))).response.response_code == 200


async def test_nobody_else_renews_for_a_home(home, tmp_path, clock):
    identity = msgspec.structs.replace(await home.join(), vtn_url=home.enrolment_url)
    (tmp_path / "thief").mkdir()
    thief = Wallet.open_or_create(tmp_path / "thief")
    credentials = Credentials(tmp_path / "thief")
    credentials.trust((home.folder / "ca.pem").read_text())
    for at_ms, wallet in ((clock.wall_ms(), thief), (clock.wall_ms() - 10**7, Wallet.open(home.folder))):
        with pytest.raises(EnrolmentRefused):
            await renew(identity, wallet, credentials, home.session, at_ms)


async def test_a_consent_is_taken_back_by_the_home(home, secured):
    identity = await home.join()
    [given] = read_consents(home.store.notes)
    body = {"ven_id": identity.ven_id, "revocation": revocation(Wallet.open(home.folder), given.consent_id)}
    await post(home.session, home.enrolment_url, "/enrolment/consents", body, dict, home.credentials)
    mark_revoked(home.store.notes, given.consent_id)
    assert await secured.consents.consenting([identity.ven_id], Role.AGGREGATOR) == set()
    assert read_consents(home.store.notes)[0].revoked_ms is not None


async def test_a_home_that_waits_for_approval_goes_on_with_the_same_keys(vtn_url, clock, tmp_path, pki, session):
    (tmp_path / "home").mkdir()
    async with (
        a_secured_vtn(vtn_url, clock, tmp_path, pki, enrolment_approval=True) as vtn,
        a_worker(vtn) as url,
        enrolment_port(vtn) as enrolment_url,
    ):
        home = Home(vtn, tmp_path / "home", url, enrolment_url, session)
        invited = msgspec.to_builtins(await vtn.invite("home-1", "F1", PROGRAM)) | {"vtn_url": enrolment_url}
        invitation = msgspec.convert(invited, Invitation, strict=False)
        with pytest.raises(ApprovalPending):
            await home.join_with(invitation)
        [waiting] = await vtn.vens.list(status="waiting")
        key = (home.folder / "client.new.key").read_bytes()
        await vtn.enrolments.approve(waiting.ven_id)
        identity = await home.join_with(invitation)
        assert (home.folder / "client.pem").read_bytes().startswith(key)
        link = await home.registered(identity)
        assert (await link.ask(OadrPoll(identity.ven_id))).response.response_code == 200
        home.store.close()
