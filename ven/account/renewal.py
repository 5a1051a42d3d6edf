"""The home's certificate is renewed in time, while the home runs; until then and after a failure the old one serves."""

from __future__ import annotations

import asyncio
import random

import aiohttp

from runtime.clock import Clock
from runtime.errors import GridpactError
from runtime.logs import get_logger
from ven.account.credentials import Credentials
from ven.account.enrolment import renew
from ven.account.identity import Identity
from ven.account.wallet import Wallet

LOOK_S = 3600.0
"""Wall time between two looks at the certificate's end."""

_log = get_logger("ven.account.renewal")


class Renewal:
    """Renews one home's certificate; `run` it as a task."""

    def __init__(
        self,
        identity: Identity,
        wallet: Wallet,
        credentials: Credentials,
        session: aiohttp.ClientSession,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._wallet = wallet
        self._credentials = credentials
        self._session = session
        self._clock = clock

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await self.look()
            # the homes of a process do not ask all at once
            await asyncio.sleep(LOOK_S * random.uniform(0.8, 1.2))

    async def look(self) -> None:
        """Renew the certificate if it is time; a failure is logged, and tried again at the next look."""
        try:
            if not self._identity.vtn_url or not self._credentials.due():
                return
            await renew(self._identity, self._wallet, self._credentials, self._session, self._clock.wall_ms())
        except GridpactError as error:
            _log.warning("certificate not renewed", home=self._identity.ven_name, reason=str(error))
