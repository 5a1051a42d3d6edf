"""SetupDR: each thing a proposal must be before anybody is asked."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.core import commands as c
from contracts.core.facts import DRSetUp
from contracts.core.parties import Role
from tests.builders import START_MS
from tests.contracts.world import (
    BASELINE,
    END_MS,
    EVENT_MS,
    HOUR_MS,
    World,
    a_group_setup,
    a_home_setup,
    a_request,
    an_enrol_party,
    an_enrolment,
    an_offer,
    changed,
    group_terms,
    home_terms,
)

T = group_terms()
DAY_MS = 24 * HOUR_MS


def asked() -> World:
    world = World()
    world.request()
    return world


def accepted() -> World:
    world = World()
    world.group()
    return world


OFFERS: dict[str, c.SetupDR] = {
    "no offer": changed(a_group_setup(), offer=None),
    "no signature": changed(a_group_setup(), offer_signature=None),
    "signed by the aggregator": a_group_setup(signed_by="agg"),
    "of another need": a_group_setup(offer=an_offer(T, need_id="need-2")),
    "to another aggregator": a_group_setup(offer=an_offer(T, aggregator="rival")),
    "of another virtual node": a_group_setup(offer=an_offer(T, virtual_node="vn2")),
    "expired": a_group_setup(offer=an_offer(T, valid_until_ms=START_MS - 1)),
    "one Wh too small": a_group_setup(offer=an_offer(T, profile_wh=(1000, 1000, 999, 1000))),
    "too short": a_group_setup(offer=an_offer(T, profile_wh=(1000,) * 3)),
    "from later on": a_group_setup(offer=an_offer(T, start_ms=EVENT_MS + 900_000)),
    "from long after the end on": a_group_setup(
        offer=an_offer(T, start_ms=EVENT_MS + 6 * 900_000, profile_wh=(1000,) * 8)
    ),
    "between the intervals": a_group_setup(offer=an_offer(T, start_ms=EVENT_MS - 1)),
    "in other intervals": a_group_setup(offer=an_offer(T, interval_s=1800)),
    "for a higher price": a_group_setup(offer=an_offer(T, energy_price_minor_per_mwh=300_001)),
}


@pytest.mark.parametrize("setup", OFFERS.values(), ids=OFFERS.keys())
def test_an_aggregator_contract_needs_an_offer_that_covers_it(setup: c.SetupDR) -> None:
    world = asked()
    assert world.refused("agg", setup) == "offer_invalid"
    world.run("agg", a_group_setup())


def test_a_changed_offer_does_not_carry_the_old_signature() -> None:
    setup = a_group_setup()
    cheaper = changed(setup.offer, energy_price_minor_per_mwh=1)
    assert asked().refused("agg", changed(setup, offer=cheaper)) == "offer_invalid"


def test_an_offer_covers_a_part_of_itself_at_a_better_price_until_it_ends() -> None:
    world = asked()
    part = group_terms(start_ms=EVENT_MS + 900_000, obligation_wh=(900, 1000))
    offer = an_offer(T, profile_wh=(0, 900, 1000, 0), energy_price_minor_per_mwh=1, valid_until_ms=START_MS)
    world.run("agg", a_group_setup(part, offer=offer))


GROUP_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "price above the need's": ({"energy_price_minor_per_mwh": 400_001}, "price_invalid"),
    "begins before the need": ({"start_ms": EVENT_MS - 900_000}, "interval_invalid"),
    "ends after the need": ({"start_ms": EVENT_MS + 900_000}, "interval_invalid"),
    "other intervals": ({"interval_s": 1800, "obligation_wh": (2000, 2000)}, "interval_invalid"),
    "off the grid": ({"start_ms": EVENT_MS + 60_000}, "interval_invalid"),
    "no whole minutes": ({"interval_s": 61}, "interval_invalid"),
    "nothing asked": ({"obligation_wh": (0, 0, 0, 0)}, "interval_invalid"),
    "no intervals": ({"obligation_wh": ()}, "interval_invalid"),
    "deadline now": ({"accept_by_ms": START_MS}, "deadline_passed"),
    "activation before acceptance": ({"activate_by_ms": T.accept_by_ms - 1}, "deadline_passed"),
    "activation after the start": ({"activate_by_ms": EVENT_MS + 1}, "deadline_passed"),
    "settled before the end": ({"settle_after_ms": END_MS - 1}, "too_early"),
    "settled never": ({"settle_after_ms": END_MS + 92 * DAY_MS + 1}, "limit_exceeded"),
    "too many assisting": ({"assisting": ("vn2",) * 65}, "limit_exceeded"),
    "unknown preset": ({"baseline_preset": "none"}, "baseline_invalid"),
    "a baseline of its own": ({"baseline": BASELINE}, "baseline_invalid"),
    "partial above success": ({"partial_percent": 96}, "body_invalid"),
    "partial of nothing": ({"partial_percent": 0}, "body_invalid"),
    "success above the cap": ({"cap_percent": 94}, "body_invalid"),
    "unknown need": ({"need_id": "need-2"}, "need_unknown"),
}


@pytest.mark.parametrize(("terms", "code"), GROUP_REFUSED.values(), ids=GROUP_REFUSED.keys())
def test_terms_of_an_aggregator_contract_fit_their_need(terms: dict[str, Any], code: str) -> None:
    assert asked().refused("agg", a_group_setup(group_terms(**terms))) == code


def test_terms_at_the_edge_are_accepted() -> None:
    edge = group_terms(
        energy_price_minor_per_mwh=400_000, accept_by_ms=EVENT_MS, activate_by_ms=EVENT_MS,
        settle_after_ms=END_MS + 92 * DAY_MS, assisting=("vn2",) * 64, partial_percent=95, cap_percent=95,
    )  # fmt: skip
    asked().run("agg", a_group_setup(edge))


def test_a_need_is_contracted_by_its_aggregator_with_a_virtual_node_of_its_area() -> None:
    world = asked()
    assert world.refused("rival", a_group_setup(offer=an_offer(T, aggregator="rival"))) == "not_party"
    assert world.refused("agg", a_group_setup(payee="d0")) == "role_not_allowed"
    assert world.refused("agg", a_group_setup(payee="nobody")) == "party_unknown"
    assert world.refused("agg", a_group_setup(payee="agg")) == "same_party"
    assert world.refused("vn", a_group_setup(payee="vn2")) == "role_not_allowed"
    world.run("agg", an_enrol_party(an_enrolment("vn3", Role.VIRTUAL_NODE, "agg", "F2")))
    assert world.refused("agg", a_group_setup(payee="vn3")) == "offer_invalid"
    world.run("utl", a_request(need_id="need-2", area="portfolio"))
    world.run("agg", a_group_setup(group_terms(need_id="need-2"), payee="vn3"))
    assert world.refused("agg", a_group_setup(group_terms(need_id="need-2"), payee="vn3")) == "contract_exists"
    world.run("agg", c.RevokeParty(party="vn", reason=""))
    assert world.refused("agg", a_group_setup(contract_id="s2")) == "party_revoked"


def test_both_sides_of_a_contract_hold_different_keys() -> None:
    """A key belongs to one party; should two ever hold one, the contract is still refused."""
    world = asked()
    same = an_enrolment("vn4", Role.VIRTUAL_NODE, "agg", key=world_key(world, "agg"))
    assert world.refused("agg", an_enrol_party(same)) == "key_in_use"
    vn = world.records["party", "vn"]
    agg_key, vn_key = world_key(world, "agg").encode(), world_key(world, "vn").encode()
    world.records["party", "vn"] = vn.replace(vn_key, agg_key)
    assert world.refused("agg", a_group_setup(signed_by="agg")) == "same_key"


def world_key(world: World, party: str) -> str:
    return world.records["party", party].decode().split('"key":"')[1].split('"')[0]


HOME_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "price above the parent's": ({"energy_price_minor_per_mwh": 300_001}, "price_invalid"),
    "begins before the parent": ({"start_ms": EVENT_MS - 900_000}, "interval_invalid"),
    "ends after the parent": ({"start_ms": EVENT_MS + 900_000}, "interval_invalid"),
    "other need": ({"need_id": "need-2"}, "terms_mismatch"),
    "other metering deadline": ({"settle_after_ms": END_MS}, "terms_mismatch"),
    "accepted after the parent's activation": (
        {"accept_by_ms": T.activate_by_ms + 1, "activate_by_ms": T.activate_by_ms + 1},
        "deadline_passed",
    ),
    "assistants": ({"assisting": ("vn2",)}, "offer_invalid"),
    "no baseline": ({"baseline": None}, "baseline_invalid"),
    "baseline of another preset": ({"baseline": changed(BASELINE, preset="other")}, "baseline_invalid"),
    "baseline of another version": ({"baseline": changed(BASELINE, preset_version=2)}, "baseline_invalid"),
    "baseline with another cap": ({"baseline": changed(BASELINE, adjustment_cap_percent=41)}, "baseline_invalid"),
    "curve too short": ({"baseline": changed(BASELINE, curve_wh=(600,) * 3)}, "baseline_invalid"),
    "curve too long": ({"baseline": changed(BASELINE, curve_wh=(600,) * 5)}, "baseline_invalid"),
    "window elsewhere": (
        {"baseline": changed(BASELINE, adjustment_start_ms=BASELINE.adjustment_start_ms + 900_000)},
        "baseline_invalid",
    ),
    "window too short": ({"baseline": changed(BASELINE, adjustment_wh=(500,) * 11)}, "baseline_invalid"),
}


@pytest.mark.parametrize(("terms", "code"), HOME_REFUSED.values(), ids=HOME_REFUSED.keys())
def test_terms_of_a_device_contract_fit_the_contract_above(terms: dict[str, Any], code: str) -> None:
    world = accepted()
    world.run("utl", a_request(need_id="need-2"))
    assert world.refused("vn", a_home_setup("d0", home_terms(**terms))) == code
    world.run("vn", a_home_setup("d0"))


def test_a_device_contract_is_made_by_the_virtual_node_above_with_a_device_of_its_area() -> None:
    world = accepted()
    assert world.refused("vn2", a_home_setup()) == "not_party"
    assert world.refused("agg", a_home_setup()) == "role_not_allowed"
    assert world.refused("vn", a_home_setup("vn2")) == "role_not_allowed"
    assert world.refused("vn", a_home_setup(parent="s9")) == "contract_unknown"
    with_offer = changed(a_home_setup(), offer=an_offer(home_terms()), offer_signature="0" * 128)
    assert world.refused("vn", with_offer) == "offer_invalid"
    world.run("agg", an_enrol_party(an_enrolment("far", Role.DEVICE, "agg", "F2")))
    assert world.refused("vn", a_home_setup("far")) == "not_party"
    facts = world.run("vn", a_home_setup())
    assert isinstance(facts[0], DRSetUp)
    assert world.refused("vn", a_home_setup()) == "contract_exists"
    assert world.refused("vn", a_home_setup("d1", parent="s2-d0")) == "not_party"


def test_a_device_contract_needs_a_parent_that_lives() -> None:
    world = asked()
    world.run("agg", a_group_setup())
    assert world.refused("vn", a_home_setup()) == "illegal_transition"
    world.accept("s1")
    world.run("vn", a_home_setup())
    world.accept("s2-d0")
    world.advance(T.activate_by_ms)
    assert world.status("s1") == "active"
    late = home_terms(
        start_ms=EVENT_MS + 1_800_000, obligation_wh=(250,) * 2, accept_by_ms=EVENT_MS + 900_000,
        activate_by_ms=EVENT_MS + 900_000, baseline=changed(BASELINE, curve_wh=(600,) * 2),
    )  # fmt: skip
    world.run("vn", a_home_setup("d1", late))
    world.accept("s2-d1")
    world.settle()
    assert world.contract("s2-d1").missing == 2
