"""Members chosen at least cost for a stated probability, with merit order behind it."""

from __future__ import annotations

import random

import pytest

from vtn.aggregator.dispatch import Candidate, choose
from vtn.aggregator.virtual_nodes import choosing
from vtn.aggregator.virtual_nodes.choosing import Policy, choose_members

OPTIMAL = Policy(method="optimal", probability=0.9)


def some_members(count: int = 30) -> list[Candidate]:
    """Homes of one feeder; every fifth is unreliable."""
    rng = random.Random(7)
    return [
        Candidate(
            candidate=f"ven-{n:02d}",
            available_wh=tuple(rng.randrange(100, 300) for _ in range(4)),
            forecast_wh=2_000,
            price_minor_per_mwh=100_000,
            reliability_bp=5_000 if n % 5 == 0 else 9_500,
            spread_bp=2_000,
            weariness_bp=8_000 if n % 7 == 3 else 0,
        )
        for n in range(count)
    ]


def test_the_optimum_costs_no_more_than_merit_order_and_promises_more() -> None:
    """Merit order meets the expectation; asked for the expectation only, the optimum is not dearer."""
    members, target = some_members(), (1_500, 1_800, 1_800, 1_500)
    by_merit = choose(target, members, whole=True)
    even = choose_members(target, members, Policy(method="optimal", probability=0.5))

    def cost(choices: tuple) -> float:  # type: ignore[type-arg]
        return sum(sum(each.obligation_wh) * each.candidate.reliability_bp for each in choices)

    safe = choose_members(target, members, OPTIMAL)
    assert len(safe.chosen) > len(by_merit.chosen)
    assert cost(even.chosen) <= cost(by_merit.chosen) * 1.15
    assert not any(safe.lacking_wh)
    assert "asked: 90%" in safe.chosen[0].reason


def test_the_weary_and_the_unreliable_are_left_in_peace_while_others_are_there() -> None:
    chosen = choose_members((800, 800, 800, 800), some_members(), OPTIMAL).chosen
    assert chosen
    assert not any(each.candidate.weariness_bp for each in chosen)


def test_everybody_leaves_with_a_reason_and_excluded_ones_with_theirs() -> None:
    members = [*some_members(), Candidate(candidate="ven-x", available_wh=(0,) * 4, forecast_wh=0,
                                          price_minor_per_mwh=1, reliability_bp=1, excluded="silent")]  # fmt: skip
    found = choose_members((1_000,) * 4, members, OPTIMAL)
    assert sorted(each.candidate.candidate for each in found.choices) == sorted(each.candidate for each in members)
    assert all(each.reason for each in found.choices)
    assert found.choices[-1].reason == "silent"


def test_stored_candidates_in_any_order_give_the_stored_choice_again() -> None:
    members, target = some_members(), (1_500, 1_800, 1_800, 1_500)
    found = choose_members(target, members, OPTIMAL)
    stored = [each.candidate for each in found.choices]
    random.Random(2).shuffle(stored)
    assert choose_members(target, stored, OPTIMAL) == found


def test_too_few_members_are_all_called_and_what_lacks_is_said() -> None:
    """The rest goes to assisting virtual nodes."""
    found = choose_members((9_000,) * 4, some_members(), OPTIMAL)
    assert len(found.chosen) == 30
    assert all(lacking > 0 for lacking in found.lacking_wh)


def test_without_its_libraries_merit_order_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_installed", lambda: False)
    members, target = some_members(), (1_500,) * 4
    assert choose_members(target, members, Policy(method="auto")) == choose(target, members, whole=True)


def test_a_failure_of_the_optimisation_leaves_no_need_without_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("solver")

    monkeypatch.setattr(choosing, "_optimal", broken)
    members, target = some_members(), (1_500,) * 4
    assert choose_members(target, members, OPTIMAL) == choose(target, members, whole=True)
