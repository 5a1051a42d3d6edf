"""Proofs, checked from files alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.errors import SettingsError
from ven.cli.options import Json, print_json

Proof = Annotated[Path, typer.Option("--proof", help="The .tlog-proof file.")]
Policy = Annotated[Path, typer.Option("--policy", help="The policy file: whom to believe.")]
Opening = Annotated[Path, typer.Option("--opening", help="The opening file.")]


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


def verify_payment(proof: Proof, policy: Policy, opening: Opening, as_json: Json = False) -> None:
    """Check that a payment is on the ledger and that its figures add up."""
    from ven.verification import check_payment

    shown = check_payment(_read(proof), _read(policy), _read(opening))
    _tell(dataclasses.asdict(shown), as_json, "this payment is on the ledger")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def _tell(shown: dict[str, Any], as_json: bool, claim: str) -> None:
    if as_json:
        print_json({"verified": True, **shown})
        return
    place = shown.pop("place")
    typer.echo(f"verified: {claim}")
    for name, value in shown.items():
        typer.echo(f"  {name}: {value}")
    by = ", ".join(place["witnesses"]) or "no witness (the policy asks for none)"
    typer.echo(f"  leaf {place['index']} of {place['size']} in {place['origin']}, witnessed by {by}")
