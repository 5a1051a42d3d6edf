"""One home turns to its next id.

    ven.next.key made ─▶ POST {vtn}/enrolment/pseudonym, signed by the present key ─▶ the VTN enrols the new id
      ─▶ one transaction: identity, period, and the end of the old id, sealed now and sent at its own moment
      ─▶ ven.next.key becomes ven.key

Repeating any of it changes nothing: the key is made once, the VTN answers the same request alike, and a start finds by
the keys which of the two ids it is. Nothing that this home keeps afterwards signs for the old id.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from contracts.core.commands import RevokeParty, Transfer
from contracts.tokens import Account, party_account
from ledger.client import LedgerClient
from runtime.clock import Clock
from runtime.logs import get_logger
from ven.account.credentials import Credentials
from ven.account.enrolment import post
from ven.account.identity import Identity, read_identity, read_policy, write_identity
from ven.account.pseudonyms.periods import Period, drawn, due, period_at
from ven.account.wallet import KEY_FILE, Wallet
from ven.errors import EnrolmentRefused, NotEnrolled
from ven.home.store import ContractState, Store

NEXT_FILE = "ven.next.key"
NOTE = "pseudonym"
FORMAT = "gridpact.pseudonym.1"

_OPEN = (
    ContractState.PROPOSED,
    ContractState.ACCEPTING,
    ContractState.ACCEPTED,
    ContractState.REJECTING,
    ContractState.SETTLED,
)
_VALID_MS = 30 * 86_400_000  # the end of the old id may come so long after its moment

_log = get_logger("ven.account.pseudonyms")


class Turned(Exception):
    """The home has another id: what was made for the old one is to be made anew."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    party: str


class Turning:
    """Turns one home with the billing period. `draw(n)` gives a number from 0 to n that nobody can guess."""

    def __init__(
        self,
        identity: Identity,
        wallet: Wallet,
        folder: Path,
        store: Store,
        ledger: LedgerClient,
        session: aiohttp.ClientSession,
        clock: Clock,
        *,
        draw: Callable[[int], int] = lambda n: secrets.randbelow(n + 1),
    ) -> None:
        self._identity = identity
        self._wallet = wallet
        self._folder = folder
        self._store = store
        self._ledger = ledger
        self._session = session
        self._clock = clock
        self._draw = draw

    async def look(self) -> None:
        """Turns if it is time. Raises Turned when it is done; EnrolmentRefused, VtnUnreachable, LedgerError, StoreFull
        if it was not (again at the next look)."""
        now_ms, zone = self._clock.now_ms(), self._identity.site_zone
        known = self._store.notes.read(NOTE, Period)
        period = Period(period=period_at(now_ms, zone)) if known is None else drawn(known, now_ms, zone, self._draw)
        if period != known:
            self._store.notes.write(NOTE, period)
        if due(period, now_ms) and self._free():
            await self._turn(period)

    def _free(self) -> bool:
        """Does nothing that is open name the present id?"""
        waiting = self._store.outbox.count() or self._store.proofs.wanted()
        return not waiting and not self._store.contracts.in_state(*_OPEN)

    async def _turn(self, period: Period) -> None:
        identity, following = self._identity, Wallet.open_or_create(self._folder, NEXT_FILE, self._identity.channel)
        account = await self._ledger.record(Account, party_account(self._wallet.party)) or Account()
        text: dict[str, Any] = {
            "format": FORMAT,
            "ven_id": identity.ven_id,
            "period": period.turning_to,
            "public_key": following.public,
            "proof": following.prove_enrolment(identity.sponsor, identity.area),
            "at_ms": self._clock.wall_ms(),
        }
        body = {"ven_id": identity.ven_id, "signed": self._wallet.sign_text(text)}
        credentials = Credentials(self._folder)
        answer = await post(self._session, identity.vtn_url, "/enrolment/pseudonym", body, _Answer, credentials)
        if answer.party != following.party:
            raise EnrolmentRefused(f"the VTN enrolled {answer.party}, the next key of this home is {following.party}")
        free_minor = account.credits_posted - account.debits_posted - account.debits_pending
        assert period.turning_to is not None
        with self._store.transaction():
            self._end(free_minor, period.close_ms)
            self._store.notes.write(NOTE, Period(period=period.turning_to))
            new = msgspec.structs.replace(identity, party=following.party)
            write_identity(self._store.notes, new, read_policy(self._store.notes))
        finish_turn(self._folder, self._store)
        _log.info("turned to another id", home=identity.ven_name, period=period.turning_to, party=following.party)
        raise Turned

    def _end(self, free_minor: int, close_ms: int) -> None:
        """Everything to the sponsor, who pays it out by the bill; then the id signs no more."""
        commands = [RevokeParty(party=self._wallet.party, reason="")]
        if free_minor > 0:
            transfer = Transfer(to=self._identity.sponsor, amount_minor=free_minor, reference="")
            self._store.outbox.add(self._wallet.seal(transfer, close_ms + _VALID_MS), "", not_before_ms=close_ms)
        for command in commands:
            self._store.outbox.add(self._wallet.seal(command, close_ms + _VALID_MS), "", not_before_ms=close_ms)


def finish_turn(folder: Path, store: Store) -> None:
    """Puts the key of the present id in its place, where a turn was cut short. Raises KeyFileError."""
    following = folder / NEXT_FILE
    if not following.exists():
        return
    try:
        identity = read_identity(store.notes)
    except NotEnrolled:
        return
    if Wallet.open(folder, identity.channel, NEXT_FILE).party == identity.party:
        following.replace(folder / KEY_FILE)
