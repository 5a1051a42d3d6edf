"""Contract terms out of a programme, a need and a moment: prices, shares and deadlines of both levels."""

from __future__ import annotations

import msgspec

from contracts.core.commands import TARGETS_MAX, BaselineCommitment, RequestReduction, Terms
from contracts.core.units import MS_PER_S
from openadr.model import DrEvent, Signal, SignalInterval, Target, digest
from vtn.services.programs import Program


def request_end_ms(request: RequestReduction) -> int:
    """End of a need's last interval."""
    return request.start_ms + len(request.target_wh) * request.interval_s * MS_PER_S


def earliest_start_ms(program: Program, now_ms: int) -> int:
    """First interval a contract proposed now can still cover: it must be accepted before it starts, for which the
    programme's notice is enough."""
    return _next_ms(program, now_ms + min(program.terms.notice_s, program.terms.accept_window_s) * MS_PER_S)


def unhurried_start_ms(program: Program, now_ms: int) -> int:
    """First interval for which whoever is called now has all its time to accept."""
    return _next_ms(program, now_ms + program.terms.accept_window_s * MS_PER_S)


def virtual_node_terms(
    program: Program, request: RequestReduction, event: DrEvent, obligation_wh: tuple[int, ...], now_ms: int,
    price_minor_per_mwh: int, assisting: tuple[str, ...],
) -> Terms:  # fmt: skip
    """Terms of an SC1 for `obligation_wh` from the event's start on."""
    lead_ms = event.start_ms - now_ms
    window_ms = program.terms.accept_window_s * MS_PER_S
    return Terms(
        need_id=request.need_id,
        dr_event_id=event.event_id,
        dr_event_digest=digest(event),
        start_ms=event.start_ms,
        interval_s=request.interval_s,
        obligation_wh=obligation_wh,
        energy_price_minor_per_mwh=price_minor_per_mwh,
        penalty_price_minor_per_mwh=program.terms.virtual_node_penalty_minor_per_mwh,
        tolerance_percent=program.terms.virtual_node_tolerance_percent,
        cap_percent=program.terms.cap_percent,
        success_percent=program.terms.success_percent,
        partial_percent=program.terms.partial_percent,
        minimum_percent=program.terms.minimum_percent,
        deposit_minor=program.terms.virtual_node_deposit_minor,
        meter_limit_wh=program.terms.connection_w * request.interval_s // 3600,
        accept_by_ms=now_ms + min(window_ms, lead_ms // 2),
        activate_by_ms=now_ms + min(2 * window_ms, lead_ms),
        settle_after_ms=request_end_ms(request) + program.terms.metering_grace_s * MS_PER_S,
        baseline_preset=program.terms.baseline_preset,
        baseline=None,
        assisting=assisting[:TARGETS_MAX],
    )


def device_terms(
    program: Program, parent: Terms, event: DrEvent, obligation_wh: tuple[int, ...],
    baseline: BaselineCommitment, accept_by_ms: int,
) -> Terms:  # fmt: skip
    """Terms of an SC2 for `obligation_wh` from the event's start on, under the SC1 with the terms `parent`."""
    return msgspec.structs.replace(
        parent,
        dr_event_id=event.event_id,
        dr_event_digest=digest(event),
        start_ms=event.start_ms,
        obligation_wh=obligation_wh,
        energy_price_minor_per_mwh=program.terms.device_price_minor_per_mwh,
        penalty_price_minor_per_mwh=program.terms.device_penalty_minor_per_mwh,
        tolerance_percent=program.terms.device_tolerance_percent,
        deposit_minor=program.terms.device_deposit_minor,
        accept_by_ms=accept_by_ms,
        activate_by_ms=accept_by_ms,
        baseline=baseline,
        assisting=(),
    )


def dr_event(program: Program, event_id: str, group: str, start_ms: int, end_ms: int) -> DrEvent:
    """The OpenADR event of a contract: one SIMPLE signal at the programme's level over the whole time; how much each
    home is asked for is in its contract."""
    duration_s = (end_ms - start_ms) // MS_PER_S
    signal = Signal(
        signal_id="simple",
        name="SIMPLE",
        type="level",
        unit=None,
        intervals=(SignalInterval(duration_s=duration_s, payload=str(program.terms.signal_level)),),
    )
    return DrEvent(
        event_id=event_id,
        program=program.market_context,
        modification_number=0,
        priority=program.terms.priority,
        test_event=False,
        start_ms=start_ms,
        duration_s=duration_s,
        signals=(signal,),
        targets=(Target(kind="group", value=group),),
        response_required=True,
    )


def _next_ms(program: Program, at_ms: int) -> int:
    step_ms = program.terms.interval_s * MS_PER_S
    return -(-at_ms // step_ms) * step_ms
