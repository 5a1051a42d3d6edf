"""What becomes of an event: a need on the ledger and optIn, or optOut with the reason, or an operator is asked."""

from __future__ import annotations

import pytest

from contracts.core.codec import decode
from contracts.demand_response.needs import NeedRecord
from openadr.model import Reading, Signal, SignalInterval, Target, Unit
from tests.builders import START_MS, a_signal
from tests.vtn.upstream.world import EVENT_MS, HOUR_MS, add_homes, an_event, listed
from vtn.errors import Conflict, InvalidInput, NotFound
from vtn.upstream import overview, records


def need_on(ledger, need_id):
    data = ledger.get("need", need_id)
    return None if data is None else decode(data, NeedRecord)


async def test_an_event_within_the_limits_is_a_need_on_the_ledger_and_then_opted_in(aggregator, desks):
    """4 kW for an hour, from homes of 20 kW: 1,000 Wh a quarter, signed by the utility's party."""
    event = await desks.receive(an_event())
    [need] = await desks.needs_of()
    found = need_on(aggregator.ledger, need.need_id)
    assert (event.state, need.state) == (records.TAKEN, records.TAKEN)
    assert found.request.target_wh == (1_000,) * 4
    assert (found.request.start_ms, found.request.interval_s) == (EVENT_MS, 900)
    assert found.request.aggregator == aggregator.vtn.party
    assert found.request.budget_minor == 1_200  # 4 kWh x 1.5 at 200,000 minor units a MWh
    assert await desks.answer() == ("optIn", 200, "OK")


async def test_nothing_is_answered_while_the_ledger_is_silent(aggregator, desks):
    aggregator.ledger.down = True
    with pytest.raises(Exception, match="ledger"):
        await desks.receive(an_event())
    assert (await desks.event()).state == records.REQUESTED
    assert await desks.answer() is None
    aggregator.ledger.down = False
    assert (await desks.work()).state == records.TAKEN
    assert await desks.answer() == ("optIn", 200, "OK")
    assert len(await desks.needs_of()) == 1


async def test_a_lost_answer_of_the_ledger_makes_no_second_need(aggregator, desks):
    aggregator.ledger.loses_answers = 1
    with pytest.raises(Exception, match="ledger"):
        await desks.receive(an_event())
    executed = len(aggregator.ledger.executed)
    aggregator.ledger.down = False
    assert (await desks.work()).state == records.TAKEN
    assert len(aggregator.ledger.executed) == executed


async def test_more_than_the_homes_have_is_opted_out_with_the_reason(desks):
    """Ten homes of 2 kW, of which 80 % count and 20 % are kept in reserve: 12.8 kW. The limit is raised for it."""
    object.__setattr__(desks.vtn.settings, "upstream_automatic_w_max", 50_000)
    event = await desks.receive(an_event(kw="13"))
    assert event.state == records.REFUSED
    opt, code, why = await desks.answer()
    assert (opt, code) == ("optOut", 200)
    assert why == ("3250 Wh asked for in the interval at 2026-01-01T06:00Z, the homes have 3200 Wh free of 12800 W")
    assert await desks.needs_of() == []


async def test_what_another_need_claims_is_not_promised_twice(desks):
    await desks.receive(an_event(kw="9"))
    event = await desks.receive(an_event("peak-2", kw="5"), an_event(kw="9"))
    assert event.state == records.REFUSED
    assert "950 Wh free" in event.note  # 3,200 less 2,250


async def test_a_refusal_of_the_ledger_is_an_opt_out_with_its_reason(aggregator, desks):
    object.__setattr__(desks.vtn.settings, "upstream_price_minor_per_mwh", 900_000_000)
    event = await desks.receive(an_event())
    assert event.state == records.REFUSED
    assert await desks.answer() == (
        "optOut", 200, "the ledger refused it: the account does not hold enough free funds",
    )  # fmt: skip


async def test_more_than_is_taken_without_asking_waits_for_the_operator(desks):
    event = await desks.receive(an_event(kw="12"))
    assert (event.state, event.note) == (records.HELD, "12000 W: up to 10000 W are taken without asking")
    assert await desks.answer() is None
    await overview.approve(desks.vtn, "peak-1")
    assert (await desks.work()).state == records.TAKEN
    assert await desks.answer() == ("optIn", 200, "OK")
    with pytest.raises(Conflict, match="does not wait"):
        await overview.approve(desks.vtn, "peak-1")


async def test_what_nobody_approves_in_time_is_opted_out(desks, clock):
    """Half an hour to accept contracts; with half of the hour lost before it, there is no sense in it any more."""
    await desks.receive(an_event(kw="12"))
    clock.advance(6 * HOUR_MS - 1_800_000 + 900_000)
    assert (await desks.work()).state == records.HELD
    clock.advance(900_001)
    assert (await desks.work()).state == records.REFUSED
    assert await desks.answer() == ("optOut", 200, "nobody approved it in time")


async def test_prices_are_proposed_and_the_operator_says_how_much(desks):
    prices = Signal(
        "p", "ELECTRICITY_PRICE", "price", Unit("currency_per_kwh", "EUR"), (SignalInterval(3_600, "0.45"),)
    )
    event = await desks.receive(an_event(signals=(prices,)))
    assert (event.state, event.note) == (records.HELD, "prices: ELECTRICITY_PRICE price EUR: 0.45 for 60 min")
    with pytest.raises(InvalidInput, match="--kw"):
        await overview.approve(desks.vtn, "peak-1")
    with pytest.raises(InvalidInput, match="no energy"):
        await overview.approve(desks.vtn, "peak-1", 1)
    await overview.approve(desks.vtn, "peak-1", 2_000)
    assert (await desks.work()).state == records.TAKEN
    assert [need.request.target_wh for need in await desks.needs_of()] == [(500,) * 4]


async def test_an_operator_who_rejects_opts_out_also_of_what_was_taken(desks):
    await desks.receive(an_event())
    await overview.reject(desks.vtn, "peak-1", "the homes are needed at home")
    [need] = await desks.needs_of()
    assert need.withdraw_ms == START_MS
    assert await desks.answer() == ("optOut", 200, "the homes are needed at home")
    with pytest.raises(Conflict):
        await overview.reject(desks.vtn, "peak-1", "again")
    with pytest.raises(NotFound):
        await overview.reject(desks.vtn, "peak-9", "unknown")


@pytest.mark.parametrize("test_event", [True, False])
async def test_a_test_event_and_normal_operation_are_noted_and_opted_in(desks, test_event):
    level = a_signal(intervals=(SignalInterval(3_600, "1" if test_event else "0"),))
    event = await desks.receive(an_event(test_event=test_event, signals=(level,)))
    assert event.state == records.NOTED
    opt, code, _ = await desks.answer()
    assert (opt, code) == ("optIn", 200)
    assert await desks.needs_of() == []


async def test_an_event_for_others_is_a_target_mismatch(desks):
    event = await desks.receive(an_event(targets=(Target("ven", "somebody"),)))
    assert (event.state, event.opt_code) == (records.REFUSED, 462)


async def test_a_virtual_node_that_is_named_is_asked_alone(desks):
    await add_homes(desks.vtn, 5, node="vn-F2", area="F2")
    await desks.receive(an_event(targets=(Target("resource", "vn-F2"),)))
    [need] = await desks.needs_of()
    assert need.request.area == "F2"


async def test_an_event_that_breaks_a_rule_is_refused_with_its_code(desks):
    twice = (a_signal("a"), a_signal("b"))
    event = await desks.receive(an_event(signals=twice))
    assert (event.state, event.opt_code) == (records.REFUSED, 459)


# ---- changes and cancellations


async def test_a_cancelled_event_is_confirmed_and_its_need_let_go(aggregator, desks):
    await desks.receive(an_event())
    gone = an_event(modification_number=1, cancelled=True)
    event = await desks.receive(gone)
    [need] = await desks.needs_of()
    assert (event.state, need.withdraw_ms) == (records.CANCELLED, START_MS)
    assert await desks.answer() == ("optIn", 200, "cancelled")  # rule 36


async def test_an_event_that_is_listed_no_more_is_cancelled_without_an_answer(desks):
    await desks.receive(an_event())
    await desks.events.receive(listed(request_id="request-2"))
    assert (await desks.work()).state == records.CANCELLED
    assert await desks.answer() is None
    event = await desks.receive(an_event(), request_id="request-3")
    assert event.state == records.TAKEN, "listed again, it holds again"


async def test_a_randomised_cancellation_lets_homes_go_within_the_window(desks, clock):
    await desks.receive(an_event(start_after_s=600))
    clock.advance(6 * HOUR_MS + 600_000)
    event = await desks.receive(an_event(start_after_s=600, modification_number=1, cancelled=True))
    [need] = await desks.needs_of()
    assert need.withdraw_ms is not None
    assert 0 <= need.withdraw_ms - clock.now_ms() <= 600_000
    assert event.free_ms == need.withdraw_ms


async def test_a_changed_event_with_nobody_bound_yet_gets_a_new_need(desks):
    await desks.receive(an_event())
    event = await desks.receive(an_event(kw="8", modification_number=1))
    first, second = await desks.needs_of()
    assert (event.state, event.modification_number) == (records.TAKEN, 1)
    assert first.withdraw_ms == START_MS
    assert (second.state, second.request.target_wh) == (records.TAKEN, (2_000,) * 4)
    assert await desks.answer() == ("optIn", 200, "OK")


async def test_a_change_that_cannot_be_served_lets_go_of_what_was_promised(desks):
    await desks.receive(an_event())
    chargers = Signal("c", "CHARGE_STATE", "multiplier", None, (SignalInterval(3_600, "1"),))
    event = await desks.receive(an_event(signals=(chargers,), modification_number=1))
    [need] = await desks.needs_of()
    assert (event.state, event.opt_code, need.withdraw_ms) == (records.REFUSED, 460, START_MS)


async def test_a_limit_is_held_against_what_homes_drew_on_the_last_like_days(desks):
    """Ten homes drew 250 Wh a quarter (10 kW together) at this hour of the last days; to 4 kW it is 6 kW less."""
    object.__setattr__(desks.vtn.settings, "upstream_setpoint", "limit")
    nothing_known = await desks.receive(an_event("peak-0"))
    assert (nothing_known.state, nothing_known.note) == (
        records.REFUSED,
        "what the homes usually draw is not known yet",
    )
    quarters = [EVENT_MS - day * 24 * HOUR_MS + n * 900_000 for day in range(1, 15) for n in range(4)]
    for number in range(10):
        readings = [Reading("meter", start_ms, 900, 250) for start_ms in quarters]
        await desks.vtn.telemetry.store(f"ven-vn-F1-{number}", readings)
    event = await desks.receive(an_event(), an_event("peak-0"))
    [need] = await desks.needs_of()
    assert (event.state, need.request.target_wh) == (records.TAKEN, (1_500,) * 4)
