"""Durations are exact or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openadr import durations
from openadr.errors import InvalidDuration


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("P1W", 604_800),  # openleadr reads 0
        ("1W", 604_800),  # the only week form the schema's pattern allows
        ("PT0S", 0),
        ("P0D", 0),
        ("P0Y0M1D", 86_400),
        ("PT15M", 900),
        ("+PT5S", 5),
        ("P1DT2H3M4S", 93_784),
        ("PT90M", 5400),
    ],
)
def test_a_duration_of_fixed_length_is_read(text: str, duration_s: int) -> None:
    assert durations.parse(text) == duration_s


@pytest.mark.parametrize(
    "text",
    ["P", "PT", "P1DT", "+P", "", "P1M", "P1Y", "P1Y2M3D", "-PT1S", "-P1W", "PT1.5S", "P1H", "P1W1D", "pt1s", " PT1S",
     "PT1S\n", "PT\u0663S", "PT" + "9" * 10 + "S", "P9999Y"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidDuration):
        durations.parse(text)


@pytest.mark.parametrize(("text", "duration_s"), [("P1M", 2_592_000), ("P1Y1D", 31_622_400), ("PT15M", 900)])
def test_a_bound_may_count_months_and_years(text: str, duration_s: int) -> None:
    assert durations.parse(text, rough=True) == duration_s


def test_nothing_lasts_pt0s_not_p() -> None:
    assert durations.render(0) == "PT0S"
    with pytest.raises(InvalidDuration):
        durations.render(-1)


@given(st.integers(0, 10**11))
def test_what_is_written_is_read_back(duration_s: int) -> None:
    assert durations.parse(durations.render(duration_s)) == duration_s
