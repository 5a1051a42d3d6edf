"""Builds the replica's process: PostgreSQL, a replica for each channel, its two interfaces, and what watches them.

app[REPLICAS] {"main": Replica, ...}     /v1/channels/{channel} for clients      /v1/peers/{channel} for members
     │ store: PostgreSQL, one database for all channels
     │ orderer: etcd (sealed where the channel is restricted), or local for a ledger of one member
     └ peers: the other members over HTTP with certificates of both sides
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl as ssl_module
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Final

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.api import LIMITS, METRICS, PLAIN, REPLICAS, STREAMS, Limits, Streams, add_routes
from ledger.channels.hosting import crossings
from ledger.cluster.certificates import named
from ledger.config import LedgerSettings
from ledger.errors import AlreadyRuns, GenesisInvalid
from ledger.founding import Founded, load
from ledger.marker import sole_signer
from ledger.metrics import Metrics
from ledger.operations.watch import watched
from ledger.ordering.local import LocalOrderer
from ledger.ordering.orderer import Orderer
from ledger.replica import Replica
from ledger.replication.network.client import HttpPeers
from ledger.replication.network.listener import peer_app, reception_of
from ledger.replication.peers import NoPeers, Peers, Reception
from ledger.replication.statecopy.giving import Giving, TableGiving
from ledger.replication.statecopy.routes import add_state_routes
from ledger.store.postgres import PostgresStore
from ledger.witness.hosting import witnessed
from runtime import service
from runtime.clock import Clock
from runtime.connections import HEAD_S, BoundedSite
from runtime.database import check_schema, create_engine
from runtime.postgres import postgres
from runtime.service import REGISTRY, address, new_app, refuse_plain_http
from runtime.tls import client_context, server_context

DISPLACED = web.AppKey("displaced", asyncio.Queue[AlreadyRuns])
"""Gets why, once another process signs with this member's keys: this one has to end."""

PEER_ADDRESS = web.AppKey("peer_address", str)
"""Where the other members reach this process, once it has started; absent for a ledger of one member."""

KEYS_FILE = "channel-keys.json"
"""In a channel's folder: its blocks are sealed."""

PLAIN_FILE = "channel-plain.txt"
"""In a child channel's folder: it was founded to be read by every server of the order, so there are no keys."""


YOUNG_MAX: Final = 10_000
"""New containers before the collector looks at them: it looked every 700, at nothing it could free. Blocks leave no
cycles, and what they leave for the caches made it go through all of those too, 85 ms at a time."""


def build(settings: LedgerSettings, founded: Founded, *, own_process: bool = False) -> web.Application:
    """The application of one replica; it starts with PostgreSQL and ends with it. own_process: nothing else runs in
    this one, so the collector of cycles is set for it. Starting raises StaleSchema, GenesisInvalid, Diverged,
    StoreUnavailable."""
    app = new_app(client_max_size=settings.request_bytes_max)
    app[STREAMS] = Streams()
    app[REPLICAS] = {}
    app[DISPLACED] = asyncio.Queue()
    app[LIMITS] = Limits(
        batch_max=settings.batch_max,
        page_max=settings.page_max,
        streams_max=settings.streams_max,
        heartbeat_s=settings.heartbeat_s,
        slow_reader_s=settings.slow_reader_s,
    )
    add_routes(app)

    async def replicas(app: web.Application) -> AsyncIterator[None]:
        # one context: should a later step fail, PostgreSQL is stopped all the same
        with sole_signer(founded.member, founded.cosigner_key.public):
            async with (
                _sole_process(app, settings, founded),
                postgres(
                    settings.database_url, settings.postgres_dir, "ledger", binaries=settings.postgres_binaries
                ) as url,
            ):
                engine = create_engine(url, application_name="dr-ledger")
                try:
                    await check_schema(engine, "ledger")
                    async with _running(app, engine, settings, founded):
                        yield
                finally:
                    await engine.dispose()

    app.cleanup_ctx.append(replicas)
    if own_process:
        app.on_startup.append(_spare_what_is_loaded)  # after the contexts above
    return app


async def serve(settings: LedgerSettings, founded: Founded, tls: ssl_module.SSLContext | None) -> None:
    """Runs the replica until SIGTERM or SIGINT. Raises AlreadyRuns where another process, on whichever machine, has
    this member's keys; what `build` raises."""
    app = build(settings, founded, own_process=True)
    serving = asyncio.create_task(service.serve(app, settings.host, settings.port, tls, name="dr-ledger"))
    displaced = asyncio.create_task(app[DISPLACED].get())
    try:
        await asyncio.wait({serving, displaced}, return_when=asyncio.FIRST_COMPLETED)
        if displaced.done():
            raise displaced.result()
        await serving
    finally:
        displaced.cancel()
        serving.cancel()
        await asyncio.gather(serving, displaced, return_exceptions=True)


def local_replica(engine: AsyncEngine, founded: Founded, settings: LedgerSettings, clock: Clock) -> Replica:
    """The only member of its ledger: it orders for itself on its own PostgreSQL."""
    channel = founded.genesis.channel
    orderer = LocalOrderer(engine, channel, founded.member)
    return Replica(PostgresStore(engine, channel), founded, settings, clock, orderer)


def member_replica(engine: AsyncEngine, founded: Founded, settings: LedgerSettings, clock: Clock) -> Replica:
    """A replica as its settings say: with etcd and peers, or alone. Raises GenesisInvalid, SettingsError."""
    channel = founded.genesis.channel
    orderer = orderer_of(settings, founded)
    if orderer is None:
        if len(founded.genesis.members) > 1:
            raise GenesisInvalid(
                f"channel {channel} has {len(founded.genesis.members)} members, and no order between them: give "
                "--etcd-endpoints (DR_LEDGER_ETCD_ENDPOINTS)"
            )
        return local_replica(engine, founded, settings, clock)
    replica = Replica(PostgresStore(engine, channel), founded, settings, clock, orderer, peers_of(settings, founded))
    if (settings.data_dir / KEYS_FILE).exists():
        from ledger.channels.sealing.audience import Audience
        from ledger.channels.sealing.orderer import SealedOrderer

        if isinstance(orderer, SealedOrderer):
            orderer.audience = Audience(replica)
    return replica


def orderer_of(settings: LedgerSettings, founded: Founded) -> Orderer | None:
    """The channel's order in etcd, sealed where the channel has keys; None for a ledger of one member. Raises
    GenesisInvalid where a child's keys are missing: its blocks would enter the order in clear, for good."""
    etcd = settings.etcd(founded.genesis.channel, founded.member)
    if etcd is None:
        return None
    from ledger.ordering.etcd.orderer import EtcdOrderer  # gRPC is loaded by those who have a cluster

    orderer: Orderer = EtcdOrderer(etcd)
    keys_file = settings.data_dir / KEYS_FILE
    if keys_file.exists():
        from ledger.channels.sealing.keys import ChannelKeys
        from ledger.channels.sealing.orderer import SealedOrderer

        return SealedOrderer(orderer, ChannelKeys.load(keys_file, founded.genesis.channel, founded.cosigner_key))
    if founded.genesis.parent is not None and not (settings.data_dir / PLAIN_FILE).exists():
        raise GenesisInvalid(
            f"{keys_file} is not there, and channel {founded.genesis.channel} was not founded in clear: take the file "
            "from another member"
        )
    return orderer


def is_plain(settings: LedgerSettings) -> bool:
    """Was the channel of this folder founded in clear? In doubt it was not."""
    return (settings.data_dir / PLAIN_FILE).exists() and not (settings.data_dir / KEYS_FILE).exists()


def peers_of(settings: LedgerSettings, founded: Founded) -> Peers:
    """The founding members but this one; the replica replaces them by those of its state. Raises SettingsError,
    InsecureAddress, GenesisInvalid (the certificate is another member's)."""
    if not settings.etcd_endpoints:
        return NoPeers()
    others = {each.name: each.peer_url for each in founded.genesis.members if each.name != founded.member}
    certificate = settings.peer_certificates()
    if certificate is not None and (subject := named(certificate.chain).subject) != founded.member:
        raise GenesisInvalid(
            f"peer_certificate {certificate.chain} names {subject}, the keys in {settings.log_key_file.parent} are "
            f"those of {founded.member}: one of the two is another member's. Put its own back, or correct data_dir"
        )
    tls = None if certificate is None else client_context(settings.peer_ca, certificate)
    return HttpPeers(founded.genesis.channel, others, tls)


def channels_of(settings: LedgerSettings, founded: Founded) -> list[tuple[LedgerSettings, Founded]]:
    """The first channel and those in the folder `channels`, in order of name. Raises GenesisInvalid."""
    found = [(settings, founded)]
    folders = sorted(path.parent.name for path in settings.channels_dir.glob("*/genesis.json"))
    for name in folders:
        of_channel = settings.of_channel(name)
        further = load(of_channel)
        if further.genesis.channel != name or name == founded.genesis.channel:
            raise GenesisInvalid(f"{of_channel.genesis_file} is of channel {further.genesis.channel}")
        found.append((of_channel, further))
    return found


@contextlib.asynccontextmanager
async def _sole_process(app: web.Application, settings: LedgerSettings, founded: Founded) -> AsyncIterator[None]:
    """For the time of the block no other machine's process of this consortium signs with these keys, or this one is
    told to end. Raises AlreadyRuns. A ledger of one member has nobody to ask."""
    etcd = settings.etcd(founded.genesis.channel, founded.member)
    if etcd is None:
        yield
        return
    from ledger.replication.membership.session import Session  # gRPC is loaded by those who have a cluster

    session = Session(etcd, settings.data_dir)

    async def keep() -> None:
        try:
            await session.keep()
        except AlreadyRuns as error:
            app[DISPLACED].put_nowait(error)

    keeping: asyncio.Task[None] | None = None
    try:
        await session.begin()
        keeping = asyncio.create_task(keep())
        yield
    finally:
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await session.end()


@contextlib.asynccontextmanager
async def _running(
    app: web.Application, engine: AsyncEngine, settings: LedgerSettings, founded: Founded
) -> AsyncIterator[None]:
    clock, givings = settings.clock(), dict[str, Giving]()
    async with contextlib.AsyncExitStack() as stack:
        for of_channel, each in channels_of(settings, founded):
            replica = member_replica(engine, each, of_channel, clock)
            if is_plain(of_channel):
                app[PLAIN].add(each.genesis.channel)
            app[REPLICAS][each.genesis.channel] = await stack.enter_async_context(replica)
            givings[each.genesis.channel] = TableGiving(engine, each, replica.check_log)
        if settings.etcd_endpoints:
            app[PEER_ADDRESS] = await stack.enter_async_context(_listening(app, settings, givings))
        statuses = {name: each.status for name, each in _replicas(app).items()}
        app[METRICS] = Metrics(app[REGISTRY], statuses, lambda: app[STREAMS].open)
        await stack.enter_async_context(watched(app, engine, settings, clock, lambda: list(_replicas(app).values())))
        await stack.enter_async_context(crossings(settings, _replicas(app), clock))
        await stack.enter_async_context(witnessed(app, settings, _replicas(app)))
        yield


@contextlib.asynccontextmanager
async def _listening(
    app: web.Application, settings: LedgerSettings, givings: Mapping[str, Giving]
) -> AsyncIterator[str]:
    """The peer listener; its address."""
    certificate = settings.peer_certificates()
    tls: ssl_module.SSLContext | None = None
    if certificate is not None:
        tls = server_context([certificate], settings.peer_ca)
    refuse_plain_http(settings.peer_host, tls)

    def receptions() -> Mapping[str, tuple[Reception, Collection[str]]]:
        return {name: (replica, replica.known_members) for name, replica in _replicas(app).items()}

    application = peer_app(receptions)
    add_state_routes(application, givings, reception_of)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0, keepalive_timeout=HEAD_S)
    await runner.setup()
    try:
        await BoundedSite(runner, settings.peer_host, settings.peer_port, ssl_context=tls).start()
        yield address(runner, settings.peer_host, tls)
    finally:
        await runner.cleanup()


async def _spare_what_is_loaded(_: web.Application) -> None:
    """The collector never looks again at what a replica holds once it has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX)


def _replicas(app: web.Application) -> dict[str, Replica]:
    return {name: replica for name, replica in app[REPLICAS].items() if isinstance(replica, Replica)}
