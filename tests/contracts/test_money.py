"""Money: double entry, pending transfers, and the few doors through which it enters and leaves an escrow."""

from __future__ import annotations

import pytest

from contracts import tokens
from contracts.core import commands as c
from contracts.core.errors import Refusal
from contracts.core.facts import DRCompleted, RequestClosed
from contracts.core.state import State
from tests.contracts.world import EVENT_MS, World, a_group_setup, a_home_setup, a_request, group_terms, home_terms


def test_money_enters_by_an_issue_of_the_utility_alone() -> None:
    world = World(devices=1, funds_minor=0)
    assert world.free("issuance") == -200_000
    world.run("utl", c.Issue(to="d0", amount_minor=7, reference=""))
    assert (world.free("d0"), world.free("issuance")) == (7, -200_007)
    assert world.refused("agg", c.Issue(to="agg", amount_minor=7, reference="")) == "role_not_allowed"
    assert world.refused("utl", c.Issue(to="nobody", amount_minor=7, reference="")) == "party_unknown"
    assert world.refused("utl", c.Issue(to="d0", amount_minor=0, reference="")) == "amount_invalid"


def test_a_transfer_needs_funds_and_another_party() -> None:
    world = World(devices=2, funds_minor=10)
    world.run("d0", c.Transfer(to="d1", amount_minor=4, reference=""))
    assert (world.free("d0"), world.free("d1")) == (6, 14)
    assert world.refused("d0", c.Transfer(to="d1", amount_minor=7, reference="")) == "funds_insufficient"
    assert world.refused("d0", c.Transfer(to="d0", amount_minor=1, reference="")) == "same_party"
    assert world.refused("d0", c.Transfer(to="d1", amount_minor=0, reference="")) == "amount_invalid"
    assert world.refused("d0", c.Transfer(to="issuance", amount_minor=1, reference="")) == "party_unknown"


def test_a_held_amount_is_spent_once_and_in_part_and_pending_credits_are_no_funds() -> None:
    state = State(World(devices=2, funds_minor=10))
    tokens.hold(state, "t", "party/d0", "party/d1", 8)
    assert (tokens.free_minor(state, "party/d0"), tokens.free_minor(state, "party/d1")) == (2, 10)
    with pytest.raises(Refusal, match="funds_insufficient"):
        tokens.post(state, "u", "party/d0", "party/d1", 3)
    with pytest.raises(Refusal, match="funds_insufficient"):
        tokens.hold(state, "u", "party/d1", "party/d0", 11)
    with pytest.raises(Refusal, match="transfer_exists"):
        tokens.hold(state, "t", "party/d1", "party/d0", 1)
    with pytest.raises(Refusal, match="escrow_exceeded"):
        tokens.resolve(state, "t", 9)
    with pytest.raises(Refusal, match="escrow_exceeded"):
        tokens.resolve(state, "t", -1)
    tokens.resolve(state, "t", 5)
    assert (tokens.free_minor(state, "party/d0"), tokens.free_minor(state, "party/d1")) == (5, 15)
    for amount in (0, 1):
        with pytest.raises(Refusal, match="transfer_resolved"):
            tokens.resolve(state, "t", amount)
    assert tokens.resolve(state, "never held", 0) == []
    with pytest.raises(Refusal, match="transfer_unknown"):
        tokens.resolve(state, "never held", 1)


def test_a_voided_hold_returns_everything() -> None:
    state = State(World(devices=2, funds_minor=10))
    tokens.hold(state, "t", "party/d0", "party/d1", 8)
    assert (tokens.held_minor(state, "t"), tokens.resolve(state, "t", 0), tokens.held_minor(state, "t")) == (8, [], 0)
    assert (tokens.free_minor(state, "party/d0"), tokens.free_minor(state, "party/d1")) == (10, 10)


def test_a_need_holds_its_budget_which_must_cover_the_target() -> None:
    """4 kWh at 400 minor units/kWh are 1600."""
    world = World()
    assert world.refused("utl", a_request(budget_minor=1599)) == "funds_insufficient"
    assert world.refused("utl", a_request(budget_minor=100_001)) == "funds_insufficient"
    world.request(budget_minor=1600)
    assert (world.free("utl"), world.free("need/need-1")) == (98_400, 1600)
    assert world.refused("utl", a_request(budget_minor=1600)) == "need_exists"
    assert world.refused("utl", a_request(need_id="n2", aggregator="aud")) == "role_not_allowed"
    assert world.refused("utl", a_request(need_id="n2", start_ms=world.time_ms)) == "deadline_passed"
    assert world.refused("utl", a_request(need_id="n2", start_ms=EVENT_MS + 1)) == "interval_invalid"
    odd = a_request(need_id="n2", interval_s=61, start_ms=EVENT_MS - EVENT_MS % 61_000)
    assert world.refused("utl", odd) == "interval_invalid", "no whole minutes"
    assert world.refused("utl", a_request(need_id="n2", target_wh=())) == "interval_invalid"
    assert world.refused("utl", a_request(need_id="n2", target_wh=(0, 0))) == "interval_invalid"
    assert world.refused("utl", a_request(need_id="n2", target_wh=(1,) * 193)) == "interval_invalid"


def test_a_need_is_closed_by_its_own_parties_once_nothing_is_open_below() -> None:
    world = World()
    world.group()
    close = c.CloseRequest(need_id="need-1")
    assert world.refused("utl", close) == "children_open"
    world.advance(group_terms().activate_by_ms)
    assert world.status("s1") == "expired"
    assert world.refused("rival", close) == "not_party"
    assert world.refused("utl", c.CloseRequest(need_id="need-2")) == "need_unknown"
    facts = world.run("aud", close)
    assert isinstance(facts[0], RequestClosed)
    assert (facts[0].returned_minor, world.free("utl")) == (5000, 100_000)
    assert world.refused("utl", close) == "need_closed"
    assert world.refused("agg", a_group_setup(contract_id="s9")) == "need_closed"


def test_escrow_and_deposits_are_held_at_each_step_of_the_handshake() -> None:
    """SC1: cap 120 % of 4 kWh at the need's 400/kWh: 1920. SC2: cap 120 % of 1 kWh at 200/kWh: 240."""
    world = World()
    world.request()
    world.run("agg", a_group_setup())
    assert (world.free("need/need-1"), world.free("contract/s1")) == (3080, 0)
    world.accept("s1")
    assert (world.free("need/need-1"), world.free("contract/s1"), world.free("vn")) == (3080, 1920, 400)
    world.run("vn", a_home_setup())
    assert (world.free("contract/s1"), world.free("d0")) == (1680, 500)
    world.accept("s2-d0")
    assert (world.free("contract/s1"), world.free("d0")) == (1680, 480)
    world.run("vn", a_home_setup("d1"))
    world.run("d1", c.RejectReduction(contract_id="s2-d1", reason=""))
    assert world.free("contract/s1") == 1680


def test_money_of_an_event_reaches_the_parties_and_the_rest_returns() -> None:
    """Four homes deliver 200 Wh a quarter hour of 250: the group 3200 Wh of 4000, nobody below the tolerance (50 %
    of 250; 20 % of 1000). A home: 800 Wh at 200/kWh = 160. Virtual node: 3200 Wh at 300/kWh = 960, less 640.
    Aggregator: 3200 Wh at 400/kWh = 1280, less 960. Utility: 5000 - 1280 returns."""
    world = World()
    world.group()
    world.homes(*world.devices)
    for device in world.devices:
        world.meter(device, 200, 200, 200, 200)
    world.settle()
    paid = {fact.payee: fact for fact in world.complete() if isinstance(fact, DRCompleted)}
    (closed, _) = world.close()
    assert isinstance(closed, RequestClosed)
    assert (closed.delivered_wh, closed.returned_minor) == (3200, 5000 - 1280)
    assert [world.free(name) for name in ("d0", "d1", "d2", "d3")] == [660] * 4
    assert (world.free("vn"), world.free("agg"), world.free("utl")) == (500 + 320, 97_000 + 320, 98_720)
    assert (paid["d0"].paid_wh, paid["d0"].amount_minor, paid["d0"].penalty_minor) == (800, 160, 0)
    assert (paid["vn"].energy_minor, paid["vn"].children_minor, paid["vn"].amount_minor) == (960, 640, 320)
    assert paid["vn"].outcome == "partial_failure"
    assert world.free("need/need-1") == world.free("contract/s1") == 0


def test_an_escrow_that_cannot_be_covered_is_no_proposal() -> None:
    world = World()
    world.request(budget_minor=1919)
    assert world.refused("agg", a_group_setup()) == "funds_insufficient"
    world.run("agg", a_group_setup(group_terms(cap_percent=100)))
    world.accept("s1")
    big = home_terms(obligation_wh=(1000,) * 4, energy_price_minor_per_mwh=300_000)
    world.run("vn", a_home_setup("d0", big))
    assert world.refused("vn", a_home_setup("d1", big)) == "funds_insufficient"


def test_an_acceptance_needs_the_deposit() -> None:
    world = World(funds_minor=99)
    world.request()
    world.run("agg", a_group_setup())
    assert world.refused("vn", world.acceptance("s1")) == "funds_insufficient"
    assert world.status("s1") == "proposed"
    world.run("agg", c.Transfer(to="vn", amount_minor=1, reference=""))
    world.accept("s1")


def test_an_account_may_turn_over_more_than_one_amount_can_say() -> None:
    world = World()
    for _ in range(3):
        world.run("utl", c.Issue(to="utl", amount_minor=10**15, reference=""))
    assert world.free("utl") == 3 * 10**15 + 100_000
    codes = [world.submit("utl", c.Issue(to="utl", amount_minor=10**15, reference="")).code for _ in range(7)]
    assert codes == ["ok"] * 6 + ["out_of_range"]
    world.run("agg", c.Transfer(to="utl", amount_minor=1, reference=""))
