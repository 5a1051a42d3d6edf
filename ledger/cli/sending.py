"""Commands that sign: money enters and moves, a utility asks for less energy."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from contracts.core.codec import decode
from contracts.core.commands import INTERVALS_MAX, Issue, RequestReduction, Transfer
from contracts.core.errors import CodecError
from contracts.core.parties import Party, PartyStatus, Role
from contracts.core.units import charged_minor
from ledger.cli.options import (
    DEFAULT_URL,
    DEFAULT_WAIT_S,
    Ca,
    Channel,
    ClockFile,
    Json,
    KeyFile,
    Url,
    Wait,
    signing,
)
from ledger.cli.output import NotThere, UsageError, show
from ledger.client import LedgerClient, Result

_TARGET_KWH_MAX = 1e9

To = Annotated[str, typer.Option("--to", help="Party that receives the money.")]
Amount = Annotated[int, typer.Option("--amount-minor", min=1, help="Minor units (cents).")]
#: Contracts hold more than the target costs: delivery above it, and homes called in place of others.
BUDGET_PERCENT = 150

Reference = Annotated[str, typer.Option("--reference", help="What it is for; everybody can read it.")]


def issue(
    key: KeyFile,
    to: To,
    amount_minor: Amount,
    reference: Reference = "",
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    ca: Ca = None,
    clock_file: ClockFile = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Let money enter a party's account; signed by a utility, which answers for it outside the ledger."""
    command = Issue(to=to, amount_minor=amount_minor, reference=reference)
    show(signing(url, channel, ca, wait, clock_file, key, lambda client: client.submit(command)), as_json=json)


def transfer(
    key: KeyFile,
    to: To,
    amount_minor: Amount,
    reference: Reference = "",
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    ca: Ca = None,
    clock_file: ClockFile = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Move free funds of the key's party to another party."""
    command = Transfer(to=to, amount_minor=amount_minor, reference=reference)
    show(signing(url, channel, ca, wait, clock_file, key, lambda client: client.submit(command)), as_json=json)


def request_reduction(
    key: KeyFile,
    start: Annotated[str | None, typer.Option("--start", help="Begin of the window, ISO 8601 with its offset.")] = None,
    price_minor_per_mwh: Annotated[
        int | None,
        typer.Option("--price-minor-per-mwh", min=0, help="Minor units for each MWh less (400000 = 0.40 a kWh)."),
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from", help="JSON file of a whole need, of `dr-vtn proposals approve`.")
    ] = None,
    end: Annotated[str | None, typer.Option("--end", help="End of the window; with --target-kwh.")] = None,
    target_kwh: Annotated[
        float | None, typer.Option("--target-kwh", help="Reduction over the whole window, spread evenly.")
    ] = None,
    profile_wh: Annotated[
        str | None, typer.Option("--profile-wh", help="Reduction of each interval in Wh, separated by commas.")
    ] = None,
    interval_min: Annotated[int, typer.Option("--interval-min", min=1, max=1440, help="Length of an interval.")] = 15,
    budget_minor: Annotated[
        int | None,
        typer.Option(
            "--budget-minor", help="Most it may cost; by default 1.5 times what the target costs, the rest returns."
        ),
    ] = None,
    aggregator: Annotated[
        str | None, typer.Option("--aggregator", help="Party that is asked; by default the only aggregator.")
    ] = None,
    area: Annotated[str, typer.Option("--area", help='"portfolio" or a feeder.')] = "portfolio",
    need_id: Annotated[str | None, typer.Option("--need-id", help="Id of the need; by default a new one.")] = None,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    ca: Ca = None,
    clock_file: ClockFile = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Ask the aggregator for less energy in a window; signed by a utility, its budget goes into escrow."""
    if from_file is not None:
        given = _need(from_file)
        show(signing(url, channel, ca, wait, clock_file, key, lambda client: client.submit(given)), as_json=json)
        return
    if start is None or price_minor_per_mwh is None:
        raise UsageError("--start and --price-minor-per-mwh are needed, or --from with a file that says all")
    start_ms, interval_s, day = _time_ms("--start", start), interval_min * 60, start[:10]
    profile = _profile(start_ms, interval_s, end, target_kwh, profile_wh)
    price = price_minor_per_mwh
    usual = charged_minor(sum(profile) * BUDGET_PERCENT // 100, price)

    async def work(client: LedgerClient) -> Result:
        command = RequestReduction(
            need_id=need_id or f"need-{day}-{secrets.token_hex(4)}",
            aggregator=aggregator or await _only_aggregator(client),
            area=area,
            start_ms=start_ms,
            interval_s=interval_s,
            target_wh=profile,
            energy_price_minor_per_mwh=price,
            budget_minor=usual if budget_minor is None else budget_minor,
        )
        return await client.submit(command)

    show(signing(url, channel, ca, wait, clock_file, key, work), as_json=json)


def _need(path: Path) -> RequestReduction:
    try:
        return decode(path.read_bytes().strip(), RequestReduction)
    except (CodecError, OSError) as error:
        raise UsageError(f"{path} is not the JSON of a need: {error}") from None


def _profile(
    start_ms: int, interval_s: int, end: str | None, target_kwh: float | None, profile_wh: str | None
) -> tuple[int, ...]:
    if (profile_wh is None) == (target_kwh is None and end is None):
        raise UsageError("give either --target-kwh with --end, or --profile-wh")
    if profile_wh is not None:
        try:
            return tuple(int(part) for part in profile_wh.split(","))
        except ValueError:
            raise UsageError("--profile-wh takes whole numbers of Wh separated by commas: 1200,1200,900") from None
    if end is None or target_kwh is None:
        raise UsageError("--target-kwh and --end belong together")
    count, rest = divmod(_time_ms("--end", end) - start_ms, interval_s * 1000)
    if count < 1 or rest:
        raise UsageError(f"from --start to --end there must be whole intervals of {interval_s // 60} minutes")
    if not 0 < target_kwh <= _TARGET_KWH_MAX:
        raise UsageError(f"--target-kwh is a number above 0, at most {_TARGET_KWH_MAX:.0e}")
    if count > INTERVALS_MAX:
        raise UsageError(f"from --start to --end there are {count} intervals, at most {INTERVALS_MAX} are allowed")
    target_wh = round(target_kwh * 1000)
    return tuple(target_wh // count + (1 if number < target_wh % count else 0) for number in range(count))


def _time_ms(option: str, text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r} is no time: write it like 2026-07-01T18:00:00+02:00") from None
    if time.tzinfo is None:
        raise UsageError(f"{option} {text!r} has no offset: write it like {text}+02:00, or {text}Z for UTC")
    return round(time.timestamp() * 1000)


async def _only_aggregator(client: LedgerClient) -> str:
    found = [
        party.party
        for _, party in await client.records(Party, "agg-")
        if party.role is Role.AGGREGATOR and party.status is PartyStatus.ACTIVE
    ]
    if len(found) != 1:
        raise NotThere(f"there are {len(found)} aggregators: name one with --aggregator ({', '.join(found) or 'none'})")
    return found[0]
