"""`dr-ledger cluster certificates`: the consortium's authority, requests of its members, when certificates end.

authority (once, by one of the members) ─▶ request (each machine, keeps its key) ─▶ sign (authority) ─▶ list (watch)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.options import Json
from ledger.cli.output import show, show_rows
from ledger.cluster.certificates import (
    AUTHORITY_DAYS,
    CERTIFICATE_DAYS,
    Authority,
    CertificateError,
    check_signed_by,
    expires_within,
    named,
    request_certificate,
)

app = typer.Typer(no_args_is_help=True, help="Certificates of a consortium: authority, requests, signatures, ends.")

AuthorityDir = Annotated[Path, typer.Option("--authority", help="Folder of the authority.")]
Days = Annotated[int, typer.Option("--days", min=1, max=36_500, help="Days the certificate is valid.")]


@app.command()
def authority(
    folder: AuthorityDir,
    name: Annotated[str, typer.Option("--name", help="Name of the consortium.")] = "Gridpact consortium",
    days: Days = AUTHORITY_DAYS,
) -> None:
    """Make the authority: ca.pem goes to everybody, ca.key stays and is taken offline after signing."""
    made = Authority.create(folder, name, days)
    typer.echo(f"{made.ca}: hand it to every member. {folder / 'ca.key'}: keep it where only you can reach it.")


@app.command()
def request(
    key: Annotated[Path, typer.Option("--key", help="Private key file, made if it is not there; it stays here.")],
    name: Annotated[str, typer.Option("--name", help="Whom the certificate names: a member, a device.")],
    host: Annotated[list[str], typer.Option("--host", help="DNS name or address of this machine; several times.")],
) -> None:
    """Make a key and the request for its certificate, or the request for a renewal with the key that is there."""
    typer.echo(f"{request_certificate(key, name, host)}: send it to whoever holds the authority.")


@app.command()
def sign(
    folder: AuthorityDir,
    request: Annotated[Path, typer.Option("--request", help="The .csr file.")],
    output: Annotated[Path, typer.Option("--output", help="Certificate file to write.")],
    server: Annotated[bool, typer.Option("--server/--no-server", help="Good for answering.")] = True,
    client: Annotated[bool, typer.Option("--client/--no-client", help="Good for asking.")] = True,
    days: Days = CERTIFICATE_DAYS,
) -> None:
    """Sign a request; look first whom it names."""
    if not (server or client):
        raise CertificateError("a certificate that is good for nothing is not signed: leave out one of the two --no-")
    Authority.load(folder).sign(request.read_bytes(), output, days=days, server=server, client=client)
    made = named(output)
    typer.echo(f"{output}: {made.subject} ({', '.join(made.names)}) until {made.not_after:%Y-%m-%d}")


@app.command("list")
def list_certificates(
    files: Annotated[list[Path], typer.Argument(help="Certificate files, or folders that hold them (*.pem).")],
    within: Annotated[int, typer.Option("--within", min=0, help="Warn of certificates that end in so many days.")] = 30,
    ca: Annotated[Path | None, typer.Option("--ca", help="Also check that this authority signed them.")] = None,
    json: Json = False,
) -> None:
    """List certificates with their ends; exit code 1 if one ends soon or has ended."""
    paths = [path for given in files for path in (sorted(given.rglob("*.pem")) if given.is_dir() else [given])]
    rows, soon = [], []
    for path in paths:
        if ca is not None and path.resolve() != ca.resolve():
            check_signed_by(path, ca)
        found = named(path)
        ends = expires_within(path, within)
        soon += [path] if ends is not None else []
        rows.append(
            {
                "file": str(path),
                "subject": found.subject,
                "names": list(found.names),
                "not_after": found.not_after.isoformat(),
                "ends_soon": ends is not None,
            }
        )
    if json:
        show({"certificates": rows}, as_json=True)
    else:
        show_rows(rows, as_json=False)
    if soon:
        typer.echo(
            f"Ends within {within} days: {', '.join(map(str, soon))}. Renew with `request` and `sign`.", err=True
        )
        raise typer.Exit(1)
