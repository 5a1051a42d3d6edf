"""`dr-ledger cluster`: a consortium on one machine, for trying things out, for demonstrations and measurements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from contracts.core.parties import Role
from ledger.cli.consortium import certificates
from ledger.cli.keys import read_public
from ledger.cli.options import (
    DEFAULT_WAIT_S,
    ClockFile,
    Json,
    WitnessFile,
    WitnessQuorum,
    policy_witnesses,
    signing,
)
from ledger.cli.output import UsageError, show, show_columns
from ledger.client import LedgerClient
from ledger.cluster.layout import DEFAULT_PORT, Layout
from runtime import logs, service
from runtime.clock import clock_from_file

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="A consortium on one machine: several members, each with all it needs.")
app.add_typer(certificates.app, name="certificates")

DEFAULT_DIR = Path("var/cluster")
DEFAULT_MEMBERS = 3
Folder = Annotated[Path, typer.Option("--data-dir", help="Folder of the consortium.")]
SignerKey = Annotated[
    Path | None,
    typer.Option("--key", help="Private key of any party, to submit with; by default the utility's made here."),
]
Keys = list[str] | None


@app.command()
def up(
    members: Annotated[
        int | None, typer.Option("--members", min=1, max=9, help="Number of members, 3 by default; one needs no etcd.")
    ] = None,
    name: Annotated[
        Keys,
        typer.Option("--name", help="Name of a member, like member.example/agg; once for each, instead of --members."),
    ] = None,
    data_dir: Folder = DEFAULT_DIR,
    tls: Annotated[bool, typer.Option("--tls/--no-tls", help="Mutual TLS between members and towards etcd.")] = True,
    api_tls: Annotated[bool, typer.Option("--api-tls/--no-api-tls", help="HTTPS for clients as well.")] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_000, help="First of four ports for each member; 0 takes free ones.")
    ] = DEFAULT_PORT,
    utility: Annotated[
        Keys, typer.Option("--utility", help="Public key of a utility; made here if none is given.")
    ] = None,
    aggregator: Annotated[
        Keys, typer.Option("--aggregator", help="Public key of an aggregator; made here if none is given.")
    ] = None,
    auditor: Annotated[
        Keys, typer.Option("--auditor", help="Public key of an auditor; made here if none is given.")
    ] = None,
    witness_file: WitnessFile = None,
    witness_quorum: WitnessQuorum = 0,
    witness_ca: Annotated[
        Path | None,
        typer.Option("--witness-ca", help="PEM authorities of the witnesses' certificates; else the system's."),
    ] = None,
    clock_file: ClockFile = None,
) -> None:
    """Found a consortium in the folder, or continue the one that is there, and run it until Ctrl-C or SIGTERM.

    A process that dies is started again. Programs read what they need from cluster.json in the folder. A witness needs
    the policy file of the consortium (`dr-ledger witness serve --logs`): start it once that is there."""
    from ledger.cluster import up as running  # SQL drivers are loaded by the commands that need them
    from ledger.cluster.preparation import Founders, Witnessed, prepare

    logs.configure("dr-ledger", level="warning")
    data_dir = data_dir.resolve()
    names = name or [f"member.gridpact.local/{place + 1}" for place in range(members or DEFAULT_MEMBERS)]
    texts = {Role.UTILITY: utility, Role.AGGREGATOR: aggregator, Role.AUDITOR: auditor}
    witnessed = Witnessed(
        lines=_content(witness_file),
        keys=policy_witnesses(witness_file, witness_quorum),
        required=witness_quorum,
        ca=_content(witness_ca),
    )
    founders = Founders({role: [read_public(text) for text in given or ()] for role, given in texts.items()})

    def known() -> Layout | None:
        return _known(data_dir, members, witnesses=witness_file is not None)

    async def work() -> None:
        known()
        with running.alone(data_dir):  # founding too: a second founder would remove what the first is making
            running.require_nothing_left(data_dir)
            layout = known()
            if layout is not None:
                layout.check_ports()
            else:
                layout = Layout.plan(data_dir, names, tls=tls, api_tls=api_tls, port=port)
                layout.check_ports()
                created_ms = clock_from_file(clock_file).now_ms()
                await prepare(layout, founders, created_ms=created_ms, witnessed=witnessed)
            await running.up(layout, announce=lambda: _announce(layout))

    service.run(work())


def _known(folder: Path, members: int | None, *, witnesses: bool) -> Layout | None:
    """The consortium in the folder, None where there is none. Raises UsageError where it is not the one asked for."""
    if not (folder / "cluster.json").exists():
        return None
    layout = Layout.read(folder)
    if members is not None and members != len(layout.members):
        raise UsageError(
            f"{folder} holds a consortium of {len(layout.members)}: its number changes by "
            "`dr-ledger members add` and `remove`; leave out --members to continue it"
        )
    if witnesses and not layout.witness_file.exists():
        raise UsageError(f"{folder} holds a consortium whose policy names no witnesses: found another with them")
    return layout


def _content(file: Path | None) -> bytes:
    return b"" if file is None else file.read_bytes()


@app.command()
def status(data_dir: Folder = DEFAULT_DIR, json: Json = False) -> None:
    """Show each member: addresses, process ids, height, and what it waits for."""
    from ledger.cluster.up import states

    layout = Layout.read(data_dir.resolve())
    found = states(layout)
    if json:
        show({"data_dir": str(layout.folder), "orderer": layout.orderer, "members": found}, as_json=True)
        return
    show_columns([_status_row(each) for each in found])


@app.command()
def down(data_dir: Folder = DEFAULT_DIR) -> None:
    """Stop a consortium that runs, or what is left of one whose `cluster up` was killed. Nothing is removed."""
    from ledger.cluster.up import down as stop

    ended = stop(data_dir.resolve())
    typer.echo(f"Stopped: {', '.join(ended)}" if ended else "Nothing of it was running.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the new member, like member.example/4.")],
    data_dir: Folder = DEFAULT_DIR,
    key: SignerKey = None,
    clock_file: ClockFile = None,
) -> None:
    """Add a member, replica and etcd, to a consortium that is up; everybody here approves."""
    from ledger.cluster.membership import add as grow

    layout = Layout.read(data_dir.resolve())
    height = _signed(layout, key, clock_file, lambda client: grow(layout, name, client))
    typer.echo(f"{name} runs, and is a member from block {height} on.")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name or label of the member.")],
    data_dir: Folder = DEFAULT_DIR,
    key: SignerKey = None,
    clock_file: ClockFile = None,
) -> None:
    """Remove a member: first from the ledger; called again once that holds, its etcd and its processes."""
    from ledger.cluster.membership import remove as shrink

    layout = Layout.read(data_dir.resolve())
    height = _signed(layout, key, clock_file, lambda client: shrink(layout, name, client))
    if height is None:
        typer.echo(f"{name} is out: its etcd was removed and its processes end. Its folder stays.")
    else:
        typer.echo(f"{name} is a member until block {height}. Run this again when that block is there.")


def _signed(
    layout: Layout, key: Path | None, clock_file: Path | None, work: Callable[[LedgerClient], Awaitable[T]]
) -> T:
    """Runs `work` with a client of the first member's replica that signs as a party of the consortium."""
    own = key or layout.keys_dir / f"{Role.UTILITY.value}.key"
    if not own.exists():
        raise UsageError(f"{own} is not there: name the private key of any party with --key")
    ca = layout.ca if layout.api_tls else None
    return signing(layout.api_url(layout.members[0]), "main", ca, DEFAULT_WAIT_S, clock_file, own, work)


def _announce(layout: Layout) -> None:
    page = layout.as_page()
    show_columns(
        [
            {
                "member": each["name"],
                "clients": each["api_url"],
                "peers": each["peer_url"],
                "etcd": (each["etcd"] or {}).get("endpoint", "-"),
                "policy file": each["policy_file"],
            }
            for each in page["members"]
        ]
    )
    typer.echo(f"dr-ledger cluster ready: {len(layout.members)} members, order by {page['orderer']}; {layout.page}")


def _status_row(each: dict[str, Any]) -> dict[str, Any]:
    said = each["status"] or {}
    waits = "; ".join(each["not_ready"]) or "ready"
    if said and not each["replica_pid"]:  # whoever answers there is not this member
        said, waits = {}, "another program answers at its address: end it"
    return {
        "member": each["name"],
        "clients": each["api_url"],
        "replica pid": each["replica_pid"] or "down",
        "etcd pid": each["etcd_pid"] or ("down" if each["etcd"] else "-"),
        "height": said.get("height"),
        "waits for": waits,
    }
