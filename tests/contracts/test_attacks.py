"""Dishonest parties: each test is one attempt to be paid for nothing, to take what is another's, or to block others."""

from __future__ import annotations

import pytest

from contracts.core import commands as c
from contracts.core.codec import INTEGER_MAX
from contracts.core.errors import Refusal
from contracts.core.parties import Role
from contracts.core.state import State
from contracts.demand_response.contract import ContractRecord, Level, Status
from contracts.demand_response.needs import NeedRecord, end_in_need
from tests.contracts.world import (
    BASELINE,
    END_MS,
    EVENT_MS,
    SETTLE_MS,
    World,
    a_group_setup,
    a_home_setup,
    an_enrol_party,
    an_enrolment,
    changed,
    group_terms,
    home_terms,
    key_of,
    readings,
)


def running() -> World:
    """Two homes under contract."""
    world = World()
    world.group(minimum_percent=50)
    world.homes("d0", "d1")
    return world


# ---- parties and keys


def test_nobody_enrols_somebody_elses_key() -> None:
    world = World()
    stolen = an_enrolment("mine", Role.DEVICE, "rival", key=key_of("stranger"))
    assert world.refused("rival", an_enrol_party(stolen, signed_with=key_of("rival"))) == "proof_of_possession"
    taken = an_enrolment("mine", Role.DEVICE, "rival", key=key_of("d0"))
    assert world.refused("rival", an_enrol_party(taken)) == "key_in_use"
    assert world.refused("rival", an_enrol_party(an_enrolment("d0", Role.DEVICE, "rival", key=key_of("x")))) == (
        "party_exists"
    )


def test_a_proof_to_one_sponsor_is_no_proof_to_another() -> None:
    world = World()
    joined = an_enrol_party(an_enrolment("new", Role.DEVICE, "agg"))
    assert world.refused("rival", joined) == "not_party"
    moved = changed(joined, enrolment=changed(joined.enrolment, sponsor="rival"))
    assert world.refused("rival", moved) == "proof_of_possession"
    area = changed(joined, enrolment=changed(joined.enrolment, area="F2"))
    assert world.refused("agg", area) == "proof_of_possession"
    world.run("agg", joined)
    assert world.refused("agg", joined) == "party_exists"


def test_a_revoked_key_comes_back_under_no_name() -> None:
    world = World()
    assert world.refused("rival", c.RevokeParty(party="d0", reason="")) == "not_party"
    assert world.refused("utl", c.RevokeParty(party="d0", reason="")) == "not_party"
    world.run("agg", c.RevokeParty(party="d0", reason=""))
    assert world.refused("agg", c.RevokeParty(party="d0", reason="")) == "party_revoked"
    again = an_enrolment("d0b", Role.DEVICE, "agg", key=key_of("d0"))
    assert world.refused("agg", an_enrol_party(again)) == "key_in_use"


# ---- measurements


def test_a_device_records_its_own_intervals_that_are_over() -> None:
    world = World()
    world.time_ms = EVENT_MS + 900_000
    assert world.refused("d1", readings(EVENT_MS, 0, device="d0")) == "not_party"
    assert world.refused("d0", readings(EVENT_MS, 0, 0)) == "measurement_future"
    assert world.refused("d0", readings(EVENT_MS + 1, 0)) == "interval_invalid"
    assert world.refused("d0", readings(61_000 * 1000, 0, interval_s=61)) == "interval_invalid"
    assert world.refused("d0", readings(0)) == "limit_exceeded"
    assert world.refused("d0", readings(0, *(0,) * 673)) == "limit_exceeded"
    assert world.refused("d0", readings(EVENT_MS, 10**8 + 1)) == "body_invalid"
    world.run("d0", readings(EVENT_MS, 0))


def test_a_reading_is_never_changed_but_may_be_repeated() -> None:
    world = World()
    world.time_ms = END_MS
    world.run("d0", readings(EVENT_MS, 500, 600))
    world.run("d0", readings(EVENT_MS, 500, 600, 700))
    before = dict(world.records)
    assert world.refused("d0", readings(EVENT_MS + 900_000, 601)) == "measurement_conflict"
    assert world.refused("d0", readings(EVENT_MS, 500, interval_s=1800)) == "measurement_conflict"
    assert world.refused("d0", readings(EVENT_MS + 2_700_000, 1, 2, 3)) == "measurement_future"
    assert world.records == before


def test_readings_of_other_lengths_neither_replace_nor_displace_those_of_the_contract() -> None:
    world = running()
    world.meter("d0", 250, 250, 250, 250)
    for n in range(60):
        if n % 15:
            world.run("d0", readings(EVENT_MS + n * 60_000, -(10**6), interval_s=60))
    world.run("d1", readings(EVENT_MS, -(10**6), device="d1", interval_s=3600))
    world.settle()
    assert (world.contract("s2-d0").missing, world.contract("s2-d0").total_wh) == (0, 1000)
    assert world.contract("s2-d1").missing == 4


def test_a_reading_of_any_size_leaves_the_group_to_be_settled_and_paid() -> None:
    """Once a sum outgrew its record, every later read of the contract failed."""
    for value in (10**8, -(10**8)):
        world = World()
        world.group(minimum_percent=50)
        world.homes("d0", "d1", meter_limit_wh=10**12)
        world.advance(END_MS)
        world.run("d0", readings(EVENT_MS, *(value,) * 4))
        world.run("d0", readings(BASELINE.adjustment_start_ms, *(value,) * 12))
        world.settle()
        # baseline 600, adjustment 240 or -240: the cap
        adjustment = 240 if value > 0 else -240
        assert world.contract("s2-d0").total_wh == 4 * (600 + adjustment - value)
        world.complete()
        world.close()
        assert world.free("contract/s1") == 0


def test_the_largest_group_fits_its_record() -> None:
    """Worst case: 192 intervals of 100,000 devices, each baseline + adjustment - reading of 100 MWh."""
    largest = 3 * 10**8 * 100_000
    terms = group_terms(obligation_wh=(10**12,) * 192, assisting=("x" * 96,) * 64, need_id="n" * 96)
    record = ContractRecord(
        contract_id="s" * 96, level=Level.SC1, parent="p" * 96, payer="a" * 96, payee="b" * 96, terms=terms,
        terms_digest="0" * 64, status=Status.COMPLETING, delivered_wh=(-largest,) * 192, total_wh=-largest * 192,
        counted_wh=largest * 192, shortfall_wh=(largest + 10**12) * 192, children=100_000, cursor=100_000,
    )  # fmt: skip
    state = State(World())
    state.put("s1", record)
    assert state.find(ContractRecord, "s1") == record


def test_what_could_not_be_read_again_is_not_written() -> None:
    state = State(World())
    record = an_accepted_group()
    with pytest.raises(Refusal, match="out_of_range"):
        state.put("s1", changed(record, accepted_wh=-1))
    with pytest.raises(Refusal, match="out_of_range"):
        state.put("s1", changed(record, total_wh=2**53))
    with pytest.raises(Refusal, match="limit_exceeded"):
        state.put("s1", changed(record, terms=group_terms(assisting=("x" * 96,) * 400)))
    assert state.writes == {}


def an_accepted_group() -> ContractRecord:
    world = World()
    world.group()
    return world.contract("s1")


@pytest.mark.parametrize("sign", [1, -1])
def test_no_sum_of_a_need_keeps_a_contract_from_ending(sign: int) -> None:
    world = World()
    world.group()
    state = State(world)
    for _ in range(2):
        end_in_need(state, world.contract("s1"), sign * INTEGER_MAX)
    need = state.take(NeedRecord, "need-1", "need_unknown")
    assert (need.open_contracts, need.delivered_wh) == (-1, sign * INTEGER_MAX)


# ---- contracts


def test_an_event_is_paid_once() -> None:
    world = running()
    for device in ("d0", "d1"):
        world.meter(device, 250, 250, 250, 250)
    world.settle()
    world.complete()
    money = world.accounts()
    for sender in ("agg", "vn", "utl", "aud", "d0"):
        for command in (c.SettleDR(contract_id="s1"), c.DRCompletion(contract_id="s1")):
            assert world.refused(sender, command) == "illegal_transition"
    assert world.refused("vn", c.DRCompletion(contract_id="s2-d0")) == "illegal_transition"
    assert world.accounts() == money
    world.close()
    assert world.refused("utl", c.CloseRequest(need_id="need-1")) == "need_closed"


def test_nothing_is_settled_early_or_completed_before_it_is_settled() -> None:
    world = running()
    world.time_ms = SETTLE_MS - 1
    for sender in ("vn", "d0"):
        assert world.refused(sender, c.SettleDR(contract_id="s1")) == "too_early"
        assert world.refused(sender, c.DRCompletion(contract_id="s1")) == "illegal_transition"
    world.settle()


def test_a_reduction_is_not_sold_again_once_it_was_measured() -> None:
    """The interval is over: no contract over it can be proposed any more."""
    world = running()
    world.meter("d0", 250, 250, 250, 250)
    assert world.refused("agg", a_group_setup(contract_id="again")) == "deadline_passed"
    now = {"accept_by_ms": world.time_ms + 1, "activate_by_ms": world.time_ms + 1}
    assert world.refused("agg", a_group_setup(group_terms(**now), contract_id="again")) == "deadline_passed"
    assert world.refused("vn", a_home_setup("d2", home_terms(**now))) == "deadline_passed"


def test_late_readings_after_the_settlement_change_nothing() -> None:
    world = running()
    world.settle()
    world.meter("d0", 250, 250, 250, 250)
    facts = world.complete()
    assert world.contract("s2-d0").missing == 4
    assert [getattr(fact, "paid_wh", 0) for fact in facts if getattr(fact, "contract_id", "") == "s2-d0"] == [0]


def test_an_aggregator_cannot_take_the_budget_by_contracts_without_delivery() -> None:
    world = running()
    for device in ("d0", "d1"):
        world.meter(device, 0, 0, 0, 0)
    before = world.free("agg"), world.free("vn")
    world.settle()
    world.complete()
    world.close()
    # each home lacks 4 * 125 Wh at 100/kWh = 50, of which its deposit of 20 is all there is
    assert (world.free("d0"), world.free("d1")) == (480, 480)
    # the node lacks 4 * 800 Wh at 100/kWh = 320: the 40 of its homes and its deposit of 100
    assert (world.free("agg"), world.free("vn")) == before
    assert world.free("utl") == 100_000 + 140


def test_children_beyond_the_escrow_are_refused_and_free_ones_do_not_stall_the_payment() -> None:
    """A node spams its own contract with 300 proposals that cost nothing."""
    world = running()
    for n in range(300):
        free = home_terms(energy_price_minor_per_mwh=0, obligation_wh=(1, 0, 0, 0))
        world.run("vn", a_home_setup("d3", free, contract_id=f"spam-{n}"))
    for device in ("d0", "d1"):
        world.meter(device, 250, 250, 250, 250)
    world.settle(sender="aud")
    world.settle(sender="utl")
    world.complete(sender="aud")
    world.complete(sender="utl")
    world.close()
    assert world.free("d0") == 700


def test_a_missing_block_leaves_no_escrow_behind() -> None:
    """Nobody did anything for a year: the first block afterwards works everything off."""
    world = World()
    world.group()
    world.run("vn", a_home_setup("d0"))
    world.run("agg", a_group_setup(contract_id="s2", payee="vn2"))
    world.advance(EVENT_MS + 365 * 86_400_000)
    assert [world.status(name) for name in ("s1", "s2-d0", "s2")] == ["expired"] * 3
    world.close()
    assert world.free("utl") == 100_000


# ---- what one party can do to others


def paid_homes(reading_of_d1: int, **terms: int) -> list[int]:
    """Four homes of 250 Wh an interval; d0, d2 and d3 deliver them: what those three are paid."""
    world = World()
    world.group()
    world.homes(*world.devices, **terms)
    for device in ("d0", "d2", "d3"):
        world.meter(device, 250, 250, 250, 250)
    world.meter("d1")
    world.run("d1", readings(EVENT_MS, *(reading_of_d1,) * 4, device="d1"))
    world.settle()
    world.complete()
    return [world.free(device) - 500 for device in ("d0", "d2", "d3")]


@pytest.mark.parametrize("forged", [10**8, -(10**8), 10_001, -10_001])
def test_a_reading_no_connection_can_carry_leaves_the_others_their_pay(forged: int) -> None:
    """1000 Wh at 200/kWh."""
    assert paid_homes(forged) == paid_homes(350) == [200] * 3


def test_a_home_at_the_limit_of_its_connection_takes_so_much_from_its_group_and_no_more() -> None:
    """Limit 1000. Import: 4 * (600 - 1000) = -1600 leaves 1400 of 3000: 1000 * 1400 / 3000 = 466 Wh, 93 at 200/kWh.
    Export: 4 * (600 + 1000) = 6400, of which 1200 count; the group's cap of 4800 pays all 4200 in full."""
    assert paid_homes(1000, meter_limit_wh=1000) == [93] * 3
    assert paid_homes(1001, meter_limit_wh=1000) == [200] * 3
    assert paid_homes(-1000, meter_limit_wh=1000) == [200] * 3


def test_the_meter_limit_is_that_of_the_homes_own_contract() -> None:
    """Both import 350: within the limit of d0, beyond that of d1. What is recorded stays recorded."""
    world = World()
    world.group(minimum_percent=50, meter_limit_wh=0)
    world.homes("d0", meter_limit_wh=500)
    world.homes("d1", meter_limit_wh=499)
    for device in ("d0", "d1"):
        world.meter(device, 250, 250, 250, 250)
    world.settle()
    assert [(world.contract(f"s2-{d}").missing, world.contract(f"s2-{d}").total_wh) for d in ("d0", "d1")] == [
        (0, 1000),
        # the window's 500 are beyond the limit: adjustment -240, 4 * (600 - 240 - 350)
        (0, 40),
    ]
    world = World()
    world.group(minimum_percent=50)
    world.homes("d0")
    world.homes("d1", meter_limit_wh=349)
    for device in ("d0", "d1"):
        world.meter(device, 250, 250, 250, 250)
    world.settle()
    assert (world.contract("s2-d1").missing, world.contract("s2-d1").shortfall_wh) == (4, 1000)
    assert (world.contract("s1").missing, world.contract("s1").total_wh) == (4, 1000)
    assert world.refused("d1", readings(EVENT_MS, 340, device="d1")) == "measurement_conflict"


def test_an_aggregator_cannot_silence_a_device_under_contract() -> None:
    world = running()
    silence = c.RevokeParty(party="d0", reason="to save its pay")
    assert world.refused("agg", silence) == "device_engaged"
    world.meter("d0", 250, 250, 250, 250)
    world.meter("d1", 250, 250, 250, 250)
    assert world.refused("agg", silence) == "device_engaged"
    world.settle()
    world.run("agg", silence)
    world.complete()
    assert world.free("d0") == 700


def test_a_device_is_engaged_until_the_last_of_its_contracts_is_settled() -> None:
    """d10 has two contracts, one after the other; d1, whose name begins its name, has none."""
    world = World(devices=11)
    world.request()
    halves = {"s1": EVENT_MS, "s2": EVENT_MS + 1_800_000}
    for name, start_ms in halves.items():
        half = {"start_ms": start_ms, "obligation_wh": (250, 250), "minimum_percent": 50}
        world.run("agg", a_group_setup(group_terms(**half), contract_id=name))
        world.accept(name)
        home = home_terms(start_ms=start_ms, obligation_wh=(250, 250), baseline=changed(BASELINE, curve_wh=(600, 600)))
        world.run("vn", a_home_setup("d10", home, parent=name, contract_id=f"{name}-d10"))
        world.accept(f"{name}-d10")
    assert world.refused("agg", c.RevokeParty(party="d10", reason="")) == "device_engaged"
    world.run("agg", c.RevokeParty(party="d1", reason=""))
    world.settle("s1")
    assert world.refused("agg", c.RevokeParty(party="d10", reason="")) == "device_engaged"
    world.settle("s2")
    world.run("agg", c.RevokeParty(party="d10", reason=""))


def test_a_proposal_alone_keeps_no_sponsor_from_revoking() -> None:
    world = World()
    world.group(minimum_percent=25)
    world.run("vn", a_home_setup("d0"))
    world.run("agg", c.RevokeParty(party="d0", reason="moved away"))
    assert world.refused("d0", world.acceptance("s2-d0")) == "party_revoked"
    world.advance(EVENT_MS)
    assert world.status("s2-d0") == "expired"


def test_a_device_may_revoke_itself_under_contract_and_pays_for_what_it_does_not_report() -> None:
    """4 * 250 Wh at 100/kWh = 100, of which its deposit of 20 is all there is."""
    world = running()
    world.run("d0", c.RevokeParty(party="d0", reason="stolen"))
    world.time_ms = END_MS
    assert world.refused("d0", readings(EVENT_MS, 350)) == "party_revoked"
    world.meter("d1", 250, 250, 250, 250)
    world.settle()
    world.complete()
    world.close()
    assert (world.contract("s2-d0").missing, world.free("d0"), world.free("d1")) == (4, 480, 700)


@pytest.mark.parametrize("by", ["d0", "d3"], ids=["one of the group", "one of no group"])
def test_a_device_is_paid_though_all_above_it_stay_idle(by: str) -> None:
    world = running()
    for device in ("d0", "d1"):
        world.meter(device, 250, 250, 250, 250)
    world.advance(SETTLE_MS)
    assert world.refused(by, c.SettleDR(contract_id="s2-d0")) == "illegal_transition", "only by the one above"
    world.settle(sender=by)
    assert world.refused(by, c.DRCompletion(contract_id="s2-d0")) == "illegal_transition"
    world.complete(sender=by)
    assert world.status("s1") == world.status("s2-d0") == "completed"
    assert (world.free("d0"), world.free("d1")) == (700, 700)
