"""What opt schedules add up to, and who is therefore not called."""

from __future__ import annotations

import pytest

from openadr.model import Target, Unit
from tests.vtn.opened import PROGRAM
from vtn.errors import InvalidInput
from vtn.services.opts import AVAILABILITY_MAX, STANDING_MAX, Away, Opt, OptSchedule, away
from vtn.services.reports import USAGE_METADATA, MeteringPoint, Specifier

HOUR_MS = 3_600_000


def an_opt(opt_id, opt_type, *availability, created_ms=0, resources=(), **given):
    """Hours from midnight as (start, length)."""
    stretches = tuple((start * HOUR_MS, hours * 3600) for start, hours in availability)
    targets = tuple(Target("resource", each) for each in resources)
    schedule = OptSchedule(availability=stretches, targets=targets)
    return Opt(ven_id="ven-1", opt_id=opt_id, opt_type=opt_type, opt_reason=opt_id, schedule=schedule,
               created_ms=created_ms, **given)  # fmt: skip


def hours(opts):
    return [(each.start_ms / HOUR_MS, None if each.end_ms is None else each.end_ms / HOUR_MS) for each in away(opts)]


@pytest.mark.parametrize(
    ("opts", "expected"),
    [
        ([an_opt("a", "optOut", (2, 4))], [(2, 6)]),
        ([an_opt("a", "optOut", (2, 4)), an_opt("b", "optIn", (3, 1))], [(2, 3), (4, 6)]),
        ([an_opt("b", "optIn", (3, 1)), an_opt("a", "optOut", (2, 4))], [(2, 6)]),
        ([an_opt("a", "optOut", (2, 4)), an_opt("b", "optIn", (0, 24))], []),
        ([an_opt("a", "optOut", (2, 0))], [(2, None)]),
        ([an_opt("a", "optOut", (2, 0)), an_opt("b", "optIn", (5, 1))], [(2, 5), (6, None)]),
        ([an_opt("a", "optOut", (2, 0)), an_opt("b", "optIn", (5, 0))], [(2, 5)]),
        ([an_opt("a", "optOut", created_ms=HOUR_MS)], [(1, None)]),
        ([an_opt("a", "optOut", (2, 4), cancelled_ms=1)], []),
        ([an_opt("a", "optOut", (2, 4), event_id="evt-1")], []),
        ([an_opt("a", "optIn", (2, 4))], []),
    ],
)
def test_the_later_opt_wins_where_two_overlap(opts, expected):
    assert hours(opts) == expected


def test_an_opt_for_a_resource_wins_over_that_resource_alone():
    whole = an_opt("a", "optOut", (2, 4))
    part = an_opt("b", "optOut", (2, 4), resources=["heater"])
    back = an_opt("c", "optIn", (2, 4), resources=["heater", "car"])
    assert [each.resources for each in away([whole, part, back])] == [frozenset()]
    assert away([part]) == [Away(2 * HOUR_MS, 6 * HOUR_MS, frozenset({"heater"}), "b")]


async def test_who_opted_out_of_a_time_is_not_called_then(opened_vtn):
    vtn = opened_vtn.vtn
    first, second = [(await vtn.vens.add(name, "F1", PROGRAM)).ven_id for name in ("home-1", "home-2")]
    schedule = OptSchedule(availability=((10 * HOUR_MS, 3600),))
    await vtn.opts.create(
        Opt(ven_id=first, opt_id="o-1", opt_type="optOut", opt_reason="notParticipating", schedule=schedule)
    )
    both = [first, second]
    assert await vtn.opts.unavailable(both, 9 * HOUR_MS, 10 * HOUR_MS) == {}
    found = await vtn.opts.unavailable(both, 9 * HOUR_MS, 10 * HOUR_MS + 1)
    assert found == {first: "opted out of this time: notParticipating"}
    await vtn.opts.cancel(first, "o-1")
    assert await vtn.opts.unavailable(both, 0, 24 * HOUR_MS) == {}


async def test_an_opt_for_a_resource_counts_if_the_meter_belongs_to_it(opened_vtn):
    vtn = opened_vtn.vtn
    ven_id = (await vtn.vens.add("home-1", "F1", PROGRAM)).ven_id
    point = MeteringPoint("meter", "usage", "Net", Unit("energy_real", "Wh"), resource="house")
    await vtn.reports.register(ven_id, [Specifier("usage", USAGE_METADATA, (point,))])
    for resource, expected in (("pool", []), ("house", [ven_id])):
        schedule = OptSchedule(targets=(Target("resource", resource),))
        await vtn.opts.create(
            Opt(ven_id=ven_id, opt_id=resource, opt_type="optOut", opt_reason="economic", schedule=schedule)
        )
        assert list(await vtn.opts.unavailable([ven_id], 0, 2**52)) == expected


async def test_an_opt_for_another_market_context_does_not_count(opened_vtn):
    vtn = opened_vtn.vtn
    ven_id = (await vtn.vens.add("home-1", "F1", PROGRAM)).ven_id
    schedule = OptSchedule(market_context="http://other.example")
    await vtn.opts.create(Opt(ven_id=ven_id, opt_id="o-1", opt_type="optOut", opt_reason="economic", schedule=schedule))
    ours = (await vtn.programs.get(PROGRAM)).market_context
    assert await vtn.opts.unavailable([ven_id], 0, 2**52, market_context=ours) == {}
    assert list(await vtn.opts.unavailable([ven_id], 0, 2**52, market_context="http://other.example")) == [ven_id]


async def test_a_ven_says_no_more_than_can_be_added_up(opened_vtn):
    vtn = opened_vtn.vtn
    ven_id = (await vtn.vens.add("home-1", "F1", PROGRAM)).ven_id
    now_ms = vtn.clock.now_ms()

    def schedule(first_ms, stretches):
        return OptSchedule(availability=tuple((first_ms + 2000 * n, 1) for n in range(stretches)))

    def opt(number, at, opt_type="optOut"):
        return Opt(ven_id=ven_id, opt_id=f"opt-{number}", opt_type=opt_type, opt_reason="mustNotRun", schedule=at)

    with pytest.raises(InvalidInput, match="stretches"):
        await vtn.opts.create(opt(0, schedule(now_ms, AVAILABILITY_MAX + 1)))
    for number in range(STANDING_MAX):
        await vtn.opts.create(
            opt(number, schedule(now_ms if number < 2 else now_ms - 10_000_000, AVAILABILITY_MAX // 2))
        )
    far_ms = now_ms + 20_000_000
    assert await vtn.opts.unavailable([ven_id], far_ms, far_ms + HOUR_MS) == {}
    # who crowds one hour with windows is not called in it, instead of what they add up to being found out
    [reason] = (await vtn.opts.unavailable([ven_id], now_ms, now_ms + HOUR_MS)).values()
    assert "too often" in reason
    # schedules that are over make room for new ones
    for number in range(STANDING_MAX, 2 * STANDING_MAX - 2):
        await vtn.opts.create(opt(number, schedule(far_ms, 1)))
    with pytest.raises(InvalidInput, match="stand"):
        await vtn.opts.create(opt("last", schedule(far_ms, 1)))
    assert len(await vtn.opts.list(ven_id)) == 2 * STANDING_MAX - 2
