"""Commands that read: status, records, facts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from contracts.core.parties import Party
from contracts.core.state import Record
from contracts.demand_response.contract import ContractRecord
from contracts.demand_response.needs import NeedRecord
from contracts.tokens import Account, party_account
from ledger.cli.options import DEFAULT_URL, DEFAULT_WAIT_S, Ca, Channel, Json, ReadKey, Url, Wait, reading
from ledger.cli.output import NotThere, show, show_rows, time_text
from ledger.client import START, FactRecord, LedgerClient

R = TypeVar("R", bound=Record)

app = typer.Typer(no_args_is_help=True, help="Show one thing the ledger holds.")

Id = Annotated[str, typer.Argument(help="Its id.")]


def status(
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Show height, size, members and orderer of a replica."""
    show(reading(url, channel, ca, wait, key, LedgerClient.status), as_json=json)


def refusals(
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """List transactions that were refused before they were ordered, newest first."""
    show_rows(reading(url, channel, ca, wait, key, LedgerClient.refusals), as_json=json)


@app.command("transaction")
def show_transaction(
    id: Id,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """What became of a transaction: status, code, place and facts."""
    result = reading(url, channel, ca, wait, key, lambda client: client.transaction(id))
    if result is None:
        raise NotThere(f"the ledger has not executed a transaction {id}: it may be sent again")
    show(result, as_json=json)


@app.command("contract")
def show_contract(
    id: Id,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """A contract: parties, terms, status, and what was delivered."""
    show(_record(url, channel, ca, wait, key, ContractRecord, id, "contract"), as_json=json)


@app.command("need")
def show_need(
    id: Id,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """A utility's need: what was asked, how many contracts are open, what was delivered."""
    show(_record(url, channel, ca, wait, key, NeedRecord, id, "need"), as_json=json)


@app.command("account")
def show_account(
    id: Annotated[str, typer.Argument(help="A party id, or an account such as need/ID, contract/ID or issuance.")],
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """An account: its four counters and its free funds, in minor units."""
    name = id if "/" in id or id == "issuance" else party_account(id)
    account = _record(url, channel, ca, wait, key, Account, name, "account that money ever reached called")
    free = account.credits_posted - account.debits_posted - account.debits_pending
    show({"account": name, "free_minor": free, **msgspec.to_builtins(account)}, as_json=json)


@app.command("party")
def show_party(
    id: Id,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """A party: role, public key, sponsor, status."""
    show(_record(url, channel, ca, wait, key, Party, id, "party"), as_json=json)


def facts(
    follow: Annotated[bool, typer.Option("--follow", help="Go on with each new fact, until Ctrl-C.")] = False,
    after: Annotated[str, typer.Option("--after", help="Cursor to continue behind.")] = START,
    party: Annotated[str | None, typer.Option("--party", help="Only facts that concern this party.")] = None,
    contract: Annotated[str | None, typer.Option("--contract", help="Only facts about this contract or need.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Most facts to list.")] = 100,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """List what the ledger recorded, oldest first: one line a fact (with --json, one object a line)."""

    async def page(client: LedgerClient) -> list[FactRecord]:
        return await client.facts(after, party=party, contract=contract, limit=limit)

    async def stream(client: LedgerClient) -> None:
        async for record in client.follow(after, parties=[party] if party else (), contract=contract):
            show_rows([_fact_row(record, json)], as_json=json)

    if follow:
        reading(url, channel, ca, wait, key, stream)
    else:
        show_rows((_fact_row(record, json) for record in reading(url, channel, ca, wait, key, page)), as_json=json)


def _record(
    url: str, channel: str, ca: Path | None, wait: float, key: Path | None, kind: type[R], name: str, noun: str
) -> R:
    found = reading(url, channel, ca, wait, key, lambda client: client.record(kind, name))
    if found is None:
        raise NotThere(f"there is no {noun} {name}: `dr-ledger facts` lists what happened so far")
    return found


def _fact_row(record: FactRecord, as_json: bool) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(record)
    if as_json:
        return row
    fact = row["fact"]
    words = [f"{name}={_short(value)}" for name, value in fact.items() if name != "fact" and value is not None]
    return {"cursor": record.cursor, "time": time_text(record.time_ms), "fact": fact["fact"], "words": words}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{...}"
    if isinstance(value, list):
        return f"[{len(value)}]"
    return str(value)
