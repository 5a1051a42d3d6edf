"""Who polls no more is known, if somebody was there to hear it."""

from __future__ import annotations

from runtime.clock import ManualClock
from tests.vtn.opened import Opened
from vtn.records.contacts import Contacts
from vtn.services.vens import Ven

MINUTE_MS = 60_000


async def vens(opened: Opened, *names: str) -> list[Ven]:
    return [await opened.vtn.vens.add(name, "F1", "evening") for name in names]


async def minutes(clock: ManualClock, count: int, contacts: Contacts, *heard: Ven) -> None:
    """So many minutes, in each of which these poll."""
    for _ in range(count):
        clock.advance(MINUTE_MS)
        for ven in heard:
            contacts.note(ven.ven_id)
        await contacts.write()


async def test_a_ven_that_misses_three_polls_is_unheard_until_it_polls_again(
    opened_vtn: Opened, clock: ManualClock
) -> None:
    here, gone, never = await vens(opened_vtn, "here", "gone", "never")
    contacts, ids = opened_vtn.vtn.contacts, [here.ven_id, gone.ven_id, never.ven_id]
    await minutes(clock, 2, contacts, here, gone)
    await minutes(clock, 2, contacts, here)
    assert await contacts.unheard(ids) == {here.ven_id: False, gone.ven_id: False}, "of who never came nothing is known"
    await minutes(clock, 1, contacts, here)
    assert await contacts.unheard(ids) == {here.ven_id: False, gone.ven_id: True}
    await minutes(clock, 1, contacts, here, gone)
    assert await contacts.unheard(ids) == {here.ven_id: False, gone.ven_id: False}


async def test_nobody_is_unheard_for_a_time_in_which_nobody_listened(opened_vtn: Opened, clock: ManualClock) -> None:
    """The VTN was down for an hour; the first VEN to come back does not make the others look gone."""
    first, other = await vens(opened_vtn, "first", "other")
    await minutes(clock, 1, opened_vtn.vtn.contacts, first, other)
    clock.advance(60 * MINUTE_MS)
    again = Contacts(opened_vtn.vtn.database, clock)
    await minutes(clock, 1, again, first)
    assert await again.unheard([first.ven_id, other.ven_id]) == {first.ven_id: False, other.ven_id: False}
    await minutes(clock, 3, again, first)
    assert await again.unheard([other.ven_id]) == {other.ven_id: True}


async def test_nobody_is_unheard_where_nobody_at_all_can_be_heard(opened_vtn: Opened, clock: ManualClock) -> None:
    """The line in front of the VTN is cut: it listens, and that says nothing of its VENs."""
    one, two = await vens(opened_vtn, "one", "two")
    contacts = opened_vtn.vtn.contacts
    await minutes(clock, 1, contacts, one, two)
    await minutes(clock, 20, contacts)
    assert await contacts.unheard([one.ven_id, two.ven_id]) == {one.ven_id: False, two.ven_id: False}


async def test_two_workers_hear_together(opened_vtn: Opened, clock: ManualClock) -> None:
    """A home's polls go now to the one, now to the other."""
    here, roaming = await vens(opened_vtn, "here", "roaming")
    one, two = (Contacts(opened_vtn.vtn.database, clock) for _ in range(2))
    for _ in range(4):
        await minutes(clock, 1, one, here, roaming)
        await minutes(clock, 1, two, here, roaming)
        await minutes(clock, 1, one, here)
    assert await two.unheard([here.ven_id, roaming.ven_id]) == {here.ven_id: False, roaming.ven_id: False}
