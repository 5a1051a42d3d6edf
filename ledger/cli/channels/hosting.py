"""`dr-ledger channels`: child channels with their own members, found, join, register, list, fund, change their keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.channels.registry import ChannelRecord
from contracts.core.codec import decode, digest
from contracts.core.commands import BridgeBurn, BridgeLock, Enrolment, OpenChannel
from contracts.core.parties import Party, Role
from contracts.rules import Genesis
from ledger.cli.keys import read_public
from ledger.cli.options import (
    DEFAULT_URL,
    DEFAULT_WAIT_S,
    Ca,
    Channel,
    ClockFile,
    Config,
    DataDir,
    Json,
    KeyFile,
    ReadKey,
    Url,
    Wait,
    reading,
    signing,
)
from ledger.cli.output import NotThere, UsageError, show, show_rows
from ledger.cli.sending import Amount
from ledger.client import LedgerClient, Refused, Result, party_id
from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from runtime.clock import clock_from_file
from runtime.tls import client_context

if TYPE_CHECKING:
    from ledger.channels.sealing.keys import ChannelKeys

app = typer.Typer(no_args_is_help=True, help="Channels with their own members, below the main one.")

Name = Annotated[str, typer.Argument(help="Name of the channel, for example vn-1")]
Hours = Annotated[
    int, typer.Option("--hours", min=1, help="Where the party is not there within these hours, it comes back.")
]
MemberFiles = Annotated[
    list[Path] | None,
    typer.Option("--member-file", help="member.json of a member of the channel, for each; without it this one alone."),
]


@app.command()
def create(
    name: Name,
    utility: Annotated[list[str], typer.Option("--utility", help="Public key of a utility: a .pub file or its text.")],
    aggregator: Annotated[list[str], typer.Option("--aggregator", help="Public key of an aggregator.")],
    auditor: Annotated[list[str] | None, typer.Option("--auditor", help="Public key of an auditor.")] = None,
    member_file: MemberFiles = None,
    quorum: Annotated[
        int | None, typer.Option("--quorum", min=1, help="Cosignatures that make its checkpoints final.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Do not seal its blocks: every server of the order can read them.")
    ] = False,
    founded_ms: Annotated[
        int | None, typer.Option("--founded-ms", min=0, help="Domain time of its genesis; by default now.")
    ] = None,
    data_dir: DataDir = None,
    clock_file: ClockFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Found a child channel of the ledger in the data folder: genesis, policy and sealed channel keys in a folder."""
    from ledger.channels.founding import found_child
    from ledger.founding import load, read_member

    settings = LedgerSettings.load(config=config, flags={"data_dir": data_dir, "clock_file": clock_file})
    given = {Role.UTILITY: utility, Role.AGGREGATOR: aggregator, Role.AUDITOR: auditor or []}
    agreed, _ = found_child(
        settings,
        load(settings),
        name,
        parties=[_founder(role, read_public(text)) for role, texts in given.items() for text in texts],
        created_ms=settings.clock().now_ms() if founded_ms is None else founded_ms,
        members=[read_member(path) for path in member_file or ()],
        quorum=quorum,
        restricted=not plain,
    )
    folder = settings.of_channel(name).data_dir
    show(_shown(agreed, folder), as_json=json)
    typer.echo(
        f"Founded. Next: hand {folder} to its other members (dr-ledger channels join), restart the replicas, and "
        f"register it on main (dr-ledger channels open {name})",
        err=True,
    )


@app.command()
def join(
    source: Annotated[Path, typer.Option("--from", help="Folder of the channel, as another member founded it.")],
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Take the folder of a channel of which this member is one. Nothing that exists is replaced."""
    from ledger.channels.founding import join_child

    settings = LedgerSettings.load(config=config, flags={"data_dir": data_dir})
    founded = join_child(settings, source)
    show(_shown(founded.genesis, settings.of_channel(founded.genesis.channel).data_dir), as_json=json)
    typer.echo("Joined. The replica hosts it from its next start on.", err=True)


@app.command()
def leave(
    name: Name,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Stop hosting a channel whose members have removed this one. Its folder is set aside, its tables stay."""
    from ledger.channels.founding import leave_child

    settings = LedgerSettings.load(config=config, flags={"data_dir": data_dir})
    show({"channel": name, "folder": str(leave_child(settings, name))}, as_json=json)
    typer.echo("Left. The replica hosts it until it is started again.", err=True)


@app.command("open")
def open_(
    name: Name,
    key: KeyFile,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    ca: Ca = None,
    clock_file: ClockFile = None,
    wait: Wait = DEFAULT_WAIT_S,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Register a child channel on its parent; signed by an aggregator or a utility."""
    command = _opening(LedgerSettings.load(config=config, flags={"data_dir": data_dir}), name)

    async def work(client: LedgerClient) -> Result:
        return await client.submit(command)

    show(signing(url, channel, ca, wait, clock_file, key, work), as_json=json)


@app.command("list")
def list_(
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """The channels that this one knows: their members, quorum, and newest anchored checkpoint."""

    async def work(client: LedgerClient) -> list[tuple[str, ChannelRecord]]:
        return await client.records(ChannelRecord)

    rows = [
        {
            "channel": known.channel,
            "relation": known.relation.value,
            "origin": known.origin,
            "members": [each.name for each in known.members],
            "quorum": known.quorum,
            "anchored_height": known.height,
            "anchored_size": known.size,
        }
        for _, known in reading(url, channel, ca, wait, key, work)
    ]
    show_rows(rows, as_json=json)


@app.command("key")
def key_(
    name: Name,
    change: Annotated[
        Path | None,
        typer.Option("--change", help="The approved change of its members, as `members propose --channel` wrote it."),
    ] = None,
    from_height: Annotated[
        int | None,
        typer.Option("--from-height", min=1, help="First block under the new key, where there is no change."),
    ] = None,
    member_file: Annotated[
        list[Path] | None, typer.Option("--member-file", help="With --from-height: member.json of each member.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Give a restricted channel a new key for the members it will have; hand the file to all of them before."""
    from ledger.app import KEYS_FILE
    from ledger.channels.sealing.keys import ChannelKeys
    from runtime.keys import PrivateKey

    settings = LedgerSettings.load(config=config, flags={"data_dir": data_dir}).of_channel(name)
    path = settings.data_dir / KEYS_FILE
    known = ChannelKeys.load(path, name, PrivateKey.load(settings.cosigner_key_file))
    first, members = _next_epoch(known, name, change, from_height, member_file or [])
    keys = known.rotated(first, members)
    keys.save(path)
    epochs = [
        {
            "from_height": epoch.from_height,
            "key_id": epoch.key_id,
            "members": [each.member for each in epoch.wrapped],
        }
        for epoch in keys.file.epochs
    ]
    show({"file": str(path), "epochs": epochs}, as_json=json)
    typer.echo(
        f"Hand {path} to the channel's members, each into its own folder of the channel; their replicas find it there. "
        f"Without it a replica waits from block {first} on.",
        err=True,
    )


@app.command()
def fund(
    name: Name,
    key: KeyFile,
    to: Annotated[str, typer.Option("--to", help="Party of the child channel that receives the money.")],
    amount_minor: Amount,
    hours: Hours = 24,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    ca: Ca = None,
    clock_file: ClockFile = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Move money of the key's party into a child channel: locked here; who brings proofs across has it minted there."""
    mint_by_ms = clock_from_file(clock_file).now_ms() + hours * 3_600_000
    command = BridgeLock(channel=name, recipient=to, amount_minor=amount_minor, mint_by_ms=mint_by_ms)
    show(signing(url, channel, ca, wait, clock_file, key, lambda client: client.submit(command)), as_json=json)


@app.command()
def withdraw(
    name: Name,
    key: KeyFile,
    amount_minor: Amount,
    to: Annotated[
        str | None, typer.Option("--to", help="Party of the parent channel that receives it; by default the key's own.")
    ] = None,
    parent: Annotated[str, typer.Option("--parent", help="The channel above it.")] = "main",
    hours: Hours = 24,
    url: Url = DEFAULT_URL,
    ca: Ca = None,
    clock_file: ClockFile = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Move money of the key's party back to the parent channel: burnt in the child, released there by its anchor. A
    party that the parent does not know is refused here, where this replica has the parent too."""
    clock = clock_from_file(clock_file)

    async def work(client: LedgerClient) -> Result:
        recipient = to or client.party or ""
        tls = client_context(ca) if url.startswith("https:") else None
        async with LedgerClient(url, channel=parent, clock=clock, ssl=tls, deadline_s=wait) as above:
            await _require_party(above, recipient)
        release_by_ms = clock.now_ms() + hours * 3_600_000
        return await client.submit(
            BridgeBurn(recipient=recipient, amount_minor=amount_minor, release_by_ms=release_by_ms)
        )

    show(signing(url, name, ca, wait, clock_file, key, work), as_json=json)


async def _require_party(parent: LedgerClient, recipient: str) -> None:
    """Raises NotThere. A replica that has the child alone cannot say: then the deadline of the burn is what is left."""
    try:
        await parent.status()
    except Refused:
        return
    if await parent.record(Party, recipient) is None:
        raise NotThere(f"there is no party {recipient} in channel {parent.channel}: nothing was burnt; --to names one")


def _next_epoch(
    known: ChannelKeys, name: str, change: Path | None, from_height: int | None, member_files: Sequence[Path]
) -> tuple[int, dict[str, str]]:
    """First height of the next epoch, and its members: name -> cosigning key."""
    from contracts.core.proofs import cosigner_key
    from ledger.cluster.proposal import read_proposal
    from ledger.founding import read_member

    if change is None:
        if from_height is None or not member_files:
            raise UsageError("give --change FILE, or --from-height with --member-file of each member")
        found = [read_member(each) for each in member_files]
        return from_height, {each.name: cosigner_key(each.cosigner_vkey, each.name) for each in found}
    if from_height is not None or member_files:
        raise UsageError("--change says the height and the members: leave out --from-height and --member-file")
    proposal = read_proposal(change)
    if proposal.channel != name:
        raise UsageError(f"{change} is a change of channel {proposal.channel}, not of {name}")
    members = known.members()
    if proposal.member is not None:
        members[proposal.name] = cosigner_key(proposal.member.cosigner_vkey, proposal.name)
    elif members.pop(proposal.name, None) is None:
        raise UsageError(f"{proposal.name} has no key of channel {name}: nothing has to change")
    return proposal.effective_height, members


def _opening(settings: LedgerSettings, name: str) -> OpenChannel:
    from ledger.channels.founding import opening
    from ledger.founding.folder import GENESIS_BYTES_MAX

    of_channel = settings.of_channel(name)
    try:
        agreed = decode(of_channel.genesis_file.read_bytes(), Genesis, bytes_max=GENESIS_BYTES_MAX)
        return opening(agreed, of_channel.policy_file.read_bytes())
    except FileNotFoundError as error:
        raise GenesisInvalid(
            f"there is no channel {name} in {settings.data_dir} ({error.filename} is missing): "
            f"`dr-ledger channels create {name}` founds one"
        ) from None


def _founder(role: Role, public: str) -> Enrolment:
    party = party_id(role, public)
    return Enrolment(party=party, role=role, key=public, sponsor=party, area="portfolio")


def _shown(agreed: Genesis, folder: Path) -> dict[str, object]:
    from ledger.app import KEYS_FILE

    return {
        "channel": agreed.channel,
        "origin": agreed.origin,
        "genesis": digest(agreed),
        "parent": None if agreed.parent is None else agreed.parent.channel,
        "members": [each.name for each in agreed.members],
        "restricted": (folder / KEYS_FILE).exists(),
        "folder": str(folder),
    }
