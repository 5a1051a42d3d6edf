"""Commands of demand response: needs, contracts, measurements."""

from typing import Final

from contracts.core.codec import encode
from contracts.core.commands.base import Command, Part
from contracts.core.envelope import OFFER_CONTEXT
from contracts.core.units import (
    Hash,
    Id,
    IntervalS,
    Minor,
    Percent,
    Price,
    SignatureHex,
    Text,
    TimeMs,
    Wh,
    WhUp,
)

INTERVALS_MAX: Final = 192
READINGS_MAX: Final = 672
TARGETS_MAX: Final = 64


class RequestReduction(Command, frozen=True, kw_only=True):
    """A need: the utility asks `aggregator` for less energy and puts `budget_minor` in escrow.

    target_wh: Wh of import reduction per interval, >= 0. area: "portfolio" or a feeder id. The budget must cover the
    target at the energy price; what is not earned returns at CloseRequest."""

    need_id: Id
    aggregator: Id
    area: Id
    start_ms: TimeMs
    interval_s: IntervalS
    target_wh: tuple[WhUp, ...]
    energy_price_minor_per_mwh: Price
    budget_minor: Minor


class CloseRequest(Command, frozen=True, kw_only=True):
    """Returns what the need's escrow still holds, once every contract under it has ended."""

    need_id: Id


class Offer(Part, frozen=True, kw_only=True):
    """What a virtual node signs before it is contracted: at most `profile_wh`, at no lower price than this."""

    need_id: Id
    aggregator: Id
    virtual_node: Id
    start_ms: TimeMs
    interval_s: IntervalS
    profile_wh: tuple[WhUp, ...]
    energy_price_minor_per_mwh: Price
    valid_until_ms: TimeMs


class BaselineCommitment(Part, frozen=True, kw_only=True):
    """The baseline as both sides knew it before the event (measurement.md, 'committed before').

    curve_wh: unadjusted baseline per contract interval. adjustment_start_ms, adjustment_wh: the window before the
    event, with the unadjusted baseline in it, from which the same-day adjustment is derived at settlement out of
    signed readings. history_digest: SHA-256 of the like-days the curve was made from."""

    preset: Id
    preset_version: int
    history_digest: Hash
    curve_wh: tuple[Wh, ...]
    adjustment_start_ms: TimeMs
    adjustment_wh: tuple[Wh, ...]
    adjustment_cap_percent: Percent


class Terms(Part, frozen=True, kw_only=True):
    """What both parties of a contract agree on; AcceptReduction names its digest.

    obligation_wh per interval of `interval_s` from `start_ms`; dr_event_digest: of the canonical OpenADR event.
    tolerance_percent: part of the obligation whose lack is not penalised. cap_percent: delivered energy counts up to
    this part of the obligation. success_percent, partial_percent: of the obligation, for the outcome.
    deposit_minor: the payee's stake. meter_limit_wh: a reading beyond this, either way, is no valid one (what the
    device's connection can carry in an interval). accept_by_ms: the payee's deadline; activate_by_ms: when an
    aggregator contract goes ahead with those who accepted, at once when they cover minimum_percent. settle_after_ms:
    metering deadline."""

    need_id: Id
    dr_event_id: Id
    dr_event_digest: Hash
    start_ms: TimeMs
    interval_s: IntervalS
    obligation_wh: tuple[WhUp, ...]
    energy_price_minor_per_mwh: Price
    penalty_price_minor_per_mwh: Price
    tolerance_percent: Percent
    cap_percent: Percent
    success_percent: Percent
    partial_percent: Percent
    minimum_percent: Percent
    deposit_minor: Minor
    meter_limit_wh: WhUp
    accept_by_ms: TimeMs
    activate_by_ms: TimeMs
    settle_after_ms: TimeMs
    baseline_preset: Id
    baseline: BaselineCommitment | None
    assisting: tuple[Id, ...]


class SetupDR(Command, frozen=True, kw_only=True):
    """Proposes a contract: by the aggregator to a virtual node (`parent` None, with the node's signed offer) or by
    a virtual node to a device (`parent` = its contract with the aggregator, with a committed baseline)."""

    contract_id: Id
    parent: Id | None
    payee: Id
    terms: Terms
    offer: Offer | None
    offer_signature: SignatureHex | None


class AcceptReduction(Command, frozen=True, kw_only=True):
    """The payee accepts exactly these terms."""

    contract_id: Id
    terms_digest: Hash


class RejectReduction(Command, frozen=True, kw_only=True):
    """The payee declines: no penalty; the escrow returns."""

    contract_id: Id
    reason: Text


class RecordMeasurements(Command, frozen=True, kw_only=True):
    """A device records its own meter: energy per interval, import > 0, export < 0, from `start_ms` on."""

    device: Id
    start_ms: TimeMs
    interval_s: IntervalS
    energy_wh: tuple[Wh, ...]


class ForgetReadings(Command, frozen=True, kw_only=True):
    """Drops a device's readings before `before_ms` from the state, 672 a transaction: asked by itself or its sponsor,
    once nothing can be settled or disputed by them any more."""

    device: Id
    before_ms: TimeMs


class SettleDR(Command, frozen=True, kw_only=True):
    """Measures delivery of an aggregator contract from recorded measurements, 200 devices a transaction."""

    contract_id: Id


class DRCompletion(Command, frozen=True, kw_only=True):
    """Pays: ends the contract and, by cascade, those below it, 200 a transaction."""

    contract_id: Id


def offer_bytes(offer: Offer) -> bytes:
    """What a virtual node signs to make an offer."""
    return OFFER_CONTEXT + encode(offer)


def measurement_key(device: str, start_ms: int) -> str:
    """Key of a measurement record: sorted by device, then time."""
    return f"{device}/{start_ms:016d}"
