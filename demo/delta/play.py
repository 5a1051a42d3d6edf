"""Plays one reduction on the testbed: setup, half an hour of event, settlement, proofs, summary.json."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console

from contracts.channels.registry import ChannelRecord
from contracts.core import facts
from contracts.tokens import Account, need_account
from demo.consortium import AGGREGATOR, etcd_missing
from demo.delta.channels import open_channels
from demo.delta.testbed import INTERVAL_S, SITES, ZONE, Operator, Testbed
from demo.outcome import Finality, finality
from demo.processes import call, call_json
from demo.until import until, within
from ledger.client import START, LedgerClient
from runtime.clock import Clock
from runtime.keys import PrivateKey

NEED_ID = "need-testbed"
PRICE_MINOR_PER_MWH = 200_000
EVENT_S = 1800
#: domain time between the need and the start of the event
LEAD_S = 40 * 60
#: a working day, mid-morning; both loads are constant, so that the day makes no difference
BEGIN = datetime(2026, 3, 18, 10, 0, tzinfo=ZoneInfo(ZONE))
DEADLINE_S = 420.0


async def reduction(
    folder: Path, speed: float, console: Console, *, members: int = 2, fallback: bool = False
) -> dict[str, Any]:
    """Plays it and returns what summary.json holds. folder: absolute; emptied. With `fallback` one member where etcd
    cannot be had. Raises CommandFailed: something ended or took too long; the message says what was waited for."""
    started = time.monotonic()
    why_one = await etcd_missing({}) if members > 1 and fallback else None
    if why_one is not None:
        console.print(f"[yellow]One member instead of {members}, because there is no etcd:[/yellow] {why_one}")
    testbed = Testbed(folder, speed, 1 if why_one is not None else members)
    clock = testbed.prepare(int(BEGIN.timestamp() * 1000))
    try:
        async with within(DEADLINE_S, testbed):
            summary = await _play(testbed, clock, console)
    finally:
        await testbed.close()
    summary["ledger"]["why_one_member"] = why_one
    summary["seconds"] = round(time.monotonic() - started, 1)
    path = folder / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    console.print(f"\n[bold]{path}[/bold] after {summary['seconds']:.0f} s")
    return summary


async def _play(testbed: Testbed, clock: Clock, console: Console) -> dict[str, Any]:
    def say(text: str) -> None:
        console.print(f"[dim]{_local(clock.now_ms())}[/dim]  {text}")

    await testbed.open_ledger()
    labels = testbed.consortium.labels
    say(f"{len(labels)} replicas ({', '.join(labels)}), one authority: {testbed.ca}")
    testbed.doing = "the channels of the virtual nodes, and a VTN in each, to be opened"
    await asyncio.gather(open_channels(testbed, clock), testbed.open_vtns())
    say(f"channels {', '.join(each.channel for each in testbed.operators)}, funded from main")
    vens = await testbed.open_sites()
    for site in SITES:
        [ven] = [each for each in vens if each["ven_name"] == site.name]
        say(f"{site.name}: {site.device}, in virtual node {ven['virtual_node']}")
    start_ms = _next_interval(clock.now_ms() + LEAD_S * 1000)
    ended = await asyncio.gather(*(_reduce(testbed, each, clock, start_ms, say) for each in testbed.operators))
    async with LedgerClient(testbed.consortium.seat(AGGREGATOR).url, clock=clock, ssl=testbed.ledger_tls()) as main:
        status = await main.status()
        final = finality(await main.checkpoint(), await main.policy())
        anchored = [known for _, known in await main.records(ChannelRecord)]
    return _summary(testbed, start_ms, vens, ended, status, final, anchored)


@dataclass(frozen=True)
class Ended:
    """A need that is closed: statements as `dr-vtn` shows them, what its escrow still holds, and the sites whose
    payment was proved."""

    statements: list[dict[str, Any]]
    escrow_left_minor: int
    proved: list[str]


async def _reduce(testbed: Testbed, operator: Operator, clock: Clock, start_ms: int, say: Any) -> Ended:
    """One need in the channel of one virtual node, from the utility's request to the proved payment."""
    need_id, site = f"{NEED_ID}-{operator.site.name}", operator.site
    await call(
        ["dr-ledger", "request-reduction", *testbed.utility_options, "--channel", operator.channel,
         "--need-id", need_id, "--start", _iso(start_ms), "--end", _iso(start_ms + EVENT_S * 1000),
         "--target-kwh", f"{site.target_wh / 1000:.3f}", "--price-minor-per-mwh", str(PRICE_MINOR_PER_MWH)],
        testbed.environment,
    )  # fmt: skip
    say(f"the utility needs {site.target_wh / 1000:.1f} kWh less of the {site.name} from {_local(start_ms)} on")
    url, tls = testbed.consortium.seat(AGGREGATOR).url, testbed.ledger_tls()
    key = PrivateKey.load(testbed.aggregator_key)
    async with LedgerClient(url, channel=operator.channel, key=key, clock=clock, ssl=tls) as ledger:
        await _follow(testbed, ledger, say)
        escrow = await ledger.record(Account, need_account(need_id)) or Account()
    statements = await call_json(["dr-vtn", "statements", need_id], operator.environment)
    proved = await _prove(testbed, operator, statements, say)
    return Ended(statements, escrow.credits_posted - escrow.debits_posted, proved)


async def _follow(testbed: Testbed, ledger: LedgerClient, say: Any) -> None:
    """Tells what the ledger records until the need is closed."""
    closed = asyncio.Event()

    async def watch() -> None:
        async for record in ledger.follow(START):
            match record.fact:
                case facts.DRSetUp() as fact:
                    say(f"SetupDR {fact.contract_id}: {sum(fact.terms.obligation_wh) / 1000:.1f} kWh")
                case facts.ReductionAccepted() as fact:
                    say(f"AcceptReduction {fact.contract_id}")
                case facts.DRSettled() as fact:
                    say(f"SettleDR {fact.contract_id}: {fact.delivered_wh / 1000:.2f} kWh, {fact.outcome}")
                case facts.DRCompleted() as fact:
                    say(f"DRCompletion {fact.contract_id}: {fact.amount_minor / 100:.2f}")
                case facts.RequestClosed():
                    closed.set()
                case _:
                    pass
            testbed.doing = f"the need in {ledger.channel} to be closed; last fact: {type(record.fact).__name__}"

    async def look_after() -> None:
        while True:
            testbed.check_alive()
            await asyncio.sleep(1)

    await until(closed, watch(), look_after())


async def _prove(testbed: Testbed, operator: Operator, statements: list[dict[str, Any]], say: Any) -> list[str]:
    """Names of the sites whose payment was verified offline: by the site with the policy file of its channel, which it
    was given when it joined, and by an auditor outside the channel with main's alone."""
    (testbed.folder / "proofs").mkdir(exist_ok=True)
    paid = {each["name"]: each for each in statements if each["level"] == "SC2" and each["amount_minor"] > 0}
    for name, each in paid.items():
        await asyncio.gather(_prove_payment(testbed, operator, each), _disclose(testbed, operator, each))
        say(f"{name}: payment of {each['amount_minor'] / 100:.2f} proved offline, to its home and to an auditor")
    return list(paid)


async def _prove_payment(testbed: Testbed, operator: Operator, statement: dict[str, Any]) -> None:
    """Raises CommandFailed where it does not verify."""
    base = testbed.folder / "proofs" / statement["name"]
    await call(
        ["dr-ledger", "proof", "--transaction", statement["transaction_id"], "--fact", str(statement["fact"]),
         "--output", base, "--channel", operator.channel, *_at(testbed)],
        testbed.environment,
    )  # fmt: skip
    await call(
        ["dr-ven", "verify", "payment", "--proof", f"{base}.tlog-proof",
         "--policy", testbed.folder / statement["name"] / "policy.txt", "--opening", f"{base}.opening.json"],
        {},
    )  # fmt: skip


async def _disclose(testbed: Testbed, operator: Operator, statement: dict[str, Any]) -> None:
    """Raises CommandFailed where main's anchor does not vouch for the contract's end."""
    file = testbed.folder / "proofs" / f"{statement['name']}.disclosure"
    await call(
        ["dr-ledger", "disclose", "-o", file, "--channel", operator.channel, "--contract", statement["contract_id"],
         "--wait", "30", *_at(testbed)],
        testbed.environment,
    )  # fmt: skip
    policy = testbed.consortium.seat(AGGREGATOR).data_dir / "policy.txt"
    await call(["dr-ledger", "disclosure", "verify", file, "--policy", policy], {})


def _at(testbed: Testbed) -> list[str | Path]:
    return ["--url", testbed.consortium.seat(AGGREGATOR).url, "--ca", testbed.ca, "--key", testbed.aggregator_key]


def _summary(
    testbed: Testbed,
    start_ms: int,
    vens: list[dict[str, Any]],
    ended: list[Ended],
    status: dict[str, Any],
    final: Finality,
    anchored: list[ChannelRecord],
) -> dict[str, Any]:
    return {
        "event": {
            "id": NEED_ID,
            "start": _iso(start_ms),
            "end": _iso(start_ms + EVENT_S * 1000),
            "obligation_wh": sum(site.target_wh for site in SITES),
        },
        "sites": {
            each["ven_name"]: {"ven_id": each["ven_id"], "virtual_node": each["virtual_node"]} for each in vens
        },
        "contracts": [
            {name: each[name] for name in ("level", "contract_id", "name", "status", "outcome", "obligation_wh",
                                           "delivered_wh", "paid_wh", "amount_minor", "penalty_minor")}
            for need in ended
            for each in need.statements
        ],
        "escrow_left_minor": sum(each.escrow_left_minor for each in ended),
        "proofs_verified": [name for need in ended for name in need.proved],
        "authority": str(testbed.ca),
        "channels": {
            each.channel: {"members": [member.name for member in each.members], "anchored_size": each.size}
            for each in anchored
        },
        "ledger": {
            "members": [seat.name for seat in testbed.consortium.seats],
            "orderer": status["orderer"],
            "height": status["height"],
            "final": {"size": final.size, "cosigners": final.cosigners, "quorum": final.quorum},
        },
    }  # fmt: skip


def _next_interval(at_ms: int) -> int:
    return -(-at_ms // (INTERVAL_S * 1000)) * INTERVAL_S * 1000


def _local(at_ms: int) -> str:
    return (
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(ZONE)).strftime("%H:%M")
    )


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
