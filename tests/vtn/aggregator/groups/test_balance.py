"""What a virtual node uses inside before anything leaves or comes in."""

from hypothesis import given
from hypothesis import strategies as st

from vtn.aggregator.virtual_nodes.groups.balance import absorbed, balanced, balances, within

homes = st.lists(st.integers(-50_000, 50_000), max_size=30)


def test_a_surplus_is_used_by_the_neighbour_and_the_rest_leaves():
    found = balanced([-900, 400, 300])
    assert (found.used_inside_wh, found.import_wh, found.export_wh, found.net_wh) == (700, 0, -200, -200)
    assert (found.took_wh, found.gave_wh) == (700, -900)


def test_what_is_lacking_after_inside_use_comes_in():
    found = balanced([-200, 500, 0])
    assert (found.used_inside_wh, found.import_wh, found.export_wh) == (200, 300, 0)


@given(homes)
def test_nothing_is_lost_and_nothing_crosses_the_boundary_both_ways(net):
    found = balanced(net)
    assert found.net_wh == sum(net)
    assert found.took_wh == found.used_inside_wh + found.import_wh
    assert -found.gave_wh == found.used_inside_wh - found.export_wh
    assert 0 in (found.import_wh, found.export_wh)
    assert found.import_wh >= 0 >= found.export_wh


@given(st.lists(homes, max_size=5))
def test_a_feeder_uses_inside_what_its_nodes_and_they_among_each_other_can(nodes):
    """Cutting a feeder into nodes changes where energy meets, never what leaves the feeder."""
    whole = balanced([energy for node in nodes for energy in node])
    assert within(balanced(node) for node in nodes) == whole


def test_an_interval_of_few_homes_is_not_shown():
    readings = {"a": {0: 1, 900: 2}, "b": {0: -3}}
    assert list(balances(readings, homes_min=2)) == [0]
    assert balances(readings)[900].import_wh == 2


def test_members_take_a_surplus_before_others_are_asked():
    balance = balanced([-1_000, 400])
    found = absorbed(balance, [("a", 250), ("b", 200)], [("c", 500)])
    assert (found.members_wh, found.others_wh, found.left_wh) == ({"a": 250, "b": 200}, {"c": 150}, 0)
    assert absorbed(balance, [("a", 900)], [("c", 500)]).others_wh == {}
    assert absorbed(balance, [("a", 250)]).left_wh == 350
    assert absorbed(balanced([500, 100]), [("a", 250)]).members_wh == {}, "there is no surplus"
