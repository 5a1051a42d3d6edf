"""Calls to whichever endpoint of the cluster answers.

    one attempt:   current endpoint, short deadline ── fails ──▶ the next becomes current, Unanswered
    until answered: attempts over all endpoints, until one answers or the patience is over

A stopped member keeps its connections, so only a deadline finds it; that is why deadlines are short and every failed
attempt hops. All calls ask the endpoint to refuse at once while it knows no leader. Sure of one cluster: the id in
every answer is compared with the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import grpc
from grpc import aio

from ledger.ordering.etcd.errors import NO_ANSWER, EtcdRefused, TokenStale, Unanswered, WrongCluster, explain, judge
from ledger.ordering.etcd.messages import message, message_class
from ledger.ordering.etcd.settings import EtcdSettings

_Answer = TypeVar("_Answer")
_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # clients of one process fail and recover each for itself
)
_WITH_LEADER: Final = ("hasleader", "true")
_AUTHENTICATE_S: Final = 2.0
"""etcd hashes passwords slowly on purpose."""
_PAUSE_S: Final = 0.05


class Connection:
    """The channels of one client, made when first used. Not for several event loops."""

    def __init__(self, settings: EtcdSettings) -> None:
        if not settings.endpoints:
            raise EtcdRefused("no etcd endpoint is named: set at least one, https://host:2379")
        self._settings = settings
        self._endpoints = tuple(settings.endpoints)
        self._current = 0
        self._channels: dict[str, aio.Channel] = {}
        self._token: str | None = None
        self._authenticating = asyncio.Lock()
        self._cluster = settings.cluster
        self._down = False

    @property
    def endpoint(self) -> str:
        """The endpoint that is asked next."""
        return self._endpoints[self._current]

    @property
    def cluster(self) -> str | None:
        """Id of the cluster, in hexadecimal; None before the first answer."""
        return self._cluster

    async def close(self) -> None:
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

    async def until_answered(self, method: str, request: Any, answer: str, deadline_s: float | None = None) -> Any:
        """The answer of the first endpoint that gives one: for what may safely be asked twice.

        Raises EtcdUnreachable, NoMajority and the other errors of this package."""
        return await self.persist(lambda each_s: self.once(method, request, answer, each_s), deadline_s)

    async def persist(self, attempt: Callable[[float], Awaitable[_Answer]], deadline_s: float | None = None) -> _Answer:
        """Repeat an attempt that raises Unanswered until it succeeds or the patience is over; while the cluster is
        known to be down, ask each endpoint once. The attempt gets its deadline, which is doubled where no endpoint
        answered at all: a busy machine is slow everywhere."""
        deadline_s = deadline_s or self._settings.deadline_s
        loop = asyncio.get_running_loop()
        end = loop.time() + max(self._settings.patience_s, deadline_s * 2)
        failures: list[Unanswered] = []
        while True:
            last = failures[-len(self._endpoints) :]
            slow = len(last) == len(self._endpoints) and all(failure.reason == NO_ANSWER for failure in last)
            each_s = deadline_s * (2 if slow or self._down else 1)
            try:
                answer = await attempt(min(each_s, max(_PAUSE_S, end - loop.time())))
            except Unanswered as failure:
                failures.append(failure)
            else:
                self._down = False
                return answer
            if loop.time() + _PAUSE_S >= end or (self._down and len(failures) >= len(self._endpoints)):
                self._down = True
                raise explain(failures, self._endpoints)
            if len(failures) % len(self._endpoints) == 0:
                await asyncio.sleep(_PAUSE_S)

    async def once(self, method: str, request: Any, answer: str, deadline_s: float | None = None) -> Any:
        """One attempt. Raises Unanswered, having moved on to the next endpoint, or what etcd says."""
        endpoint, deadline_s = self.endpoint, deadline_s or self._settings.deadline_s
        try:
            return await self._attempt(endpoint, method, request, answer, deadline_s)
        except TokenStale:
            self._token = None
            try:
                return await self._attempt(endpoint, method, request, answer, deadline_s)
            except TokenStale as error:
                raise EtcdRefused(f"etcd at {endpoint} takes no token of this user: {error}") from None

    def stream(self, method: str, request: str, answer: str, metadata: list[tuple[str, str]]) -> tuple[str, Any]:
        """A call of both-way streams to the current endpoint, and the endpoint."""
        endpoint = self.endpoint
        call = self._channel(endpoint).stream_stream(
            method,
            request_serializer=message_class(request).SerializeToString,
            response_deserializer=message_class(answer).FromString,
        )
        return endpoint, call(metadata=aio.Metadata(*metadata))

    async def metadata(self) -> list[tuple[str, str]]:
        """What accompanies a call: the demand for a leader, and the user's token."""
        if self._settings.user is None:
            return [_WITH_LEADER]
        async with self._authenticating:
            if self._token is None:
                self._token = await self._authenticate()
        return [_WITH_LEADER, ("token", self._token)]

    def hop(self, endpoint: str) -> None:
        """Ask the next endpoint from now on, unless somebody has left `endpoint` already."""
        if self.endpoint == endpoint:
            self._current = (self._current + 1) % len(self._endpoints)

    def check_cluster(self, header: Any, endpoint: str) -> None:
        """Raises WrongCluster."""
        if not header.cluster_id:
            return  # answers about alarms have none
        found = f"{header.cluster_id:x}"
        if self._cluster is None:
            self._cluster = found
        elif found != self._cluster:
            self.hop(endpoint)
            raise WrongCluster(
                f"etcd at {endpoint} belongs to cluster {found}, this replica joined {self._cluster}: correct the "
                "endpoints; a new cluster needs its founding at the attested height and a restart of the replica"
            )

    def failed(self, error: aio.AioRpcError, endpoint: str) -> Exception:
        """What an error of a call to `endpoint` means; hops if another endpoint may do better."""
        channel = self._channels.get(endpoint)
        connected = channel is not None and channel.get_state() is grpc.ChannelConnectivity.READY
        meaning = judge(error, endpoint, connected=connected)
        if isinstance(meaning, Unanswered):
            self.hop(endpoint)
        return meaning

    def stream_failed(self, error: aio.AioRpcError, endpoint: str) -> Exception:
        """The same for a stream, which its owner opens again: with a new token where the old one was refused."""
        meaning = self.failed(error, endpoint)
        if isinstance(meaning, TokenStale):
            self._token = None
            return Unanswered(endpoint, "the token of the user is stale", sent=True, alive=True)
        return meaning

    async def _attempt(self, endpoint: str, method: str, request: Any, answer: str, deadline_s: float) -> Any:
        return await self._unary(endpoint, method, request, answer, deadline_s, await self.metadata())

    async def _authenticate(self) -> str:
        settings = self._settings
        request = message("AuthenticateRequest", name=settings.user or "", password=settings.password or "")
        answer = await self._unary(
            self.endpoint, "Auth/Authenticate", request, "AuthenticateResponse", _AUTHENTICATE_S, [_WITH_LEADER]
        )
        return str(answer.token)

    async def _unary(
        self, endpoint: str, method: str, request: Any, answer: str, deadline_s: float, metadata: list[tuple[str, str]]
    ) -> Any:
        call = self._channel(endpoint).unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message_class(answer).FromString,
        )
        try:
            found: Any = await call(request, timeout=deadline_s, metadata=aio.Metadata(*metadata))
        except aio.AioRpcError as error:
            raise self.failed(error, endpoint) from None
        self.check_cluster(found.header, endpoint)
        return found

    def _channel(self, endpoint: str) -> aio.Channel:
        channel = self._channels.get(endpoint)
        if channel is None:
            channel = self._channels[endpoint] = self._open(endpoint)
        return channel

    def _open(self, endpoint: str) -> aio.Channel:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not parts.port:
            raise EtcdRefused(f"{endpoint!r} is no endpoint of etcd: write https://host:port")
        if parts.scheme == "http":
            return aio.insecure_channel(parts.netloc, options=_OPTIONS)
        settings = self._settings
        try:
            files = [
                None if path is None else path.read_bytes()
                for path in (settings.ca, settings.certificate_key, settings.certificate)
            ]
        except OSError as error:
            raise EtcdRefused(f"a certificate file for etcd cannot be read: {error}") from None
        return aio.secure_channel(parts.netloc, grpc.ssl_channel_credentials(*files), options=_OPTIONS)
