"""A feeder that will pass its limit: proposed once, decided by people or the setting, submitted once, or over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import update
from typer.testing import CliRunner

from contracts.core.codec import decode
from contracts.core.commands import CONTRACT_OF, Issue, RequestReduction
from contracts.core.envelope import seal
from contracts.core.parties import Role
from contracts.demand_response.needs import NeedRecord
from forecasting.calendar import SiteCalendar
from ledger.cli import app as ledger_app
from ledger.client import party_id
from runtime.clock import ManualClock
from runtime.errors import SettingsError
from runtime.keys import create_key_file
from tests.vtn.analytics.service.reporting import HOUR_MS, PROGRAM, reporting
from tests.vtn.opened import AGGREGATOR_KEY, UTILITY_KEY, Opened, opened
from vtn.analytics.proposing import records
from vtn.analytics.proposing.desk import ProposalDesk, utility
from vtn.analytics.proposing.records import Proposal
from vtn.analytics.service.making import Maker
from vtn.analytics.service.work import Analytics
from vtn.auth.audit import acting
from vtn.cli import app
from vtn.config import VtnSettings
from vtn.errors import Conflict
from vtn.records.tables import vens

BERLIN = SiteCalendar("Europe/Berlin")
TODAY = date(2026, 5, 12)
ASK = {
    "proposals": "ask",
    "proposal_import_w": {"*": 1500},
    "proposal_price_minor_per_mwh": 200_000,
    "forecast_choice_days": 0,
    "forecast_intraday_h": 0,
    "forecast_history_days": 35,
}


@pytest.fixture
def clock() -> ManualClock:
    """Local midnight."""
    return ManualClock(BERLIN.start_ms(TODAY))


async def a_feeder(found: Opened, clock: ManualClock) -> None:
    """Three homes on F1 whose evenings pass 1,500 W together."""
    await reporting(found.vtn, 3, 35, zone="Europe/Berlin", until_ms=clock.now_ms())
    changed = {"resource": b'{"flexible_w":1500,"flexible_percent":40}', "party": vens.c.ven_id}
    async with found.vtn.database.transaction() as connection:
        await connection.execute(update(vens).values(**changed))


def pay(found: Opened) -> None:
    """Money for the utility, so that it can put up a budget."""
    party = party_id(Role.UTILITY, UTILITY_KEY.public)
    issue = Issue(to=party, amount_minor=100_000, reference="test")
    not_after_ms = found.ledger.clock.now_ms() + 1000
    transaction = seal(
        issue, channel="main", contract="tokens", sender=party, nonce="pay", not_after_ms=not_after_ms, salt=bytes(32),
        sign=UTILITY_KEY.sign,
    )  # fmt: skip
    assert found.ledger.execute(transaction)["code"] == "ok"


def needs_submitted(found: Opened) -> list[RequestReduction]:
    kind = (CONTRACT_OF[RequestReduction], "RequestReduction")
    sent = [each for each in found.ledger.executed if (each.header.contract, each.header.command) == kind]
    return [decode(each.body.encode(), RequestReduction) for each in sent]


async def a_turn(found: Opened) -> None:
    await Analytics(found.vtn, CollectorRegistry()).turn(Maker(found.vtn))


@pytest.fixture
async def asked(vtn_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Opened]:
    """A VTN that proposed an event for tomorrow."""
    async with opened(vtn_url, clock, tmp_path, **ASK) as found:
        await a_feeder(found, clock)
        await a_turn(found)
        yield found


async def only(found: Opened) -> Proposal:
    [proposal] = await ProposalDesk(found.vtn, None).found()
    return proposal


async def test_an_evening_beyond_the_limit_is_proposed_with_what_was_known(asked: Opened, clock: ManualClock) -> None:
    proposal = await only(asked)
    what, request = proposal.proposal, proposal.proposal.request
    tomorrow = TODAY + timedelta(days=1)
    assert (proposal.area, proposal.day, proposal.state) == ("F1", tomorrow.isoformat(), records.OPEN)
    assert what.known_until_ms == clock.now_ms()
    assert all(BERLIN.day_of(each.start_ms) == tomorrow and each.chance >= 0.5 for each in what.beyond)
    assert what.figures["peak_w"] < what.without["peak_w"]
    assert "F1 may pass its limit" in what.reason
    starts = [request.start_ms + n * HOUR_MS for n in range(len(request.target_wh))]
    assert {each.start_ms for each in what.beyond} & set(starts), "the event lies where the limit is passed"
    assert request.aggregator == asked.vtn.party
    assert 0 < max(request.target_wh) <= 3 * 1500
    clock.advance(HOUR_MS)
    await a_turn(asked)
    clock.advance(23 * HOUR_MS)
    await a_turn(asked)
    days = [each.day for each in await ProposalDesk(asked.vtn, None).found()]
    assert days.count(tomorrow.isoformat()) == 1


async def test_what_is_approved_waits_for_the_utility_to_sign_it(asked: Opened) -> None:
    pay(asked)
    proposal = await only(asked)
    desk = ProposalDesk(asked.vtn, None)
    with acting("operator:ada"):
        approved = await desk.approve(proposal.proposal_id)
    assert (approved.state, approved.decided_by) == (records.APPROVED, "operator:ada")
    await desk.look()
    assert (await only(asked)).state == records.APPROVED
    assert needs_submitted(asked) == []
    party = party_id(Role.UTILITY, UTILITY_KEY.public)
    signed = seal(
        proposal.proposal.request, channel="main", contract=CONTRACT_OF[RequestReduction], sender=party, nonce="signed",
        not_after_ms=asked.ledger.clock.now_ms() + 1000, salt=bytes(32), sign=UTILITY_KEY.sign,
    )  # fmt: skip
    assert asked.ledger.execute(signed)["code"] == "ok"
    await desk.look()
    assert (await only(asked)).state == records.SUBMITTED
    acts = [(each.act, each.actor) for each in await asked.vtn.audit.entries(subject=proposal.proposal_id)]
    assert acts == [("event_proposed", "vtn"), ("proposal_approved", "operator:ada"), ("proposal_submitted", "vtn")]


async def test_what_is_rejected_stays_so_and_is_not_proposed_again(asked: Opened, clock: ManualClock) -> None:
    proposal = await only(asked)
    desk = ProposalDesk(asked.vtn, None)
    await desk.reject(proposal.proposal_id, "the fair is cancelled")
    with pytest.raises(Conflict, match="rejected already"):
        await desk.approve(proposal.proposal_id)
    clock.advance(HOUR_MS)
    await Maker(asked.vtn)._proposals(await Maker(asked.vtn).subjects(PROGRAM), BERLIN.start_ms(TODAY), clock.now_ms())
    assert (await only(asked)).note == "the fair is cancelled"


async def test_nobody_decides_after_the_time_is_over(asked: Opened, clock: ManualClock) -> None:
    proposal = await only(asked)
    desk = ProposalDesk(asked.vtn, None)
    clock.advance(proposal.expires_ms - clock.now_ms() - 1)
    await desk.look()
    assert (await only(asked)).state == records.OPEN
    clock.advance(1)
    with pytest.raises(Conflict, match="is over"):
        await desk.approve(proposal.proposal_id)
    await desk.look()
    assert (await only(asked)).state == records.EXPIRED


async def test_with_the_utility_s_key_it_is_submitted_once_although_processes_die(
    vtn_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    """The first dies before it is sent, the second loses the ledger's answer, the third finds it done."""
    key = tmp_path / "utility.key"
    create_key_file(key, f"ed25519:{UTILITY_KEY._seed.hex()}\n".encode())
    settings = {**ASK, "proposals": "auto", "proposal_utility_key": key}
    async with opened(vtn_url, clock, tmp_path, **settings) as first:
        pay(first)
        await a_feeder(first, clock)
        await a_turn(first)
        ledger = first.ledger
        async with utility(first.vtn) as party:
            await ProposalDesk(first.vtn, party).look()
            await ProposalDesk(first.vtn, party).look()
        assert (await only(first)).state == records.REQUESTED
        assert needs_submitted(first) == []
    async with opened(vtn_url, clock, tmp_path, ledger, **settings) as second, utility(second.vtn):
        ledger.loses_answers = 1
        sending = asyncio.create_task(second.vtn.ledger_outbox.deliver())
        async with asyncio.timeout(30):
            while not needs_submitted(second):
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert (await only(second)).state == records.REQUESTED
    ledger.down = False
    async with opened(vtn_url, clock, tmp_path, ledger, **settings) as third, utility(third.vtn) as party:
        await third.vtn.ledger_outbox.deliver()
        desk = ProposalDesk(third.vtn, party)
        await desk.look()
        proposal = await only(third)
        assert (proposal.state, proposal.decided_by) == (records.SUBMITTED, "vtn")
        assert needs_submitted(third) == [proposal.proposal.request]
        assert await third.vtn.ledger.record(NeedRecord, proposal.proposal.request.need_id) is not None


async def test_what_the_ledger_refuses_is_said(vtn_url: str, clock: ManualClock, tmp_path: Path) -> None:
    """The utility has no money for the budget."""
    key = tmp_path / "utility.key"
    create_key_file(key, f"ed25519:{UTILITY_KEY._seed.hex()}\n".encode())
    async with opened(vtn_url, clock, tmp_path, **ASK, proposal_utility_key=key) as found:
        await a_feeder(found, clock)
        await a_turn(found)
        async with utility(found.vtn) as party:
            desk = ProposalDesk(found.vtn, party)
            await desk.approve((await only(found)).proposal_id)
            await found.vtn.ledger_outbox.deliver()
            await desk.look()
        proposal = await only(found)
        assert proposal.state == records.REFUSED
        assert "the ledger refused it" in proposal.note


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"proposals": "auto"}, "proposal_utility_key"),
        ({"proposal_price_minor_per_mwh": None}, "proposal_price_minor_per_mwh"),
        ({"proposal_import_w": {}}, "proposal_export_w"),
        ({"proposal_policy": "co2"}, "proposal_signals"),
    ],
)
def test_what_a_setting_needs_is_said_at_the_start(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises((SettingsError, ValueError), match=sentence):
        VtnSettings(**{**ASK, **settings})


def test_an_operator_approves_at_the_terminal_and_gets_what_the_utility_signs(
    vtn_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command runs by the wall clock, so that the day of the proposal is the one after today."""
    proposal = asyncio.run(_proposed_today(vtn_url, tmp_path))
    folder = tmp_path / "commands"
    folder.mkdir()
    create_key_file(folder / "aggregator.key", f"ed25519:{AGGREGATOR_KEY._seed.hex()}\n".encode())
    monkeypatch.setenv("GRIDPACT_VTN_DATABASE_URL", vtn_url)
    monkeypatch.setenv("GRIDPACT_VTN_DATA_DIR", str(folder))

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["proposals", *words])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    made = CliRunner().invoke(app, ["forecasts", "list", "--program", PROGRAM, "--scope", "feeders"]).stdout
    assert "day_ahead of" in made
    assert "1 proposals for" in made.replace("\n", " ")
    [listed] = json.loads(run("list", "--json"))
    assert listed["proposal_id"] == proposal.proposal_id
    assert proposal.proposal_id in run("list")
    shown = run("show", proposal.proposal_id)
    assert proposal.proposal.request.need_id in shown
    assert "peak_w" in shown
    told = run("approve", proposal.proposal_id, "--output", str(tmp_path / "need.json"))
    assert "dr-ledger request-reduction --from" in told
    assert decode((tmp_path / "need.json").read_bytes().strip(), RequestReduction) == proposal.proposal.request
    (tmp_path / "other.json").write_text("{}")
    for name, sentence in (("need.json", "no private key"), ("other.json", "is not the JSON of a need")):
        words = ["request-reduction", "--from", str(tmp_path / name), "--key", str(tmp_path / "missing.key")]
        assert sentence in str(CliRunner().invoke(ledger_app, words).exception)
    run("reject", proposal.proposal_id, "--reason", "no")
    assert json.loads(run("list", "--json")) == []
    [kept] = json.loads(run("list", "--all", "--json"))
    assert (kept["state"], kept["note"]) == ("rejected", "no")
    assert kept["decided_by"].startswith("operator")


async def _proposed_today(vtn_url: str, tmp_path: Path) -> Proposal:
    from runtime.clock import SystemClock

    now_ms = SystemClock().now_ms()
    clock = ManualClock(BERLIN.start_ms(BERLIN.day_of(now_ms)))
    async with opened(vtn_url, clock, tmp_path, **ASK) as found:
        await a_feeder(found, clock)
        await a_turn(found)
        return await only(found)
