"""The etcd servers of a local consortium: one for each member, with a user each, and who may do everything.

Users are switched on while the consortium is founded, before anything is ordered. From then on every call needs a
certificate of the consortium's authority and the password of a user; a member's user may write below one prefix only.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ledger.cluster.binaries import find_etcd
from ledger.cluster.certificates import ETCD_PEER, named
from ledger.cluster.layout import CHANNEL, ClusterError, Layout, Member
from ledger.cluster.processes import Supervised
from ledger.cluster.servers import EtcdServer, EtcdTls
from ledger.errors import OrderingUnavailable
from ledger.ordering.etcd.admin import ROOT, EtcdAdmin
from ledger.ordering.etcd.connection import Connection
from ledger.ordering.etcd.errors import Unanswered
from ledger.ordering.etcd.settings import EtcdSettings

PREFIX: Final = "/gridpact"
_READY_S: Final = 30.0
_LOOK_S: Final = 0.1
_STOP_S: Final = 2.0
"""Everything acknowledged is on disk: killed then."""


def servers(layout: Layout) -> tuple[EtcdServer, ...]:
    """The servers, in the order of the members. A consortium founded before certificates had the name of etcd's peers
    goes on without it."""
    named_so = layout.tls and all(ETCD_PEER in named(member.etcd_pair.chain).names for member in layout.members)
    peers = ETCD_PEER if named_so else None
    return tuple(
        EtcdServer(
            name=member.label,
            data_dir=member.etcd_dir,
            client_url=layout.etcd_url(member),
            peer_url=layout.etcd_peer_url(member),
            tls=EtcdTls(layout.ca, *member.etcd_pair, peer_name=peers) if layout.tls else None,
        )
        for member in layout.members
    )


async def found_order(layout: Layout) -> None:
    """A new etcd cluster with its users. Its servers are processes like those of `up`, so that `down` finds them
    whatever happens to this program. Raises EtcdMissing, ClusterError."""
    program = await asyncio.to_thread(find_etcd)
    processes = await asyncio.to_thread(supervised, layout, program)
    try:
        for process in processes:
            await process.start()
        await wait_for_leader(layout, processes, users=False)
        connection = Connection(settings_of(layout, endpoints=layout.members))
        try:
            admin = EtcdAdmin(connection)
            await admin.add_root(write_password(layout.root_password_file))
            for member in layout.members:
                password = write_password(member.etcd_password_file)
                await admin.add_user(member.label, password, [f"{PREFIX}/".encode()])
            await admin.enable_users()
        finally:
            await connection.close()
    finally:
        # all at once: a leader that is left alone waits in vain for somebody to take over
        await asyncio.gather(*(process.stop(_STOP_S) for process in processes))


def supervised(layout: Layout, program: Path) -> list[Supervised]:
    """The servers as processes of `cluster up`, in the order of the members."""
    every = servers(layout)
    return [
        Supervised(
            f"etcd-{server.name}",
            server.command(program, every, token=layout.token, joining=member.etcd_joined_later),
            layout.run_dir,
            layout.logs_dir / f"etcd-{server.name}.log",
        )
        for server, member in zip(every, layout.members, strict=True)
    ]


async def wait_for_leader(layout: Layout, processes: list[Supervised], *, users: bool = True) -> None:
    """Returns when every server knows a leader; `users`: they were switched on. Raises ClusterError."""
    user, password = (ROOT, read_password(layout.root_password_file)) if users else (None, None)
    pairs = zip(layout.members, processes, strict=True)
    await asyncio.gather(*(_led(layout, member, process, user, password) for member, process in pairs))


@asynccontextmanager
async def operator(layout: Layout) -> AsyncIterator[EtcdAdmin]:
    """Etcd's operator with all rights; only on the machine that keeps the password of root."""
    connection = Connection(
        settings_of(layout, endpoints=layout.members, user=ROOT, password=read_password(layout.root_password_file))
    )
    try:
        yield EtcdAdmin(connection)
    finally:
        await connection.close()


def settings_of(
    layout: Layout,
    *,
    endpoints: tuple[Member, ...],
    user: str | None = None,
    password: str | None = None,
    patience_s: float = 5.0,
) -> EtcdSettings:
    """How an operator reaches these members' servers, with the certificate of the first."""
    pair = endpoints[0].replica_pair
    return EtcdSettings(
        endpoints=[layout.etcd_url(member) for member in endpoints],
        channel=CHANNEL,
        member="",
        ca=layout.ca if layout.tls else None,
        certificate=pair.chain if layout.tls else None,
        certificate_key=pair.key if layout.tls else None,
        user=user,
        password=password,
        patience_s=patience_s,
    )


def write_password(path: Path) -> str:
    """A new password in a file for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    password = secrets.token_urlsafe(24)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    return password


def read_password(path: Path) -> str:
    """Raises ClusterError."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise ClusterError(f"the password of etcd's user cannot be read: {error}") from None


async def _led(layout: Layout, member: Member, process: Supervised, user: str | None, password: str | None) -> None:
    loop = asyncio.get_running_loop()
    deadline, reason = loop.time() + _READY_S, "no answer"
    connection = Connection(settings_of(layout, endpoints=(member,), user=user, password=password, patience_s=0.5))
    try:
        while loop.time() < deadline:
            try:
                if (await EtcdAdmin(connection).status()).leader:
                    return
                reason = "it knows no leader"
            except (OrderingUnavailable, Unanswered) as error:
                reason = str(error)
            if process.restarts > 1:
                raise ClusterError(f"{process.name} cannot be started:\n{process.last_words()}")
            await asyncio.sleep(_LOOK_S)
    finally:
        await connection.close()
    raise ClusterError(f"{process.name} has no leader after {_READY_S:.0f} s ({reason}):\n{process.last_words()}")
