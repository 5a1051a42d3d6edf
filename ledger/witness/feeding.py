"""A replica's log, brought to external witnesses: their cosignatures join those of the members.

    members agree on a size ─▶ newest of them ─▶ consistency proof from what the witness knows ─▶ add-checkpoint
                                    ▲                                                                │ line, verified
                                    └── at most every `interval_s`; a witness that is away: back-off │
      checkpoint with all lines ◀── finality, by the policy ◀── counted here and told to the peers ◀─┘

Nothing here is on the way of a block: one task a witness, one request at a time, nothing queued but the newest size. A
cosignature counts where the policy names the witness; where the policy's quorum needs it, finality waits for it, and
else never. Only what a quorum of members cosigned is shown to a witness, so a member that is wrong alone cannot use up
the log's name there.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from ledger.errors import StoreUnavailable
from ledger.log.checkpoint import render_note
from ledger.verify.note import parse_checkpoint
from ledger.witness.client import WitnessClient
from ledger.witness.errors import CheckpointRefused, SizeConflict, WitnessError
from ledger.witness.trust import ExternalWitness
from runtime.logs import get_logger

_log = get_logger("ledger.witness.feeding")

CONFLICTS_MAX: Final = 3
"""Tries in a row at a size that other members moved on: then the interval again."""
_BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_REFUSED_S: Final = 60.0
"""A witness that does not know the log will not learn of it within seconds."""
_LOOK_S: Final = 0.1
"""How often is looked whether the members agreed on more: as often as they exchange their lines."""


class Fed(Protocol):
    """What is needed of a replica; each of its channels is a log of its own."""

    @property
    def channel(self) -> str: ...

    def agreed_size(self) -> int:
        """Of the newest checkpoint that a quorum of the members cosigned; 0 before one."""

    def agreed_note(self) -> bytes | None:
        """That checkpoint with all lines at hand, or one a little older that has more; None before one."""

    async def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """The proof that the tree of `old_size` leaves is a prefix of the later one. Raises StoreUnavailable."""

    def witnessed(self, note: bytes) -> None:
        """Counts the lines of a checkpoint of ours, and tells the other members of them."""


@dataclass(slots=True)
class Fare:
    """How it goes with one witness, for the status. size: of the last checkpoint it cosigned for us; error: why not
    the newest, empty when all is well."""

    name: str
    url: str
    size: int = 0
    error: str = ""


@asynccontextmanager
async def feeding(
    logs: Mapping[str, Fed],
    witnesses: Sequence[ExternalWitness],
    *,
    ssl: ssl_module.SSLContext | None = None,
    interval_s: float = 1.0,
) -> AsyncIterator[dict[str, list[Fare]]]:
    """Feeds every log to every witness while it is open; by channel, how it goes. Raises InsecureAddress."""
    feeders = [Feeder(log, WitnessClient(each, ssl), interval_s) for log in logs.values() for each in witnesses]
    tasks = [asyncio.create_task(feeder.run()) for feeder in feeders]
    try:
        yield {name: [each.fare for each in feeders if each.channel == log.channel] for name, log in logs.items()}
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Feeder:
    """One log and one witness."""

    def __init__(self, log: Fed, client: WitnessClient, interval_s: float) -> None:
        self._log = log
        self._client = client
        self._interval_s = interval_s
        self._known = self._done = 0
        self.channel = log.channel
        self.fare = Fare(client.witness.name, client.witness.url)

    async def run(self) -> None:
        """For ever."""
        failures = 0
        async with self._client:
            while True:
                wait_s = self._interval_s
                try:
                    await self.once()
                    failures = 0
                    self._told("")
                except (WitnessError, StoreUnavailable) as error:
                    wait_s = max(wait_s, _REFUSED_S if _is_final(error) else _BACKOFF_S[min(failures, 5)])
                    failures += 1
                    self._told(str(error))
                except Exception as error:
                    _log.exception("a checkpoint was not witnessed", channel=self.channel, witness=self.fare.name)
                    wait_s = _REFUSED_S
                    self._told(repr(error))
                await asyncio.sleep(wait_s)
                while not self._is_due():
                    await asyncio.sleep(_LOOK_S)

    async def once(self) -> bool:
        """Brings the newest agreed checkpoint, unless the witness has cosigned it; whether it did now. Raises
        WitnessError, StoreUnavailable."""
        for _ in range(CONFLICTS_MAX):
            note = self._log.agreed_note()
            if note is None or not self._is_due():
                return False
            checkpoint = parse_checkpoint(note)
            hashes = await self._log.consistency(self._known, checkpoint.size)
            # the log's lines alone: some witnesses read 10 kB and no more
            lines = [line for line in checkpoint.signatures if line.name == checkpoint.origin]
            try:
                line = await self._client.add_checkpoint(self._known, hashes, render_note(checkpoint.text, lines))
            except SizeConflict as error:
                if error.known == self._known:
                    raise CheckpointRefused(409, f"the witness cosigned another tree of {error.known} leaves") from None
                self._known = error.known
                continue
            self._known = self._done = self.fare.size = checkpoint.size
            self._log.witnessed(render_note(checkpoint.text, [*lines, line]))
            return True
        return False

    def _is_due(self) -> bool:
        """Is there a checkpoint without this witness's line that it could cosign?"""
        note = self._log.agreed_note() if self._log.agreed_size() > self._done else None
        if note is None:
            return False
        checkpoint, key = parse_checkpoint(note), self._client.witness.key
        has_line = any((line.name, line.key_id) == (key.name, key.key_id) for line in checkpoint.signatures)
        return not has_line and checkpoint.size > self._done and checkpoint.size >= self._known

    def _told(self, error: str) -> None:
        if error and error != self.fare.error:
            _log.warning("not witnessed", channel=self.channel, witness=self.fare.name, error=error)
        elif self.fare.error and not error:
            _log.info("witnessed again", channel=self.channel, witness=self.fare.name)
        self.fare.error = error


def _is_final(error: Exception) -> bool:
    """A witness that knows the log by one member's key refuses (403) what only the others signed so far."""
    return isinstance(error, CheckpointRefused) and error.status != 403
