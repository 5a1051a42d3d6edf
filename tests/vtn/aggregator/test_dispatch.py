"""Merit order: who is called, for how much, and why."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vtn.aggregator.dispatch import Candidate, choose, reliability_bp


def a_candidate(
    name: str, available: tuple[int, ...] = (100, 100), price: int = 100_000, **changes: object
) -> Candidate:
    fields = {
        "candidate": name,
        "available_wh": available,
        "forecast_wh": 500,
        "price_minor_per_mwh": price,
        "reliability_bp": 10_000,
    }
    return Candidate(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_cheapest_expected_delivery_is_called_first_not_the_cheapest_price() -> None:
    """90 at 60 % reliability costs 150 a delivered MWh, more than 120 at 100 %."""
    unreliable = a_candidate("unreliable", price=90_000, reliability_bp=6_000)
    reliable = a_candidate("reliable", price=120_000)
    dispatch = choose((50, 50), [unreliable, reliable])
    assert [choice.candidate.candidate for choice in dispatch.chosen] == ["reliable"]


def test_the_last_group_is_asked_for_the_rest_only() -> None:
    dispatch = choose((150, 120), [a_candidate("a"), a_candidate("b", price=110_000)])
    assert [choice.obligation_wh for choice in dispatch.chosen] == [(100, 100), (50, 20)]
    assert dispatch.lacking_wh == (0, 0)


def test_a_home_is_called_whole_and_counts_by_its_reliability() -> None:
    """Two homes of 100 at 80 % are expected to give 160 of 150: a third is not called."""
    homes = [a_candidate(name, reliability_bp=8_000) for name in ("a", "b", "c")]
    dispatch = choose((150, 150), homes, whole=True)
    assert [choice.candidate.candidate for choice in dispatch.chosen] == ["a", "b"]
    assert all(choice.obligation_wh == (100, 100) for choice in dispatch.chosen)


def test_what_nobody_offers_is_said_to_be_lacking() -> None:
    assert choose((150, 30), [a_candidate("a")]).lacking_wh == (50, 0)


def test_every_candidate_leaves_with_a_reason() -> None:
    candidates = [
        a_candidate("a", (500, 500)),
        a_candidate("b"),
        a_candidate("c", excluded="silent"),
        a_candidate("d", (0, 0)),
    ]
    choices = {choice.candidate.candidate: choice for choice in choose((100, 100), candidates).choices}
    assert choices["a"].chosen
    assert choices["b"].reason == "the target was met by cheaper candidates"
    assert (choices["c"].rank, choices["c"].reason) == (0, "silent")
    assert not choices["d"].chosen


@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 200_000), st.integers(1, 10_000)),
        max_size=12,
    ),
    st.tuples(st.integers(0, 2_000), st.integers(0, 2_000)),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_the_choice_follows_from_its_inputs_in_any_order(rows, target, whole, rng) -> None:  # type: ignore[no-untyped-def]
    """Stored choices recompute from their stored candidates; nobody is asked for more than it has."""
    candidates = [
        a_candidate(f"c{n:02d}", (first, second), price, reliability_bp=bp)
        for n, (first, second, price, bp) in enumerate(rows)
    ]
    dispatch = choose(target, candidates, whole=whole)
    stored = [choice.candidate for choice in dispatch.choices]
    rng.shuffle(stored)
    assert choose(dispatch.target_wh, stored, whole=whole) == dispatch
    for choice in dispatch.chosen:
        assert all(
            asked <= most for asked, most in zip(choice.obligation_wh, choice.candidate.available_wh, strict=True)
        )
    if not whole:
        got = [sum(column) for column in zip(*(choice.obligation_wh for choice in dispatch.chosen), strict=True)] or [
            0,
            0,
        ]
        assert [rest + had for rest, had in zip(dispatch.lacking_wh, got, strict=True)] == list(target)


def test_reliability_moves_from_the_prior_to_what_was_seen() -> None:
    """Prior 90 % worth 10 contracts: none seen 90 %; 10 of 10 delivered 95 %; 0 of 10 delivered 45 %."""
    assert reliability_bp(0, 0, 9_000, 10) == 9_000
    assert reliability_bp(10, 10, 9_000, 10) == 9_500
    assert reliability_bp(0, 10, 9_000, 10) == 4_500
