"""The order is a window: what everybody has executed and cosigned is dropped from it.

heights that members cosigned      A 120   B 118   C 95
all have passed ............................... 95 - margin  ◀─ trim below
C away for more than the window ... final, so 118 - margin     C takes the rest from the others, verified
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from ledger.errors import OrderingUnavailable
from ledger.ordering.orderer import Orderer
from ledger.replication.attestation import Attestations
from runtime.logs import get_logger

_log = get_logger("ledger.trimming")

_EVERY_S: Final = 2.0
_STEP: Final = 32


class Trimming:
    """The proposer does it for all. margin: blocks kept in any case; window: blocks kept for a member that is away."""

    def __init__(self, orderer: Orderer, attestations: Attestations, margin: int, window: int) -> None:
        self._orderer = orderer
        self._attestations = attestations
        self._margin = margin
        self._window = window
        self.below = 0

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            if self._orderer.leads:
                try:
                    await self.once()
                except OrderingUnavailable as error:
                    _log.info("not trimmed", error=str(error))

    async def once(self) -> int:
        """Trim now, if it is worth it; the line below which nothing is kept. Raises OrderingUnavailable."""
        heights = {name: height for name, (_, height) in self._attestations.cosigned().items()}
        members = self._attestations.members()
        line = trim_line(heights, members, self._attestations.final.height, self._margin, self._window)
        if line >= self.below + _STEP:
            await self._orderer.trim(line)
            self.below = line
            _log.info("the order was trimmed", below=line)
        return self.below


def trim_line(heights: Mapping[str, int], members: list[str], final: int, margin: int, window: int) -> int:
    """Below which height no block is needed: `heights` that each member cosigned, `final` that a quorum did."""
    everybody = min((heights.get(name, 0) for name in members), default=0)
    line = everybody if final - everybody <= window else final
    return max(0, min(line, final) - margin)
