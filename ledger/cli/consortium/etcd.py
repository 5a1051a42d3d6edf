"""`dr-ledger etcd`: the order's servers, for whoever operates them: find the program, users, members that come and go.

etcd add --peer-url ... ─▶ start the new server (--initial-cluster-state existing) ─▶ etcd promote, once in sync
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ledger.cli.options import Json
from ledger.cli.output import NotThere, UsageError, show, show_rows
from runtime import logs, service

if TYPE_CHECKING:  # gRPC is loaded by the commands that need it, and is not there where no member runs
    from ledger.ordering.etcd.admin import ClusterMember, EtcdAdmin

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="The servers that keep the order: program, members, users.")


@dataclass(frozen=True)
class _Access:
    """How the servers are reached; kept between the group's options and its command."""

    endpoints: tuple[str, ...]
    ca: Path | None
    certificate: Path | None
    certificate_key: Path | None
    user: str | None
    password: str | None


@app.callback()
def access(
    context: typer.Context,
    endpoint: Annotated[
        list[str] | None, typer.Option("--endpoint", help="https://HOST:2379 of a server; several times.")
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="PEM authority of the consortium.")] = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="PEM certificate to show.")] = None,
    certificate_key: Annotated[Path | None, typer.Option("--certificate-key", help="Its PEM private key.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="User, where etcd knows users: root for changes.")] = None,
    password_file: Annotated[Path | None, typer.Option("--password-file", help="File with its password.")] = None,
) -> None:
    """The servers that keep the order: program, members, users."""
    password = password_file.read_text(encoding="utf-8").strip() if password_file is not None else None
    context.obj = _Access(tuple(endpoint or ()), ca, certificate, certificate_key, user, password)


@app.command()
def find(json: Json = False) -> None:
    """Find the program etcd, or fetch it; says where it is, or how to get it."""
    from ledger.cluster.binaries import find_etcd, version_of

    program = find_etcd()
    show({"program": str(program), "version": ".".join(map(str, version_of(program)))}, as_json=json)


@app.command()
def members(context: typer.Context, json: Json = False) -> None:
    """List the servers, also those that are down; a learner has no vote yet."""
    found = _asked(context, lambda admin: admin.members())
    rows = [_row(each) for each in found]
    if json:
        show({"members": rows}, as_json=True)
    else:
        show_rows(rows, as_json=False)


@app.command()
def add(
    context: typer.Context,
    peer_url: Annotated[str, typer.Option("--peer-url", help="Where the others will reach the new server.")],
    json: Json = False,
) -> None:
    """Add a server as a learner; start it next, as part of the existing cluster."""
    show({"id": f"{_asked(context, lambda admin: admin.add([peer_url])):x}", "peer_url": peer_url}, as_json=json)


@app.command()
def promote(context: typer.Context, name: Annotated[str, typer.Argument(help="Name or id of a server.")]) -> None:
    """Give a learner that is in sync its vote."""

    async def work(admin: EtcdAdmin) -> ClusterMember:
        member = await _named(admin, name)
        await admin.promote(member.id)
        return member

    typer.echo(f"{_asked(context, work).name} votes now.")


@app.command()
def remove(context: typer.Context, name: Annotated[str, typer.Argument(help="Name or id of a server.")]) -> None:
    """Take a server out, after its member has left the ledger; it stops by itself."""

    async def work(admin: EtcdAdmin) -> ClusterMember:
        member = await _named(admin, name)
        await admin.remove(member.id)
        return member

    typer.echo(f"{_asked(context, work).name or name} is out.")


@app.command()
def users(
    context: typer.Context,
    root_password_file: Annotated[Path, typer.Option("--root-password-file", help="File with root's password.")],
    member: Annotated[
        list[str], typer.Option("--member", help="NAME=FILE: a member's user, and the file with its password.")
    ],
    prefix: Annotated[str, typer.Option("--prefix", help="Keys that members may write begin so.")] = "/gridpact/",
) -> None:
    """Make the users of a new cluster, one for each member, and switch authentication on."""
    given = {}
    for text in member:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise UsageError(f"--member {text}: write NAME=FILE")
        given[name] = Path(file).read_text(encoding="utf-8").strip()
    root = root_password_file.read_text(encoding="utf-8").strip()

    async def work(admin: EtcdAdmin) -> None:
        await admin.add_root(root)
        for name, password in given.items():
            await admin.add_user(name, password, [prefix.encode()])
        await admin.enable_users()

    _asked(context, work)
    typer.echo(f"etcd knows root, {', '.join(given)}; everybody else is refused from now on.")


def _asked(context: typer.Context, work: Callable[[EtcdAdmin], Awaitable[T]]) -> T:
    from ledger.ordering.etcd.admin import EtcdAdmin
    from ledger.ordering.etcd.connection import Connection
    from ledger.ordering.etcd.settings import EtcdSettings

    access = context.find_object(_Access)
    assert access is not None
    settings = EtcdSettings(**vars(access), channel="", member="", patience_s=5.0)
    logs.configure("dr-ledger", level="warning")

    async def ask() -> T:
        connection = Connection(settings)
        try:
            return await work(EtcdAdmin(connection))
        finally:
            await connection.close()

    return service.run(ask())


async def _named(admin: EtcdAdmin, name: str) -> ClusterMember:
    found = await admin.members()
    for each in found:
        if name in (each.name, f"{each.id:x}"):
            return each
    raise NotThere(f"no server is named {name}: there are {', '.join(each.name or f'{each.id:x}' for each in found)}")


def _row(member: ClusterMember) -> dict[str, object]:
    return {
        "id": f"{member.id:x}",
        "name": member.name,
        "peer_urls": list(member.peer_urls),
        "client_urls": list(member.client_urls),
        "learner": member.learner,
    }
