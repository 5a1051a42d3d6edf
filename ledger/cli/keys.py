"""`dr-ledger keys`: the keys of parties. A private key file never leaves its place; its `.pub` goes to the founders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from contracts.core.parties import Role
from ledger.cli.options import Json
from ledger.cli.output import UsageError, show
from ledger.client import party_id
from runtime.errors import KeyFileError
from runtime.keys import PrivateKey

app = typer.Typer(no_args_is_help=True, help="Keys of parties: make one, show its public half and party id.")

_PUBLIC = re.compile(r"ed25519:[0-9a-f]{64}|p256:0[23][0-9a-f]{64}", re.ASCII)

KeyPath = Annotated[Path, typer.Argument(help="Private key file, for example keys/utility.key")]
RoleOption = Annotated[Role, typer.Option("--role", help="What the party is.")]


@app.command()
def create(
    path: KeyPath,
    role: RoleOption,
    algorithm: Annotated[Literal["ed25519", "p256"], typer.Option("--algorithm", help="Kind of key.")] = "ed25519",
    json: Json = False,
) -> None:
    """Make a key: PATH holds the secret (0600), PATH with the ending .pub the public key."""
    public_file = path.with_suffix(".pub")
    if public_file == path:
        raise UsageError(f"{path} would be the name of its own public half: give another ending, such as .key")
    if public_file.exists():
        raise KeyFileError(f"{public_file} exists: a key is never overwritten; choose another name")
    key = PrivateKey.create(path, algorithm)
    public_file.write_text(key.public + "\n", encoding="ascii")
    _show(path, public_file, key, role, json)


@app.command("show")
def show_key(path: KeyPath, role: RoleOption, json: Json = False) -> None:
    """Show the public key and party id of a private key file."""
    _show(path, path.with_suffix(".pub"), PrivateKey.load(path), role, json)


def read_public(text: str) -> str:
    """A public key given as text or as the name of a .pub file.

    A file with another ending is refused: a private key file must not be published by a slip. Raises UsageError."""
    if _PUBLIC.fullmatch(text):
        return text
    path = Path(text)
    if path.suffix != ".pub":
        raise UsageError(
            f"{text} is neither a public key (ed25519:... or p256:...) nor a .pub file: "
            f"`dr-ledger keys create {path.with_suffix('.key')} --role utility` makes both halves"
        )
    try:
        content = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the public key {path} cannot be read: {error}") from None
    if not _PUBLIC.fullmatch(content):
        raise UsageError(f"{path} does not hold a public key (ed25519:... or p256:...)")
    return content


def _show(path: Path, public_file: Path, key: PrivateKey, role: Role, as_json: bool) -> None:
    shown = {
        "party": party_id(role, key.public),
        "role": role.value,
        "public_key": key.public,
        "key_file": str(path),
        "public_file": str(public_file),
    }
    show(shown, as_json=as_json)
