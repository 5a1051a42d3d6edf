"""The terms of a program are checked when they are given, not when an event fails on them."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest

from vtn.services.programs import ProgramTerms


@pytest.mark.parametrize(
    "wrong",
    [
        {"zone": "Mars/Base"},
        {"holidays": ("2026-13-01",)},
        {"holidays": ("next Monday",)},
        {"weekend": (0, 1, 2, 3, 4, 5, 6)},
        {"weekend": ("Friday",)},
        {"interval_s": 1000},
        {"signal_level": 4},
        {"success_percent": 130},
        {"device_price_minor_per_mwh": 200_000},
        {"deposit": 1},
        {"accept_window_s": -1},
    ],
)
def test_terms_that_cannot_be_right_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, ProgramTerms, strict=False)


def test_terms_of_another_country_are_taken() -> None:
    terms = ProgramTerms(zone="Australia/Lord_Howe", holidays=("2026-12-25",), interval_s=1800)
    assert terms.zone == "Australia/Lord_Howe"


def test_a_program_says_on_which_days_people_rest() -> None:
    """In the Gulf states the weekend was Friday and Saturday; a Sunday is a working day like any other there."""
    calendar = msgspec.convert({"zone": "Asia/Kuwait", "weekend": ["4", "5"]}, ProgramTerms, strict=False).calendar
    thursday, friday, saturday, sunday = (date(2026, 11, day) for day in (19, 20, 21, 22))
    assert calendar.alike(thursday, sunday)
    assert calendar.alike(friday, saturday)
    assert not calendar.alike(thursday, friday)
    assert not ProgramTerms().calendar.alike(thursday, sunday)
