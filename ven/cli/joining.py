"""Joining a VTN, and what the owner looks at and changes after it."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ven.cli.options import Config, DataDir, Device, Json, Profile, load_settings, print_json


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

    settings = load_settings(
        config, data_dir, profile=profile, device=device, consent_to=consent or None, consent_days=consent_days
    )
    invited = read_invitation(invitation)

    async def work() -> Identity:
        folder = settings.data_dir
        with locked(folder), closing(Store(folder / FILE_NAME)) as store:
            known = settings.device != "profile" or settings.profile is not None
            device = make_device(settings, store, None) if known else None
            async with surroundings(settings, settings.clock(), 1) as around:
                offer = make_offer(settings, store, device, around.clock.now_ms())
                consents = consent_choices(settings)
                attempt = partial(enrol, invited, folder, store, offer, around.session, consents)
                return await patiently(attempt, attempts=1 + wait_s, pause_s=1.0)

    identity = run(work())
    if as_json:
        print_json({"ven_name": identity.ven_name, "ven_id": identity.ven_id, "party": identity.party})
    else:
        typer.echo(f"{identity.ven_name} is enrolled: venID {identity.ven_id}, ledger party {identity.party}")


def certificate(
    renew: Annotated[bool, typer.Option("--renew", help="Get a new one now, on the word of the ledger key.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show this home's certificate; `dr-ven run` renews it in time, after a revocation `--renew` gets another."""
    from ven.joined import certificate_of, renew_certificate

    settings = load_settings(config, data_dir)
    found = renew_certificate(settings) if renew else certificate_of(settings)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"certificate {found['fingerprint']} of {found['subject']}, valid until {found['not_after']}")


def consents(
    revoke: Annotated[str | None, typer.Option("--revoke", help="Take back the consent with this id.")] = None,
    grant: Annotated[str | None, typer.Option("--grant", help="Role that may see the readings.")] = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show who may see this home's readings, take a consent back, or give one."""
    from ven.joined import change_consents

    found = change_consents(load_settings(config, data_dir), revoke=revoke, grant=grant)
    if as_json:
        print_json(found)
        return
    for each in found:
        state = "taken back" if each["revoked_ms"] is not None else f"until {each['until']}"
        typer.echo(f"{each['consent_id']}: {each['grantee']}, for {each['purpose']}, {state}")
