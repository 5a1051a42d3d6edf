"""What holds for every mix of contracts, events and owners' words."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from openadr.model import SignalInterval, Unit
from tests.builders import START_MS, a_dr_event, a_signal, device_terms
from tests.ven.homes import STEP_MS, a_stored_contract, a_stored_event
from ven.home.decision import Abilities, Availability, Known, Reduce, action, next_change_ms, plan
from ven.home.owner import Owner
from ven.home.store import ContractState, Opt, OptSchedule

STEPS = 3  # few, so that most of what is drawn overlaps
DEVICES = (Abilities(1500), Abilities(1800, rated_w=2000, limits=True))

steps = st.integers(0, STEPS - 1)
moments = st.builds(
    lambda step, ms: START_MS + step * STEP_MS + ms, st.integers(-1, 5), st.sampled_from([0, 1, STEP_MS - 1])
)


@st.composite
def contracts(draw):
    number = draw(st.sampled_from([0, 0, 1, 2]))
    return [
        a_stored_contract(
            f"sc2-{n}",
            device_terms(
                start_ms=START_MS + draw(steps) * STEP_MS,
                obligation_wh=tuple(draw(st.lists(st.sampled_from([0, 50, 100, 300]), min_size=2, max_size=4))),
                dr_event_id=f"contracted-{n}",
            ),
            state=draw(st.sampled_from([ContractState.ACCEPTED, ContractState.ACCEPTING])),
        )
        for n in range(number)
    ]


@st.composite
def signals(draw, duration_s: int):
    kind = draw(st.sampled_from(["SIMPLE", "setpoint", "delta"]))
    if kind == "SIMPLE":
        return a_signal(intervals=(SignalInterval(duration_s, draw(st.sampled_from("0123"))),))
    payload = str(draw(st.integers(-2500, 2500)))
    interval = (SignalInterval(duration_s, payload),)
    return a_signal(name="LOAD_DISPATCH", type=kind, unit=Unit("power_real", "W"), intervals=interval)


@st.composite
def events(draw):
    found = []
    for n in range(draw(st.sampled_from([0, 1, 2, 3]))):
        duration_s = draw(st.sampled_from([0, 1800, 3600, 3600]))
        event = a_dr_event(
            f"event-{n}",
            priority=draw(st.integers(0, 3)),
            start_ms=START_MS + draw(steps) * STEP_MS,
            duration_s=duration_s,
            signals=(draw(signals(duration_s)),),
            cancelled=draw(st.integers(0, 7)) == 0,
        )
        opt = draw(st.sampled_from([Opt.IN, Opt.IN, Opt.IN, Opt.OUT, None]))
        found.append(a_stored_event(event, opt=opt, gone=draw(st.integers(0, 7)) == 0))
    return found


@st.composite
def schedules(draw):
    found = []
    for n in range(draw(st.integers(0, 2))):
        first = START_MS + draw(steps) * STEP_MS
        window = (first, first + draw(st.integers(1, 4)) * STEP_MS)
        opt = draw(st.sampled_from([Opt.IN, Opt.OUT]))
        found.append(OptSchedule(opt_id=f"o{n}", opt=opt, windows=(window,), created_ms=n))
    return found


@st.composite
def knowns(draw):
    owner = Owner(opt_out=draw(st.integers(0, 9)) == 0, max_shed_w=draw(st.sampled_from([None, None, 600])))
    return Known(
        draw(contracts()),
        draw(events()),
        Availability(owner, draw(schedules()), "H1"),
        draw(st.sampled_from(DEVICES)),
        margin_percent=draw(st.sampled_from([0, 10])),
        follow=draw(st.integers(0, 4)) > 0,
    )


def owed_w(known: Known, at_ms: int) -> int:
    """The largest obligation at a moment, by the terms alone."""
    found = [0]
    for contract in known.contracts:
        place = (at_ms - contract.terms.start_ms) // STEP_MS
        if 0 <= place < len(contract.terms.obligation_wh):
            found.append(-(-contract.terms.obligation_wh[place] * 4 * (100 + known.margin_percent) // 100))
    return max(found)


def allowed_w(known: Known) -> int:
    own = known.availability.owner.max_shed_w
    return known.abilities.max_shed_w if own is None else min(own, known.abilities.max_shed_w)


@settings(deadline=None, max_examples=40)
@given(knowns(), moments)
def test_an_obligation_is_met_as_far_as_owner_and_device_allow_or_it_is_said_that_it_is_not(known, at_ms):
    first = plan(at_ms, known)[0]
    owed = owed_w(known, at_ms)
    if not owed:
        return
    if known.availability.absence(at_ms) is not None:
        assert first.demand is None
        assert any("are owed and not given" in why for _, why in first.waits)
        return
    assert isinstance(first.demand, Reduce)
    assert first.demand.reduction_w >= min(owed, allowed_w(known))
    assert first.demand.reduction_w == owed or first.demand.reduction_w > owed or "allow" in first.why
    told = action(at_ms, plan(at_ms, known))
    assert told is not None
    owing = [each for each in known.contracts if owed_w(replace(known, contracts=[each]), at_ms)]
    assert told.until_ms == max(each.end_ms for each in owing)


@settings(deadline=None, max_examples=40)
@given(knowns(), moments)
def test_everything_that_asks_at_a_moment_governs_or_waits_with_a_reason(known, at_ms):
    first = plan(at_ms, known)[0]
    named = {first.governs, *(subject for subject, _ in first.waits)}
    asking = {
        each.contract_id
        for each in known.contracts
        if each.terms.start_ms <= at_ms < each.end_ms
        and each.terms.obligation_wh[(at_ms - each.terms.start_ms) // STEP_MS]
    }
    if known.follow:
        asking |= {
            each.event.event_id
            for each in known.events
            if not each.cancelled
            and each.event.start_ms <= at_ms
            and (each.event.end_ms is None or at_ms < each.event.end_ms)
        }
    assert asking <= named
    assert all(why for _, why in first.waits)


@settings(deadline=None, max_examples=80)
@given(knowns(), moments)
def test_the_event_that_governs_is_the_first_of_rule_15(known, at_ms):
    first = plan(at_ms, known)[0]
    governing = {each.event.event_id: each.event for each in known.events}.get(first.governs)
    if governing is None:
        return
    for each in known.events:
        event = each.event
        active = event.start_ms <= at_ms and (event.end_ms is None or at_ms < event.end_ms)
        if each.opt is Opt.IN and not each.cancelled and active:
            assert (governing.priority or 99, governing.start_ms) <= (event.priority or 99, event.start_ms)


@settings(deadline=None, max_examples=40)
@given(knowns(), moments)
def test_the_plan_is_whole_and_says_the_same_as_deciding_later(known, at_ms):
    """No gap, no overlap, and no moment between two looks at which the device should have been told otherwise."""
    decisions = plan(at_ms, known)
    assert decisions[0].start_ms == at_ms
    assert decisions[-1].end_ms is None
    for one, other in pairwise(decisions):
        assert one.end_ms == other.start_ms
        middle = plan((one.start_ms + other.start_ms) // 2, known)[0]
        assert (middle.demand, middle.governs, middle.waits) == (one.demand, one.governs, one.waits)
    change_ms = next_change_ms(at_ms, decisions)
    told = action(at_ms, decisions)
    if told is not None:
        assert told.until_ms > at_ms
        assert change_ms is not None
        assert change_ms <= told.until_ms
        later = action(change_ms - 1, plan(change_ms - 1, known))
        assert later is not None
        assert (type(later), later.reason) == (type(told), told.reason)


@settings(deadline=None, max_examples=40)
@given(knowns(), moments)
def test_the_order_in_which_things_are_stored_decides_nothing(known, at_ms):
    other = Known(
        list(reversed(known.contracts)),
        list(reversed(known.events)),
        known.availability,
        known.abilities,
        known.margin_percent,
        known.follow,
    )
    one, two = plan(at_ms, known)[0], plan(at_ms, other)[0]
    assert (one.demand, one.governs, sorted(one.waits)) == (two.demand, two.governs, sorted(two.waits))
