"""The conversation with a utility's VTN: registered, renewed, ended by either side; and which worker holds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from openadr.client.registration import Registration
from runtime.clock import SystemClock
from runtime.errors import Attention
from runtime.keys import PrivateKey
from tests.vtn.faces.peer import facing
from tests.vtn.opened import PROGRAM, Opened, opened
from tests.vtn.upstream.world import SETTINGS
from vtn.config import VtnSettings
from vtn.faces.openadr2 import PREFIX
from vtn.records.messages import QueuedMessage, open_messages
from vtn.upstream import overview, records, service, session
from vtn.upstream.service import Upstream


@pytest.fixture
async def both(
    urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Opened, Opened]]:
    """The utility, polled each second, and the aggregator; nobody talks yet."""
    monkeypatch.setattr(session, "_LOOK_S", 0.05)
    monkeypatch.setattr(session, "_PAUSE_S", 0.05)
    monkeypatch.setattr(service, "_FOLLOW_S", 0.05)
    PrivateKey.create(tmp_path / "utility.key")
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        utility = await stack.enter_async_context(opened(urls[0], clock, tmp_path / "utility", poll_interval_s=1))
        await utility.vtn.vens.add("aggregator-1", "F1", PROGRAM)
        url = await stack.enter_async_context(facing(utility.vtn))
        settings = SETTINGS | {"upstream_url": url + PREFIX, "upstream_key": tmp_path / "utility.key"}
        aggregator = await stack.enter_async_context(opened(urls[1], clock, tmp_path / "aggregator", **settings))
        yield utility, aggregator


@contextlib.asynccontextmanager
async def talking(aggregator: Opened) -> AsyncIterator[Upstream]:
    """A worker of the aggregator."""
    upstream = Upstream(aggregator.vtn, CollectorRegistry())
    running = asyncio.create_task(upstream.run(aggregator.vtn))
    try:
        yield upstream
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def registration_of(utility: Opened) -> str | None:
    ven = await utility.vtn.vens.find_by_name("aggregator-1")
    assert ven is not None
    return ven.registration_id


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # type: ignore[misc]
            await asyncio.sleep(0.02)


async def test_it_is_registered_renewed_ended_by_either_side_and_made_again(both):
    utility, aggregator = both
    vtn = aggregator.vtn
    us = (await utility.vtn.vens.find_by_name("aggregator-1")).ven_id

    async def stands() -> overview.LinkView:
        return await overview.link(vtn)

    async def registered() -> bool:
        found = await stands()
        return found.registered and found.reached_ms is not None and await registration_of(utility) is not None

    async with talking(aggregator) as upstream:
        await until(registered)
        assert (await stands()).ven_id == us
        await upstream.check()

        first = await registration_of(utility)
        await utility.vtn.registrations.request_reregistration(us)

        async def no_longer_asked() -> bool:
            return [each.kind for each in await _open(utility, us)] == []

        await until(no_longer_asked)
        assert await registration_of(utility) == first, "the same one, renewed"

        await utility.vtn.registrations.request_cancel(us)

        async def at_rest() -> bool:
            found = await stands()
            return not found.enabled and not found.registered

        await until(at_rest)
        with pytest.raises(Attention, match="upstream register"):
            await upstream.check()
        await overview.register(vtn)
        await until(registered)
        await overview.cancel(vtn)
        await until(at_rest)
        assert await registration_of(utility) is None


async def _open(utility: Opened, us: str) -> list[QueuedMessage]:
    async with utility.vtn.database.reading() as connection:
        return await open_messages(connection, us)


async def test_one_worker_leads_and_another_follows_when_it_ends(both):
    _, aggregator = both
    one, other = (Upstream(aggregator.vtn, CollectorRegistry()) for _ in range(2))
    first = asyncio.create_task(one.run(aggregator.vtn))
    second = None
    try:
        await until(lambda: _leads(one))
        second = asyncio.create_task(other.run(aggregator.vtn))
        await asyncio.sleep(0.3)
        assert not await _leads(other)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        await until(lambda: _leads(other))
    finally:
        for task in (first, second):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def _leads(upstream: Upstream) -> bool:
    return upstream._leads._value.get() == 1.0


def test_settings_that_cannot_work_are_named_before_anything_is_sent():
    with pytest.raises(ValueError, match="upstream_url needs upstream_ven_name"):
        VtnSettings(upstream_url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="upstream_sign_messages needs"):
        VtnSettings(upstream_sign_messages=True)
    with pytest.raises(ValueError, match="none is negative"):
        VtnSettings(upstream_simple_w=(1, 2, -3))


async def test_a_utility_that_does_not_know_it_is_registered_with_anew(both):
    utility, aggregator = both
    url = str(aggregator.vtn.settings.upstream_url)
    lost = Registration(ven_id="ven-nobody", registration_id="reg-nobody", vtn_id="GRIDPACT", poll_s=1)
    async with aggregator.vtn.database.transaction() as connection:
        await records.change_link(connection, url, registration=msgspec.json.encode(lost))

    async def registered() -> bool:
        return await registration_of(utility) is not None

    async with talking(aggregator):
        await until(registered)
