"""A process of homes: what they share, one home built from its folder, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from ledger.client import LedgerClient
from runtime.clock import Clock
from runtime.errors import GridpactError, SettingsError
from runtime.keys import PrivateKey
from runtime.logs import get_logger
from runtime.service import READINESS, REGISTRY, new_app
from ven.account.follower import Follower
from ven.account.identity import Identity, is_enrolled, read_identity
from ven.account.pseudonyms import Turned, finish_turn
from ven.account.wallet import KEY_FILE, Wallet
from ven.agent import HomeAgent, Surroundings
from ven.config import VenSettings
from ven.devices.dimmer import Dimmer
from ven.devices.errors import DeviceError
from ven.devices.home_spec import draw
from ven.devices.household import Household
from ven.devices.profile import Profile, read_profile
from ven.devices.relay import Relay
from ven.errors import ClockWrong, NotEnrolled, StoreError, VtnUnreachable
from ven.home.actuator import DEVICE_NOTE, HomeDevice
from ven.home.store import Store
from ven.home.store.store import FILE_NAME
from ven.home.truth import truth_writer
from ven.metrics import Metrics

_log = get_logger("ven.app")


async def run_home(settings: VenSettings) -> None:
    """`dr-ven run`: one home until SIGTERM or SIGINT. Raises GridpactError for what the operator must mend."""
    folder = settings.data_dir
    with locked(folder), contextlib.closing(Store(folder / FILE_NAME)) as store:
        home_identity(settings, store)
        present: list[HomeAgent] = []
        async with surroundings(settings, settings.clock(), 1) as around, health(settings, around, present):
            await until_stopped(_lives(settings, store, around, present))


async def _lives(settings: VenSettings, store: Store, around: Surroundings, present: list[HomeAgent]) -> None:
    """One life after the other: with another id on the ledger everything is made anew."""
    while True:
        try:
            await _life(settings, store, around, present)
        except* Turned:
            _log.info("going on under another id", home=present[0].home)


async def _life(settings: VenSettings, store: Store, around: Surroundings, present: list[HomeAgent]) -> None:
    folder = settings.data_dir
    finish_turn(folder, store)
    identity = home_identity(settings, store)
    try:
        device = make_device(settings, store, None)
    except (DeviceError, OSError) as error:
        raise SettingsError(f"the device cannot be used: {error}") from error
    async with ledger_of(identity, around, folder) as ledger:
        wallet = Wallet.open(folder, identity.channel) if identity.ledger_url else None
        truth = truth_writer(folder, device, settings.interval_s)
        agent = HomeAgent(settings, folder, store, identity, device, around, wallet=wallet, ledger=ledger, closed=truth)
        if not present:
            print(f"dr-ven ready: {identity.ven_name}", flush=True)
        present[:] = [agent]
        await with_follower(settings, ledger, agent)


async def with_follower(settings: VenSettings, ledger: LedgerClient | None, agent: HomeAgent) -> None:
    """Runs a home with a stream of facts of its own. Raises Turned, in a group."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(agent.run())
        if ledger is not None and agent.desk is not None:
            follower = Follower(ledger, backoff_max_s=settings.backoff_max_s)
            follower.add(agent.desk, agent.wake)
            tasks.create_task(follower.run())


def home_identity(settings: VenSettings, store: Store) -> Identity:
    """The enrolment, or without one the VTN named in the settings. Raises NotEnrolled."""
    if is_enrolled(store.notes):
        identity = read_identity(store.notes)
        return msgspec.structs.replace(identity, ledger_url=settings.ledger_url or identity.ledger_url)
    if settings.openadr2_url is None:
        return read_identity(store.notes)
    if settings.require_contract:
        raise NotEnrolled(
            "this home is not enrolled and may not act without a contract: enrol it, or set require_contract = false "
            "to follow the events of the VTN at openadr2_url"
        )
    return Identity(ven_name=settings.ven_name, ven_id=None, openadr2_url=settings.openadr2_url)


def make_device(settings: VenSettings, store: Store, profile: Profile | None) -> HomeDevice:
    """The device of a home with the state it had. Raises DeviceError, OSError, SettingsError."""
    state = store.notes.read_bytes(DEVICE_NOTE)
    if settings.device == "relay":
        return Relay("relay", settings.rated_w, state=state)
    if settings.device == "dimmer":
        return Dimmer("dimmer", settings.rated_w, floor_w=settings.floor_w, state=state)
    if profile is None:
        if settings.profile is None:
            raise SettingsError("setting profile is missing: give --profile, or device = relay or dimmer")
        profile = read_profile(settings.profile)
    return Household(profile, draw(profile.home_id, settings.device_seed), state)


@contextlib.asynccontextmanager
async def surroundings(settings: VenSettings, clock: Clock, homes: int) -> AsyncIterator[Surroundings]:
    """What homes share, closed at the end."""
    connector = aiohttp.TCPConnector(limit=max(20, min(homes, 200)), ssl=settings.tls(), keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        metrics = Metrics(CollectorRegistry())
        metrics.homes.set(homes)
        yield Surroundings(clock, session, metrics)


@contextlib.asynccontextmanager
async def ledger_of(
    identity: Identity, around: Surroundings, folder: Path | None = None
) -> AsyncIterator[LedgerClient | None]:
    """A ledger client; homes seal by themselves. With `folder`, that of the home, it reads with the home's key where
    the channel asks for one. None for a VTN without contracts. Raises KeyFileError."""
    if not identity.ledger_url:
        yield None
        return
    key = None if folder is None else PrivateKey.load(folder / KEY_FILE)
    client = LedgerClient(
        identity.ledger_url, channel=identity.channel, key=key, clock=around.clock, session=around.session
    )
    async with client as ledger:
        yield ledger


@contextlib.asynccontextmanager
async def health(settings: VenSettings, around: Surroundings, present: Sequence[HomeAgent]) -> AsyncIterator[None]:
    """/healthz, /readyz and /metrics on a loopback port, if one is set. `present`: the home there is, if it is one."""
    if not settings.health_port:
        yield
        return

    async def vtn() -> None:
        if any(not agent.engine.reached for agent in present):
            raise VtnUnreachable("the VTN has not answered lately")

    app = new_app()

    async def store() -> None:
        for agent in present:
            if agent.full is not None:
                raise agent.full

    async def clock() -> None:
        for agent in present:
            if agent.timekeeper.wrong:
                raise ClockWrong(agent.timekeeper.verdict.text)

    app[READINESS].register("vtn", vtn)
    app[READINESS].register("store", store)
    app[READINESS].register("clock", clock)
    app[REGISTRY].register(around.metrics.collector)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", settings.health_port).start()
        yield
    finally:
        await runner.cleanup()


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` until it ends, or cancels it at SIGTERM or SIGINT and waits for it to clean up."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    stopped: list[int] = []

    def stop(number: int) -> None:
        stopped.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        _log.info("stopped", signal=signal.Signals(stopped[0]).name)
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One agent a folder: two would command the device against each other. Raises StoreError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ven.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(f"another dr-ven runs on {folder}") from None
        yield


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error an operator should see: one that explains itself, if there is one."""
    leaves: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop()
        if isinstance(error, BaseExceptionGroup):
            todo += error.exceptions
        else:
            leaves.append(error)
    explained = [error for error in leaves if isinstance(error, GridpactError)]
    return (explained or leaves)[0]


Retry = Callable[[], Coroutine[Any, Any, Identity]]


async def patiently(attempt: Retry, *, attempts: int, pause_s: float) -> Identity:
    """Repeats an enrolment while the VTN does not answer. Raises VtnUnreachable after the last attempt."""
    for left in range(attempts - 1, -1, -1):
        try:
            return await attempt()
        except VtnUnreachable as error:
            if not left:
                raise
            _log.info("enrolment again", error=str(error))
            await asyncio.sleep(pause_s)
    raise AssertionError("attempts is at least 1")
