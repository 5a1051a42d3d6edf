"""`dr-ledger members`: who the members are, and how they change themselves.

add:     etcd learner ─▶ its etcd starts, in sync ─▶ promote ─▶ ledger: propose, approve, submit
remove:  ledger: propose, approve, submit ─▶ etcd remove ─▶ its certificate is not renewed
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from contracts.consortium.membership import FOUNDING_KEY, LEAD_HEIGHTS, FoundingRecord, MemberRecord
from ledger.cli.options import (
    DEFAULT_URL,
    DEFAULT_WAIT_S,
    Ca,
    Channel,
    ClockFile,
    Json,
    KeyFile,
    ReadKey,
    Url,
    Wait,
    reading,
    signing,
)
from ledger.cli.output import NotThere, UsageError, show, show_columns
from ledger.client import LedgerClient
from ledger.cluster.proposal import Proposal, read_approvals, read_member, read_proposal, write
from ledger.founding.keys import renamed
from runtime.keys import PrivateKey

app = typer.Typer(no_args_is_help=True, help="Members of the consortium: list them, add one, remove one.")

#: blocks between a proposal and its effect: time for people on several machines to approve it
DEFAULT_BLOCKS = 100

ProposalFile = Annotated[Path, typer.Argument(help="The proposal, as `members propose` wrote it.")]


@app.command("list")
def list_members(
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """List the members, with the heights from and until which they are members."""
    found = reading(url, channel, ca, wait, key, lambda client: client.records(MemberRecord))
    rows = [msgspec.to_builtins(record) for _, record in found]
    if json:
        show({"members": rows}, as_json=True)
        return
    show_columns(
        [{name: row.get(name) for name in ("name", "peer_url", "from_height", "until_height")} for row in rows]
    )


@app.command()
def propose(
    output: Annotated[Path, typer.Option("--output", help="Proposal file to write, for the others to approve.")],
    add: Annotated[Path | None, typer.Option("--add", help="member.json of a member to add.")] = None,
    remove: Annotated[str | None, typer.Option("--remove", help="Name of a member to remove.")] = None,
    in_blocks: Annotated[
        int, typer.Option("--in-blocks", min=LEAD_HEIGHTS + 1, help="Blocks until it takes effect.")
    ] = DEFAULT_BLOCKS,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
) -> None:
    """Write down a change of the members; nothing happens until enough of them approved it and it is submitted."""
    if (add is None) == (remove is None):
        raise UsageError("give either --add MEMBER.json or --remove NAME")
    member = read_member(add) if add is not None else None

    async def work(client: LedgerClient) -> Proposal:
        ledger = await client.record(FoundingRecord, FOUNDING_KEY)
        if ledger is None:
            raise NotThere("this ledger does not say how it was founded: its members cannot change")
        if not await client.records(MemberRecord):
            raise NotThere(
                "one member founded this ledger for good (dr-ledger init without --peer-url): its state names no "
                "members, so nobody can approve another. Found one of several members, or one with --peer-url, and go "
                "on there"
            )
        height = (await client.status())["height"]
        return Proposal(
            ledger=ledger.genesis,
            channel=ledger.channel,
            change="remove" if member is None else "add",
            name=remove or (member.name if member else ""),
            member=member and renamed(member, ledger.origin),  # in a child channel the same key has another id
            effective_height=height + in_blocks,
        )

    proposal = reading(url, channel, ca, wait, key, work)
    proposal.command()
    write(output, proposal)
    typer.echo(
        f"{output}: {proposal.change} {proposal.name} from block {proposal.effective_height} on. Next, at each member: "
        f"dr-ledger members approve {output} --member NAME --key DATA_DIR/cosigner.key"
    )


@app.command()
def approve(
    proposal: ProposalFile,
    member: Annotated[str, typer.Option("--member", help="Name of the member that approves.")],
    key: Annotated[Path, typer.Option("--key", help="Its cosigning key: cosigner.key in its data folder.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Approval file to write; by default beside the proposal.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option("--genesis", help="genesis.json: refuse a proposal for another ledger.")
    ] = None,
) -> None:
    """Sign a proposal with this member's own key. Read first what it says."""
    found = read_proposal(proposal)
    if ledger is not None:
        _check_ledger(found, ledger)
    path = output or proposal.with_name(f"{member.rpartition('/')[2]}.approval.json")
    write(path, found.approve(member, PrivateKey.load(key)))
    typer.echo(f"{path}: {member} approves to {found.change} {found.name} from block {found.effective_height} on")


@app.command()
def submit(
    proposal: ProposalFile,
    approvals: Annotated[list[Path], typer.Argument(help="Approval files.")],
    key: KeyFile,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    ca: Ca = None,
    clock_file: ClockFile = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Bring an approved change to the ledger; any party may, the approvals count and not who submits them."""
    command = read_proposal(proposal).command(read_approvals(approvals))
    show(signing(url, channel, ca, wait, clock_file, key, lambda client: client.submit(command)), as_json=json)


def _check_ledger(proposal: Proposal, genesis_file: Path) -> None:
    from contracts.core.codec import decode, digest
    from contracts.rules import Genesis

    own = digest(decode(genesis_file.read_bytes(), Genesis))
    if own != proposal.ledger:
        raise UsageError(f"the proposal is for the ledger {proposal.ledger[:16]}..., this one is {own[:16]}...")
