"""`dr-vtn vens approve | reject | revoke | reinstate | add | bind | certificates | sign`: who is let in, by what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from cryptography.hazmat.primitives.serialization import Encoding

from openadr.v2 import fingerprint as fingerprint_of
from runtime.tls.certificates import read_chain
from vtn.auth.certificates import BoundCertificate
from vtn.cli.options import Config, DataDir, Json, print_json, print_table, utc, with_vtn
from vtn.context import Vtn, only_program
from vtn.errors import InvalidInput
from vtn.services.vens import Ven

VenId = Annotated[str, typer.Argument(help="venID.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit.")]
Fingerprint = Annotated[
    str | None, typer.Option("--fingerprint", help="OpenADR fingerprint AA:BB:.. of a certificate, or its SHA-256.")
]
CertificateFile = Annotated[Path | None, typer.Option("--certificate", help="PEM file of the certificate.")]


def add(
    name: Annotated[str, typer.Option("--name", help="venName of the device.")],
    area: Annotated[str, typer.Option("--area", help="Feeder the device is on.")],
    fingerprint: Fingerprint = None,
    certificate: CertificateFile = None,
    program: Annotated[str | None, typer.Option("--program", help="Program; needed where there are several.")] = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Let a certified device in by the certificate it brings from another authority (name that one in client_ca)."""

    async def work(vtn: Vtn) -> Ven:
        printed = _printed(fingerprint, certificate)
        known = read_chain(certificate)[0] if certificate else None
        chosen = program or await only_program(vtn)
        return await vtn.vens.add(name, area, chosen, fingerprint=printed, certificate=known)

    _show(with_vtn(config, data_dir, work), as_json)


def bind(
    ven_id: VenId,
    fingerprint: Fingerprint = None,
    certificate: CertificateFile = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Bind a further certificate of another authority to a VEN, before its old one ends."""

    async def work(vtn: Vtn) -> Ven:
        known = read_chain(certificate)[0] if certificate else None
        return await vtn.vens.bind_fingerprint(ven_id, _printed(fingerprint, certificate), known)

    _show(with_vtn(config, data_dir, work), as_json)


def certificates(
    ven_id: Annotated[str | None, typer.Argument(help="venID; without it those of all.")] = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """List certificates with the VENs they are bound to."""

    async def work(vtn: Vtn) -> list[BoundCertificate]:
        return await vtn.certificates.bound(ven_id)

    found = with_vtn(config, data_dir, work)
    if as_json:
        print_json(found)
        return
    rows = [
        (each.ven_id, each.fingerprint, each.status, each.source, utc(each.not_after_ms), each.reason) for each in found
    ]
    print_table("Certificates", ("venID", "fingerprint", "status", "source", "valid until", "reason"), rows)


def approve(ven_id: VenId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Let a VEN that waits join: its next request is carried out."""

    async def work(vtn: Vtn) -> Ven:
        return await vtn.enrolments.approve(ven_id)

    _show(with_vtn(config, data_dir, work), as_json)


def reject(
    ven_id: VenId, reason: Reason = "", as_json: Json = False, config: Config = None, data_dir: DataDir = None
) -> None:
    """Turn a VEN that waits away, for good."""

    async def work(vtn: Vtn) -> Ven:
        return await vtn.enrolments.reject(ven_id, reason)

    _show(with_vtn(config, data_dir, work), as_json)


def revoke(
    ven_id: VenId,
    reason: Reason,
    fingerprint: Fingerprint = None,
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Shut a VEN out at once, or end one of its certificates; every worker follows within a minute."""

    async def work(vtn: Vtn) -> Ven:
        if fingerprint is None:
            return await vtn.vens.revoke(ven_id, reason)
        await vtn.certificates.revoke(ven_id, reason, printed=fingerprint)
        return await vtn.vens.get(ven_id)

    _show(with_vtn(config, data_dir, work), as_json)


def reinstate(ven_id: VenId, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Let a revoked VEN in again: it needs a new certificate."""

    async def work(vtn: Vtn) -> Ven:
        return await vtn.vens.reinstate(ven_id)

    _show(with_vtn(config, data_dir, work), as_json)


def sign(
    ven_id: VenId,
    required: Annotated[
        bool, typer.Option("--required/--optional", help="Must both sides sign each message with this VEN?")
    ] = True,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Choose the security level of a VEN: XML signatures on every message, or TLS alone."""

    async def work(vtn: Vtn) -> None:
        await vtn.signing.require(ven_id, required)

    with_vtn(config, data_dir, work)
    typer.echo(f"messages of {ven_id} {'have to' if required else 'need not'} be signed")


def _printed(fingerprint: str | None, certificate: Path | None) -> str:
    if (fingerprint is None) == (certificate is None):
        raise InvalidInput("fingerprint_invalid", "give --fingerprint or --certificate, one of them")
    if certificate is not None:
        return fingerprint_of(read_chain(certificate)[0].public_bytes(Encoding.DER))
    return fingerprint or ""


def _show(ven: Ven, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.structs.asdict(ven))
    else:
        bound = f", certificate {ven.fingerprint}" if ven.fingerprint else ""
        typer.echo(f"{ven.ven_name} ({ven.ven_id}) is {ven.status}{bound}")
