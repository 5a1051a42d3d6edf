"""One home agent: its parts put together, and the loop that keeps them in step.

meter ─▶ telemetry ─▶ store ◀─ events ◀─ faces/openadr2 ⇄ VTN
                       ▲ │
ledger ─▶ follower ─▶ desk ─▶ outbox ─▶ courier ─▶ ledger
                       │ ▼
                 controller ─▶ actuator ─▶ device
store ─▶ record (what came of events) ─▶ telling ─▶ VTN
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from forecasting.calendar import SiteCalendar
from ledger.client import LedgerClient
from runtime.clock import Clock, happened
from runtime.errors import GridpactError
from runtime.logs import get_logger
from ven.account.courier import Courier
from ven.account.credentials import Credentials
from ven.account.desk import Desk
from ven.account.identity import Identity
from ven.account.pseudonyms import Turning
from ven.account.renewal import Renewal
from ven.account.wallet import Wallet
from ven.config import VenSettings
from ven.errors import StoreFull
from ven.faces.openadr2.face import Face, make_face
from ven.flexibility.recording import Record
from ven.flexibility.telling import Telling
from ven.home.actuator import Actuator, HomeDevice
from ven.home.controller import Controller, Rules
from ven.home.owner import read_owner
from ven.home.retention import Retention
from ven.home.store import Store
from ven.home.telemetry import Telemetry
from ven.home.timekeeping import VTN, Timekeeper
from ven.metrics import Metrics

_RECHECK_S = 30.0
_WATCH_S = 1.0  # wall time between two looks at what other processes wrote, and at the clock
_FULL_PAUSE_S = 10.0
_TURN_LOOK_S = 600.0

_log = get_logger("ven.agent")


@dataclass(frozen=True)
class Surroundings:
    """What the homes of a process share."""

    clock: Clock
    session: aiohttp.ClientSession
    metrics: Metrics


class HomeAgent:
    """A home in `folder`. `wallet` and `ledger` are None at a VTN without contracts; `closed(start_ms, energy_wh)`
    hears of each metering interval that ends while the agent runs."""

    def __init__(
        self,
        settings: VenSettings,
        folder: Path,
        store: Store,
        identity: Identity,
        device: HomeDevice,
        around: Surroundings,
        *,
        wallet: Wallet | None = None,
        ledger: LedgerClient | None = None,
        closed: Callable[[int, int], None] | None = None,
    ) -> None:
        self.home = identity.ven_name
        self.store = store
        self._clock = around.clock
        self._metrics = around.metrics
        self._woken = asyncio.Event()
        self._backoff_max_s = settings.backoff_max_s
        self._foreign_version = store.database.foreign_version()
        self._looked = False
        calendar = identity.calendar(settings.holidays)
        actuator = Actuator(device, store.notes, self.home)
        self._telemetry = Telemetry(
            actuator,
            store,
            home=self.home,
            interval_s=settings.interval_s,
            delay_s=settings.reading_delay_s,
            history_days=settings.history_days,
            closed=closed,
        )
        self._retention = Retention(store, home=self.home, keep_days=settings.keep_days)
        self._record = Record(store, settings, device, calendar, self.home)
        self.timekeeper = Timekeeper(
            around.clock, store.notes, around.metrics, home=self.home, tolerance_s=settings.clock_tolerance_s
        )
        self.timekeeper.became_wrong = self._withdraw
        self.full: StoreFull | None = None
        rules = Rules(settings.require_contract, settings.margin_percent)
        party = wallet.party if wallet else ""
        self._controller = Controller(store, actuator, calendar, rules, resource=self.home, party=party)
        self._credentials = Credentials(folder)
        self._renewal = (
            Renewal(identity, wallet, self._credentials, around.session, around.clock) if wallet is not None else None
        )
        self._face = self._make_face(settings, identity, device, around)
        self._registrar, self.engine = self._face.registrar, self._face.engine
        self.desk: Desk | None = None
        self._courier: Courier | None = None
        self._telling: Telling | None = None
        self._turning: Turning | None = None
        if wallet is not None and ledger is not None:
            self._open_account(settings, folder, identity, calendar, device, around, wallet, ledger)

    def wake(self) -> None:
        """Something the home should look at has happened."""
        self._woken.set()

    async def run(self) -> None:
        """Runs until cancelled, or until the home has another id (raises Turned, in a group), then frees the device.

        Where the disk has no room the device is free and nothing goes on until there is: what was accepted is on the
        disk, and is taken up again."""
        while True:
            try:
                await self._work()
            except* StoreFull as group:
                self._stand_still(group)
            await asyncio.sleep(_FULL_PAUSE_S)

    async def _work(self) -> None:
        try:
            self.step()  # the device first: an event may be running
            if self.full is not None:
                _log.info("there is room again", home=self.home)
                self._metrics.stores_full.dec()
                self.full = None
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._live())
                tasks.create_task(self._watch())
                tasks.create_task(self._face.run())
                if self._renewal is not None:
                    tasks.create_task(self._renewal.run())
                if self._courier is not None:
                    tasks.create_task(self._courier.run())
                if self._turning is not None:
                    tasks.create_task(self._turn(self._turning))
                if self._telling is not None:
                    tasks.create_task(self._telling.run())
        finally:
            self._controller.release(self._clock.now_ms())
            _log.info("home stopped", home=self.home)

    def step(self) -> int:
        """Reads the meter, reviews proposals, answers events, moves the device, seals readings; returns when to do so
        again if nothing happens before."""
        now_ms = self._clock.now_ms()
        closed = [] if self.timekeeper.withholding else self._telemetry.close(now_ms)
        self._metrics.readings.inc(len(closed))
        if (closed or not self._looked) and self._record.look(now_ms) and self._telling is not None:
            self._telling.call()
        self._looked = True
        moments = [self._telemetry.next_ms(now_ms)]
        if self.desk is not None:
            owner, wrong = read_owner(self.store.notes), self.timekeeper.verdict.text if self.timekeeper.wrong else None
            moments.append(self.desk.review(now_ms, owner, wrong) or moments[0])
        known = self._registrar.current
        moments.append(self._controller.tick(now_ms, known.ven_id if known else "") or moments[0])
        if self.desk is not None and self._courier is not None:
            self.desk.record_readings(now_ms)
            self._courier.call()
        self._retention.look(now_ms)
        self.engine.nudge()
        return min(moments)

    def _withdraw(self) -> None:
        """The clock is wrong: the readings since it was last right are taken back, to be read again."""
        right_ms = self.timekeeper.verdict.right_ms
        if self.desk is not None:
            self.desk.withdraw(right_ms or 0)
        self._telemetry.withdraw(right_ms)
        self.wake()

    def _make_face(self, settings: VenSettings, identity: Identity, device: HomeDevice, around: Surroundings) -> Face:
        return make_face(
            settings,
            identity,
            self.store,
            self._credentials,
            device,
            clock=around.clock,
            session=around.session,
            metrics=around.metrics,
            changed=self._polled,
            clock_seen=self._clock_seen,
        )

    def _clock_seen(self, theirs_ms: int, before_ms: int, after_ms: int) -> None:
        """What time it is by the VTN's word."""
        before = self.timekeeper.withholding
        self.timekeeper.compare(VTN, theirs_ms, before_ms, after_ms)
        if before != self.timekeeper.withholding:
            self.wake()

    def _stand_still(self, group: ExceptionGroup[StoreFull]) -> None:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, StoreFull)
        if self.full is None:
            self._metrics.stores_full.inc()
        self.full = error
        _log.error("no room on the disk", home=self.home, why=str(error), again_s=_FULL_PAUSE_S)

    def _open_account(
        self,
        settings: VenSettings,
        folder: Path,
        identity: Identity,
        calendar: SiteCalendar,
        device: HomeDevice,
        around: Surroundings,
        wallet: Wallet,
        ledger: LedgerClient,
    ) -> None:
        """What a home with contracts has besides."""
        store = self.store
        self.desk = Desk(
            store,
            wallet,
            calendar,
            home=self.home,
            interval_s=settings.interval_s,
            max_shed_w=device.max_shed_w,
            timekeeper=self.timekeeper,
            incapable=self._record.incapable,
        )
        if identity.vtn_url:
            self._telling = Telling(
                identity, wallet, self._credentials, store, self._record, around.session, around.clock
            )
        if settings.pseudonyms == "month" and identity.vtn_url:
            self._turning = Turning(identity, wallet, folder, store, ledger, around.session, around.clock)
        self._courier = Courier(
            ledger,
            store,
            self.desk,
            folder,
            home=self.home,
            backoff_max_s=settings.backoff_max_s,
            metrics=around.metrics,
            changed=self.wake,
            clock=around.clock,
            timekeeper=self.timekeeper,
        )

    async def _turn(self, turning: Turning) -> None:
        """Raises Turned when the home has another id."""
        pause_s = 1.0
        while True:
            try:
                await turning.look()
                pause_s = 1.0
            except StoreFull:
                raise
            except GridpactError as error:
                _log.warning("not turned to another id", home=self.home, why=str(error))
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(self._backoff_max_s, 2 * pause_s)
            await asyncio.sleep(min(max(self._clock.wall_seconds(_TURN_LOOK_S), 0.1), _RECHECK_S))

    async def _live(self) -> None:
        while True:
            self._woken.clear()
            due_ms = self.step()
            while (left_ms := due_ms - self._clock.now_ms()) > 0:
                wait_s = min(max(self._clock.wall_seconds(left_ms / 1000), 0.001), _RECHECK_S)
                if await happened(self._woken, wait_s):
                    break
            else:
                await asyncio.sleep(0)

    async def _watch(self) -> None:
        """The owner's commands come from other processes, whether or not the VTN answers; and clocks are set."""
        while True:
            await asyncio.sleep(_WATCH_S)
            self.timekeeper.look()
            self._polled(False)

    def _polled(self, events: bool) -> None:
        """Look if events came, or if another process (the owner's command) wrote to the store."""
        version = self.store.database.foreign_version()
        if events or version != self._foreign_version:
            if version != self._foreign_version and self._telling is not None:
                self._telling.call()  # the owner may have set other limits
            self._foreign_version = version
            self.wake()
