"""The rules and an arithmetic that shares nothing with them come to the same Wh and the same money."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import settlement
from contracts.core import commands as c
from contracts.core.codec import encode
from contracts.core.facts import DRSettled
from tests.contracts.world import (
    BASELINE,
    END_MS,
    EVENT_MS,
    SETTLE_MS,
    World,
    a_group_setup,
    a_home_setup,
    a_request,
    an_offer,
    changed,
    group_terms,
    home_terms,
    readings,
)
from tests.e2e import arithmetic

STEP_MS = 900_000
PRICE = st.integers(0, 5_000_000)
PERCENT = st.integers(0, 400)


@st.composite
def terms_given(draw: st.DrawFn, obligation: st.SearchStrategy[int], length: int) -> dict[str, Any]:
    """What either level's terms share."""
    cap = draw(st.integers(1, 200))
    success = draw(st.integers(1, cap))
    return {
        "obligation_wh": tuple(draw(st.lists(obligation, min_size=length, max_size=length).filter(any))),
        "penalty_price_minor_per_mwh": draw(PRICE),
        "tolerance_percent": draw(PERCENT),
        "cap_percent": cap,
        "success_percent": success,
        "partial_percent": draw(st.integers(1, success)),
        "deposit_minor": draw(st.integers(0, 500)),
    }


@st.composite
def metered_terms(draw: st.DrawFn, price_max: int = 5_000_000) -> tuple[c.Terms, dict[int, int]]:
    """Terms of a home in some of the hour's intervals, and its readings: missing, at the limit, just beyond it."""
    first = draw(st.integers(0, 3))
    length = draw(st.integers(1, 4 - first))
    baseline = changed(
        BASELINE,
        curve_wh=tuple(draw(st.lists(st.integers(-1500, 1500), min_size=length, max_size=length))),
        adjustment_wh=tuple(draw(st.lists(st.integers(-1500, 1500), min_size=12, max_size=12))),
    )
    limit = draw(st.integers(0, 3000))
    start_ms = EVENT_MS + first * STEP_MS
    terms = home_terms(
        **draw(terms_given(st.integers(0, 300), length)), start_ms=start_ms, meter_limit_wh=limit, baseline=baseline,
        energy_price_minor_per_mwh=draw(st.integers(0, price_max)),
    )  # fmt: skip
    at_limit = st.sampled_from((limit, -limit, limit + 1, -limit - 1))
    in_event = st.one_of(st.integers(-limit, limit), st.integers(-limit, limit), at_limit, st.none())
    in_window = st.one_of(st.integers(-limit, limit), st.just(limit)) if draw(st.booleans()) else in_event
    found: dict[int, int] = {}
    for begin_ms, values in (
        (start_ms, draw(st.lists(in_event, min_size=length, max_size=length))),
        (baseline.adjustment_start_ms, draw(st.lists(in_window, min_size=12, max_size=12))),
    ):
        found |= {begin_ms + n * STEP_MS: value for n, value in enumerate(values) if value is not None}
    return terms, found


def as_printed(struct: Any) -> dict[str, Any]:
    """As the ledger gives it out in JSON."""
    found: dict[str, Any] = json.loads(encode(struct))
    return found


@settings(max_examples=300)
@given(metered_terms())
def test_both_measure_a_device_alike(given_terms: tuple[c.Terms, dict[int, int]]) -> None:
    terms, found = given_terms
    assert terms.baseline is not None
    event = [found.get(terms.start_ms + n * STEP_MS) for n in range(len(terms.obligation_wh))]
    window = [found.get(terms.baseline.adjustment_start_ms + n * STEP_MS) for n in range(12)]
    delivery = settlement.device_delivery(terms, terms.baseline, event, window)
    assert arithmetic._device(as_printed(terms), found) == (list(delivery.delivered_wh), delivery.shortfall_wh)


@st.composite
def events(draw: st.DrawFn) -> tuple[c.Terms, list[tuple[c.Terms, dict[int, int]]]]:
    """Terms of a group, and its homes."""
    price = draw(PRICE)
    given_terms = draw(terms_given(st.integers(0, 1500), 4))
    group = group_terms(**{**given_terms, "energy_price_minor_per_mwh": price, "minimum_percent": 0})
    return group, draw(st.lists(metered_terms(price), min_size=1, max_size=4))


def run_event(group: c.Terms, homes: list[tuple[c.Terms, dict[int, int]]]) -> tuple[World, set[str]]:
    """The event from need to payment; the contracts that were accepted. A home that the group's escrow does not cover
    is refused."""
    world = World()
    world.run("utl", c.Issue(to="utl", amount_minor=10**6, reference=""))
    world.run("utl", a_request(energy_price_minor_per_mwh=5_000_000, budget_minor=10**6))
    world.run("agg", a_group_setup(group, offer=an_offer(group)))
    world.accept("s1")
    accepted: set[str] = set()
    for device, (terms, _) in zip(world.devices, homes, strict=False):
        outcome = world.submit("vn", a_home_setup(device, terms))
        if outcome.code == "ok":
            world.accept(f"s2-{device}")
            accepted |= {"s1", f"s2-{device}"}
        else:
            assert outcome.code == "funds_insufficient"
    world.advance(END_MS)
    for device, (_, found) in zip(world.devices, homes, strict=False):
        for start_ms, value in found.items():
            world.run(device, readings(start_ms, value, device=device))
    world.advance(SETTLE_MS)
    if accepted:
        world.settle()
        world.complete()
    return world, accepted


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(events())
def test_both_pay_an_event_alike(event: tuple[c.Terms, list[tuple[c.Terms, dict[int, int]]]]) -> None:
    world, accepted = run_event(*event)
    recorded = arithmetic.Recorded()
    happened = [fact for _, _, outcome in world.journal for fact in outcome.facts]
    for fact in happened:
        recorded.take(as_printed(fact))
    assert set(recorded.completed) == accepted
    expected = arithmetic.expected_payments(recorded)
    for name, completed in recorded.completed.items():
        assert expected[name] == arithmetic.Expected(
            energy_minor=completed["energy_minor"],
            penalty_minor=completed["penalty_minor"],
            amount_minor=completed["amount_minor"],
            delivered_wh=completed["delivered_wh"],
            paid_wh=completed["paid_wh"],
        ), name
    for fact in happened:
        if isinstance(fact, DRSettled) and fact.parent is not None:
            terms, payee = recorded.terms[fact.contract_id], recorded.payee[fact.contract_id]
            assert arithmetic._device(terms, recorded.readings.get(payee, {}))[1] == fact.shortfall_wh
