"""EiOpt."""

from __future__ import annotations

from openadr import v2
from tests.builders import START_MS
from tests.vtn.faces.openadr2.test_events import publish, state


def opt(peer, opt_type="optOut", opt_id="opt-1", **given):
    return v2.OadrCreateOpt("o-1", opt_id, opt_type, "economic", peer.ven_id, START_MS, **given)


async def test_rule_206_after_an_opt_a_later_created_event_is_ignored(opened_vtn, peer):
    vtn = opened_vtn.vtn
    await publish(vtn, peer)
    distributed = await peer.poll_for(v2.OadrDistributeEvent)
    await peer.answer(distributed)
    answer = await peer.send(opt(peer, event_id="evt-1", modification_number=0))
    assert (type(answer), answer.response.response_code, answer.opt_id) == (v2.OadrCreatedOpt, 200, "opt-1")
    assert await state(vtn) == "opted_out"
    assert (await peer.answer(distributed)).response.response_code == 200
    assert await state(vtn) == "opted_out"
    cancelled = await peer.send(v2.OadrCancelOpt("o-2", "opt-1", peer.ven_id))
    assert (type(cancelled), cancelled.response.response_code) == (v2.OadrCanceledOpt, 200)
    await peer.answer(distributed)
    assert await state(vtn) == "opted_in"


async def test_an_opt_about_an_unknown_event_is_452_and_not_kept(opened_vtn, peer):
    answer = await peer.send(opt(peer, event_id="evt-unknown", modification_number=0))
    assert answer.response.response_code == 452
    assert await opened_vtn.vtn.opts.list(peer.ven_id) == []
    assert (await peer.send(v2.OadrCancelOpt("o-2", "opt-1", peer.ven_id))).response.response_code == 452


async def test_a_schedule_is_kept_and_repeating_it_changes_nothing(opened_vtn, peer):
    schedule = opt(peer, availability=(v2.Availability(START_MS, 3600),))
    for _ in range(2):
        assert (await peer.send(schedule)).response.response_code == 200
    [kept] = await opened_vtn.vtn.opts.list(peer.ven_id)
    assert kept.schedule.availability == ((START_MS, 3600),)
    assert (await peer.send(opt(peer, "optIn"))).response.response_code == 454
