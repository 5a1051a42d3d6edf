"""`dr-vtn pki`: the VTN's own authorities and the server's certificates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from openadr.v2 import fingerprint
from runtime.errors import SettingsError
from vtn.auth.pki import Pki
from vtn.cli.options import Config, DataDir, Json, print_json, print_table, settings

app = typer.Typer(help="Certificates: the VTN's own authorities, and its server's certificates.", no_args_is_help=True)

Hosts = Annotated[
    list[str], typer.Option("--host", help="DNS name or address under which VENs reach the VTN; may be repeated.")
]
OtherHosts = Annotated[
    list[str] | None, typer.Option("--host", help="Other names and addresses than before; may be repeated.")
]
Organisation = Annotated[str, typer.Option("--name", help="Name of the authorities in their certificates.")]


@app.command()
def init(
    host: Hosts,
    name: Organisation = "Gridpact VTN",
    as_json: Json = False,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Make the authorities (ECDSA and RSA, root and intermediate) and the server's certificates, once."""
    pki = settings(config, data_dir).pki
    created = Pki.create(pki.folder, host, name)
    if as_json:
        print_json(_described(created) | {"ca_file": str(created.ca)})
        return
    typer.echo(f"devices trust {created.ca}; `dr-vtn serve` uses the certificates in {created.folder}")
    typer.echo(f"move {created.folder}/root-*.key to a safe place: only new intermediates need them")


@app.command()
def show(as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """List authorities and server certificates with their ends and fingerprints."""
    pki = _made(settings(config, data_dir).pki)
    found = _described(pki)
    if as_json:
        print_json(found)
        return
    rows = [(name, each["not_after"], each["fingerprint"]) for name, each in found.items()]
    print_table("Certificates", ("file", "valid until", "OpenADR fingerprint"), rows)


@app.command()
def renew(host: OtherHosts = None, as_json: Json = False, config: Config = None, data_dir: DataDir = None) -> None:
    """Give the server new certificates of the same keys; start `dr-vtn serve` again afterwards."""
    pki = _made(settings(config, data_dir).pki)
    pki.renew_servers(host or ())
    found = _described(pki)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"the server's certificates are valid until {found['server-ecdsa']['not_after']}")


def _made(pki: Pki) -> Pki:
    if not pki.exists:
        raise SettingsError(f"there are no authorities in {pki.folder}: run `dr-vtn pki init --host NAME`")
    return pki


def _described(pki: Pki) -> dict[str, dict[str, str]]:
    now = datetime.now(UTC)
    return {
        name: {
            "subject": each.subject.rfc4514_string(),
            "not_after": f"{each.not_valid_after_utc:%Y-%m-%d}" + (" (over)" if each.not_valid_after_utc < now else ""),
            "fingerprint": fingerprint(each.public_bytes(Encoding.DER)),
        }
        for name, each in pki.certificates().items()
    }
