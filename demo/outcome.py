"""What the demo leaves behind: the tables a person reads, three proofs checked offline, and summary.json."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from demo.consortium import Seat
from demo.data.series import EVENT_END_MS, EVENT_START_MS
from demo.processes import CommandFailed, call, call_json, call_json_lines
from demo.story import Story
from ledger.client import LedgerClient
from ledger.verify import parse_policy, verify_checkpoint

PROOFS = 3
_CATCH_UP_S = 20.0
_LOOK_S = 0.2
SUMMARY = "summary.json"


@dataclass(frozen=True)
class Held:
    """What one member's replica holds."""

    label: str
    name: str
    height: int
    size: int


@dataclass(frozen=True)
class Finality:
    """The newest final checkpoint: size of the log, who cosigned it, and how many the policy asks for."""

    size: int
    cosigners: tuple[str, ...]
    quorum: int


@dataclass(frozen=True)
class Outcome:
    """Statements of all contracts (JSON of `dr-vtn statements`), and what the ledger and the simulation say."""

    statements: list[dict[str, Any]]
    view: dict[str, Any]
    status: dict[str, Any]
    refusals: list[dict[str, Any]]
    simulated_wh: int
    checkpoint: str
    transactions: int
    members: list[Held]
    finality: Finality


async def collect(story: Story, ledger: LedgerClient) -> Outcome:
    """Asks the running products."""
    stage, environment = story.stage, story.stage.environment
    status = await ledger.status()
    checkpoint = await ledger.checkpoint()
    seats = stage.consortium.seats
    held = []
    statements, *refusals = await asyncio.gather(
        call_json(["dr-vtn", "statements", story.need_id], environment),
        *(call_json_lines(["dr-ledger", "refusals", "--url", seat.url], environment) for seat in seats),
    )
    for seat in seats:
        said = await _caught_up(seat, status["height"], story)
        held.append(Held(seat.label, seat.name, said["height"], said["size"]))
    return Outcome(
        statements=statements,
        view=story.view,
        status=status,
        refusals=[each for found in refusals for each in found],
        simulated_wh=_simulated_wh(story),
        checkpoint=checkpoint.decode(),
        transactions=status["size"] - status["height"],
        members=held,
        finality=finality(checkpoint, await ledger.policy()),
    )


async def _caught_up(seat: Seat, height: int, story: Story) -> dict[str, Any]:
    """The status of a member's replica once it has executed `height`. Raises CommandFailed."""
    async with LedgerClient(seat.url, clock=story.clock) as client:
        for _ in range(int(_CATCH_UP_S / _LOOK_S)):
            said = await client.status()
            if said["height"] >= height:
                return said
            await asyncio.sleep(_LOOK_S)
    raise CommandFailed(f"the replica of {seat.label} stays at height {said['height']}, others have {height}")


def finality(checkpoint: bytes, policy: bytes) -> Finality:
    """Who cosigned a checkpoint, checked as a home would. Raises VerificationError below the policy's quorum."""
    trusted = parse_policy(policy, strict=True)
    found = verify_checkpoint(checkpoint, trusted)
    threshold = trusted.groups[0].threshold if trusted.groups else 0
    return Finality(found.checkpoint.size, tuple(sorted(found.cosigned_at_s)), threshold)


async def prove_payments(story: Story, outcome: Outcome) -> int:
    """Fetches proofs of three homes' payments and verifies each against the policy file that the home was given when
    it joined, in a process without network or database."""
    folder = story.stage.folder / "proofs"
    folder.mkdir(exist_ok=True)
    paid = [each for each in outcome.statements if each["level"] == "SC2" and each["amount_minor"] > 0]
    chosen = sorted(paid, key=lambda each: -each["amount_minor"])[:PROOFS]
    shown = await asyncio.gather(*(_prove(story, statement, folder / statement["name"]) for statement in chosen))
    for statement, text in zip(chosen, shown, strict=True):
        if text is not None:
            story.say(f"{statement['name']}: payment of {statement['amount_minor'] / 100:.2f} proved offline")
            story.console.print(f"[dim]{text.strip()}", highlight=False)
    return sum(text is not None for text in shown)


async def _prove(story: Story, statement: dict[str, Any], base: Path) -> str | None:
    """What `dr-ven verify payment` shows of a home's payment; None, and told, where it does not verify."""
    await call(
        ["dr-ledger", "proof", "--transaction", statement["transaction_id"], "--fact", str(statement["fact"]),
         "--output", base],
        story.stage.environment,
    )  # fmt: skip
    try:
        return await call(
            ["dr-ven", "verify", "payment", "--proof", f"{base}.tlog-proof",
             "--policy", story.stage.home_folder(statement["name"]) / "policy.txt",
             "--opening", f"{base}.opening.json"],
            {},
        )  # fmt: skip
    except CommandFailed as error:
        story.say(f"[red]the payment of {statement['name']} does not verify: {error}")
        return None


def show(story: Story, outcome: Outcome) -> None:
    """The table: obligation, delivered, performance and money per virtual node and home, and why."""
    table = Table(title="Who delivered what, and what it paid", box=box.SIMPLE_HEAD, title_justify="left")
    for column, justify in (
        ("party", "left"), ("obliged kWh", "right"), ("delivered", "right"), ("performance", "right"),
        ("energy", "right"), ("penalty", "right"), ("amount", "right"), ("why", "left"),
    ):  # fmt: skip
        table.add_column(column, justify="right" if justify == "right" else "left", overflow="fold")
    for each in outcome.statements:
        share = f"{each['delivered_wh'] / each['obligation_wh']:.0%}" if each["outcome"] else ""
        style = "bold" if each["level"] == "SC1" else "" if each["outcome"] else "dim"
        why = "; ".join([each["why"], *each["flags"][:1]])
        table.add_row(
            each["name"] if each["level"] == "SC1" else f"  {each['name']}",
            _kwh(each["obligation_wh"]), _kwh(each["delivered_wh"]), share, _money(each["energy_minor"]),
            _money(each["penalty_minor"]), _money(each["amount_minor"]), why, style=style,
        )  # fmt: skip
    story.console.print(table)
    members, final = outcome.members, outcome.finality
    story.console.print(
        f"Ledger: {len(members)} {'members' if len(members) > 1 else 'member'} "
        f"({', '.join(each.label for each in members)}), ordered by {outcome.status['orderer']}; "
        f"the log of {final.size} entries is final: {len(final.cosigners)} cosignatures, {final.quorum} needed"
    )


def write_summary(
    story: Story, outcome: Outcome, proofs_verified: int, started: float, why_one: str | None = None
) -> Path:
    """var/demo/summary.json, for programs. why_one: why the ledger has one member though more were asked for."""
    groups = [each for each in outcome.statements if each["level"] == "SC1"]
    states = {each["contract_id"]: each["status"] for each in outcome.view["contracts"]}
    need = outcome.view["need"]
    margin = _aggregator_margin(outcome)
    payments = [
        {
            "party": each["name"],
            "contract": each["contract_id"],
            "amount_minor": each["amount_minor"],
            "wh": each["paid_wh"],
            "penalty_minor": each["penalty_minor"],
        }
        for each in outcome.statements
        if each["outcome"]
    ]
    payments.append(
        {"party": "aggregator", "contract": None, "amount_minor": margin,
         "wh": sum(each["paid_wh"] for each in groups), "penalty_minor": 0}
    )  # fmt: skip
    escrow = outcome.view["escrow"]
    summary = {
        "event": {
            "id": story.need_id,
            "obligation_wh": sum(need["request"]["target_wh"]),
            "start": _iso(EVENT_START_MS),
            "end": _iso(EVENT_END_MS),
        },
        "steps": [{"n": step.n, "at": step.at, "ids": step.ids} for step in story.steps.values()],
        "contracts": {
            level: [
                {"id": each["contract_id"], "payee": each["name"], "state": states[each["contract_id"]],
                 "outcome": each["outcome"]}
                for each in outcome.statements
                if each["level"] == level
            ]
            for level in ("SC1", "SC2")
        },
        "delivered_wh": sum(each["delivered_wh"] for each in groups),
        "delivered_simulated_wh": outcome.simulated_wh,
        "redispatched": story.redispatched(),
        "payments": payments,
        "sum_of_payments_minor": sum(each["amount_minor"] for each in payments),
        "escrow_left_minor": escrow["credits_posted"] - escrow["debits_posted"],
        "rejected_measurements": len(
            [each for each in outcome.refusals if each["command"] == "RecordMeasurements"]
        ),
        "proofs_verified": proofs_verified,
        "forged_in_transit": story.stage.proxy.forged if story.stage.proxy is not None else 0,
        "faults": {
            "seed": story.stage.seed,
            **vars(story.stage.faults),
        },
        "ledger": _ledger(outcome, why_one),
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    path = story.stage.folder / SUMMARY
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return path


def _ledger(outcome: Outcome, why_one: str | None) -> dict[str, Any]:
    """Members, order and finality, for the summary."""
    return {
        "height": outcome.status["height"],
        "transactions": outcome.transactions,
        "checkpoint": outcome.checkpoint,
        "members": [each.name for each in outcome.members],
        "orderer": outcome.status["orderer"],
        "why_one_member": why_one,
        "replicas": {each.label: {"height": each.height, "size": each.size} for each in outcome.members},
        "final": {
            "size": outcome.finality.size,
            "cosigners": outcome.finality.cosigners,
            "quorum": outcome.finality.quorum,
        },
    }


def _aggregator_margin(outcome: Outcome) -> int:
    """What the need's price left the aggregator above its contracts' prices, as the contracts round it."""
    price = outcome.view["need"]["request"]["energy_price_minor_per_mwh"]
    return sum(
        each["paid_wh"] * price // 1_000_000 - each["energy_minor"]
        for each in outcome.statements
        if each["level"] == "SC1" and each["outcome"]
    )


def _simulated_wh(story: Story) -> int:
    """The truth only a simulation knows: what the homes would have used without control, less what they used."""
    total = 0
    for path in sorted(story.stage.folder.glob("*/*/truth.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if EVENT_START_MS <= row["start_ms"] < EVENT_END_MS:
                total += row["delivered_wh"]
    return total


def _kwh(energy_wh: int) -> str:
    return f"{energy_wh / 1000:.2f}"


def _money(amount_minor: int) -> str:
    return f"{amount_minor / 100:.2f}"


def _iso(at_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ms / 1000))
