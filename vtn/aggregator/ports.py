"""What the aggregator and its virtual nodes need from the rest of the world, as small interfaces.

A virtual node is reached through `VirtualNodePort` and the ledger only; its members through `Members` and `Events`.
All of them can be another process's one day without a change in the logic that uses them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Protocol

import msgspec

from contracts.core.commands import Offer, RequestReduction
from contracts.demand_response.contract import ContractRecord
from openadr.model import DrEvent
from vtn.flexibility.envelope import Device
from vtn.services.programs import ProgramTerms


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A home of a virtual node: its OpenADR id, its ledger party, and what it said it can shift: in all, and device by
    device where it did. corrected_ms: when a home that learns from its events last said something else for it, 0: it
    does not."""

    ven_id: str
    ven_name: str
    party: str
    area: str
    flexible_w: int
    flexible_percent: int
    events_per_week_max: int = 7
    devices: tuple[Device, ...] = ()
    corrected_ms: int = 0


class SignedOffer(msgspec.Struct, frozen=True, kw_only=True):
    """An offer with the virtual node's signature (hex), its reliability (basis points) and its expected load in the
    window (Wh), for the record of why it was chosen."""

    offer: Offer
    signature: str
    reliability_bp: int
    forecast_wh: int


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual node that cannot help, and why."""

    virtual_node: str
    reason: str


class Members(Protocol):
    """Homes and their telemetry."""

    async def of_group(self, group: str) -> list[Member]:
        """Enrolled homes of a virtual node, by ven_id."""

    async def readings(self, ven_ids: Collection[str], from_ms: int, to_ms: int) -> Mapping[str, dict[int, int]]:
        """Telemetry of each: interval start (ms) -> Wh, from_ms <= start < to_ms."""

    async def unavailable(self, ven_ids: Collection[str], from_ms: int, to_ms: int) -> Mapping[str, str]:
        """Why some of them do not want to be called between from_ms and to_ms: ven_id -> reason."""

    async def unheard(self, ven_ids: Collection[str]) -> Mapping[str, bool]:
        """Of those about whom it is known: has the VEN missed several of its polls by now?"""

    async def delays_ms(self, ven_ids: Collection[str], from_ms: int, to_ms: int) -> Mapping[str, int]:
        """How long after the end of an interval its reading comes at best; intervals of from_ms <= start < to_ms."""


class HomeForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a home is expected to use, Wh per interval, with the quantiles 0.1 and 0.9 where there are any. model: what
    served; reason: why it was not forecast the usual way, or ""."""

    values_wh: tuple[float, ...]
    low_wh: tuple[float, ...] = ()
    high_wh: tuple[float, ...] = ()
    model: str
    reason: str = ""

    @property
    def basis(self) -> str:
        """What it rests on, in words."""
        return f"{self.model}: {self.reason}" if self.reason else self.model


class HomeForecasts(Protocol):
    """Forecasts of all homes of a group at once."""

    async def of_homes(
        self,
        readings: Mapping[str, Mapping[int, int]],
        event_days: Mapping[str, Collection[date]],
        program: ProgramTerms,
        *,
        start_ms: int,
        count: int,
        now_ms: int,
    ) -> Mapping[str, HomeForecast]:
        """A forecast of `count` intervals from `start_ms` for each home of `readings` (ven_id -> start -> Wh) that has
        one that ended by `now_ms`. event_days: local days of a home that say nothing of its habits."""


class Events(Protocol):
    """DR events on their way to VENs."""

    async def plan(self, event: DrEvent) -> None:
        """Stores an event not yet sent; the same event again changes nothing."""

    async def publish(self, event_id: str, ven_ids: Collection[str]) -> None:
        """Queues the event for these VENs; again for the same VEN changes nothing."""

    async def withdraw(self, event_id: str, ven_ids: Collection[str]) -> None:
        """Cancels the event for these VENs alone; again, or for one that was not called, changes nothing."""

    async def cancel(self, event_id: str) -> None:
        """Cancels the event for everybody; again, or one that was never stored, changes nothing."""

    async def opts(self, event_id: str) -> Mapping[str, str]:
        """ven_id -> "optIn" or "optOut" of those who answered, "withdrawn" of those it was taken back from."""


class VirtualNodePort(Protocol):
    """A virtual node as its aggregator sees it."""

    @property
    def party(self) -> str:
        """Its ledger party id."""

    @property
    def area(self) -> str:
        """The feeder it lies on."""

    async def offer(self, request: RequestReduction) -> SignedOffer | Rejection:
        """What it offers for the whole window of the request (its profile is zero where it cannot help)."""

    async def advance(self, contract: ContractRecord) -> None:
        """Takes the next step its contract with the aggregator needs; harmless to repeat."""

    async def shortfall_wh(self, contract: ContractRecord) -> tuple[int, ...]:
        """Per interval of the contract: what it cannot cover with its own members any more."""
