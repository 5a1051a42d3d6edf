"""Settlement and completion over many devices: in parts, by anyone, with the same result as at once."""

from __future__ import annotations

import pytest

from contracts.core import commands as c
from contracts.core.facts import DRCompleted, DRSettled, Fact
from contracts.demand_response import completion
from tests.contracts.world import (
    BASELINE,
    END_MS,
    EVENT_MS,
    SETTLE_MS,
    World,
    a_group_setup,
    a_home_setup,
    a_request,
    changed,
    group_terms,
    home_terms,
    readings,
)

HOMES = 450


def metered_group() -> World:
    """450 contracts, of which each ninth is rejected; a third of the homes delivers, a third half, a third fails or
    hides; one home in ten hides a window reading."""
    world = World(devices=HOMES, funds_minor=30)
    world.run("utl", c.Issue(to="utl", amount_minor=400_000, reference=""))
    world.run("utl", a_request(target_wh=(100_000,) * 4, budget_minor=300_000))
    world.run("agg", a_group_setup(group_terms(obligation_wh=(100_000,) * 4, deposit_minor=20)))
    world.accept("s1")
    for n, device in enumerate(world.devices):
        world.run("vn", a_home_setup(device, home_terms(obligation_wh=(220,) * 4)))
        if n % 9 == 8:
            world.run(device, c.RejectReduction(contract_id=f"s2-{device}", reason=""))
        else:
            world.accept(f"s2-{device}")
    world.advance(END_MS)
    for n, device in enumerate(world.devices):
        window = (500 + n % 7,) * (11 if n % 10 == 0 else 12)
        delivered = [(220 + n % 13,) * 4, (110,) * 4, (-50, 300)][n % 3]
        world.run(device, readings(BASELINE.adjustment_start_ms, *window, device=device))
        world.run(device, readings(EVENT_MS, *(600 - each for each in delivered), device=device))
    world.advance(SETTLE_MS)
    return world


def drive(world: World, *senders: str) -> tuple[list[int], list[Fact]]:
    """Settles and completes s1, each transaction by the next sender; facts a transaction, and all of them."""
    counts: list[int] = []
    happened: list[Fact] = []
    turn = 0
    for command, goal in ((c.SettleDR(contract_id="s1"), "settled"), (c.DRCompletion(contract_id="s1"), "completed")):
        while world.status("s1") != goal:
            facts = world.run(senders[turn % len(senders)], command)
            turn += 1
            counts.append(sum(isinstance(fact, DRSettled | DRCompleted) for fact in facts))
            happened += facts
    return counts, happened


def test_a_cascade_in_parts_by_anyone_gives_what_a_single_run_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, whole = metered_group(), metered_group()
    assert completion.CASCADE_MAX == 200
    counts, facts = drive(parts, "agg", "d8", "vn2", "aud")
    # 200, 200 and 50 contracts, less the rejected ones, and the group's own fact with the last part
    assert counts == [178, 178, 44 + 1] * 2
    monkeypatch.setattr(completion, "CASCADE_MAX", 10**6)
    counts, at_once = drive(whole, "agg")
    assert counts == [401, 401]
    assert facts == at_once
    assert parts.records == whole.records


def test_a_cascade_pays_each_home_by_its_own_result_and_leaves_nothing_in_escrow() -> None:
    """A home of the first third delivers 4 * 220 Wh and more, of the second half of it (within the tolerance of 50 %),
    of the third 500 Wh in two intervals and then hides: -50 counts for each hidden one."""
    world = metered_group()
    _, facts = drive(world, "agg")
    settled = {fact.payee: fact for fact in facts if isinstance(fact, DRSettled)}
    done = {fact.payee: fact for fact in facts if isinstance(fact, DRCompleted)}
    # n = 3: 220 + 3, window 503: adjustment 3; n = 4: 110 + 4; n = 5: -50 + 5, 300 + 5 and twice -45
    assert settled["d3"].delivered_wh == 4 * (223 + 3)
    assert settled["d4"].delivered_wh == 4 * (110 + 4)
    assert settled["d5"].delivered_wh == -45 + 305 - 45 - 45
    assert (settled["d5"].missing, settled["d5"].outcome) == (2, "failure")
    assert settled["d0"].adjustment_wh == -240, "hid a reading of the window"
    assert "d8" not in settled
    assert {settled[name].outcome for name in ("d3", "d4", "d5")} == {"success", "failure"}
    assert (settled["d4"].outcome, settled["d4"].shortfall_wh) == ("failure", 0)
    # d5 lacks 110 + 45 in the first interval, nothing in the second; in each of the two hidden ones the whole
    # obligation and the 45 that its worst reading took: 220 + 45, more than the worst lack of 155
    assert settled["d5"].shortfall_wh == 155 + 2 * 265
    group = world.contract("s1")
    assert group.total_wh == sum(fact.delivered_wh for name, fact in settled.items() if name != "vn")
    assert group.missing == sum(fact.missing for name, fact in settled.items() if name != "vn")
    # what counts of a home: not below zero, not above 120 % of 880 Wh
    counted = {name: max(0, min(fact.delivered_wh, 1056)) for name, fact in settled.items() if name != "vn"}
    assert group.counted_wh == sum(counted.values())
    # the group delivered less than its homes' sum of positive totals, so each is paid the same part of what counts
    assert 0 < group.total_wh < group.counted_wh
    for name, counted_wh in counted.items():
        assert done[name].paid_wh == counted_wh * group.total_wh // group.counted_wh
    assert done["vn"].children_minor == sum(fact.amount_minor for name, fact in done.items() if name != "vn")
    for name, fact in done.items():
        if name != "vn":
            assert world.free(name) == 30 + fact.amount_minor
    world.close()
    for name, account in world.accounts().items():
        assert account.debits_pending == account.credits_pending == 0, name
        assert name.startswith(("party/", "issuance")) or world.free(name) == 0, name


def test_nothing_is_counted_twice_when_a_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "CASCADE_MAX", 2)
    world = World(devices=3)
    world.group()
    world.homes("d0", "d1", "d2")
    for device in world.devices:
        world.meter(device, 250, 250, 250, 250)
    assert world.refused("agg", c.SettleDR(contract_id="s1")) == "too_early"
    world.settle()
    assert world.refused("agg", c.DRCompletion(contract_id="s1")) == "illegal_transition"
    assert (world.status("s1"), world.contract("s1").cursor, world.contract("s1").total_wh) == ("settling", 2, 2000)
    world.settle()
    assert (world.status("s1"), world.contract("s1").cursor, world.contract("s1").total_wh) == ("settled", 0, 3000)
    assert world.refused("agg", c.SettleDR(contract_id="s1")) == "illegal_transition"
    world.complete()
    assert world.refused("agg", c.CloseRequest(need_id="need-1")) == "children_open"
    world.complete()
    assert world.refused("agg", c.DRCompletion(contract_id="s1")) == "illegal_transition"
    assert [world.free(name) for name in world.devices] == [700] * 3
    world.close()


def test_an_open_proposal_below_stops_the_settlement_until_its_deadline_is_worked_off() -> None:
    world = World()
    world.group(minimum_percent=25)
    world.homes("d0")
    world.run("vn", a_home_setup("d1"))
    world.time_ms = SETTLE_MS  # the block's deadlines were not worked off
    assert world.refused("agg", c.SettleDR(contract_id="s1")) == "children_open"
    world.advance(SETTLE_MS)
    world.settle()
    assert world.status("s2-d1") == "expired"


def test_a_device_that_joined_late_counts_in_its_own_intervals() -> None:
    world = World()
    world.group(minimum_percent=25)
    world.homes("d0")
    late = changed(BASELINE, curve_wh=(600, 600))
    world.homes("d1", start_ms=EVENT_MS + 900_000, obligation_wh=(250, 250), baseline=late)
    world.meter("d0", 100, 100, 100, 100)
    world.meter("d1", 0, 30, 7, 0)
    world.settle()
    assert world.contract("s1").delivered_wh == (100, 130, 107, 100)
    # below 80 % of 1000 in each interval
    assert world.contract("s1").shortfall_wh == 700 + 670 + 693 + 700
