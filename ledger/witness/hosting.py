"""The one line by which a replica's process brings its logs to external witnesses."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial

from aiohttp import web
from prometheus_client import Gauge

from ledger.config import LedgerSettings
from ledger.witness.feeding import Fare, Fed, feeding
from ledger.witness.trust import read_witnesses
from runtime.errors import Attention
from runtime.service import READINESS, REGISTRY
from runtime.tls import client_context


@contextlib.asynccontextmanager
async def witnessed(app: web.Application, settings: LedgerSettings, logs: Mapping[str, Fed]) -> AsyncIterator[None]:
    """The witnesses of `witness_file` are asked to cosign the first of these logs for the time of the block; `/readyz`
    and `/metrics` of `app` tell how it goes. Nobody outside is told of further channels: they are anchored on the
    first. Raises WitnessInvalid, InsecureAddress, SettingsError."""
    if settings.witness_file is None:
        yield
        return
    witnesses = read_witnesses(settings.witness_file)
    tls = client_context(settings.witness_ca) if any(each.url.startswith("https:") for each in witnesses) else None
    async with feeding(dict([*logs.items()][:1]), witnesses, ssl=tls, interval_s=settings.witness_interval_s) as fares:
        size = Gauge(
            "ledger_witnessed_size", "Leaves under the checkpoint that a witness cosigned for us last",
            ["channel", "witness"], registry=app[REGISTRY],
        )  # fmt: skip
        for channel, each in fares.items():
            for fare in each:
                size.labels(channel, fare.name).set_function(partial(getattr, fare, "size"))

        async def check() -> None:
            failed = [(channel, fare) for channel, each in fares.items() for fare in each if fare.error]
            if failed:
                raise Attention("; ".join(_told(channel, fare) for channel, fare in failed))

        app[READINESS].register("witnesses", check)
        yield


def _told(channel: str, fare: Fare) -> str:
    return f"witness {fare.name} has not cosigned channel {channel}: {fare.error}"
