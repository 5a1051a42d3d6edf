"""`dr-ledger member create` and `dr-ledger join`: how several members found one ledger together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contracts.core.codec import digest
from ledger.cli.options import Config, DataDir, Json
from ledger.cli.output import UsageError, show
from ledger.config import LedgerSettings

DEFAULT_ORIGIN = "gridpact.local/main"

app = typer.Typer(no_args_is_help=True, help="This member's own keys, before it founds or joins a ledger.")


@app.command("create")
def create(
    name: Annotated[str, typer.Option("--name", help="Name of this member, under which it cosigns.")],
    peer_url: Annotated[str, typer.Option("--peer-url", help="Where the other members reach its replica: https://...")],
    origin: Annotated[str, typer.Option("--origin", help="Name of the log, HOST/CHANNEL.")] = DEFAULT_ORIGIN,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make this member's two keys and member.json, which holds no secret and goes to whoever writes the genesis."""
    from ledger.founding import create_member

    settings = LedgerSettings.load(config=config, flags={"data_dir": data_dir})
    if not peer_url.startswith(("https://", "http://")):
        raise UsageError(f"--peer-url {peer_url} is no address: write it like https://replica.example:8441")
    member = create_member(settings, name=name, peer_url=peer_url, origin=origin)
    show({"member_file": str(settings.member_file), **_shown(member)}, as_json=json)
    typer.echo("Next: hand member.json to the member that founds the ledger (dr-ledger init --member-file).", err=True)


def join(
    source: Annotated[
        Path, typer.Option("--from", help="Folder with the founders' genesis.json, policy.txt and members.json.")
    ],
    policy: Annotated[Path | None, typer.Option("--policy", help="Policy file, if it lies elsewhere.")] = None,
    members: Annotated[Path | None, typer.Option("--members", help="List of members, if it lies elsewhere.")] = None,
    channel: Annotated[
        str | None, typer.Option("--channel", help="Join it as a further channel of the ledger in the data folder.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Take what the founders wrote, if it names this member's keys. Nothing that exists is replaced."""
    from ledger import founding

    settings = LedgerSettings.load(config=config, flags={"data_dir": data_dir})
    target = settings if channel is None else settings.of_channel(channel)
    folder, genesis = (source, source / "genesis.json") if source.is_dir() else (source.parent, source)
    listed = members or folder / "members.json"
    founded = founding.join(
        target,
        genesis=genesis,
        policy=policy or folder / "policy.txt",
        members=listed if members is not None or listed.exists() else None,
    )
    if channel is not None and founded.genesis.channel != channel:
        raise UsageError(f"{genesis} is of channel {founded.genesis.channel}, not of {channel}")
    shown = {
        "data_dir": str(target.data_dir),
        "genesis": digest(founded.genesis),
        "channel": founded.genesis.channel,
        "origin": founded.genesis.origin,
        "member": founded.member,
        "members": [each.name for each in founded.genesis.members],
        "policy_file": str(target.policy_file),
    }
    show(shown, as_json=json)
    typer.echo(f"Joined. Next: dr-ledger migrate --data-dir {settings.data_dir}", err=True)


def _shown(member: object) -> dict[str, str]:
    names = ("name", "log_vkey", "cosigner_vkey", "peer_url")
    return {name: str(getattr(member, name)) for name in names}
