"""`dr-ven`: join a VTN, run a home or many simulated ones, look at them, and check proofs without a network.

Exit codes: 0 done, 1 not carried out, 2 usage, settings or key files, 3 not enrolled or no usable store, 4 enrolment
refused, 5 VTN or ledger not reached, 6 refused by VTN or ledger, 7 proof refused, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.errors import GridpactError, SettingsError
from runtime.logs import configure
from runtime.output import print_whole
from ven.config import VenSettings

app = typer.Typer(
    name="dr-ven",
    help="The VEN: a home agent that takes part in demand response by its owner's rules and proves its payments.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
verify_app = typer.Typer(help="Check a proof from files alone: no network, no database.", no_args_is_help=True)
app.add_typer(verify_app, name="verify")

Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the home.")]
Profile = Annotated[Path | None, typer.Option("--profile", help="Profile file of the simulated home.")]
Device = Annotated[str | None, typer.Option("--device", help="profile, relay or dimmer.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Proof = Annotated[Path, typer.Option("--proof", help="The .tlog-proof file.")]
Policy = Annotated[Path, typer.Option("--policy", help="The policy file: whom to believe.")]
Opening = Annotated[Path, typer.Option("--opening", help="The opening file.")]


def main() -> None:
    """Runs the command line; an error is one sentence on stderr and a stable exit code."""
    try:
        app()
    except GridpactError as error:
        typer.echo(f"dr-ven: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        typer.echo(f"dr-ven: a file or folder cannot be used: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def enrol(
    invitation: Annotated[Path, typer.Option("--invitation", help="File from `dr-vtn vens invite`.")],
    data_dir: DataDir = None,
    profile: Profile = None,
    device: Device = None,
    config: Config = None,
    consent: Annotated[
        list[str] | None, typer.Option("--consent", help="Role that may see the readings; may be repeated.")
    ] = None,
    consent_days: Annotated[int | None, typer.Option("--consent-days", help="How long the consents hold.")] = None,
    wait_s: Annotated[int, typer.Option("--wait", min=0, help="Seconds to wait for VTN and approval.")] = 5,
    as_json: Json = False,
) -> None:
    """Join a VTN: makes the keys, which never leave this machine, asks for a certificate and signs the owner's
    consents. Repeating it changes nothing."""
    from runtime.service import run
    from ven.account.enrolment import enrol, read_invitation
    from ven.account.identity import Identity
    from ven.app import locked, make_device, patiently, surroundings
    from ven.home.store import Store
    from ven.home.store.store import FILE_NAME
    from ven.simulator import consent_choices, make_offer

    settings = _settings(
        config, data_dir, profile=profile, device=device, consent_to=consent or None, consent_days=consent_days
    )
    invited = read_invitation(invitation)

    async def work() -> Identity:
        folder = settings.data_dir
        with locked(folder), closing(Store(folder / FILE_NAME)) as store:
            most_w = settings.flexible_w
            if most_w is None:
                known = settings.device != "profile" or settings.profile is not None
                most_w = make_device(settings, store, None).max_shed_w if known else 0
            async with surroundings(settings, settings.clock(), 1) as around:
                offer, consents = make_offer(settings, most_w), consent_choices(settings)
                attempt = partial(enrol, invited, folder, store, offer, around.session, consents)
                return await patiently(attempt, attempts=1 + wait_s, pause_s=1.0)

    identity = run(work())
    if as_json:
        _print({"ven_name": identity.ven_name, "ven_id": identity.ven_id, "party": identity.party})
    else:
        typer.echo(f"{identity.ven_name} is enrolled: venID {identity.ven_id}, ledger party {identity.party}")


@app.command()
def certificate(
    renew: Annotated[bool, typer.Option("--renew", help="Get a new one now, on the word of the ledger key.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show this home's certificate; `dr-ven run` renews it in time, after a revocation `--renew` gets another."""
    from ven.joined import certificate_of, renew_certificate

    settings = _settings(config, data_dir)
    found = renew_certificate(settings) if renew else certificate_of(settings)
    if as_json:
        _print(found)
    else:
        typer.echo(f"certificate {found['fingerprint']} of {found['subject']}, valid until {found['not_after']}")


@app.command()
def consents(
    revoke: Annotated[str | None, typer.Option("--revoke", help="Take back the consent with this id.")] = None,
    grant: Annotated[str | None, typer.Option("--grant", help="Role that may see the readings.")] = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show who may see this home's readings, take a consent back, or give one."""
    from ven.joined import change_consents

    found = change_consents(_settings(config, data_dir), revoke=revoke, grant=grant)
    if as_json:
        _print(found)
        return
    for each in found:
        state = "taken back" if each["revoked_ms"] is not None else f"until {each['until']}"
        typer.echo(f"{each['consent_id']}: {each['grantee']}, for {each['purpose']}, {state}")


@app.command()
def run(
    data_dir: DataDir = None,
    profile: Profile = None,
    device: Device = None,
    config: Config = None,
    secrets_dir: Annotated[Path | None, typer.Option("--secrets-dir", help="Folder of secret files.")] = None,
) -> None:
    """Run one home until SIGTERM or Ctrl-C, which frees the device."""
    from runtime.service import run
    from ven.app import run_home

    settings = _settings(config, data_dir, secrets_dir=secrets_dir, profile=profile, device=device)
    run(run_home(settings))


@app.command()
def simulate(
    homes: Annotated[int, typer.Option("--homes", min=1, help="Number of homes.")],
    profiles: Annotated[Path, typer.Option("--profiles", help="Folder with one profile file a home.")],
    invitations: Annotated[
        Path | None, typer.Option("--invitations", help="Folder with one invitation a home; enrolled ones need none.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Run many simulated homes in one process, each with its own key, store and device."""
    from runtime.service import run
    from ven.simulator import simulate

    run(simulate(_settings(config, data_dir), profiles, invitations, homes))


@app.command()
def status(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """What the home is doing: registration, readings, events, contracts, payments, what waits to be sent."""
    from ven.status import read_status

    found = read_status(_settings(config, data_dir).data_dir)
    if as_json:
        _print(found)
        return
    typer.echo(f"{found['ven_name'] or 'not enrolled'}: venID {found['ven_id']}, ledger party {found['party']}")
    typer.echo(f"opted out: {'yes' if found['owner']['opt_out'] else 'no'}; {found['meter']['readings']} readings")
    waiting = (found["transactions_waiting"], found["report_intervals_owed"])
    typer.echo(f"waiting: {waiting[0]} transactions, {waiting[1]} report intervals")
    for contract in found["contracts"]:
        outcome = contract["outcome"]
        paid = "" if outcome is None else f", {outcome['outcome']}, {outcome['amount_minor']} minor units"
        reason = f" ({contract['reason']})" if contract["reason"] else ""
        line = f"{contract['contract_id']} {contract['state']}{reason}: {contract['obligation_wh']} Wh{paid}"
        typer.echo(line)
    typer.echo(f"proofs verified: {len(found['proofs'])}; paid in all: {found['paid_minor']} minor units")


@app.command()
def opt_out(
    data_dir: DataDir = None,
    until: Annotated[datetime | None, typer.Option("--until", help="UTC; without it until `opt-in`.")] = None,
    config: Config = None,
) -> None:
    """Take part in nothing from now on; a running agent follows within a poll."""
    from datetime import UTC

    until_ms = None if until is None else int(until.replace(tzinfo=until.tzinfo or UTC).timestamp() * 1000)
    _change_owner(_settings(config, data_dir).data_dir, opt_out=True, opt_out_until_ms=until_ms)


@app.command()
def opt_in(data_dir: DataDir = None, config: Config = None) -> None:
    """Take part again."""
    _change_owner(_settings(config, data_dir).data_dir, opt_out=False, opt_out_until_ms=None)


@app.command()
def limits(
    data_dir: DataDir = None,
    max_shed_w: Annotated[int | None, typer.Option(min=0, help="Most W the home may be asked for.")] = None,
    max_duration_s: Annotated[int | None, typer.Option(min=0, help="Longest event in seconds.")] = None,
    max_events_per_day: Annotated[int | None, typer.Option(min=0, help="Most events on one local day.")] = None,
    hours: Annotated[str | None, typer.Option(help="Local hours in which to take part, as 07:00-21:30.")] = None,
    price_min: Annotated[int | None, typer.Option(min=0, help="Least price, minor units per MWh.")] = None,
    deposit_max: Annotated[int | None, typer.Option(min=0, help="Most minor units at stake in a contract.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Lift all limits first.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show or change what the owner allows; a running agent follows within a poll."""
    from ven.home.owner import Owner

    changes: dict[str, Any] = {}
    if reset:
        fresh = Owner()
        names = (
            "max_shed_w",
            "max_duration_s",
            "max_events_per_day",
            "hours",
            "price_min_minor_per_mwh",
            "deposit_max_minor",
        )
        changes |= {name: getattr(fresh, name) for name in names}
    given = {
        "max_shed_w": max_shed_w,
        "max_duration_s": max_duration_s,
        "max_events_per_day": max_events_per_day,
        "hours": None if hours is None else _minutes(hours),
        "price_min_minor_per_mwh": price_min,
        "deposit_max_minor": deposit_max,
    }
    changes |= {name: value for name, value in given.items() if value is not None}
    owner = _change_owner(_settings(config, data_dir).data_dir, **changes)
    if as_json:
        _print(owner)
    else:
        typer.echo(", ".join(f"{name} {value}" for name, value in owner.items()))


@app.command()
def check(config: Config = None, data_dir: DataDir = None) -> None:
    """Print the merged settings with secrets hidden; unknown names are an error."""
    from runtime.settings import render

    typer.echo(render(_settings(config, data_dir)))


@verify_app.command("event")
def verify_event(
    proof: Proof,
    policy: Policy,
    opening: Opening,
    event: Annotated[Path | None, typer.Option("--event", help="The canonical dr_event.")] = None,
    as_json: Json = False,
) -> None:
    """Check that the terms of a contract are on the ledger and name exactly this event."""
    from ven.verification import check_event

    shown = check_event(_read(proof), _read(policy), _read(opening), None if event is None else _read(event))
    _tell(dataclasses.asdict(shown), as_json, "the terms of this contract are on the ledger")


@verify_app.command("payment")
def verify_payment(proof: Proof, policy: Policy, opening: Opening, as_json: Json = False) -> None:
    """Check that a payment is on the ledger and that its figures add up."""
    from ven.verification import check_payment

    shown = check_payment(_read(proof), _read(policy), _read(opening))
    _tell(dataclasses.asdict(shown), as_json, "this payment is on the ledger")


def _settings(config: Path | None, data_dir: Path | None, secrets_dir: Path | None = None, **flags: Any) -> VenSettings:
    settings = VenSettings.load(config=config, secrets_dir=secrets_dir, flags={"data_dir": data_dir, **flags})
    configure("dr-ven", json=settings.log_json, level=settings.log_level)
    return settings


def _change_owner(folder: Path, **changes: Any) -> dict[str, Any]:
    import msgspec

    from ven.errors import NotEnrolled
    from ven.home.owner import read_owner, write_owner
    from ven.home.store import Store
    from ven.home.store.store import FILE_NAME

    if not (folder / FILE_NAME).exists():
        raise NotEnrolled(f"there is no home in {folder}: run `dr-ven enrol` first")
    with closing(Store(folder / FILE_NAME)) as store:
        with store.transaction():
            owner = msgspec.structs.replace(read_owner(store.notes), **changes)
            write_owner(store.notes, owner)
        found: dict[str, Any] = msgspec.to_builtins(owner)
        return found


def _minutes(hours: str) -> tuple[int, int]:
    """ "07:00-21:30" as minutes of the day."""
    try:
        first, last = (datetime.strptime(part.strip(), "%H:%M") for part in hours.split("-"))  # noqa: DTZ007
    except ValueError:
        raise SettingsError(f"hours are given as 07:00-21:30, not {hours!r}") from None
    return first.hour * 60 + first.minute, last.hour * 60 + last.minute


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def _tell(shown: dict[str, Any], as_json: bool, claim: str) -> None:
    if as_json:
        _print({"verified": True, **shown})
        return
    place = shown.pop("place")
    typer.echo(f"verified: {claim}")
    for name, value in shown.items():
        typer.echo(f"  {name}: {value}")
    by = ", ".join(place["witnesses"]) or "no witness (the policy asks for none)"
    typer.echo(f"  leaf {place['index']} of {place['size']} in {place['origin']}, witnessed by {by}")


def _print(value: Any) -> None:
    print_whole(json.dumps(value, indent=2, ensure_ascii=False))
