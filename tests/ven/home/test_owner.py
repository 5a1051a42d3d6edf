"""The owner's limits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forecasting.calendar import SiteCalendar
from tests.ven.homes import a_store
from ven.home.owner import Owner, read_owner, write_owner

BERLIN = SiteCalendar("Europe/Berlin")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def refusal(owner: Owner, start: str = "2026-06-01T16:00", hours: int = 2, watts: int = 500, others=()):
    start_ms = at(start)
    return owner.refusal(
        calendar=BERLIN,
        start_ms=start_ms,
        end_ms=start_ms + hours * 3_600_000,
        reduction_w=watts,
        other_starts_ms=[at(other) for other in others],
    )


def test_an_owner_without_limits_refuses_nothing():
    assert refusal(Owner(), hours=24, watts=10**6, others=["2026-06-01T10:00"]) is None


@pytest.mark.parametrize(
    ("owner", "allowed", "refused"),
    [
        (Owner(max_shed_w=500), {"watts": 500}, {"watts": 501}),
        (Owner(max_duration_s=7200), {"hours": 2}, {"hours": 3}),
        (Owner(max_events_per_day=1), {}, {"others": ["2026-06-01T10:00"]}),
        # 16:00 UTC is 18:00 in Berlin in summer
        (Owner(hours=(18 * 60, 20 * 60)), {}, {"start": "2026-06-01T16:01"}),
        (Owner(hours=(18 * 60, 20 * 60)), {"start": "2026-01-01T17:00"}, {"start": "2026-01-01T16:00"}),
        (Owner(hours=(22 * 60, 6 * 60)), {"start": "2026-06-01T21:00", "hours": 7}, {"start": "2026-06-01T10:00"}),
    ],
)
def test_a_limit_refuses_what_lies_beyond_it_and_nothing_else(owner, allowed, refused):
    assert refusal(owner, **allowed) is None
    assert refusal(owner, **refused) is not None


def test_events_on_the_day_before_do_not_count_for_today():
    """22:30 UTC of 31 May is 00:30 of 1 June in Berlin."""
    owner = Owner(max_events_per_day=1)
    assert refusal(owner, others=["2026-05-31T21:30"]) is None
    assert refusal(owner, others=["2026-05-31T22:30"]) is not None


def test_opting_out_until_ends_by_itself():
    owner = Owner(opt_out=True, opt_out_until_ms=1000)
    assert owner.opted_out(999)
    assert not owner.opted_out(1000)
    assert Owner(opt_out=True).opted_out(10**15)


def test_choices_are_kept(tmp_path):
    store = a_store(tmp_path)
    assert read_owner(store.notes) == Owner()
    chosen = Owner(opt_out=True, opt_out_until_ms=5, hours=(1, 2), max_shed_w=3)
    write_owner(store.notes, chosen)
    store.close()
    again = a_store(tmp_path)
    assert read_owner(again.notes) == chosen
    again.close()
