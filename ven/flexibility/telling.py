"""Tells the VTN what this home can do, signed by the ledger key, whenever that is something else than it was told."""

from __future__ import annotations

import asyncio
import random

import aiohttp
import msgspec

from runtime.clock import Clock, happened
from runtime.errors import GridpactError
from runtime.logs import get_logger
from ven.account.credentials import Credentials
from ven.account.enrolment import post
from ven.account.identity import Identity
from ven.account.wallet import Wallet
from ven.errors import EnrolmentRefused, StoreFull
from ven.flexibility.describing import differs
from ven.flexibility.recording import Record
from ven.flexibility.told import Told, read_told, write_told
from ven.home.store import Store

FORMAT = "gridpact.resource.1"
LOOK_S = 300.0
"""Wall time between two looks at what there is to tell."""
_AT_ONCE_S = 2.0  # homes of a process that learn from the same event do not all tell it in the same moment
_REFUSED_MS = 86_400_000  # what was refused is told again after a day: the VTN may have changed

_log = get_logger("ven.flexibility.telling")


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    unknown_kinds: tuple[str, ...] = ()


class Telling:
    """What one home tells; `run` it as a task, `call` it when there may be something new."""

    def __init__(
        self,
        identity: Identity,
        wallet: Wallet,
        credentials: Credentials,
        store: Store,
        record: Record,
        session: aiohttp.ClientSession,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._wallet = wallet
        self._credentials = credentials
        self._store = store
        self._record = record
        self._session = session
        self._clock = clock
        self._called = asyncio.Event()

    def call(self) -> None:
        """There may be something new to tell."""
        self._called.set()

    async def run(self) -> None:
        """Tell what is new until cancelled. Raises StoreFull."""
        while True:
            await asyncio.sleep(_AT_ONCE_S * random.uniform(0.1, 1.0))
            self._called.clear()
            try:
                await self.look()
            except StoreFull:
                raise
            except GridpactError as error:
                _log.warning("devices not told", home=self._identity.ven_name, why=str(error))
            await happened(self._called, LOOK_S * random.uniform(0.8, 1.2))

    async def look(self) -> bool:
        """Tell the VTN what this home can do, if that is new to it; was it told something?

        What it refuses is kept with the reason, and not told again for a day. Raises VtnUnreachable (again at the next
        look), StoreFull."""
        told, wall_ms = read_told(self._store.notes), self._clock.wall_ms()
        offer = self._record.offer(self._clock.now_ms(), None if told is None else told.offer)
        known = told is not None and (not told.refused or wall_ms < told.at_ms + _REFUSED_MS)
        if told is not None and known and not differs(offer, told.offer):
            return False
        text = {
            "format": FORMAT,
            "ven_id": self._identity.ven_id,
            "at_ms": wall_ms,
            "resource": msgspec.to_builtins(offer),
        }
        body = {"ven_id": self._identity.ven_id, "signed": self._wallet.sign_text(text)}
        url = self._identity.vtn_url
        try:
            answer = await post(self._session, url, "/enrolment/resource", body, _Answer, self._credentials)
        except EnrolmentRefused as error:
            _log.warning("devices refused", home=self._identity.ven_name, why=str(error))
            write_told(self._store.notes, Told(offer=offer, at_ms=wall_ms, refused=str(error)))
            return True
        write_told(self._store.notes, Told(offer=offer, at_ms=wall_ms, unknown_kinds=answer.unknown_kinds))
        _log.info(
            "devices told", home=self._identity.ven_name, flexible_w=offer.flexible_w, devices=len(offer.devices),
            percent=offer.corrected_percent,
        )  # fmt: skip
        return True
