"""Many homes in one process: each with its own folder, key, store and device; one session, one stream of facts.

data_dir/H001/ven.sqlite, ven.key, policy.txt, proofs/..., truth.jsonl
         H002/...
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ledger.client import LedgerClient
from runtime.errors import SettingsError
from runtime.logs import get_logger
from ven.account.consents import ConsentChoice
from ven.account.enrolment import Invitation, enrol, read_invitation
from ven.account.follower import Follower
from ven.account.identity import Identity, is_enrolled
from ven.account.pseudonyms import Turned, finish_turn
from ven.account.wallet import MAIN, Wallet
from ven.agent import HomeAgent, Surroundings
from ven.app import (
    health,
    home_identity,
    ledger_of,
    locked,
    make_device,
    patiently,
    surroundings,
    until_stopped,
    with_follower,
)
from ven.config import VenSettings
from ven.devices.errors import DeviceError
from ven.devices.household import Household
from ven.devices.profile import read_profile
from ven.flexibility.describing import Offer, said
from ven.flexibility.learning import Experience
from ven.flexibility.recording import rated_home
from ven.home.actuator import HomeDevice
from ven.home.store import Store
from ven.home.store.store import FILE_NAME
from ven.home.truth import truth_writer

_ENROL_ATTEMPTS = 60
_ENROL_PAUSE_S = 1.0
_ENROL_AT_ONCE = 8
_RESTART_S = 5.0

_log = get_logger("ven.simulator")


@dataclass(frozen=True)
class SimulatedHome:
    """A home to run: its folder, its profile file and, unless it is enrolled, its invitation."""

    home_id: str
    folder: Path
    profile: Path
    invitation: Invitation | None


async def simulate(settings: VenSettings, profiles: Path, invitations: Path | None, homes: int) -> None:
    """`dr-ven simulate`: runs `homes` homes until SIGTERM or SIGINT. Raises SettingsError for missing files."""
    if settings.push_port:
        raise SettingsError("push_port is for one home: homes of a simulation poll, unset it")
    chosen = choose(settings.data_dir, profiles, invitations, homes)
    with locked(settings.data_dir):
        async with surroundings(settings, settings.clock(), homes) as around, health(settings, around, ()):
            await until_stopped(_Simulation(settings, around, chosen).run())


def choose(data_dir: Path, profiles: Path, invitations: Path | None, homes: int) -> list[SimulatedHome]:
    """The first `homes` profiles, in order of name, that are enrolled or invited. Raises SettingsError."""
    invited = _invited(invitations)
    found: list[SimulatedHome] = []
    for profile in sorted(profiles.glob("*.json")):
        home_id = profile.stem
        folder = data_dir / home_id
        if home_id in invited or (folder / FILE_NAME).exists():
            found.append(SimulatedHome(home_id, folder, profile, invited.get(home_id)))
    if len(found) < homes:
        raise SettingsError(
            f"{homes} homes were asked for, {len(found)} profiles in {profiles} have an invitation or are enrolled"
        )
    return found[:homes]


class _Simulation:
    """Starts the homes one after the other over a little time, and keeps each running."""

    def __init__(self, settings: VenSettings, around: Surroundings, homes: list[SimulatedHome]) -> None:
        self._settings = settings
        self._around = around
        self._homes = homes
        self._enrolling = asyncio.Semaphore(_ENROL_AT_ONCE)
        self._shared: dict[str, tuple[LedgerClient, Follower]] = {}

    async def run(self) -> None:
        """Enrols all, then runs all."""
        async with AsyncExitStack() as stack:
            stores = [stack.enter_context(closing(Store(home.folder / FILE_NAME))) for home in self._homes]
            pairs = list(zip(self._homes, stores, strict=True))
            async with asyncio.TaskGroup() as tasks:
                for home, store in pairs:
                    tasks.create_task(self._enrol(home, store))
            for home, store in pairs:
                self._device(home, store)  # what is wrong with one is said before any runs
                await self._share(stack, home_identity(self._settings, store))
            print(f"dr-ven ready: {len(pairs)} homes", flush=True)
            async with asyncio.TaskGroup() as tasks:
                for _, follower in self._shared.values():
                    tasks.create_task(follower.run())
                for position, (home, store) in enumerate(pairs):
                    tasks.create_task(self._keep(home, store, self._settings.start_spread_s * position / len(pairs)))

    async def _share(self, stack: AsyncExitStack, identity: Identity) -> None:
        """Homes of main share one client and one stream; a channel below it shows each home what names it alone."""
        if identity.channel == MAIN and identity.ledger_url not in self._shared:
            ledger = await stack.enter_async_context(ledger_of(identity, self._around))
            if ledger is not None:
                follower = Follower(ledger, backoff_max_s=self._settings.backoff_max_s)
                self._shared[identity.ledger_url] = ledger, follower

    async def _enrol(self, home: SimulatedHome, store: Store) -> None:
        if not is_enrolled(store.notes):
            await self._join(home, store)

    async def _join(self, home: SimulatedHome, store: Store) -> None:
        invitation = home.invitation
        if invitation is None:
            raise SettingsError(f"{home.home_id} is not enrolled and has no invitation")
        device = self._device(home, store)
        offer = make_offer(self._settings, store, device, self._around.clock.now_ms())
        attempt = partial(
            enrol, invitation, home.folder, store, offer, self._around.session, consent_choices(self._settings)
        )
        async with self._enrolling:
            await patiently(attempt, attempts=_ENROL_ATTEMPTS, pause_s=_ENROL_PAUSE_S)

    def _agent(self, home: SimulatedHome, store: Store, identity: Identity, ledger: LedgerClient | None) -> HomeAgent:
        device = self._device(home, store)
        wallet = Wallet.open(home.folder, identity.channel) if identity.ledger_url else None
        return HomeAgent(
            self._settings,
            home.folder,
            store,
            identity,
            device,
            self._around,
            wallet=wallet,
            ledger=ledger,
            closed=truth_writer(home.folder, device, self._settings.interval_s),
        )

    def _device(self, home: SimulatedHome, store: Store) -> Household:
        try:
            device = make_device(self._settings, store, read_profile(home.profile))
        except (DeviceError, OSError) as error:
            raise SettingsError(f"{home.home_id}: {error}") from error
        if not isinstance(device, Household):
            raise SettingsError("simulate runs homes on profiles: leave the setting device at profile")
        return device

    async def _keep(self, home: SimulatedHome, store: Store, after_s: float) -> None:
        """A home that fails is started again and does not take the others down; one with another id is made anew."""
        await asyncio.sleep(after_s)
        while True:
            try:
                await self._live(home, store)
            except* Turned:
                _log.info("going on under another id", home=home.home_id)
            except* Exception as errors:
                _log.exception("home failed", home=home.home_id, error=repr(errors))
                await asyncio.sleep(_RESTART_S)

    async def _live(self, home: SimulatedHome, store: Store) -> None:
        finish_turn(home.folder, store)
        identity = home_identity(self._settings, store)
        if identity.channel == MAIN:
            ledger, follower = self._shared.get(identity.ledger_url, (None, None))
            agent = self._agent(home, store, identity, ledger)
            try:
                if follower is not None and agent.desk is not None:
                    follower.add(agent.desk, agent.wake)
                await agent.run()
            finally:
                if follower is not None:
                    follower.remove(identity.party)
            return
        async with ledger_of(identity, self._around, home.folder) as own:
            await with_follower(self._settings, own, self._agent(home, store, identity, own))


def make_offer(settings: VenSettings, store: Store, device: HomeDevice | None, now_ms: int) -> Offer:
    """What the owner offers at enrolment; `device`: None where there is none yet."""
    return said(rated_home(settings, store, device, now_ms), Experience())


def consent_choices(settings: VenSettings) -> list[ConsentChoice]:
    """What the owner agrees to at enrolment."""
    return [ConsentChoice(role, settings.consent_purpose, settings.consent_days) for role in settings.consent_to]


def _invited(folder: Path | None) -> dict[str, Invitation]:
    """Invitations by home: the file's name, and the venName inside it."""
    found: dict[str, Invitation] = {}
    for path in sorted(folder.glob("*.json")) if folder is not None else ():
        invitation = read_invitation(path)
        found[path.stem] = invitation
        found.setdefault(invitation.ven_name, invitation)
    return found
