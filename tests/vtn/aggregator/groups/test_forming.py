"""Virtual nodes out of homes: like with like inside a feeder, repeatable at every point, and those that wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.core.parties import Party, Role
from forecasting.errors import WeatherUnavailable
from ledger.client import LedgerUnavailable, party_id
from runtime.keys import PrivateKey
from tests.vtn.aggregator.groups.feeders import NIGHT, Feeders
from vtn.aggregator.gateway import EnrolledMembers
from vtn.aggregator.virtual_nodes.groups import grouping, parties
from vtn.analytics import weather
from vtn.config import VtnSettings
from vtn.services.vens import ENROLLED


async def test_two_kinds_of_homes_on_a_feeder_are_two_virtual_nodes(world: Feeders) -> None:
    """Each with a key, a party and a name of its own, and the reason is kept."""
    evening, night = await world.homes("e", 21), await world.homes("n", 24, peak=NIGHT)
    formation = world.formation()
    new = await formation.form()
    assert [node.name for node in new] == ["vn-F1", "vn-F1-2"]
    assert await world.members("vn-F1") == set(night), "the larger group has the feeder's name"
    assert await world.members("vn-F1-2") == set(evening)
    rows = await world.nodes.nodes()
    assert len({row.party for row in rows}) == len({row.key_file for row in rows}) == 2
    for row in rows:
        assert row.party is not None
        assert (await world.opened.vtn.ledger.record(Party, row.party)).area == "F1"
        assert "2 clusters of like homes" in row.quality.reason
        assert row.quality.silhouette > 0.3
    moves = await world.nodes.moves(ven_id=evening[0])
    assert [(move.came_from, move.went_to, move.kind) for move in moves] == [("", "vn-F1-2", "formed")]
    assert await formation.form() == [], "formed once"
    assert len(formation.nodes) == 2


async def test_the_same_homes_and_seed_are_grouped_alike_in_any_order(world: Feeders) -> None:
    await world.homes("e", 21)
    await world.homes("n", 21, peak=NIGHT)
    homes = await world.opened.vtn.vens.list(status=ENROLLED)
    way = world.reviews().grouping
    first = await way.first(homes)
    assert await way.first(homes[::-1]) == first
    assert len(first) == 2


@pytest.mark.parametrize("reason", ["a week of readings", "is not installed"])
async def test_a_feeder_of_which_little_is_known_is_one_group_and_says_why(
    world: Feeders, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.homes("e", 20)
    await world.homes("n", 20, peak=None)
    if "installed" in reason:
        monkeypatch.setattr(grouping, "installed", lambda: False)
    assert [node.name for node in await world.formation().form()] == ["vn-F1"]
    [row] = await world.nodes.nodes()
    assert reason in row.quality.reason
    assert len(await world.members("vn-F1")) == 40


async def test_a_feeder_with_too_few_homes_waits_and_is_named(world: Feeders) -> None:
    """The next feeder is no help: it is never crossed."""
    await world.homes("small", 19, peak=None)
    await world.homes("other", 20, area="F2", peak=None)
    formation = world.formation()
    assert [node.area for node in await formation.form()] == ["F2"]
    assert formation.waiting == {"F1": "19 homes wait: 20 make a virtual node"}
    await world.homes("twentieth", 1, peak=None)
    assert [node.area for node in await formation.form()] == ["F1"]
    assert formation.waiting == {}


async def test_a_process_killed_between_key_and_enrolment_goes_on_with_the_same_key(world: Feeders) -> None:
    await world.homes("e", 20, peak=None)
    world.ledger.down = True
    with pytest.raises(LedgerUnavailable):
        await world.formation().form()
    key = PrivateKey.load(world.opened.vtn.settings.data_dir / "virtual_nodes" / "vn-F1.key")
    assert (await world.nodes.nodes())[0].party is None
    world.ledger.down = False
    [node] = await world.formation().form()
    assert node.party == party_id(Role.VIRTUAL_NODE, key.public)
    assert len(await world.nodes.nodes()) == 1


async def test_a_lost_answer_to_the_enrolment_makes_no_second_party(world: Feeders) -> None:
    await world.homes("e", 20, peak=None)
    world.ledger.loses_answers = 1
    with pytest.raises(LedgerUnavailable):
        await world.formation().form()
    world.ledger.down = False
    [node] = await world.formation().form()
    assert [row.party for row in await world.nodes.nodes()] == [node.party]
    assert len(world.ledger.scan("party", "vn", "vo", 10)) == 1


async def test_a_virtual_node_from_before_rows_were_kept_stays_what_it_was(world: Feeders) -> None:
    """Its key file names it, even if its feeder has few homes now; its homes stay, a new one joins it."""
    key = PrivateKey.create(world.opened.vtn.settings.data_dir / "virtual_nodes" / "vn-F1.key")
    before = await world.homes("e", 12, peak=None, node="vn-F1")
    new = await world.homes("new", 1, peak=None)
    [node] = await world.formation().form()
    assert (node.name, node.party) == ("vn-F1", party_id(Role.VIRTUAL_NODE, key.public))
    assert await world.members("vn-F1") == {*before, *new}
    [move] = await world.nodes.moves()
    assert (move.ven_id, move.kind, move.reason) == (new[0], "joined", grouping.ONLY_ONE)


async def test_a_new_home_joins_those_it_is_like_and_an_unknown_one_the_smallest(world: Feeders) -> None:
    await world.homes("e", 21)
    await world.homes("n", 24, peak=NIGHT)
    formation = world.formation()
    await formation.form()
    [like] = await world.homes("like", 1, peak=NIGHT)
    await formation.form()
    [unknown] = await world.homes("unknown", 1, peak=None)
    await formation.form()
    homes = await world.opened.vtn.vens.find_all([like, unknown])
    assert (homes[like].virtual_node, homes[unknown].virtual_node) == ("vn-F1", "vn-F1-2")
    assert "nearest" in (await world.nodes.moves(ven_id=like))[0].reason
    assert "smallest" in (await world.nodes.moves(ven_id=unknown))[0].reason


async def test_one_feeder_that_cannot_be_grouped_keeps_no_other_from_it(world: Feeders) -> None:
    await world.homes("e", 20, area="feeder of no ledger", peak=None)
    await world.homes("o", 20, area="F2", peak=None)
    formation = world.formation()
    assert [node.area for node in await formation.form()] == ["F2"]
    assert "the ledger takes no party" in formation.waiting["feeder of no ledger"]


@pytest.mark.parametrize(
    ("area", "taken", "areas", "name"),
    [
        ("F1", (), (), "vn-F1"),
        ("F1", ("vn-F1",), ("F1",), "vn-F1-2"),
        ("F1", ("vn-F1",), ("F1", "F1-2"), "vn-F1-3"),
        ("F1-2", ("vn-F1", "vn-F1-2"), (), "vn-F1-2-2"),
    ],
)
def test_no_two_virtual_nodes_share_a_name(
    area: str, taken: tuple[str, ...], areas: tuple[str, ...], name: str
) -> None:
    assert parties.free_name(area, taken, areas) == name


@pytest.mark.parametrize("name", ["vn-F1", "vn-../../x", "vn-a/b", "vn-ä b%", "vn-" + "x" * 400])
def test_a_key_file_is_a_file_within_its_folder_whatever_the_feeder_is_called(name: str, tmp_path: Path) -> None:
    file = parties.key_file(tmp_path, name)
    key = parties.own_key(tmp_path / file)
    assert (tmp_path / file).resolve().parent == tmp_path.resolve()
    assert parties.key_file(tmp_path, name) == file
    assert parties.own_key(tmp_path / file).public == key.public
    assert parties.key_file(tmp_path, name + "-2") != file


def test_a_key_that_lies_where_it_used_to_stays_there(tmp_path: Path) -> None:
    PrivateKey.create(tmp_path / "vn-a" / "b.key")
    assert parties.key_file(tmp_path, "vn-a/b") == "vn-a/b.key"


async def test_a_weather_service_that_does_not_answer_is_not_waited_for_at_each_feeder(
    world: Feeders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for each feeder and each new home anew, twenty seconds each, before any need was looked at."""
    asked = []

    def silent(*given: object) -> None:
        asked.append(given)
        raise WeatherUnavailable("no answer")

    monkeypatch.setattr(weather, "provider", silent)
    ids = await world.homes("e", 20, days=9)
    settings = VtnSettings(weather_source="https://weather.example/", site_latitude=48, site_longitude=11)
    vtn = world.opened.vtn
    members = EnrolledMembers(vtn.vens, vtn.telemetry, vtn.opts, vtn.contacts, world.program)
    found = grouping.Grouping(members, world.program, settings, vtn.clock, 20)
    homes = [await vtn.vens.get(each) for each in ids]
    for _ in range(3):
        await found.seen(homes)
    assert len(asked) == 1
