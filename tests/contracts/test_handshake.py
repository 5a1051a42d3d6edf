"""Acceptance, rejection and deadlines."""

from __future__ import annotations

import pytest

from contracts.core import commands as c
from contracts.core.facts import DRActivated, DRExpired, ReductionAccepted, ReductionRejected
from contracts.core.units import MS_PER_S
from contracts.rules import due, next_due_ms
from tests.builders import START_MS
from tests.contracts.world import (
    BASELINE,
    EVENT_MS,
    HOUR_MS,
    World,
    a_group_setup,
    a_home_setup,
    a_request,
    changed,
    group_terms,
    home_terms,
)

T = group_terms()


def test_the_payee_alone_accepts_or_rejects_and_exactly_these_terms() -> None:
    world = World()
    world.request()
    world.run("agg", a_group_setup())
    acceptance = world.acceptance("s1")
    reject = c.RejectReduction(contract_id="s1", reason="")
    for other in ("vn2", "d0"):
        assert world.refused(other, acceptance) == "not_party"
        assert world.refused(other, reject) == "not_party"
    assert world.refused("vn", changed(acceptance, terms_digest="0" * 64)) == "terms_mismatch"
    assert world.refused("vn", changed(acceptance, contract_id="s9")) == "contract_unknown"
    (accepted, *_) = world.run("vn", acceptance)
    assert isinstance(accepted, ReductionAccepted)
    assert world.refused("vn", acceptance) == "illegal_transition"
    assert world.refused("vn", reject) == "illegal_transition"


def test_a_proposal_is_accepted_before_its_deadline_falls_due() -> None:
    world = World()
    world.request()
    world.run("agg", a_group_setup())
    world.time_ms = T.accept_by_ms + 1  # no block has worked off the deadline yet
    assert world.refused("vn", world.acceptance("s1")) == "deadline_passed"
    world.time_ms = T.accept_by_ms
    assert world.submit("vn", world.acceptance("s1")).code == "ok"


def test_a_rejection_returns_the_escrow_without_penalty() -> None:
    world = World()
    world.request()
    world.run("agg", a_group_setup())
    (rejected,) = world.run("vn", c.RejectReduction(contract_id="s1", reason="busy"))
    assert isinstance(rejected, ReductionRejected)
    assert rejected.reason == "busy"
    assert (world.free("need/need-1"), world.free("vn")) == (5000, 500)
    world.close()
    assert world.free("utl") == 100_000


def test_a_proposal_nobody_answers_expires_and_refunds() -> None:
    world = World()
    world.request()
    world.run("agg", a_group_setup())
    assert next_due_ms(world) == T.accept_by_ms
    assert not due(world, T.accept_by_ms - 1)
    assert world.advance(T.accept_by_ms - 1) == []
    (expired,) = world.advance(T.accept_by_ms)
    assert isinstance(expired, DRExpired)
    assert (world.free("need/need-1"), world.status("s1"), next_due_ms(world)) == (5000, "expired", None)
    world.close()


def test_the_group_contract_is_active_as_soon_as_enough_is_accepted() -> None:
    """Minimum 70 % of 4000 Wh: 2800; two homes have 2000, three have 3000."""
    world = World()
    world.group()
    world.homes("d0", "d1")
    assert world.status("s1") == "accepted"
    world.run("vn", a_home_setup("d2"))
    facts = world.accept("s2-d2")
    assert [fact for fact in facts if isinstance(fact, DRActivated)] == [
        DRActivated(contract_id="s1", payer="agg", payee="vn", accepted=3, accepted_wh=3000)
    ]
    assert next_due_ms(world) is None
    world.homes("d3")
    assert world.contract("s1").accepted_wh == 4000


def test_the_minimum_is_reached_to_the_watt_hour() -> None:
    world = World()
    world.group(minimum_percent=50)
    world.homes("d0", obligation_wh=(250, 250, 250, 1249))
    assert world.status("s1") == "accepted"
    world.homes("d1", obligation_wh=(0, 0, 0, 1))
    assert world.status("s1") == "active"


def test_the_group_contract_goes_ahead_with_fewer_at_its_deadline() -> None:
    world = World()
    world.group()
    world.homes("d0")
    (activated,) = world.advance(T.activate_by_ms)
    assert isinstance(activated, DRActivated)
    assert (activated.accepted, world.status("s1")) == (1, "active")


def test_the_group_contract_without_devices_expires_and_refunds() -> None:
    world = World()
    world.group()
    world.run("vn", a_home_setup("d0"))
    facts = world.advance(T.activate_by_ms)
    assert [fact.contract_id for fact in facts if isinstance(fact, DRExpired)] == ["s2-d0", "s1"]
    assert (world.free("need/need-1"), world.free("contract/s1"), world.free("vn")) == (5000, 0, 500)
    world.close()
    assert world.free("utl") == 100_000


@pytest.mark.parametrize("first", ["d0", "s1"])
def test_devices_expire_before_their_group_at_the_same_instant(first: str) -> None:
    """s1 < s2-d0 in the alphabet, zz > everything: the level decides, not the name."""
    name = "zz" if first == "d0" else "s1"
    world = World()
    world.request()
    world.run("agg", a_group_setup(contract_id=name))
    world.accept(name)
    deadline = {"accept_by_ms": T.activate_by_ms, "activate_by_ms": T.activate_by_ms}
    world.run("vn", a_home_setup("d0", home_terms(**deadline), parent=name))
    facts = world.advance(T.activate_by_ms)
    assert [fact.contract_id for fact in facts if isinstance(fact, DRExpired)] == ["s2-d0", name]
    assert (world.free("need/need-1"), world.free(f"contract/{name}")) == (5000, 0)


def test_a_block_works_off_two_hundred_deadlines_and_the_next_one_the_rest() -> None:
    world = World()
    world.request()
    tiny = group_terms(obligation_wh=(1, 0, 0, 0))
    for n in range(201):
        world.run("agg", a_group_setup(tiny, contract_id=f"s1-{n:03d}"))
    before = len(world.journal)
    facts = world.advance(T.accept_by_ms)
    assert [len(outcome.facts) for _, _, outcome in world.journal[before:]] == [200, 1]
    assert [fact.contract_id for fact in facts if isinstance(fact, DRExpired)] == [f"s1-{n:03d}" for n in range(201)]


def test_a_device_is_bound_once_at_a_time_across_virtual_nodes() -> None:
    world = World()
    world.group()
    world.run("agg", a_group_setup(contract_id="t1", payee="vn2"))
    world.accept("t1")
    half = changed(BASELINE, curve_wh=(600,) * 2)
    world.homes("d0", start_ms=EVENT_MS + 900_000, obligation_wh=(250,) * 2, baseline=half)
    overlaps = {"a": (0, 2), "b": (1, 1), "c": (2, 2), "d": (0, 4)}
    for name, (first, count) in overlaps.items():
        terms = home_terms(
            start_ms=EVENT_MS + first * 900_000, obligation_wh=(100,) * count,
            baseline=changed(BASELINE, curve_wh=(600,) * count),
        )  # fmt: skip
        world.run("vn2", a_home_setup("d0", terms, parent="t1", contract_id=f"t2-{name}"))
        assert world.refused("d0", world.acceptance(f"t2-{name}")) == "device_engaged"
    for first in (0, 3):
        one = home_terms(
            start_ms=EVENT_MS + first * 900_000, obligation_wh=(100,), baseline=changed(BASELINE, curve_wh=(600,))
        )
        world.run("vn2", a_home_setup("d0", one, parent="t1", contract_id=f"t2-{first}"))
        world.accept(f"t2-{first}")


def test_a_device_with_too_many_open_contracts_takes_no_more_so_that_no_overlap_is_missed() -> None:
    """192 contracts of a minute each, then the same minute again."""
    world = World()
    shape = {"interval_s": 60, "target_wh": (100,) * 192, "start_ms": EVENT_MS}
    world.run("utl", a_request(**shape, budget_minor=50_000))
    end_ms = EVENT_MS + 192 * 60 * MS_PER_S
    both = {"interval_s": 60, "settle_after_ms": end_ms}
    world.run("agg", a_group_setup(group_terms(**both, obligation_wh=(100,) * 192, minimum_percent=1000)))
    world.accept("s1")

    def minute(n: int) -> c.Terms:
        return home_terms(
            **both, start_ms=EVENT_MS + n * 60_000, obligation_wh=(1,), deposit_minor=0,
            baseline=changed(BASELINE, curve_wh=(600,), adjustment_wh=(33,) * 180),
        )  # fmt: skip

    for n in range(191):
        world.run("vn", a_home_setup("d0", minute(n), contract_id=f"m-{n}"))
        world.accept(f"m-{n}")
    world.run("vn", a_home_setup("d0", minute(190), contract_id="again"))
    assert world.refused("d0", world.acceptance("again")) == "device_engaged"
    world.run("vn", a_home_setup("d0", minute(191), contract_id="last"))
    world.accept("last")
    assert world.refused("d0", world.acceptance("again")) == "device_engaged"
    world.run("vn", a_home_setup("d0", minute(191), contract_id="twice"))
    assert world.refused("d0", world.acceptance("twice")) == "limit_exceeded"


def test_an_engagement_ends_with_the_settlement() -> None:
    world = World()
    world.group(minimum_percent=25)
    world.homes("d0")
    world.settle()
    assert not [key for kind, key in world.records if kind == "engagement"]
    start = EVENT_MS + 24 * HOUR_MS
    later = {"need_id": "need-2", "start_ms": start, "settle_after_ms": start + HOUR_MS}
    now = {"accept_by_ms": world.time_ms + 1, "activate_by_ms": world.time_ms + 2}
    world.run("utl", a_request(need_id="need-2", start_ms=start))
    world.run("agg", a_group_setup(group_terms(**later, **now), contract_id="u1"))
    world.run("vn", changed(world.acceptance("u1")))
    baseline = changed(BASELINE, adjustment_start_ms=start - (EVENT_MS - BASELINE.adjustment_start_ms))
    world.run("vn", a_home_setup("d0", home_terms(**later, **now, baseline=baseline), parent="u1", contract_id="u2"))
    world.accept("u2")
    assert START_MS < world.time_ms < start


def test_a_late_block_activates_as_a_punctual_one() -> None:
    world = World()
    world.group()
    world.homes("d0")
    world.time_ms = EVENT_MS + HOUR_MS * 2  # no block since: the deadline is long over
    assert world.refused("agg", c.SettleDR(contract_id="s1")) == "illegal_transition"
    world.advance(world.time_ms)
    assert world.status("s1") == "active"
    world.settle()
